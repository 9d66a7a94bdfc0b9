"""`Evidence` of a study and of a table: headline, zone, draws, and what a statistic says that lacks its part."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import send_to

from qkld.analysis import correlation_tables, flip_tables, prompt_tables, score_tables, zone_tables
from qkld.analysis.evidence import PARTS, Evidence, Settings
from qkld.analysis.headline import shown_score, zone_of
from qkld.analysis.importing.imported_items import item_divergence
from qkld.analysis.own_table.answers_by_item import OwnItems
from qkld.analysis.own_table.checked_table import OwnTable
from qkld.analysis.study import load_study
from qkld.errors import StatisticsError
from qkld.statistics.core.checks import score_column
from qkld.statistics.core.resampling import Resampling

RESAMPLING = Resampling(confidence=0.9, resamples=60, permutations=39, seed=5)
FEW_DRAWS = {"null_draws": 40, "left_out_draws": 10, "edge_draws": 5, "thinning_draws": 10, "direction_splits": 5}

FROM_ANSWERS = (
    zone_tables.rules_table,
    zone_tables.split_table,
    zone_tables.noise_table,
    zone_tables.verdict_table,
    zone_tables.leave_one_out_table,
    zone_tables.edge_table,
    flip_tables.flip_table,
    lambda evidence: flip_tables.self_flip_table(evidence, None),
    flip_tables.direction_table,
    flip_tables.thinning_table,
    flip_tables.decision_table,
    flip_tables.pair_table,
    prompt_tables.prompt_table,
    prompt_tables.baseline_table,
    prompt_tables.within_table,
    prompt_tables.flip_signal_table,
    prompt_tables.router_table,
    prompt_tables.directional_table,
)


def own_table(study, fidelity="kl_mean", **changes):
    """The cohort of a study as a table that somebody brings."""
    tasks = study.benchmarks
    columns = ["label", "role", "family", fidelity, "size", *map(score_column, tasks), "composite"]
    cohort = study.cohort.rename(columns={"bits_per_weight": "size"})
    cohort = cohort.loc[cohort["role"] != "floor", columns].reset_index(drop=True)
    known = {"scores": tuple(tasks), "unit": "fraction", "falling": False, "rounding": 1e-12}
    members = (cohort["role"] == "quant") & (cohort[fidelity] <= 0.05)
    return OwnTable(cohort=cohort, fidelity=fidelity, members=members, **{**known, **changes})


def of_table(own, items, **changes):
    found = None if items is None else OwnItems(items, (), item_divergence(items))
    return replace(Evidence.of_table(own, found, RESAMPLING, Settings()), **changes)


SAME = (
    zone_tables.full_and_zone,
    zone_tables.curve_table,
    *(make for make in FROM_ANSWERS if make not in (zone_tables.rules_table, zone_tables.split_table)),
)


@pytest.fixture(scope="module")
def both(simulated_root):
    """Half of a study's quants, opened as a study's and as a table that somebody brings, all benchmarks in the mean."""
    with pytest.MonkeyPatch.context() as patch:
        send_to(simulated_root, patch)
        study = load_study("simulated")
        items = study.items[study.items["model"].isin(["reference", *study.quants[::2]])]
        of_study, settings = Evidence.of_study(study), replace(Settings.of_study(study.params), **FEW_DRAWS)
        assert set(of_study.tasks) < set(of_study.benchmarks)
        table = Evidence.of_table(own_table(study), OwnItems(items, (), item_divergence(items)), RESAMPLING, settings)
        cohort = study.cohort[study.cohort["label"].isin(table.cohort["label"])].reset_index(drop=True)
        known = {"resampling": RESAMPLING, "settings": settings, "tasks": of_study.benchmarks, "cohort": cohort}
        return replace(of_study, **known), table


@pytest.mark.parametrize("make", SAME)
def test_a_study_and_its_tables_give_the_same_numbers_to_the_bit(make, both):
    of_study, of_table = map(make, both)
    if "range_score" in of_study:  # a ratio of spreads; a table's composite is rounded to COMPOSITE_DECIMALS
        ranges = of_table.pop("range_score").to_numpy()
        assert of_study.pop("range_score").to_numpy() == pytest.approx(ranges, rel=1e-10)
    pd.testing.assert_frame_equal(of_study, of_table, check_exact=True)
    assert len(of_study)


@pytest.mark.parametrize("make", [*FROM_ANSWERS, score_tables.two_scores_table, score_tables.probability_table])
def test_a_statistic_without_items_says_what_to_give(make, simulated):
    with pytest.raises(StatisticsError, match="needs answers item by item") as raised:
        make(of_table(own_table(simulated), None))
    assert "--items" in raised.value.do
    assert "03_benchmark_scores" in raised.value.do


@pytest.mark.parametrize(
    ("make", "part", "changes"),
    [
        (flip_tables.flip_table, "base", {"reference": None}),
        (flip_tables.decision_table, "base", {"reference": None}),
        (zone_tables.edge_table, "base", {"reference": None}),
        (prompt_tables.flip_signal_table, "base", {"reference": None}),
        (prompt_tables.directional_table, "base", {"reference": None}),
        (zone_tables.full_and_zone, "fidelity", {"metric": None}),
        (zone_tables.noise_table, "fidelity", {"metric": None}),
        (correlation_tables.partial_table, "fidelity", {"metric": None}),
        (flip_tables.thinning_table, "fidelity", {"metric": None}),
        (zone_tables.verdict_table, "kld", {"metric": "top1_agreement"}),
        (zone_tables.break_table, "kld", {"metric": "top1_agreement"}),
        (prompt_tables.directional_table, "kld", {"metric": None}),
        (prompt_tables.prompt_table, "item_kld", {"divergence": None}),
        (prompt_tables.router_table, "item_kld", {"divergence": None}),
    ],
)
def test_a_statistic_that_lacks_another_part_names_it(make, part, changes, simulated):
    evidence = of_table(own_table(simulated), simulated.items, **changes)
    assert not evidence.has("answers", part)
    with pytest.raises(StatisticsError, match=PARTS[part][0]):
        make(evidence)


def test_scores_alone_are_correlated_without_a_two_way_interval(simulated):
    found = zone_tables.full_and_zone(of_table(own_table(simulated), None))
    assert found["estimate"].notna().all()
    assert found["twoway_low"].isna().all()
    with_items = zone_tables.full_and_zone(of_table(own_table(simulated), simulated.items))
    assert with_items["twoway_low"].notna().all()
    pd.testing.assert_series_equal(found["estimate"], with_items["estimate"])
    curve = zone_tables.curve_table(of_table(own_table(simulated), None))
    assert curve["null_low"].isna().all()


def test_the_zone_is_found_by_the_rule_or_is_the_one_given(simulated):
    by_rule = Evidence.of_study(simulated)
    kld = simulated.cohort.set_index("label")["kl_mean"]
    inside = {label for label in simulated.quants if kld[label] <= 0.05}
    assert set(by_rule.subsets["zone"]) == inside == zone_of(simulated).labels
    given = replace(by_rule, zone=frozenset(simulated.quants[:3]), tasks=by_rule.benchmarks)
    assert given.subsets["zone"] == simulated.quants[:3]
    assert zone_tables.full_and_zone(given)["n"].tolist() == [22] * 4 + [3] * 4
    sizes = []
    for cut in (0.01, 0.2):
        by_flips = replace(by_rule.settings, zone_rule="equivalence", zone_cut=cut)
        sizes.append(replace(by_rule, settings=by_flips).members.sum())
    assert sizes[0] < sizes[1] < len(simulated.quants)


def test_headline_is_the_composite_or_the_first_benchmark(simulated):
    evidence = Evidence.of_study(simulated)
    assert evidence.headline == shown_score(simulated).benchmark == "composite"
    assert replace(evidence, tasks=()).headline == simulated.benchmarks[0]
    single = of_table(own_table(simulated, scores=("sciq",)), simulated.items)
    assert (single.headline, single.tasks, list(single.groups)) == ("sciq", (), ["sciq"])


def test_without_a_composite_a_zone_by_scores_is_one_by_the_headline(simulated):
    evidence = Evidence.of_study(simulated)
    cohort = evidence.cohort.assign(composite=np.nan)
    rule = replace(evidence.settings, zone_rule="score_margin", zone_cut=0.02)
    alone = replace(evidence, cohort=cohort, tasks=(), settings=rule)
    scores = cohort.set_index("label")[f"score_{simulated.benchmarks[0]}"]
    assert set(alone.subsets["zone"]) == {q for q in simulated.quants if scores[q] >= scores["reference"] - 0.02}


def test_edges_of_a_score_do_not_depend_on_which_others_are_asked_for(simulated):
    evidence = replace(of_table(own_table(simulated), simulated.items), settings=Settings(edge_draws=5))
    every = zone_tables.edge_table(evidence, list(evidence.groups))
    alone = zone_tables.edge_table(evidence)
    assert list(every["benchmark"].unique()) == [*simulated.benchmarks, "composite"]
    of_headline = every[every["benchmark"] == "composite"].reset_index(drop=True)
    pd.testing.assert_frame_equal(of_headline, alone)


def test_items_of_part_of_the_table_are_of_these_quants_and_scores(simulated):
    labels = ["reference", *simulated.quants[:5]]
    items = simulated.items
    items = items[items["model"].isin(labels) & (items["benchmark"] != "sciq")]
    evidence = of_table(own_table(simulated), items)
    assert evidence.quants == simulated.quants[:5]
    assert evidence.benchmarks == ("arc_easy", "openbookqa")
    assert evidence.sizes == {"arc_easy": 400, "openbookqa": 300}
    assert evidence.noises["composite"].items == 700
    means = evidence.cohort[["score_arc_easy", "score_openbookqa"]].mean(axis=1)
    assert evidence.cohort["composite"].to_numpy() == pytest.approx(means.to_numpy())


def test_scores_of_another_run_than_the_items_are_refused(simulated):
    own = own_table(simulated)
    own.cohort.loc[3, "score_sciq"] += 0.02
    with pytest.raises(StatisticsError, match="The table and the items give different scores") as raised:
        of_table(own, simulated.items)
    assert f"sciq of {own.cohort['label'][3]}" in raised.value.found


def test_settings_are_the_studys_own(simulated):
    settings, params = Settings.of_study(simulated.params), simulated.params
    assert settings.zone_cut == params.silent_zone.zone_cut
    assert settings.equivalence_margin == params.volume_direction.equivalence_margin
    assert settings.direction_splits == params.prompts.direction_splits
