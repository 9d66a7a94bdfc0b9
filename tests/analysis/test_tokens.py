"""A study's token tables: neighbours in KLD told apart, and the breakdown, against the functions they call."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY, Place
from simulated_tokens import tokens_of_quant

from qkld.analysis.study import LoadedStudy, load_study
from qkld.analysis.tokens import (
    ALONG_TEXT,
    POWER,
    both_engines,
    fidelity_breakdown,
    paired_fidelity,
    quants_along_text,
    quants_by_kld,
)
from qkld.errors import StageError
from qkld.statistics.tokens.differences import paired_difference
from qkld.statistics.tokens.fidelity import summarise, unmeasured
from qkld.study.entries import GgufModel, MadeGguf
from qkld.study.params import load_params
from qkld.study.provenance import made_by
from qkld.study.registry import registered
from qkld.study.schemas import FIDELITY, TOKENS, write_table

PLACES = {("prose", 64): 0.01, ("chat", 0): 0.02}


@pytest.fixture
def study(own_place: Place) -> LoadedStudy:
    """Smoke's three quants, the last one the nearest to the reference, and both floors, with drawn tokens."""
    small = load_study("smoke")
    for i, label in enumerate([*small.quants, "floor-batch", "floor-dtype"]):
        tokens = tokens_of_quant(label, {place: mean * (5 - i) ** 2 for place, mean in PLACES.items()})
        write_table(small.paths.kld(label), tokens, TOKENS, made_by())
        made = summarise(tokens, label, confidence=0.95, bootstrap=20, rng=np.random.default_rng(1))
        write_table(small.paths.fidelity(label), made, FIDELITY, made_by())
    return small


def test_each_quant_is_paired_with_the_next_one_by_mean_kld(study: LoadedStudy) -> None:
    made = paired_fidelity(study)
    assert tuple(made.columns) == registered("paired_fidelity").columns
    ranked = quants_by_kld(study)
    assert ranked == study.quants[::-1]
    prose = made[made["corpus"] == "prose"]
    assert list(zip(prose["label_a"], prose["label_b"], strict=True)) == list(pairwise(ranked))
    assert list(prose["floor_kld"]) == pytest.approx([PLACES["prose", 64]] * 2)
    knobs = study.params.quant_kld
    alone = paired_difference(
        *(study.tokens(label) for label in ranked[:2]), tuple(ranked[:2]),
        confidence=knobs.confidence, bootstrap=knobs.bootstrap, power=POWER, rng=np.random.default_rng(knobs.kld_seed),
    )  # fmt: skip
    same = [c for c in registered("paired_fidelity").columns if c not in ("t_p_holm", "floor_kld")]
    first = made[made["label_a"] == ranked[0]][same]
    pd.testing.assert_frame_equal(first.reset_index(drop=True), alone[same])


def test_a_single_quant_has_no_pair(study: LoadedStudy) -> None:
    alone = LoadedStudy(study.params.model_copy(update={"quants": study.params.quants[:1]}))
    assert paired_fidelity(alone).empty
    assert tuple(paired_fidelity(alone).columns) == registered("paired_fidelity").columns


def in_both_engines(study: LoadedStudy) -> LoadedStudy:
    """The study with one GGUF file, run in torch and in llama.cpp, for its first two quants."""
    facts = {"family": "gguf", "maker": "m", "recipe": "Q8_0", "nominal_bits": 8, "made": MadeGguf(type="Q8_0")}
    weights, deployed, *others = study.params.quants
    files = (
        GgufModel(label=weights.label, engine="torch", **facts),
        GgufModel(label=deployed.label, engine="llamacpp", cache_k="q8_0", **facts),
    )
    return LoadedStudy(study.params.model_copy(update={"quants": (*files, *others)}))


