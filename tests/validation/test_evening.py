"""The evening with qkld pick: files of the study under names as hubs give them, and both answers side by side."""

from __future__ import annotations

import pytest
from conftest import REPOSITORY

from qkld.pick.answer import Answer, Row
from qkld.pick.answer_from_results import answer_of_study
from qkld.pick.pick_request import PickRequest
from qkld.study.params import load_params
from validation import evening


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Answer:
    """The study's answer, from its tables in the repository."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QKLD_ROOT", str(REPOSITORY))
        patch.setenv("QKLD_RUNS", str(tmp_path_factory.mktemp("runs")))
        return answer_of_study(PickRequest(evening.STUDY, REPOSITORY, probability_margin=evening.MARGIN))


def test_files_are_named_by_their_types_and_each_once():
    study = load_params(evening.STUDY, REPOSITORY / "params" / "gguf.yaml")
    names = evening.names(study)
    assert 10 <= len(names) <= 12
    assert len(set(names.values())) == len(names)
    assert (names["q8-0"], names["iq2-m-imatrix"]) == ("SmolLM2-135M-Instruct-Q8_0", "SmolLM2-135M-Instruct-IQ2_M")


def test_decisions_are_compared_where_both_decide(kept):
    """Of the study q8-0 is equivalent and q2-k worse; q4-0 it leaves open."""
    names = {"q8-0": "a-Q8_0", "q4-0": "a-Q4_0", "q2-k": "a-Q2_K"}
    decisions = {"a-Q8_0": "equivalent", "a-Q4_0": "worse", "a-Q2_K": "equivalent"}
    rows = tuple(Row(name, "", 1, 8.0, items=64, decision=decision) for name, decision in decisions.items())
    beside = evening.agreement(Answer(rows, "a-F32", evening.MARGIN, "probability", 0.95), kept, names)
    assert [row[-1] for row in beside.rows] == ["equivalent", "undecided", "worse"]
    assert beside.note.startswith("Of 3 files both decide 2, and 1 of these alike.")


def test_the_page_has_the_printed_lines_the_rate_and_the_comparison(kept):
    own = Answer((Row("a-Q8_0", "", 1, 8.0),), "a-F32", evening.MARGIN, "probability", 0.95, seconds_an_item=0.25)
    beside = evening.agreement(own, kept, {"q8-0": "a-Q8_0"})
    page = evening.page(own, beside, evening.Evening(hours=3, windows=8, limit=None).command)
    for line in own.lines():
        assert line in page
    assert "$ qkld pick FOLDER --engine llamacpp --windows 8 --hours 3 --probability-margin 0.05" in page
    assert "The slowest file took 0.25 s an item on " in page
    assert beside.note in page
