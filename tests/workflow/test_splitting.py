"""The split of a given time: it fits, texts are just enough, and no other split of the items has a smaller error."""

from __future__ import annotations

import itertools
import re

import pytest

from qkld.errors import ParameterError
from qkld.study.params import Benchmark, load_params
from qkld.workflow import cli
from qkld.workflow.plan import items_of
from qkld.workflow.resolution import ENOUGH_KLD, entering, headline_place, paired_error, places_of
from qkld.workflow.splitting import Pace, items_in, split, split_lines, splittable, with_enough_texts

PACE = Pace(cores=2, flop_per_second=8e10)


BENCHMARKS = {"arc_easy": 80, "openbookqa": 30, "sciq": 18, "hellaswag": 6, "mmlu": 6}


@pytest.fixture(scope="module")
def demo():
    """The demo with few items of more benchmarks, of which files hold more than any of the times here."""
    tasks = {task: {"task": task, "chance": 0.25, "limit": limit} for task, limit in BENCHMARKS.items()}
    tasks["mmlu"]["role"] = "control"
    return load_params("demo").model_copy(update={"benchmarks": tuple(Benchmark(**t) for t in tasks.values())})


def limits(study) -> dict[str, int]:
    return {b.task: b.limit for b in study.benchmarks}


def test_texts_are_just_enough(demo):
    for study in (demo, load_params("smoke"), load_params("gguf")):
        place = headline_place(with_enough_texts(study))
        confidence = study.quant_kld.confidence
        assert place.half_width(confidence) <= ENOUGH_KLD
        assert place.windows_needed(confidence) == place.windows
        fewer = type(place)(place.corpus, place.context, place.windows - 1, place.tokens)
        assert fewer.half_width(confidence) > ENOUGH_KLD


def test_a_headline_on_few_long_windows_gets_more_of_them(demo):
    prose = demo.corpora[0].model_copy(update={"windows_at": {demo.headline.context: 2}})
    cut = with_enough_texts(demo.model_copy(update={"corpora": (prose, *demo.corpora[1:])}))
    assert headline_place(cut).windows > 2
    assert cut.corpora[0].windows_at == {}
    assert places_of(cut, cut.corpora[0])[-1] == headline_place(cut)


def test_items_have_the_smallest_error_of_all_that_cost_as_much():
    costs, least, most = {"a": 1.0, "b": 4.0, "c": 9.0}, dict.fromkeys("abc", 2), {"a": 12, "b": 40, "c": 40}
    found = items_in(150.0, costs, least, most)
    assert sum(costs[b] * n for b, n in found.items()) <= 150
    affordable = (
        n
        for n in itertools.product(*(range(least[b], most[b] + 1) for b in "abc"))
        if sum(c * m for c, m in zip(costs.values(), n, strict=True)) <= 150
    )
    best = min(paired_error(0.05, n) for n in affordable)
    assert paired_error(0.05, found.values()) == pytest.approx(best, rel=0.03)  # whole items are rounded down


def test_all_items_are_taken_where_the_time_holds_them():
    assert items_in(1e6, {"a": 1.0, "b": 2.0}, {"a": 1, "b": 1}, {"a": 70, "b": 30}) == {"a": 70, "b": 30}


@pytest.mark.parametrize("hours", [0.5, 2, 6])
def test_a_split_takes_the_time_given_and_leaves_controls(demo, hours):
    proposed = split(demo, hours, PACE)
    assert PACE.seconds(proposed) == pytest.approx(3600 * hours, rel=0.01)
    assert PACE.seconds(proposed) <= 3600 * hours
    assert limits(proposed)["mmlu"] == limits(demo)["mmlu"]
    assert set(entering(proposed)) == {b.task for b in splittable(demo)}


def test_more_time_makes_smaller_errors(demo):
    errors = [paired_error(0.05, entering(split(demo, hours, PACE)).values()) for hours in (0.5, 1, 3, 9)]
    assert errors == sorted(errors, reverse=True)
    assert len(set(errors)) == 4


def test_time_for_more_than_all_items_is_left_over(demo):
    lines = split_lines(demo, 1000, cores=2, flop_per_second=PACE.flop_per_second)
    assert lines[-1].endswith("no file holds more items")


def test_cheap_items_come_first(demo):
    lines = split_lines(demo, 3, cores=2, flop_per_second=PACE.flop_per_second)
    tasks = [b.task for b in splittable(demo)]
    resolved = [float(line.split()[-1]) for task in tasks for line in lines if line.startswith(task)]
    assert len(resolved) == len(tasks)
    assert resolved == sorted(resolved)


def test_an_item_costs_what_more_items_cost(demo):
    more = demo.model_copy(update={"benchmarks": tuple(b.model_copy(update={"limit": 40}) for b in demo.benchmarks)})
    counts = [(items_of(new) - items_of(old), old) for new, old in zip(more.benchmarks, demo.benchmarks, strict=True)]
    added = sum(count * PACE.an_item(demo, b) for count, b in counts)
    assert PACE.seconds(more) - PACE.seconds(demo) == pytest.approx(added)


def test_too_short_a_time_names_the_shortest(demo):
    with pytest.raises(ParameterError, match="too short for one set of items") as refused:
        split(demo, 0.05, PACE)
    shortest = float(re.search(r"at least ([\d.]+) hours", refused.value.expected).group(1))
    proposed = split(demo, 1.01 * shortest, PACE)
    assert all(items_of(b) >= 9 for b in splittable(proposed))  # fewer cannot lie five standard errors above ¼
    with pytest.raises(ParameterError):
        split(demo, 0.99 * shortest, PACE)


def test_a_study_of_controls_alone_has_nothing_to_split(demo):
    controls = tuple(b.model_copy(update={"role": "control"}) for b in demo.benchmarks)
    with pytest.raises(ParameterError, match="no benchmark to give the time to"):
        split(demo.model_copy(update={"benchmarks": controls}), 6, PACE)


def test_an_unknown_speed_or_length_is_said(demo, monkeypatch, tmp_path):
    with pytest.raises(ParameterError, match="the speed"):
        split_lines(demo, 6, cores=2, flop_per_second=None)
    monkeypatch.setenv("QKLD_DATA", str(tmp_path))
    with pytest.raises(ParameterError, match="the benchmarks' lengths"):
        split_lines(demo, 6, cores=2, flop_per_second=1e10)


def test_the_command_prints_both(capsys):
    assert cli.main(["plan", "smoke", "--tokens-per-second=320", "--hours=1"]) == 0
    said = capsys.readouterr().out
    assert "composite, probability" in said
    assert "Split of 1 hours on 2 cores" in said
    assert cli.main(["plan", "smoke", "--tokens-per-second=320", "--hours=0.001"]) == 2
    assert "too short" in capsys.readouterr().err
