"""Anybody's table: what is recognised, left out by name, and refused."""

import numpy as np
import pandas as pd
import pytest

from qkld.analysis.own_table.checked_table import describe_rows, read_own_table
from qkld.analysis.own_table.score_columns import score_unit
from qkld.analysis.own_table.zone_and_item_counts import parse_zone
from qkld.errors import StatisticsError, TableError

BASE = pd.DataFrame(
    {
        "quant": ["bf16", "q8", "q6", "q5", "q4", "q3"],
        "kl_mean": [np.nan, 0.001, 0.004, 0.01, 0.03, 0.1],
        "mmlu": [71.0, 70.9, 71.1, 70.5, 69.8, 66.25],
        "arc": [55.0, 55.1, 54.8, 54.9, 54.0, 52.5],
        "bytes": [16.0, 8.5, 6.6, 5.5, 4.8, 3.9],
    }
)


@pytest.fixture
def read(tmp_path):
    """Read `BASE` after a change."""

    def call(change=lambda t: t, scores=("mmlu", "arc"), fidelity="kl_mean", **options):
        path = tmp_path / "table.csv"
        change(BASE.copy()).to_csv(path, index=False)
        return read_own_table(path, fidelity, list(scores), **{"reference": "bf16", **options})

    return call


def put(row: int, column: str, value):
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table[column] = table[column].astype(object)
        table.at[row, column] = value
        return table

    return change


def test_a_table_becomes_a_cohort(read):
    own = read(zone=parse_zone("kl_mean<=0.01"), size="bytes")
    assert (own.reference, own.quants, own.unit) == ("bf16", ["q8", "q6", "q5", "q4", "q3"], "percent")
    assert own.benchmarks == ["mmlu", "arc", "composite"]
    assert own.headline == "composite"
    assert own.rounding == pytest.approx(1e-4)
    assert list(own.cohort.loc[own.members, "label"]) == ["q8", "q6", "q5"]
    row = own.cohort.set_index("label").loc["q3"]
    assert (row["score_mmlu"], row["composite"], row["size"]) == pytest.approx((0.6625, 0.59375, 3.9))
    assert own.notes == ()


def test_benchmarks_are_found_in_a_studys_cohort(tmp_path):
    cohort = BASE.rename(columns={"mmlu": "score_mmlu", "arc": "score_arc"}).assign(se_mmlu=0.5, composite=0.0)
    cohort.to_parquet(tmp_path / "cohort.parquet")
    own = read_own_table(tmp_path / "cohort.parquet", "kl_mean", ["mmlu", "arc"], reference="bf16")
    plain = read_own_table_of(BASE, tmp_path)
    assert own.scores == ("mmlu", "arc")
    pd.testing.assert_frame_equal(own.cohort.drop(columns="se_mmlu"), plain.cohort)
    assert (own.cohort["se_mmlu"] == 0.005).all()
    both = read_own_table_of(BASE.assign(score_mmlu=0.0), tmp_path)
    assert both.cohort["score_mmlu"].tolist() == plain.cohort["score_mmlu"].tolist()


def read_own_table_of(table, folder):
    table.to_parquet(folder / "table.parquet")
    return read_own_table(folder / "table.parquet", "kl_mean", ["mmlu", "arc"], reference="bf16")


def test_parquet_and_roles(tmp_path):
    table = BASE.assign(role=["reference", "quant", "quant", "quant", "quant", "floor"])
    table.to_parquet(tmp_path / "table.parquet")
    own = read_own_table(tmp_path / "table.parquet", "kl_mean", ["mmlu"])
    assert own.reference == "bf16"
    assert own.quants == ["q8", "q6", "q5", "q4"]
    assert own.benchmarks == ["mmlu"]


def test_percent_and_fraction_are_recognised(read):
    fractions = read(lambda t: t.assign(mmlu=t["mmlu"] / 100, arc=t["arc"] / 100))
    assert fractions.unit == "fraction"
    pd.testing.assert_frame_equal(fractions.cohort, read().cohort)


def test_quants_of_equal_means_tie(tmp_path):
    rows = [("q8", 73.7, 79.3), ("q6", 73.9, 79.1), ("q5", 73.4, 78.9), ("q4", 73.1, 78.3), ("q3", 71.0, 76.9)]
    text = "".join(f"{q},{0.01 * i},{a},{b}\n" for i, (q, a, b) in enumerate(rows, start=1))
    (tmp_path / "t.csv").write_text("quant,kld,winogrande,hellaswag\n" + text)
    mean = read_own_table(tmp_path / "t.csv", "kld", ["winogrande", "hellaswag"]).cohort["composite"]
    assert mean[0] == mean[1] == pytest.approx(0.765)


def test_unclear_units_are_refused():
    table = pd.DataFrame({"a": [0.5, 0.6], "b": [50.0, 60.0], "c": [50.0, 160.0], "d": [-1.0, 50.0]})
    assert score_unit(table, ["a"]) == "fraction"
    assert score_unit(table, ["b"]) == "percent"
    for columns in (["a", "b"], ["c"], ["d"]):
        with pytest.raises(TableError, match="unit of the scores"):
            score_unit(table, columns)


# --- missing ----------------------------------------------------------------------------------------------------------


