"""The table and the sentences below it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from qkld.errors import ParameterError
from qkld.pick.answer import Answer, Row, duration
from qkld.pick.pick_request import PickRequest, size_in_bytes
from qkld.pick.rounds import LEAST_ITEMS, planned_rounds, rule_of


def _row(label, size, decision, **known):
    known = {"kld": (0.012, 0.01, 0.014), "top1": 0.95, "items": 6400, "items_needed": 9000.0} | known
    scores = {"accuracy": (-0.004, -0.01, 0.002), "probability": (-0.003, -0.004, -0.002)}
    return Row(label, label, size, 8 * size / 1e9, decision=decision, **scores, **known)


ROWS = (
    _row("Q8_0", 8_500_000_000, "equivalent"),
    _row("Q5_K_M", 5_700_000_000, "equivalent"),
    _row("Q4_K_M", 4_900_000_000, "undecided"),
    _row("Q3_K_M", 4_000_000_000, "worse"),
    Row("Q2_K", "Q2_K", 3_000_000_000, 3.0, note="mean KLD above 0.1"),
)


def _answer(rows=ROWS, **more):
    return Answer(rows, reference="F16 (F16)", margin=0.01, primary="probability", confidence=0.95, **more)


def test_the_sentences_name_the_smallest_shown_and_the_smallest_not_shown_worse():
    shown, not_worse, still_open = _answer(seconds_an_item=0.5).sentences
    assert shown == "Smallest file shown equivalent to F16 (F16), within 1 point: Q5_K_M (5.7 GB, 45.60 bits)."
    assert not_worse == "Smallest file not shown worse: Q4_K_M (4.9 GB, 39.20 bits), but undecided."
    assert still_open.endswith("is the true one: Q4_K_M (about 2,600, 43 min here).")


def test_speeds_are_two_columns_and_a_note_that_says_where():
    speeds = ((128, 1234.5, 20.25), (512, 987.0, 19.5))
    rows = (replace(ROWS[0], speed=speeds), ROWS[4])
    lines = _answer(rows, speed_of_reference=speeds, speed_measured=("llama.cpp 1, 2 threads of a processor",)).lines()
    assert lines[0].split()[-3:] == ["prefill", "decoding", "decision"]
    assert "1,230 / 987  20.2 / 19.5  equivalent" in lines[1]
    assert lines[2].split()[-8:-5] == ["–", "–", "left"]
    assert lines[5] == (
        "Speed is in tokens a second: prefill of prompts of 128 and 512 tokens, and decoding behind each; it is in no "
        "decision. Measured here in llama.cpp 1, 2 threads of a processor. "
        "The reference: 1,230 / 987; 20.2 / 19.5."
    )
    assert _answer(rows, speed_measured=("somewhere",)).lines()[5].endswith("The reference: –; –.")
    assert "prefill" not in _answer(ROWS).lines()[0]


def test_what_columns_and_decisions_are_is_said_below_the_table():
    columns, decisions = _answer(ROWS).lines()[6:8]
    assert columns.startswith("Bits are per weight. KLD is the divergence from F16 (F16) per token;")
    assert columns.endswith("differences to F16 (F16) in points. In brackets: 95 % intervals of each file alone.")
    assert decisions.startswith("Decisions are by the probability of the right choice. Equivalent: the difference is")
    for word in ("Equivalent", "worse", "undecided"):
        assert f"{word}:" in decisions


def test_without_any_size_there_is_no_column_of_sizes():
    unsized = tuple(replace(row, size=None) for row in ROWS)
    assert _answer(unsized).table.columns[:2] == ("file", "bits")
    assert _answer((*unsized[1:], ROWS[0])).table.columns[:3] == ("file", "GB", "bits")


def test_nothing_shown_is_said():
    only = tuple(row for row in ROWS if row.decision == "worse")
    assert _answer(only).sentences == [
        "No file is shown equivalent to F16 (F16), within 1 point.",
        "Every file that was asked is shown worse.",
    ]


def test_files_that_were_asked_nothing_are_not_called_worse():
    assert _answer(ROWS[4:]).sentences[1] == "No file was asked any item."


def test_the_table_has_a_line_a_file_and_both_scores():
    lines = _answer(notes=("The time ended.",)).lines()
    assert lines[0].split()[:3] == ["file", "GB", "bits"]
    assert len(lines) == 1 + len(ROWS) + 2 + 4
    assert "−0.40 [−1.00, +0.20]" in lines[1]
    assert "left out (mean KLD above 0.1)" in lines[5]
    assert lines[-1] == "The time ended."
    assert json.loads(json.dumps(_answer().as_json()))["rows"][4]["kld"] is None


@pytest.mark.parametrize(("text", "size"), [("12GB", 12 * 10**9), ("1.5 GiB", 3 * 2**29), ("900MB", 9 * 10**8)])
def test_sizes_are_read_with_their_unit(text, size):
    assert size_in_bytes(text) == size


@pytest.mark.parametrize("text", ["12", "GB", "0GB", "12 gigabytes", "-3GB"])
def test_other_sizes_are_refused(text):
    with pytest.raises(ParameterError, match="size is invalid"):
        size_in_bytes(text)


@pytest.mark.parametrize("wrong", [{"margin": 2.0}, {"hours": 0.0}, {"max_kld": -1.0}, {"tasks": ()}])
def test_options_out_of_range_are_refused(wrong, tmp_path):
    with pytest.raises(ParameterError, match="cannot be used"):
        PickRequest("models", tmp_path, **wrong)


def test_rounds_share_no_item_and_have_all_of_them():
    rounds = planned_rounds({"a": 640, "b": 77}, seed=1)
    assert [r.items for r in rounds] == [320 + 38, 320 + 39]  # a quarter would be 179
    for task, size in (("a", 640), ("b", 77)):
        lines = [line for r in rounds for line in r.lines[task]]
        assert sorted(lines) == list(range(size))
    assert rounds == planned_rounds({"a": 640, "b": 77}, seed=1)
    assert rounds != planned_rounds({"a": 640, "b": 77}, seed=2)


@pytest.mark.parametrize(("items", "rounds"), [(7168, 6), (1600, 4), (400, 2), (399, 1), (12, 1)])
def test_the_first_round_has_two_hundred_items_or_all_there_are(items, rounds):
    rule = rule_of(items)
    assert len(rule.shares) == rounds
    assert rule.shares[-1] == 1
    assert rounds == 1 or rule.shares[0] * items >= LEAST_ITEMS


def test_durations_are_said_as_people_do():
    assert [duration(s) for s in (12, 600, 9000)] == ["12 s", "10 min", "2.5 h"]
