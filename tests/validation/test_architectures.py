"""Causal language models that transformers registers, measured beside plain transformers: a tenth of them, every family
in wide use, and the page of them all."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import transformers
from conftest import REPOSITORY

from validation import architectures

script = architectures
RECORDED = script.recorded(REPOSITORY / "docs" / "architectures.md")
TENTH = script.model_types()[::10]


@pytest.fixture(scope="module", autouse=True)
def few_objects_to_collect():
    """Each comparison collects garbage several times, among all that torch and transformers imported meanwhile."""
    gc.collect()
    gc.freeze()


@pytest.mark.model
@pytest.mark.parametrize("model_type", sorted({*TENTH, *script.NAMED}))
def test_a_model_is_measured_as_plain_transformers_measures_it_or_refused_as_the_page_says(model_type):
    assert script.outcome(model_type, floor=False).kind == RECORDED[model_type]


def test_the_page_has_every_model_type_of_the_pinned_transformers_and_nothing_wrong():
    assert list(RECORDED) == script.model_types()
    text = (REPOSITORY / "docs" / "architectures.md").read_text(encoding="utf-8")
    assert f"transformers {transformers.__version__} registers" in text
    assert set(RECORDED.values()) <= {"equal", *(f"refused: {reason}" for reason in script.REASONS)}


def test_few_are_refused_and_none_in_wide_use():
    refused = [model_type for model_type, kind in RECORDED.items() if kind != "equal"]
    assert len(refused) <= script.LARGEST_SHARE_REFUSED * len(RECORDED)
    assert not set(refused) & set(script.NAMED)
    assert set(script.NAMED) <= set(RECORDED)


def test_another_number_and_another_refusal_are_wrong():
    assert script.Outcome("llama", 0.2, 0.2 + 9e-7).kind == "equal"
    assert script.Outcome("llama", 0.2, 0.2 + 2e-6).kind.startswith("wrong: 0.2 for")
    assert script.Outcome("llama", float("nan"), 0.2).kind.startswith("wrong")
    assert script.Outcome("llama", refused="not built").kind == "refused: not built"
    assert script.Outcome("llama", wrong="TypeError: x").kind == "wrong: TypeError: x"


def test_the_page_gives_back_what_it_was_made_of(tmp_path: Path):
    made = [
        script.Outcome("qwen3", 0.1234, 0.1234 + 2e-16, 3.1e-13),
        script.Outcome("llama", 0.3, 0.4, 1e-13),
        script.Outcome("musicgen", refused="not built"),
        script.Outcome("xglm", 0.1, 0.1, "not measured: no float64"),
    ]
    page = tmp_path / "page.md"
    page.write_text(script.table(made), encoding="utf-8")
    assert script.recorded(page) == {o.model_type: o.kind for o in sorted(made, key=lambda o: o.model_type)}
    text = page.read_text(encoding="utf-8")
    assert "4 model types: 2 equal, 1 refused, 1 wrong." in text
    assert "| qwen3 | Qwen3ForCausalLM | equal | 0.1234 | -2e-16 | 3e-13 |" in text
    assert "| musicgen | MusicgenForCausalLM | refused: not built |" in text
    assert "not measured: no float64 |" in text
