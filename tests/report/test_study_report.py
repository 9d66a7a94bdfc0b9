"""What is said of a study beside its figures: its numbers and tables, its limits, and what is missing."""

from __future__ import annotations

import json

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")

from qkld.analysis.headline import drawn_flips, prompt_benchmarks, shown_score, zone_of
from qkld.report.findings import finding_lines
from qkld.report.numbers import significant
from qkld.report.study_report import (
    bullets,
    facts_table,
    limits_of,
    missing_of,
    parameters_table,
    provenance_table,
    quants_table,
    study_numbers,
    write_headline,
)
from qkld.report.study_tables import all_tables, cohort_table, engine_tables, headline_table, paired_tables
from qkld.study.entries import GgufModel, MadeGguf
from qkld.workflow.docs import result_tables


@pytest.fixture
def without_composite(simulated_copy):
    """The same study where no benchmark enters the composite, as in a smoke run."""
    study = simulated_copy
    composite = study.analysis("composite").assign(in_composite=False, reason="too few items")
    study.save_analysis("composite", composite)
    for name in ("zone", "variants", "zone_curve"):
        table = study.analysis(name)
        rows = table["benchmark"] == "composite"
        table.loc[rows, ["estimate", "low", "high"]] = np.nan
        table.loc[rows, "note"] = "Column 'composite' has missing values for some quants."
        study.save_analysis(name, table)
    study.cohort[["composite", "composite_se"]] = np.nan
    return study


def test_a_study_is_described_by_its_facts_parameters_and_provenance(simulated):
    facts = dict(facts_table(simulated).rows)
    assert facts["zone"] == "kld_cut at 0.05 nats: 11 quants"
    parameters = dict(parameters_table(simulated).rows)
    assert parameters["silent_zone.zone_cut"] == "0.05"
    assert "context_lengths 16, 32, 64" in parameters["corpora prose"]
    assert "chance 0.25" in parameters["benchmarks sciq"]
    assert [row[0] for row in quants_table(simulated).rows] == simulated.quants
    made = dict(provenance_table(simulated).rows)
    assert "permutations" in made["correlation.csv"]
    assert bullets([]) == ""
    assert bullets(["a", "b"]) == "- a\n- b"
    assert bullets([], "nothing") == "nothing"


def test_headline_has_score_volume_and_direction_in_both_subsets(simulated):
    study = simulated
    table = headline_table(study)
    assert len(table.rows) == 8
    assert table.rows[1][0] == "composite score, zone"
    assert table.rows[1][-1] == "+0.00 / −0.24"


def test_every_table_has_a_cell_for_every_column(simulated):
    study = simulated
    for table in all_tables(study):
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_neighbours_that_tokens_tell_apart_are_those_of_the_headline_corpus(simulated):
    (table,) = paired_tables(simulated)
    pairs = simulated.analysis("paired_fidelity")
    assert [row[:2] for row in table.rows] == list(zip(pairs["label_a"], pairs["label_b"], strict=True))
    needed = pairs["windows_needed"].iloc[0]
    assert table.rows[0][-1] == f"{needed:,.0f}"
    elsewhere = simulated.params.headline.model_copy(update={"corpus": "code"})
    moved = type(simulated)(simulated.params.model_copy(update={"headline": elsewhere}))
    assert paired_tables(moved) == []


def test_one_file_in_two_engines_has_its_difference_and_no_correlation_in_the_readme(simulated):
    assert engine_tables(simulated) == []
    pair = simulated.analysis("paired_fidelity").iloc[0]
    facts = {"family": "gguf", "maker": "m", "recipe": "Q8_0", "nominal_bits": 8, "made": MadeGguf(type="Q8_0")}
    files = tuple(
        GgufModel(label=pair[label], engine=engine, **facts)
        for label, engine in (("label_a", "torch"), ("label_b", "llamacpp"))
    )
    both = type(simulated)(simulated.params.model_copy(update={"quants": files}))
    (table,) = engine_tables(both)
    (row,) = table.rows
    assert row[:2] == (pair["label_a"], pair["label_b"])
    assert row[3:5] == (significant(pair["kld_a"]), significant(pair["kld_b"]))
    assert row[-1].startswith(significant(pair["kld_difference"]))
    assert f"{pair['tokens']:,} tokens" in table.note
    assert "ρ" not in result_tables(both)


def test_a_rough_interval_is_not_among_what_is_missing(simulated):
    breakdown = simulated.analysis("fidelity_breakdown")
    assert breakdown["note"].str.contains("intervals are rough").any()
    assert not any("rough" in line for line in missing_of(simulated))


