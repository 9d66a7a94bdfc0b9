"""Refusals: every statistic says how many quants it needs, and tables say why a number is not there."""

import numpy as np
import pandas as pd
import pytest

from qkld.errors import StatisticsError
from qkld.statistics.core.checks import (
    check_quants_distinct,
    checked_kld,
    complete_quants,
    composite_score,
    empty_columns,
    is_divergence,
    noted,
    one_line,
    paired_columns,
    quants_of,
)
from qkld.statistics.core.correlations_of_resamples import correlation
from qkld.statistics.core.intervals import bootstrap_correlations, jackknife_correlations, zmax_interval
from qkld.statistics.core.permutation import permutation_p

X, Y = [1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 4.0, 3.0]


@pytest.mark.parametrize(
    ("x", "y", "found"),
    [
        (X[:3], Y[:3], "at least 4 quants\n  found:    3"),
        (X, [1.0] * 4, "Column 'score' is constant"),
        ([1.0, np.nan, 3.0, 4.0], Y, "1 of 4 missing"),
        ([1.0, np.inf, 3.0, 4.0], Y, "1 of 4 missing or not finite"),
        (X, Y[:3], "two columns of equal length"),
    ],
)
def test_columns_without_a_correlation_are_refused(x, y, found):
    with pytest.raises(StatisticsError) as error:
        paired_columns(x, y, names=("kl_mean", "score"))
    assert found in str(error.value)
    assert "quants" in str(error.value) or "column" in str(error.value)


@pytest.mark.parametrize(
    "statistic",
    [
        correlation,
        lambda x, y: bootstrap_correlations(x, y, resamples=10, rng=np.random.default_rng(0)),
        lambda x, y: permutation_p(x, y, permutations=10, rng=np.random.default_rng(0)),
        lambda x, y: zmax_interval(x, y, 0.95),
        jackknife_correlations,
    ],
)
@pytest.mark.parametrize("bad", [[1.0, 2.0, 3.0], [5.0] * 8, [np.nan, *range(7)]])
def test_every_statistic_refuses(statistic, bad):
    with pytest.raises(StatisticsError):
        statistic(bad, list(range(len(bad))))


def test_a_refusal_becomes_a_note_and_an_empty_cell():
    row = noted(lambda: {"estimate": correlation(X[:3], Y[:3])}, {"estimate": np.nan})
    assert np.isnan(row["estimate"])
    assert "at least 4 quants; found: 3" in row["note"]
    assert "\n" not in row["note"]
    assert noted(lambda: {"estimate": 1.0}, {"estimate": np.nan}) == {"estimate": 1.0, "note": ""}


def test_one_line_leaves_out_the_advice():
    assert one_line(StatisticsError("a", expected="b", found="d", do="c")) == "a; expected: b; found: d"


@pytest.mark.parametrize(
    "parts",
    [
        [[0.737, 0.793], [0.739, 0.791]],
        [[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]],
        [[76 / 120, 79 / 120], [75 / 120, 80 / 120]],
    ],
)
def test_equal_means_of_scores_tie_however_they_are_summed(parts):
    first, second = composite_score(pd.DataFrame(parts))
    assert first == second
    assert first == pytest.approx(np.mean(parts[0]), rel=1e-11)


def test_a_mean_of_scores_misses_where_a_score_does():
    assert np.isnan(composite_score(pd.DataFrame([[0.5, np.nan]]))[0])


def test_only_quants_enter():
    cohort = pd.DataFrame({"label": ["r", "f", "q"], "role": ["reference", "floor", "quant"]})
    assert list(quants_of(cohort)["label"]) == ["q"]


@pytest.fixture
def cohort() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "label": ["r", *"abcdef"],
            "role": ["reference", *["quant"] * 6],
            "kl_mean": [np.nan, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5],
            "score_t": [0.9, 0.8, 0.7, np.nan, 0.5, np.nan, 0.3],
            "score_empty": [0.9, *[np.nan] * 6],
        }
    )


def test_gaps_are_named_by_cell(cohort):
    with pytest.raises(StatisticsError, match="found:    score_t of c, score_t of e"):
        complete_quants(cohort, ["kl_mean", "score_t"])
    kept, note = complete_quants(cohort, ["kl_mean", "score_t"], missing="drop")
    assert list(kept["label"]) == ["a", "b", "d", "f"]
    assert note == "left out for missing values: c, e"


def test_a_column_without_any_value_is_named_and_takes_no_quant_with_it(cohort):
    assert empty_columns(cohort, ["kl_mean", "score_t", "score_empty"]) == ["score_empty"]
    kept, note = complete_quants(cohort, ["kl_mean", "score_empty"])
    assert len(kept) == 6
    assert note == ""


def test_the_reference_may_lack_what_quants_have(cohort):
    assert len(complete_quants(cohort, ["kl_mean"])[0]) == 6


def test_many_gaps_are_counted(cohort):
    many = pd.concat([cohort.assign(label=cohort["label"] + str(i)) for i in range(6)])
    with pytest.raises(StatisticsError, match="and 4 more"):
        complete_quants(many, ["score_t"])


def test_a_negative_kld_names_its_quant(cohort):
    with pytest.raises(StatisticsError, match=r"-0.2 \(c\)"):
        complete_quants(cohort.assign(kl_mean=cohort["kl_mean"] - 0.4 * (cohort["label"] == "c")), ["kl_mean"])
    assert (checked_kld([-1e-8, 0.0, 0.5]) == [0, 0, 0.5]).all()
    with pytest.raises(StatisticsError, match="-2e-07"):
        checked_kld([-2e-7])


@pytest.mark.parametrize("column", ["label", "weights_sha256"])
def test_a_quant_counted_twice_is_refused(cohort, column):
    named = cohort.assign(weights_sha256=cohort["label"])
    doubled = named.assign(**{column: named[column].replace("b", "d")})
    with pytest.raises(StatisticsError, match="in the cohort twice"):
        check_quants_distinct(doubled)
    with pytest.raises(StatisticsError, match=f"each {column} once"):
        complete_quants(doubled, ["kl_mean"])
    check_quants_distinct(named.assign(weights_sha256=np.nan))


@pytest.mark.parametrize(
    "name",
    ["kl_mean", "kld", "KLD", "Mean KLD", "mean_kld", "D_KL", "DKL", "kl_p99_9", "kl_reverse_mean", "KL-divergence",
     "KL divergence (nats)", "meanKLD", "KLDivergence", "avg. KLD ↓", "Kullback–Leibler", "kl_mean_512"],
)  # fmt: skip
def test_a_kl_divergence_is_known_by_its_name(name):
    assert is_divergence(name)


@pytest.mark.parametrize(
    "name", ["ppl", "top1", "weekly", "log_kld", "ln KL", "kld_stderr", "KLD rank", "JSD", "Q4_K_L", "sparkle", "bpw"]
)
def test_other_metrics_are_no_kl_divergence(name):
    assert not is_divergence(name)
