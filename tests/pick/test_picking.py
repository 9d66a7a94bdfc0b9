"""From a folder of real GGUF files to decisions: a run, a run that goes on, and one whose time is short."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny_gguf_files
from hub_server import served_hub
from tiny_gguf_files import write_model

from qkld.errors import ParameterError
from qkld.models.making import quantize_file
from qkld.pick.pick_request import PickRequest
from qkld.pick.picking import pick
from qkld.study.paths import data_folder

pytestmark = [pytest.mark.model, pytest.mark.long]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of three files, with a data folder of its own that has the project's assets."""
    folder = tmp_path_factory.mktemp("pick")
    (folder / "data").mkdir()
    (folder / "data" / "assets").symlink_to(data_folder() / "assets")
    (folder / "files").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QKLD_DATA", str(folder / "data"))
        patch.setattr(tiny_gguf_files, "CONTEXT", 4096)
        patch.setattr("qkld.pick.rounds.LEAST_ITEMS", 2)  # six rounds of few items
        source = write_model(folder / "files" / "tiny-F32.gguf")
        for kind in ("Q8_0", "Q2_K"):
            quantize_file(source, folder / "files" / f"tiny-{kind}.gguf", kind)
        yield folder


@pytest.fixture(scope="module")
def request_of(place):
    """What is asked: six rounds of one benchmark's 64 items, and a little text."""
    how = {"tasks": ("sciq",), "limit": 64, "windows": 2, "probability_margin": 0.3, "margin": 0.3}
    return PickRequest(str(place / "files"), place / "out", **how)


@pytest.fixture(scope="module")
def answer(request_of):
    return pick(request_of)


def test_every_file_has_a_row_by_size_and_the_reference_none(answer):
    assert [(row.label, row.kind) for row in answer.rows] == [("tiny-Q8_0", "Q8_0"), ("tiny-Q2_K", "Q2_K")]
    assert answer.reference == "tiny-F32 (F32)"
    best, worst = answer.rows
    assert best.kld[1] <= best.kld[0] <= best.kld[2] < worst.kld[0]
    assert best.top1 > worst.top1
    for row in answer.rows:
        assert row.items in (2, 4, 8, 16, 32, 64)
        for score in (row.accuracy, row.probability):
            assert score[1] <= score[0] <= score[2]


def test_a_file_like_the_reference_leaves_before_the_last_round(answer):
    """No change of Q8_0 is near 30 points; that none was missed takes some ten items (0.7^n) and one test of two."""
    best = answer.rows[0]
    assert best.decision == "equivalent"
    assert best.items < 64
    shown = [row.label for row in answer.rows if row.decision == "equivalent"]
    assert f"{shown[-1]} (" in answer.sentences[0]


def test_the_same_request_reads_what_is_there_and_one_that_was_killed_goes_on(answer, request_of):
    again = pick(request_of)
    assert again.rows == answer.rows
    assert again.seconds_an_item is None
    kept = sorted(request_of.out.rglob("items/*/*.parquet"))
    kept[-1].unlink()
    (one,) = [path for path in request_of.out.glob("*/tiny-Q2_K*.json")]
    one.unlink()
    assert pick(request_of).rows == answer.rows


def test_files_that_do_not_fit_or_are_too_far_are_left_out(answer, request_of):
    small = replace(request_of, fit=answer.rows[1].size + 10_000, context=1)
    first, second = pick(small).rows
    assert (first.decision, first.kld, first.items) == ("left out", None, 0)
    assert "with 1 tokens of cache" in first.note
    assert second.kld == answer.rows[1].kld
    far = pick(replace(request_of, max_kld=answer.rows[0].kld[2])).rows[1]
    assert (far.decision, far.items) == ("left out", 0)
    assert far.note.startswith("mean KLD above")


def test_without_time_the_answer_is_what_there_is(request_of, tmp_path):
    answer = pick(replace(request_of, out=tmp_path, hours=1e-9))
    assert {row.decision for row in answer.rows} == {"left out"}
    told = "The time was used before the KLD of tiny-Q8_0, tiny-Q2_K, which takes about"
    assert answer.sentences[-1].startswith(told)