def test_scattered_gaps_are_named_cell_by_cell(read):
    gap = put(3, "arc", None)
    with pytest.raises(StatisticsError, match=r"(?s)empty: arc of q5.*--missing drop"):
        read(gap)
    own = read(gap, missing="drop")
    assert own.quants == ["q8", "q6", "q4", "q3"]
    assert own.notes == ("left out for missing values: q5",)
    scores = own.cohort.loc[own.cohort["role"] == "quant", "score_arc"]
    assert list(scores) == pytest.approx([0.551, 0.548, 0.54, 0.525])


def test_a_reference_that_is_not_named_is_a_gap(read):
    with pytest.raises(StatisticsError, match=r"(?s)kl_mean of bf16.*--reference"):
        read(reference=None)


def test_the_zone_keeps_to_its_rows_when_others_are_left_out(read):
    own = read(put(1, "mmlu", None), missing="drop", zone=parse_zone("kl_mean<=0.01"))
    assert list(own.cohort.loc[own.members, "label"]) == ["q6", "q5"]


def test_an_empty_column_is_left_out_by_name(read):
    own = read(lambda t: t.assign(arc=np.nan))
    assert own.scores == ("mmlu",)
    assert own.notes == ("left out, without any value: arc",)


def test_a_table_without_any_score_or_fidelity_is_refused(read):
    for change, column in ((lambda t: t.assign(arc=np.nan, mmlu=np.nan), "mmlu, arc"),
                           (lambda t: t.assign(kl_mean=np.nan), "kl_mean")):  # fmt: skip
        with pytest.raises(TableError, match=f"all empty: {column}"):
            read(change)


# --- doubled, zero, negative ------------------------------------------------------------------------------------------


def test_a_label_twice_is_refused(read):
    with pytest.raises(TableError, match=r"(?s)duplicate or missing labels.*q8 twice"):
        read(put(2, "quant", "q8"))
    with pytest.raises(TableError, match="a row without a label"):
        read(put(2, "quant", None))


def test_quants_with_the_same_figures_are_named(read):
    def double(table):
        return pd.concat([table, table.iloc[[4]].assign(quant="q4-again")])

    assert read(double).notes == ("the same figures in every column, perhaps one quant twice: q4, q4-again",)


def test_a_zero_kld_is_counted_and_a_negative_one_refused(read):
    assert read(put(1, "kl_mean", 0.0)).notes == ("kl_mean is 0 for q8: ranked, and in no logarithm",)
    rounded = read(put(1, "kl_mean", -5e-9))
    assert rounded.cohort.loc[rounded.cohort["label"] == "q8", "kl_mean"].item() == 0
    with pytest.raises(StatisticsError, match=r"(?s)'kl_mean' is negative.*q8"):
        read(put(1, "kl_mean", -0.001))


def test_other_metrics_may_be_negative(read):
    own = read(lambda t: t.assign(log_ppl_ratio=[0.0, -0.01, 0.01, 0.02, 0.03, 0.2]), fidelity="log_ppl_ratio")
    assert own.cohort["log_ppl_ratio"].min() == -0.01


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["n.a.!", "inf", np.inf])
def test_cells_that_are_no_numbers_are_named(read, value):
    with pytest.raises(TableError, match=r"(?s)not numbers.*in mmlu, row 3"):
        read(put(2, "mmlu", value))


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"fidelity": "kld"}, r"missing \['kld'\]"),
        ({"scores": ["sciq"]}, r"missing \['sciq'\]"),
        ({"size": "gigabytes"}, r"missing \['gigabytes'\]"),
        ({"zone": parse_zone("kld<=0.02")}, r"missing \['kld'\]"),
        ({"scores": ["quant"]}, "not numbers"),
        ({"reference": "fp16"}, "There is no row 'fp16'"),
        ({"change": lambda t: t.assign(role="judge")}, r"unknown \['judge'\]"),
        ({"change": lambda t: t.assign(role="reference"), "reference": None}, "references"),
        ({"change": lambda t: t.iloc[:0]}, "no rows"),
    ],
)
def test_bad_requests_are_refused(read, options, found):
    with pytest.raises(TableError, match=found):
        read(**options)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    for name in ("nowhere.csv", "nowhere.parquet"):
        with pytest.raises(TableError, match="cannot be read"):
            read_own_table(tmp_path / name, "kl_mean", ["mmlu"])


def test_rows_become_json():
    rows = describe_rows(pd.DataFrame({"a": [1.5, np.nan], "b": ["x", None], "c": [np.int64(2), np.int64(3)]}))
    assert rows == [{"a": 1.5, "b": "x", "c": 2}, {"a": None, "b": None, "c": 3}]


@pytest.mark.parametrize(("scores", "found"), [(("kl_mean",), "kl_mean"), (("mmlu", "arc", "mmlu"), "mmlu")])
def test_no_column_is_correlated_with_itself_or_counted_twice(read, scores, found):
    with pytest.raises(TableError, match=f"(?s)scores cannot be used.*found: +{found} more than once"):
        read(scores=scores)


def test_there_has_to_be_a_score(read):
    with pytest.raises(TableError, match=r"(?s)at least one column of benchmark scores.*found: +none"):
        read(scores=())
