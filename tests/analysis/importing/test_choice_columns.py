"""The probability of the right choice from other tools' files: columns a choice, and samples of the harness."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from qkld.analysis.importing import import_items
from qkld.analysis.importing.harness_samples import read_harness_samples
from qkld.errors import StatisticsError, TableError
from qkld.statistics.flips.second_score import task_choices
from tests.analysis.importing.test_harness_samples import write

LOGP = np.array([[-3.0, -1.0, -2.5], [-40.0, -44.0, np.nan], [-700.0, -900.0, -800.0]])
RIGHT = np.array([1, 0, 2])


def long(**more):
    """Two models on three items, one of them with two choices."""
    models = pd.DataFrame({"model": ["ref"] * 3 + ["q4"] * 3, "benchmark": "own", "item": list("abc") * 2})
    return models.assign(correct=[1, 1, 0] * 2, right=[*RIGHT, *RIGHT], **more)


def columns(kind, values):
    return {f"{kind}_{i}": np.tile(values[:, i], 2) for i in range(values.shape[1])}


@pytest.fixture
def imported(tmp_path):
    def call(items, kind="csv"):
        path = tmp_path / f"items.{kind}"
        items.to_csv(path, index=False) if kind == "csv" else items.to_parquet(path)
        return import_items("csv", [path])

    return call


def expected(logp, right):
    return [softmax(row[~np.isnan(row)])[place] for row, place in zip(logp, right, strict=True)]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_log_probabilities_of_the_choices(imported, kind):
    found = imported(long(**columns("logp", LOGP)), kind)
    assert found["probability_right"].tolist() == pytest.approx(expected(LOGP, RIGHT) * 2, rel=1e-12)
    assert [len(s) for s in found["choice_scores"]] == [3, 2, 3] * 2


def test_log_probabilities_by_length_keep_the_scale_of_an_answer(imported):
    lengths = np.array([[4.0, 9, 2], [30, 50, np.nan], [5, 5, 5]])
    own = long(**columns("logp", LOGP), **columns("length", lengths), metric="acc_norm")
    scaled = LOGP * np.nanmean(lengths, axis=1, keepdims=True) / lengths
    assert imported(own)["probability_right"].tolist() == pytest.approx(expected(scaled, RIGHT) * 2, rel=1e-12)


def test_probabilities_of_the_choices_are_taken_as_they_are(imported):
    chances = np.array([[0.2, 0.7, 0.1], [1.0, 0.0, np.nan], [0.33, 0.33, 0.33]])
    found = imported(long(**columns("probability", chances)))
    assert found["probability_right"].tolist() == pytest.approx([0.7, 1.0, 1 / 3] * 2)


@pytest.mark.parametrize("gap", [0, 1])
def test_scores_are_counted_as_the_right_choice_is(imported, gap):
    """An item may lack a choice before its last one, as where options B and D alone were asked."""
    logp = np.array([[-3.0, -1.0, -2.5], [-40.0, -44.0, -41.0], [-7.0, -9.0, -8.0]])
    logp[[0, 2], gap] = np.nan
    right = np.array([2, 0, 1 - gap])
    found = imported(long(**columns("logp", logp)).assign(right=np.tile(right, 2)))
    choices = task_choices(found, ["own"], ["ref", "q4"])["own"]["q4"]
    assert choices.right_at(1.0) == pytest.approx(found["probability_right"][:3].tolist(), abs=1e-6)
    assert choices.right_at(1.0) == pytest.approx([softmax(np.nan_to_num(row, nan=-np.inf))[r]
                                                   for row, r in zip(logp, right, strict=True)], abs=1e-6)  # fmt: skip


@pytest.mark.parametrize("length", [np.nan, 0.0])
def test_every_choice_needs_its_own_length(imported, length):
    lengths = np.array([[4.0, 9, 2], [30, 50, np.nan], [5, length, 5]])
    items = long(**columns("logp", LOGP), **columns("length", lengths), metric="acc_norm")
    with pytest.raises(TableError, match="characters of each choice"):
        imported(items)


@pytest.mark.parametrize(
    ("items", "found"),
    [
        (long(**columns("probability", np.array([[0.5, 0.2, 0.2]] * 3))), "add up to"),
        (long(**columns("probability", np.array([[1.5, -0.5, 0.0]] * 3))), "from 0 to 1"),
        (long(**columns("probability", np.array([[50.0, 30, 20]] * 3))), "from 0 to 1"),
        (long(**columns("logp", -LOGP)), "log-probability above 0"),
        (long(**columns("logp", LOGP), metric="acc_norm"), "characters of each choice"),
        (long(**columns("logp", LOGP)).assign(benchmark="hellaswag"), "none for hellaswag"),
        (long(**columns("logp", LOGP)).drop(columns="right"), "without a right choice"),
        (long(**columns("logp", LOGP)).assign(right=3), "without a right choice"),
        (long(**columns("logp", LOGP)).assign(right=2), "right choice with an empty cell"),
    ],
)
def test_columns_that_can_not_be_probabilities(imported, items, found):
    with pytest.raises(TableError, match=found):
        imported(items)


@pytest.mark.parametrize("value", [1.2, -0.1, 62.0])
def test_a_probability_outside_0_to_1_is_refused(imported, value):
    with pytest.raises(StatisticsError, match="'probability_right' is not a probability"):
        imported(long(probability_right=value))


def sample(logp, texts, target, **metrics):
    asked = {f"gen_args_{i}": {"arg_0": "Q:", "arg_1": f" {text}"} for i, text in enumerate(texts)}
    answers = [[str(v), "False"] for v in logp]
    return {"target": str(target), "arguments": asked, "filtered_resps": answers, "metrics": list(metrics), **metrics}


def test_samples_give_it_by_their_metric(tmp_path):
    logp, texts = [-9.0, -6.0, -7.5], ["a rather long answer", "short", "something"]
    one = sample(logp, texts, 0, acc=0.0, acc_norm=1.0)
    plain = read_harness_samples(write(tmp_path, "arc_easy", [one]))
    normed = read_harness_samples(write(tmp_path, "hellaswag", [one]))
    assert plain["probability_right"].item() == pytest.approx(softmax(logp)[0])
    lengths = np.array([len(text) for text in texts])
    scores = np.array(logp) * lengths.mean() / lengths
    assert normed["probability_right"].item() == pytest.approx(softmax(scores)[0])
    assert normed["choice_scores"].item() == pytest.approx(scores)
    older = {**one, "arguments": [["Q:", f" {text}"] for text in texts]}
    again = read_harness_samples(write(tmp_path / "older", "hellaswag", [older]))
    assert again["probability_right"].item() == normed["probability_right"].item()


def test_samples_without_what_it_needs_have_none(tmp_path):
    """No lengths, a target that is a text, a logit that was not finite, a metric that says otherwise."""
    one = sample([-9.0, -6.0], ["yes", "no"], 0, acc=0.0, acc_norm=0.0)
    broken = [
        {**one, "arguments": None},
        {**one, "target": "yes"},
        sample(["nan", -6.0], ["yes", "no"], 0, acc_norm=0.0),
        sample([-9.0, -3.0], ["yes", "no"], 1, acc=1.0, acc_norm=0.0),
    ]
    for number, without in enumerate(broken):
        items = read_harness_samples(write(tmp_path / str(number), "hellaswag", [without]))
        assert "probability_right" not in items or items["probability_right"].isna().all()


def test_a_written_answer_counts_as_right_or_wrong(tmp_path):
    rows = [{"filtered_resps": ["42"], "metrics": ["exact_match"], "exact_match": float(a)} for a in (1, 0)]
    assert read_harness_samples(write(tmp_path, "gsm8k", rows))["probability_right"].tolist() == [1.0, 0.0]
