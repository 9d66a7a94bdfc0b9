"""Both scores of one evidence: the same functions on either, side by side, and where items lack the second."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import special

from qkld.analysis.evidence import Evidence, Settings
from qkld.analysis.flip_tables import decision_table
from qkld.analysis.score_tables import probability_table, two_scores_table
from qkld.analysis.zone_tables import curve_table, full_and_zone, leave_one_out_table, noise_table, verdict_table
from qkld.errors import StatisticsError
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.noise.two_scores import NO_PRIMARY, NOT_AVAILABLE
from qkld.study.registry import registered

KLD = np.geomspace(0.004, 0.3, 12)
TASKS = {"arc": (4, 400), "piqa": (2, 300)}
RESAMPLING = Resampling(confidence=0.95, resamples=100, permutations=99, seed=3)


def answers(task, model, scores, right):
    probabilities = special.softmax(scores, axis=1)[np.arange(len(right)), right]
    names = [f"{i:04}" for i in range(len(right))]
    return pd.DataFrame({"model": model, "benchmark": task, "item": names, "right": right, "answer": scores.argmax(1),
                         "correct": (scores.argmax(1) == right).astype(int), "probability_right": probabilities,
                         "choice_scores": list(scores.astype(np.float32))})  # fmt: skip


@pytest.fixture(scope="module")
def evidence():
    """Twelve quants whose right choices lose ln p with √KLD, and whose choices are noised by it."""
    rng = np.random.default_rng(19)
    parts = []
    for task, (choices, items) in TASKS.items():
        right = rng.integers(choices, size=items)
        own = -30 + 2 * rng.standard_normal((items, choices))
        own[np.arange(items), right] += 1.5
        parts.append(answers(task, "ref", own, right))
        for number, kld in enumerate(KLD):
            moved = own + np.sqrt(kld) * rng.standard_normal(own.shape)
            moved[np.arange(items), right] -= 0.6 * np.sqrt(kld)
            parts.append(answers(task, f"q{number}", moved, right))
    items = pd.concat(parts, ignore_index=True)
    shares = items.groupby(["model", "benchmark"])["correct"].mean().unstack()
    labels = ["ref", *(f"q{i}" for i in range(len(KLD)))]
    cohort = pd.DataFrame({"label": labels, "role": ["reference", *["quant"] * len(KLD)], "kl_mean": [0.0, *KLD]})
    cohort = cohort.assign(**{f"score_{t}": cohort["label"].map(shares[t]) for t in TASKS}, se_arc=0.02)
    cohort["composite"] = cohort[["score_arc", "score_piqa"]].mean(axis=1)
    settings = Settings(null_draws=100, left_out_draws=10, equivalence_margin=0.02, probability_margin=0.01)
    return Evidence(
        cohort=cohort,
        items=items,
        reference="ref",
        metric="kl_mean",
        variants=("kl_mean",),
        benchmarks=tuple(TASKS),
        tasks=tuple(TASKS),
        resampling=RESAMPLING,
        settings=settings,
        zone=frozenset(f"q{i}" for i in range(8)),
    )


def test_the_other_score_is_the_items_mean_probability(evidence):
    other = evidence.by("probability")
    means = evidence.items.groupby(["model", "benchmark"])["probability_right"].mean()
    for row in other.cohort.itertuples():
        assert row.score_arc == pytest.approx(means[(row.label, "arc")])
        assert row.composite == pytest.approx((means[(row.label, "arc")] + means[(row.label, "piqa")]) / 2)
    assert "se_arc" not in other.cohort
    assert (other.members == evidence.members).all()
    assert other.by("probability") is other
    net = other.cohort.set_index("label")["composite"]
    assert other.noises["composite"].net == pytest.approx((net - net["ref"])[other.quants].to_numpy(), abs=1e-8)


@pytest.mark.parametrize("table", [full_and_zone, noise_table, verdict_table, leave_one_out_table, curve_table])
def test_every_table_of_noise_and_zone_takes_either_score(evidence, table):
    one, other = table(evidence), table(evidence.by("probability"))
    assert list(one.columns) == list(other.columns)
    assert len(one) == len(other)
    assert not one.equals(other)


def test_two_way_intervals_hold_redrawn_probabilities(evidence):
    other = evidence.by("probability")
    redrawn, spread = other.draws.redrawn["composite"], np.sqrt(np.diag(other.noises["composite"].covariance))
    moved = redrawn[:, 1:] - redrawn[:, :1]
    assert moved.std(axis=0)[3:] == pytest.approx(spread[4:], rel=0.5)
    assert full_and_zone(other)["twoway_low"].notna().any()


def test_the_second_score_resolves_more(evidence):
    found = two_scores_table(evidence).set_index(["benchmark", "subset"])
    full = found.loc[("composite", "full")]
    assert full["mean_se_probability"] < 0.6 * full["mean_se_accuracy"]
    assert full["reliability_probability"] > full["reliability_accuracy"]
    assert full["verdict_probability"] == "carried"


def test_a_sentence_says_where_verdicts_differ_and_whose_error_rate_is_meant(evidence):
    found = two_scores_table(evidence)
    for row in found.itertuples():
        assert ("differ" in row.says) == (row.verdict_accuracy != row.verdict_probability)
        assert "Error rates are those of accuracy, the primary score" in row.says
    assert found["says"].str.contains("differ").any()
    other = replace(evidence, settings=replace(evidence.settings, primary_score="probability"))
    assert two_scores_table(other)["says"].str.contains("those of the probability of the right choice").all()


def test_decisions_by_both_scores_stand_side_by_side(evidence):
    found = probability_table(evidence)
    registered("probability").check(found.columns)
    assert len(found) == 3 * len(KLD)
    differ = found["decision"] != found["decision_accuracy"]
    assert differ.any()
    assert (found["says"] != "").equals(differ)
    assert set(found["margin"]) == {0.01}


def test_items_without_the_second_score_are_read_all_the_same(evidence):
    old = replace(evidence, items=evidence.items.drop(columns=["probability_right", "choice_scores"]))
    both = two_scores_table(old)
    assert (both["verdict_accuracy"] == two_scores_table(evidence)["verdict_accuracy"]).all()
    assert both["note"].str.contains(NOT_AVAILABLE).all()
    assert both["says"].str.contains("run notebook 03_benchmark_scores again").all()
    assert both["estimate_probability"].isna().all()
    table = probability_table(old)
    registered("probability").check(table.columns)
    assert set(table["note"]) == {NOT_AVAILABLE}
    with pytest.raises(StatisticsError, match="probability of the right choice of every item"):
        old.by("probability")


def test_one_model_without_the_second_score_leaves_none(evidence):
    items = evidence.items.assign(
        probability_right=evidence.items["probability_right"].where(evidence.items["model"] != "q3")
    )
    assert not replace(evidence, items=items).has("probability")


# --- the primary score ------------------------------------------------------------------------------------------------


def named(evidence, score):
    return replace(evidence, settings=replace(evidence.settings, primary_score=score))


def test_verdict_and_decisions_are_by_the_score_that_was_named(evidence):
    both = two_scores_table(evidence).set_index(["benchmark", "subset"])
    known = probability_table(evidence).set_index(["label", "benchmark"])
    for score, decided in (("accuracy", "decision_accuracy"), ("probability", "decision")):
        own = named(evidence, score).primary
        assert own.score == score
        verdicts = verdict_table(own).set_index(["benchmark", "subset"])["verdict"]
        assert verdicts.equals(both[f"verdict_{score}"].rename("verdict"))
        table = decision_table(own)
        registered("decision").check(table.columns)
        found = table.set_index(["label", "benchmark"])["decision"]
        assert found.sort_index().equals(known[decided].rename("decision").sort_index())


def test_a_decision_by_probability_says_what_one_item_makes_and_which_is_the_smallest(evidence):
    sized = named(evidence, "probability")
    sized = replace(sized, cohort=sized.cohort.assign(bits_per_weight=[32.0, *np.linspace(9, 3, len(KLD))]))
    table = decision_table(sized.primary)
    by_item = evidence.items.pivot(index=["benchmark", "item"], columns="model", values="probability_right")
    change = (by_item["q5"] - by_item["ref"]).loc["arc"]
    row = table.set_index(["label", "benchmark"]).loc[("q5", "arc")]
    assert row["net"] == pytest.approx(change.mean(), abs=1e-8)
    largest = (np.sign(change.mean()) * change).max() / len(change)
    assert row["one_item"] == pytest.approx(largest / abs(change.mean()), rel=1e-6)
    assert row["item_weight"] == 1 / 400
    assert set(table["design_effect"]) == {1.0}
    assert table["flip_rate"].between(0, 1).all()
    headline = table[table["benchmark"] == "composite"]
    equivalent = headline[headline["decision"] == "equivalent"]
    assert list(headline.loc[headline["smallest"], "size"]) == [equivalent["size"].min()]


def test_nothing_is_decided_where_items_lack_the_score_that_was_named(evidence):
    items = evidence.items.drop(columns=["probability_right", "choice_scores"])
    old = named(replace(evidence, items=items), "probability")
    assert old.primary is old
    verdicts, decisions = verdict_table(old.primary), decision_table(old.primary)
    assert set(verdicts["verdict"]) == {""}
    assert set(decisions["decision"]) == {"undecided"}
    assert not decisions["smallest"].any()
    for table in (verdicts, decisions):
        assert table["note"].str.startswith(NO_PRIMARY).all()
    assert two_scores_table(old)["says"].str.contains("By accuracy, which was not named to decide").all()
