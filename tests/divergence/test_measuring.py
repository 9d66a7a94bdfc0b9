"""Recording the demo model and measuring quants of it: exact logits, resumed windows, nested contexts."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import Place

from qkld.divergence import FullLogits, token_divergence
from qkld.divergence.floors import measured_row, opened_run
from qkld.divergence.measuring import Scored, forget_partial, measure
from qkld.errors import ModelError, StageError, StoreError, TableError
from qkld.models import OpenedModel, open_model
from qkld.reference.recording import corpus_windows, greedy_answers, open_corpora, record_corpora
from qkld.reference.store import ReferenceStore
from qkld.sources.corpora import scored_by_context
from qkld.study.params import FLOOR_DTYPE, Corpus, ReferenceLogits, Study, load_params
from qkld.study.paths import StudyPaths
from qkld.study.schemas import TOKENS, write_table

pytestmark = pytest.mark.model

Stores = list[tuple[ReferenceStore, Scored]]


@pytest.fixture(scope="module")
def params() -> Study:
    return load_params("smoke")


@pytest.fixture(scope="module")
def reference(params: Study) -> OpenedModel:
    return open_model(params.reference, reference=params.reference, compute=params.compute)


@pytest.fixture(scope="module")
def quant(params: Study) -> OpenedModel:
    return open_model(params.entry("torchao-int4-g64"), reference=params.reference, compute=params.compute)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, params: Study, reference: OpenedModel) -> Path:
    """A folder of runs with the reference's stores of every corpus, made once. Change nothing in it."""
    place = Place(tmp_path_factory.mktemp("recorded"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in place.variables.items():
            patch.setenv(name, value)
        record_corpora(params, reference)
    return place.folder / "runs"


@pytest.fixture
def stores(own_place: Place, params: Study, recorded: Path) -> Stores:
    """The stores, copied to the test's own run folder and opened there."""
    shutil.copytree(recorded, own_place.folder / "runs")
    return open_corpora(params)


@pytest.fixture(scope="module")
def measured(
    tmp_path_factory: pytest.TempPathFactory, params: Study, recorded: Path, quant: OpenedModel
) -> tuple[pd.DataFrame, Path]:
    """The quant's token table over all stores and its folder of finished windows. Change nothing in it."""
    partial = tmp_path_factory.mktemp("measured") / "partial"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QKLD_RUNS", str(recorded))
        return measure(quant, open_corpora(params), partial, tile=8192).whole(), partial


def test_the_store_gives_back_the_models_own_logits_bit_for_bit(stores: Stores, reference: OpenedModel) -> None:
    for store, _ in stores:
        window = store.header.windows[1]
        with torch.inference_mode():
            logits = reference.module(torch.tensor([window.tokens])).logits[0]
            hidden = reference.hidden(torch.tensor([window.tokens]))[0]
        kept = list(window.positions)
        assert torch.equal(store.hidden(1), hidden[kept])
        assert torch.equal(store.head.logits(hidden)[kept], logits[kept])


def test_a_quants_table_equals_the_definition_from_full_logits(
    params: Study, reference: OpenedModel, quant: OpenedModel, measured: tuple[pd.DataFrame, Path]
) -> None:
    table, _ = measured
    prose = table[(table["corpus"] == "prose") & (table["window"] == 2)]
    window = corpus_windows(params, params.corpora[0], reference).windows[2]
    with torch.inference_mode():
        both = [m.module(torch.tensor([window.tokens])).logits[0] for m in (reference, quant)]
    for context in (16, 32, 64):
        rows = prose[prose["context"] == context]
        positions = list(rows["position"])
        assert positions == list(range(context // 2, context))
        targets = torch.tensor([window.tokens[p] for p in positions])
        before = [p - 1 for p in positions]
        expected = token_divergence(FullLogits(both[0][before]), FullLogits(both[1][before]), targets)
        assert rows["kl"].to_numpy() == pytest.approx(expected.kl.numpy(), rel=1e-4, abs=1e-6)
        assert rows["nll_quant"].to_numpy() == pytest.approx(expected.nll_quant.numpy(), rel=1e-4, abs=1e-5)
    assert table["kl"].mean() > 0.05


def test_the_reference_against_its_own_store_is_zero(own_place: Place, stores: Stores, reference: OpenedModel) -> None:
    table = measure(reference, stores, own_place.folder / "partial", tile=8192, windows=2).whole()
    assert table["kl"].abs().max() == 0.0
    assert table["same_top1"].all()
    assert set(table["window"]) == {0, 1}


def test_finished_windows_are_not_computed_again(
    own_place: Place, stores: Stores, quant: OpenedModel, measured: tuple[pd.DataFrame, Path]
) -> None:
    whole, finished = measured
    partial = shutil.copytree(finished, own_place.folder / "partial")
    parts = sorted(partial.rglob("*.parquet"))
    times = {p: p.stat().st_mtime_ns for p in parts}
    dropped = parts[3]
    dropped.unlink()
    again = measure(quant, stores, partial, tile=8192).whole()
    pd.testing.assert_frame_equal(again, whole)
    assert {p for p in parts if p.stat().st_mtime_ns != times[p]} == {dropped}
    forget_partial(partial)
    assert not partial.exists()


def test_recording_twice_makes_the_same_seal_and_runs_nothing(
    stores: Stores, params: Study, reference: OpenedModel
) -> None:
    paths = StudyPaths("smoke")
    seal = paths.corpora_seal.read_bytes()
    times = {p: p.stat().st_mtime_ns for p in (paths.reference).rglob("c/*/0/0")}
    record_corpora(params, reference)
    assert paths.corpora_seal.read_bytes() == seal
    assert {p: p.stat().st_mtime_ns for p in paths.reference.rglob("c/*/0/0")} == times


def test_stores_of_other_parameters_are_refused(own_place: Place, params: Study, recorded: Path) -> None:
    with pytest.raises(StageError, match="01_reference_logits"):
        open_corpora(params)
    shutil.copytree(recorded, own_place.folder / "runs")
    other = params.model_copy(update={"reference_logits": ReferenceLogits(score_from=0.25, chat_answer_tokens=12)})
    with pytest.raises(StoreError, match="another reference, corpus or dtype"):
        open_corpora(other)


def test_batched_greedy_answers_are_those_of_one_prompt_at_a_time(reference: OpenedModel) -> None:
    texts = ["The capital of France is", "Water boils at", "def add(a, b):\n    return"]
    prompts = [tuple(reference.tokenizer(t)["input_ids"]) for t in texts]
    batched = greedy_answers(reference, prompts, 8)
    assert batched == [greedy_answers(reference, [p], 8)[0] for p in prompts]
    assert all(1 <= len(a) <= 8 for a in batched)


def test_chats_are_rendered_with_control_tokens_and_end_with_the_references_answer(
    own_place: Place, params: Study, reference: OpenedModel
) -> None:
    chat = params.corpora[2]
    made = corpus_windows(params, chat, reference)
    begin = reference.tokenizer.convert_tokens_to_ids("<|im_start|>")
    for window in made.windows:
        assert window.tokens.count(begin) >= 2
        answer = reference.tokenizer.decode(window.tokens[window.positions[0] + 1 :])
        assert answer.strip()
        assert "<|im_start|>" not in answer


def test_a_window_longer_than_the_models_context_is_refused(params: Study, reference: OpenedModel) -> None:
    endless = Corpus(name="prose", asset="boolq-passages", context_lengths=(100_000,), windows=1)
    with pytest.raises(StageError, match="longer than the model's context"):
        corpus_windows(params, endless, reference)


def test_contexts_share_the_windows_tokens(params: Study, reference: OpenedModel) -> None:
    made = corpus_windows(params, params.corpora[0], reference)
    scored = scored_by_context(params.corpora[0], made.windows, 0.5)[0]
    assert sorted(scored) == [16, 32, 64]
    assert {p - 1 for positions in scored.values() for p in positions} == set(made.windows[0].positions)


def test_a_model_in_another_dtype_than_the_stores_is_refused_unless_that_is_asked_for(
    own_place: Place, stores: Stores, quant: OpenedModel
) -> None:
    wider = replace(quant, compute_dtype=torch.float64)
    with pytest.raises(StoreError, match=r"another compute_dtype than 'torchao-int4-g64'") as caught:
        measure(wider, stores[:1], own_place.folder / "partial", tile=8192)
    assert "float32" in str(caught.value)
    assert "float64" in str(caught.value)
    assert len(measure(wider, stores[:1], own_place.folder / "partial", tile=8192, windows=1, same_dtype=False))


def test_the_floor_of_the_dtype_runs_the_reference_in_the_next_wider_one(
    own_place: Place, params: Study, stores: Stores
) -> None:
    with opened_run(params, FLOOR_DTYPE) as run:
        assert run.model.head.weight.dtype == torch.float64
        table = measure(run.model, stores[:1], own_place.folder / "partial", tile=8192, windows=1, same_dtype=False)
    assert run.windows is None
    assert 0 < table["kl"].mean() < 1e-7


def test_a_floor_that_can_not_be_computed_says_why_and_a_quant_is_refused(
    own_place: Place, params: Study, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    whole = LlamaRMSNorm.forward
    monkeypatch.setattr(LlamaRMSNorm, "forward", lambda self, states: whole(self, states).float())
    row = measured_row(params, FLOOR_DTYPE, stores, own_place.folder / "partial")
    assert row.reason.startswith("not measured: LlamaForCausalLM cannot be run on token ids in float64. RuntimeError")
    write_table(own_place.folder / "tokens.parquet", row.tokens, TOKENS, {})
    scored = {(s.header.name, c, i, p) for s, w in stores for i, of in enumerate(w) for c, ps in of.items() for p in ps}
    assert set(row.tokens[["corpus", "context", "window", "position"]].itertuples(index=False, name=None)) == scored
    fidelity = row.fidelity(FLOOR_DTYPE, confidence=0.95, bootstrap=100, seed=1)
    assert fidelity["estimate"].isna().all()
    assert set(fidelity["note"]) == {row.reason}
    monkeypatch.setattr(LlamaRMSNorm, "forward", lambda self, states: whole(self, states).double())
    with pytest.raises(ModelError, match="cannot be run on token ids in float32"):
        measured_row(params, "torchao-int4-g64", stores, own_place.folder / "partial")


def test_a_damaged_window_is_noticed_and_named(
    own_place: Place, stores: Stores, quant: OpenedModel, measured: tuple[pd.DataFrame, Path]
) -> None:
    partial = shutil.copytree(measured[1], own_place.folder / "partial")
    part = sorted(partial.rglob("*.parquet"))[2]
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(bytes(content))
    with pytest.raises(TableError, match=part.name):
        measure(quant, stores, partial, tile=8192)


def test_two_runs_of_one_quant_at_once_end_with_the_same_table(
    own_place: Place, stores: Stores, quant: OpenedModel, measured: tuple[pd.DataFrame, Path]
) -> None:
    partial = own_place.folder / "partial"
    with ThreadPoolExecutor(2) as pool:  # the lock is on the file, so threads stand in for processes
        runs = [pool.submit(measure, quant, stores[1:2], partial, tile=8192) for _ in range(2)]
        tables = [run.result().whole() for run in runs]
    expected = measured[0][measured[0]["corpus"] == "code"].reset_index(drop=True)
    for table in tables:
        pd.testing.assert_frame_equal(table, expected, check_exact=True)
