"""From a folder of real GGUF files to decisions: a run, a run that goes on, and one whose time is short."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny_gguf_files
from tiny_gguf_files import write_model

from qkld.models.making import quantize_file
from qkld.pick.request import PickRequest
from qkld.pick.running import pick
from qkld.study.paths import data_folder

pytestmark = pytest.mark.model


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
    assert "The time was used before the KLD of tiny-Q8_0" in answer.sentences[-1]


def test_a_time_too_short_for_a_round_says_what_it_would_need(request_of, answer, monkeypatch):
    from qkld.pick import running

    clock = running.Clock(hours=1.0, seconds_an_item=600.0)
    monkeypatch.setattr(running, "Clock", lambda hours: clock)
    (request_of.out / "next").mkdir()
    found = pick(replace(request_of, out=request_of.out / "next", hours=1.0))
    assert {row.decision for row in found.rows} == {"undecided"}
    assert found.sentences[-1].startswith(
        "The time ended before round 1 of 6: its 2 items take about 60 min for 2 files"
    )