def test_cohort_table_marks_zone_and_floor_and_keeps_unscored_rows_empty(simulated):
    study = simulated
    rows = {row[0]: row for row in cohort_table(study).rows}
    assert len(rows) == 25
    assert rows["torchao-8-g32"][-1] == "zone, at the floor"
    assert rows["hqq-2-g64"][-1] == ""
    assert rows["floor-dtype"][-2] == ""


def test_quants_that_are_partly_not_quantized_are_named(simulated_copy):
    study = simulated_copy
    assert not any("unquantized" in limit for limit in limits_of(study))
    cohort = study.cohort
    cohort["plain_trunk_share"] = np.where(cohort["label"] == "hqq-2-g64", 0.63, 0.01)
    said = [limit for limit in limits_of(study) if "unquantized" in limit]
    assert said == ["'hqq-2-g64' leaves 63.0 % of its trunk's weights unquantized, such as fused experts."]
    column = cohort_table(study).columns.index("plain (%)")
    assert {row[0]: row[column] for row in cohort_table(study).rows}["hqq-2-g64"] == "63.0"


def test_whole_study_misses_only_what_its_notes_say(simulated):
    study = simulated
    notes = sum((study.analysis(n).get("note", np.array([])) != "").sum() for n in ("zone", "variants", "zone_curve"))
    assert sum(m.startswith(("zone:", "variants:", "zone_curve:")) for m in missing_of(study)) <= notes
    assert any("standard error" in limit for limit in limits_of(study))


def test_a_floor_that_could_not_be_measured_is_missing_with_its_reason(simulated_copy):
    study, why = simulated_copy, "not measured: LlamaForCausalLM cannot be run on token ids in float64."
    floor = study.cohort["label"] == "floor-dtype"
    study.cohort.loc[floor, "kl_mean"] = np.nan
    study.cohort["note"] = np.where(floor, why, "")
    assert any(f"The floor of the compute dtype is {why}" in line for line in missing_of(study))


def test_study_without_composite_says_so_and_shows_its_first_benchmark(without_composite):
    study = without_composite
    assert shown_score(study).column == "score_arc_easy"
    assert prompt_benchmarks(study) == study.benchmarks
    assert any("No benchmark enters the composite" in limit for limit in limits_of(study))
    assert any("variants: Column" in m and "28 rows" in m for m in missing_of(study))
    assert headline_table(study).rows[0][0] == "arc_easy score, full cohort"
    assert not any("nan" in cell.split() for table in all_tables(study) for row in table.rows for cell in row)


def test_zone_is_that_of_notebook_05(simulated_copy):
    study = simulated_copy
    zone = zone_of(study)
    kld = study.cohort.set_index("label")["kl_mean"]
    assert zone.cut == 0.05
    assert zone.labels == {label for label in study.quants if kld[label] <= 0.05}
    for name in ("zone", "zone_members"):
        study.save_analysis(name, study.analysis(name).assign(rule="score_margin"))
    assert zone_of(study).cut is None


def test_drawn_flips_are_one_row_a_quant(simulated):
    study = simulated
    flips = drawn_flips(study)
    assert sorted(flips["label"]) == sorted(study.quants)
    assert set(flips["benchmark"]) == {"composite"}


def test_the_headline_s_file_is_small_the_same_again_and_says_what_all_numbers_say(simulated, tmp_path):
    paths = [tmp_path / name for name in ("one.json", "two.json")]
    for path in paths:
        write_headline(path, simulated)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert len(paths[0].read_bytes()) < 10_000
    headline, numbers = json.loads(paths[0].read_text()), study_numbers(simulated)
    assert headline.items() <= numbers.items()
    assert finding_lines(headline) == finding_lines(numbers)


def test_numbers_are_those_of_every_table(simulated):
    numbers = study_numbers(simulated)
    assert numbers["study/zone_quants"] == 11
    assert numbers["study/quants"] == 22
    assert numbers["zone/kl_mean/composite/full/n"] == 22
    assert numbers["volume_direction/flip_rate/composite/zone/estimate"] > 0.5
    assert numbers["cohort/hqq-8-g64/kl_mean"] == 0.0032
    tables = {key.split("/")[0] for key in numbers}
    assert {"prompts", "router", "flips", "variants", "scores", "paired_fidelity"} <= tables
    assert "fidelity_breakdown" not in tables