def test_a_time_that_ends_before_any_item_says_what_the_first_round_takes(request_of, answer, monkeypatch):
    """By the items' tokens, at the speed of the text; KLD is there from an earlier run."""
    from qkld.pick import picking

    clock = picking.Clock(hours=1e-9, seconds_a_token=10.0)
    monkeypatch.setattr(picking, "Clock", lambda hours: clock)
    monkeypatch.setattr(picking, "_kld_of_all", lambda own, files: [_known(own, file) for file in files])
    (request_of.out / "first").mkdir()
    found = pick(replace(request_of, out=request_of.out / "first", hours=1e-9))
    note = found.sentences[-1]
    assert note.startswith("The time ended before round 1 of 6: its 2 items take about")
    assert note.endswith("for 2 files.")


def _known(own, file):
    own.rows[file.label] = {}
    return file


def test_a_time_too_short_for_a_round_says_what_it_would_need(request_of, answer, monkeypatch):
    from qkld.pick import picking

    clock = picking.Clock(hours=1.0, seconds_an_item=600.0)
    monkeypatch.setattr(picking, "Clock", lambda hours: clock)
    (request_of.out / "next").mkdir()
    found = pick(replace(request_of, out=request_of.out / "next", hours=1.0))
    assert {row.decision for row in found.rows} == {"undecided"}
    assert found.sentences[-1].startswith(
        "The time ended before round 1 of 6: its 2 items take about 60 min for 2 files"
    )


def test_speed_stands_beside_the_figures_and_decides_nothing(answer, request_of):
    fast = pick(replace(request_of, speed=True))
    assert [replace(row, speed=None) for row in fast.rows] == list(answer.rows)
    for row in fast.rows:
        for _, prefill, decoding in row.speed:
            assert 0 < decoding < prefill
    assert fast.table.columns[-3:] == ("prefill", "decoding", "decision")
    note = next(line for line in fast.lines() if line.startswith("Speed is in tokens a second"))
    assert "llama.cpp" in note
    assert "thread" in note
    assert "in no decision" in note
    assert pick(replace(request_of, speed=True)).rows == fast.rows  # measured once
    assert "prefill" not in answer.table.columns


def test_a_file_that_cannot_be_run_is_left_out_with_the_reason_and_the_others_are_answered(place, request_of, answer):
    """Its header is that of a model; its weights are not numbers."""
    from gguf import GGUFReader

    broken = place / "with-broken"
    broken.mkdir()
    for file in (place / "files").iterdir():
        (broken / file.name).symlink_to(file)
    source = write_model(place / "broken.gguf", seed=8)
    for tensor in GGUFReader(source, mode="r+").tensors:
        if tensor.name == "blk.0.ffn_up.weight":
            tensor.data[:] = float("nan")
            tensor.data.flush()
    source.rename(broken / "tiny-F32-broken.gguf")
    how = {"what": str(broken), "reference": "tiny-F32.gguf"}
    rows = {row.label: row for row in pick(replace(request_of, **how)).rows}
    assert rows["tiny-F32-broken"].decision == "left out"
    assert rows["tiny-F32-broken"].note.startswith("cannot be run")
    assert rows["tiny-Q8_0"] == answer.rows[0]


def test_memory_that_no_file_fits_into_is_refused_before_anything_runs(request_of, tmp_path):
    with pytest.raises(
        ParameterError, match=r"(?s)No file fits into the memory limit.*tiny-Q2_K, the smallest"
    ) as caught:
        pick(replace(request_of, fit=1000, out=tmp_path / "out"))
    assert "--context" in caught.value.do
    assert not (tmp_path / "out").exists()


def test_removing_is_refused_of_a_folder(request_of):
    with pytest.raises(ParameterError, match="your own"):
        pick(replace(request_of, remove=True))


def test_a_repository_of_a_hub_file_by_file(place, request_of, answer, tmp_path, monkeypatch):
    """Fetched, measured and removed: the answer is that of the folder, and no file is left."""
    with served_hub(tmp_path, monkeypatch) as hub:
        for file in (place / "files").iterdir():
            (hub.folder / file.name).symlink_to(file)
        how = {"what": "some/model", "out": tmp_path / "out", "remove": True}
        found = pick(replace(request_of, **how))
    assert found.rows == answer.rows
    assert sorted(hub.fetched) == ["tiny-F32.gguf", "tiny-Q2_K.gguf", "tiny-Q8_0.gguf"]
    assert list((tmp_path / "out" / "files").glob("*.gguf")) == []
    assert len(list((place / "files").glob("*.gguf"))) == 3
