"""Sentences of what a study found: from its own numbers, also where some are missing or were withdrawn."""

import pytest

from qkld.report.findings import finding_lines, headline_numbers
from qkld.report.numbers import flat_numbers
from qkld.report.sentences import VERDICTS

ZONE = {
    "zone/kl_mean/composite/full/n_full": 20,
    "zone/kl_mean/composite/full/n_zone": 11,
    "zone/kl_mean/composite/full/rule": "kld_cut",
    "zone/kl_mean/composite/full/cut": 0.05,
    "zone/kl_mean/composite/full/estimate": -0.816,
    "zone/kl_mean/composite/full/low": -0.952,
    "zone/kl_mean/composite/full/high": -0.516,
}


def test_a_simulated_study_says_all_five(simulated):
    tables = {name: simulated.analysis(name) for name in ("zone", "volume_direction", "verdict", "decision")}
    lines = finding_lines(flat_numbers(tables))
    assert len(lines) == 5
    quants = int((simulated.cohort["role"] == "quant").sum())
    assert lines[0].startswith(f"Over the whole cohort of {quants} quants, mean KLD and score: ρ = −")
    decided = tables["decision"].query("benchmark == 'composite'")["decision"].value_counts()
    for word, count in decided.items():
        assert f"{count} {word}" in lines[4]
    verdict = tables["verdict"].query("benchmark == 'composite' and subset == 'zone'")["verdict"].iloc[0]
    assert f"*{verdict}*: {VERDICTS[verdict].format(metric='KLD')}" in lines[3]
    assert not any("not available" in line for line in lines)


def test_a_number_that_is_missing_is_said_to_be():
    lines = finding_lines(ZONE)
    assert lines[0] == "Over the whole cohort of 20 quants, mean KLD and score: ρ = −0.82 [−0.95, −0.52]."
    assert lines[1] == "Near the baseline, 11 quants with a mean KLD of at most 0.05 nats: ρ = not available."
    assert all(line.endswith("not available.") for line in lines[2:])


@pytest.mark.parametrize(("table", "line"), [("verdict", 3), ("decision", 4)])
def test_a_withdrawn_table_is_said_with_its_reason(table, line):
    assert finding_lines(ZONE | {f"withdrawn/{table}": "made before version 6: too small (CHANGELOG)."})[line].endswith(
        "withdrawn, made before version 6."
    )


def test_a_rule_that_is_no_cut_of_kld_has_no_nats_and_a_rho_without_interval_says_so():
    numbers = ZONE | {"zone/kl_mean/composite/full/rule": "score_margin", "zone/kl_mean/composite/full/low": None}
    lines = finding_lines(numbers)
    assert "nats" not in lines[1]
    assert lines[0].endswith("ρ = −0.82 (no interval).")


BUILDS = {
    "study/primary_score": "accuracy",
    "builds/rotate/accuracy/full/within/builds": 28,
    "builds/rotate/accuracy/full/within/recipes": 14,
    "builds/rotate/accuracy/full/within/sd": 0.0031,
    "builds/rotate/accuracy/full/within/sd_low": 0.0,
    "builds/rotate/accuracy/full/within/sd_high": 0.0062,
    "builds/rotate/accuracy/full/between/sd": 0.004,
    "builds/rotate/accuracy/full/between/sd_low": 0.001,
    "builds/rotate/accuracy/full/between/sd_high": 0.009,
    "builds/permute/accuracy/full/within/sd": None,
}


def test_builds_have_a_sentence_for_each_kind_that_could_be_analysed():
    lines = finding_lines(ZONE | BUILDS)
    assert lines[4] == (
        "At equal KLD, 28 builds of 14 recipes: accuracy differs by a standard deviation of 0.31 [0.00, 0.62] points "
        "between builds of one recipe, and of 0.40 [0.10, 0.90] between recipes."
    )
    assert len(lines) == 6
    by_probability = finding_lines(ZONE | BUILDS | {"study/primary_score": "probability"})
    assert len(by_probability) == 5


def test_decisions_name_their_margin_the_smallest_and_the_other_score(simulated):
    tables = {name: simulated.analysis(name) for name in ("decision", "probability")}
    numbers = flat_numbers(tables) | {"study/primary_score": "accuracy"}
    own = {name: table.query("benchmark == 'composite'") for name, table in tables.items()}
    said = finding_lines(numbers)[4]
    first, second = said.split(" By the probability of the right choice, ")
    for name, part in (("decision", first), ("probability", second)):
        assert f"within {100 * own[name]['margin'].iloc[0]:.1f} points: " in part
        for word, count in own[name]["decision"].value_counts().items():
            assert f"{count} {word}" in part
    smallest = sorted(own["decision"].loc[own["decision"]["smallest"].astype(bool), "label"])
    assert first.endswith(f"; smallest equivalent: {', '.join(smallest)}.")
    assert headline_numbers(numbers | {"decision/a/arc_easy/decision": "worse"}).keys() >= {
        key for key in numbers if key.startswith("probability/") and key.endswith("/composite/decision")
    }
    assert "decision/a/arc_easy/decision" not in headline_numbers(numbers | {"decision/a/arc_easy/decision": "worse"})