def test_a_file_in_torch_is_paired_with_itself_in_llama_cpp_whatever_lies_between(study: LoadedStudy) -> None:
    both = in_both_engines(study)
    weights, deployed, _ = both.quants
    assert both_engines(both.params) == [(weights, deployed)]
    made = paired_fidelity(both).set_index(["label_a", "label_b"])
    assert set(made.index) == {*pairwise(quants_by_kld(study)), (weights, deployed)}
    added, backwards = (
        made.loc[pair, "kld_difference"].tolist() for pair in ((weights, deployed), (deployed, weights))
    )
    assert added == pytest.approx([-difference for difference in backwards])


def test_the_studies_of_engines_run_every_file_in_both() -> None:
    for name in ("gguf-engines", "gguf-unrotated"):
        params = load_params(name)
        pairs = both_engines(params)
        assert sorted(label for pair in pairs for label in pair) == sorted(q.label for q in params.quants)
    assert both_engines(load_params("gguf")) == []


def test_the_breakdown_holds_floors_and_quants_and_its_parts_make_the_whole(study: LoadedStudy) -> None:
    made = fidelity_breakdown(study)
    assert tuple(made.columns) == registered("fidelity_breakdown").columns
    assert list(made["label"].unique()) == ["floor-batch", "floor-dtype", *quants_by_kld(study)]
    kld = made[(made["metric"] == "kl_mean") & (made["corpus"] == "prose")]
    for label, rows in kld.groupby("label"):
        whole = rows[rows["by"] == "corpus"].iloc[0]
        assert whole["estimate"] == pytest.approx(study.tokens(label).query("corpus == 'prose'")["kl"].mean())
        for by in ("entropy", "position"):
            parts = rows[(rows["by"] == by) & (rows["tokens"] > 0)]
            assert parts["tokens"].sum() == whole["tokens"]
            assert np.average(parts["estimate"], weights=parts["tokens"]) == pytest.approx(whole["estimate"])


def test_along_the_text_caches_are_shown_beside_the_same_files_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kept study of files and caches, without a model."""
    monkeypatch.setenv("QKLD_ROOT", str(REPOSITORY))
    kept = load_study("gguf")
    files = {file: [file, f"{file}-kv-q8-0", f"{file}-kv-q4-0"] for file in ("q8-0", "q4-k-m")}
    assert quants_along_text(kept) == [*files["q8-0"], *files["q4-k-m"]]
    plain = kept.params.model_copy(update={"quants": tuple(q for q in kept.params.quants if "-kv-" not in q.label)})
    shown = quants_along_text(LoadedStudy(plain))
    assert len(shown) == ALONG_TEXT
    ordered = quants_by_kld(LoadedStudy(plain))
    assert (shown[0], shown[-1]) == (ordered[0], ordered[-1])


def test_fewer_quants_than_are_shown_are_all_of_them(study: LoadedStudy) -> None:
    assert quants_along_text(study) == quants_by_kld(study)


def test_a_floor_that_could_not_be_measured_is_in_no_breakdown(study: LoadedStudy) -> None:
    label, why = "floor-dtype", "not measured: no float64 here"
    tokens = study.tokens(label).assign(kl=np.nan, entropy_reference=np.nan)
    write_table(study.paths.kld(label), tokens, TOKENS, made_by())
    write_table(study.paths.fidelity(label), unmeasured(tokens, label, reason=why), FIDELITY, made_by())
    again = load_study("smoke")
    assert set(fidelity_breakdown(again)["label"]) == {"floor-batch", *again.quants}
    assert paired_fidelity(again)["floor_kld"].isna().all()
    assert set(again.fidelity.loc[again.fidelity["quant"] == label, "note"]) == {why}


def test_a_missing_token_table_names_its_notebook(study: LoadedStudy) -> None:
    gone = study.quants[1]
    Path(study.paths.kld(gone)).unlink()
    with pytest.raises(StageError, match=f"run notebook 02_quant_kld for '{gone}'"):
        paired_fidelity(study)
