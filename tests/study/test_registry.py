"""The registry of result tables: what it refuses, what it fills in, and that words come back as they were written."""

import io

import numpy as np
import pandas as pd
import pytest

from qkld.errors import TableError
from qkld.report.own_table.run import OF_ANSWERS
from qkld.report.study_report import EXPLAINED
from qkld.report.study_tables import EVIDENCE, MADE_OF, PER_PROMPT
from qkld.report.text_tables import TEXTS
from qkld.report.withdrawing import RIGHT_SINCE
from qkld.study.column import interval
from qkld.study.columns import COLUMNS
from qkld.study.knobs import STAGES
from qkld.study.registry import CORRELATION, OF_STUDIES, TABLES, describe_results, registered, registry, tables_of
from qkld.study.result_table import Table
from qkld.workflow.rules import RULES

PREDICTED = Table(
    "predicted", "05_silent_zone", key=("label",), columns=("label", "n", "estimate", "note"), says="one row a quant"
)


def test_a_column_without_meaning_is_refused():
    with pytest.raises(TableError, match=r"(?s)'variance_parts' have no meaning.*share_between"):
        Table("variance_parts", None, key=("label",), columns=("label", "share_between"), says="parts of a variance")


@pytest.mark.parametrize(
    ("key", "columns", "problem"),
    [
        (("label",), ("label", "n", "n"), r"twice: \['n'\]"),
        (("label", "subset"), ("label", "n"), r"in the key alone: \['subset'\]"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(key, columns, problem):
    with pytest.raises(TableError, match=problem):
        Table("parts", None, key=key, columns=columns, says="parts")


def test_a_name_stands_for_one_table():
    with pytest.raises(TableError, match="'zone' twice"):
        registry([registered("zone"), registered("noise"), registered("zone")])


def test_a_table_that_is_in_no_registry_is_refused_with_the_names_there_are():
    with pytest.raises(TableError, match=r"(?s)no result table 'zone_kurve'.*zone_curve"):
        registered("zone_kurve")


def test_what_a_row_does_not_say_is_empty_in_it():
    table = PREDICTED.frame([{"estimate": 0.5, "label": "a", "n": 7}, {"label": "b", "note": "too few"}])
    assert list(table.columns) == ["label", "n", "estimate", "note"]
    assert list(table["n"]) == [7, 0]
    assert table["n"].dtype.kind == "i"
    assert table["estimate"].iloc[0] == 0.5
    assert np.isnan(table["estimate"].iloc[1])
    assert list(table["note"]) == ["", "too few"]
    assert list(PREDICTED.frame([]).columns) == ["label", "n", "estimate", "note"]


@pytest.mark.parametrize("row", [{"label": "a", "se": 0.1}, {"estimate": 0.5}])
def test_a_row_of_another_table_is_refused(row):
    with pytest.raises(TableError, match="'predicted' has other columns"):
        PREDICTED.frame([{"label": "b"}, row])


@pytest.mark.parametrize("columns", [("label", "n", "estimate"), ("label", "n", "note", "estimate")])
def test_columns_are_held_to_their_order(columns):
    with pytest.raises(TableError, match=r"(?s)expected.*note"):
        PREDICTED.check(columns)
    PREDICTED.check(["label", "n", "estimate", "note"])


@pytest.mark.parametrize("label", ["NA", "None", "nan", "8", "1e5", "True", "Q4_K_M", ""])
def test_words_come_back_as_they_were_written(label):
    table = PREDICTED.frame([{"label": label, "estimate": np.inf}, {"label": "q8", "estimate": 1 / 3}, {"label": "x"}])
    found = PREDICTED.read(io.BytesIO(table.to_csv(index=False).encode()))
    pd.testing.assert_frame_equal(found, table.astype({"label": "str", "note": "str"}), check_exact=True)


def test_an_interval_has_three_columns_with_their_meanings():
    assert interval("auroc") == ("auroc", "auroc_low", "auroc_high")
    assert COLUMNS["auroc_high"].meaning.startswith("upper end of auroc's interval (DeLong's")
    assert COLUMNS["auroc_low"].meaning.startswith("lower end of auroc's interval")
    assert {COLUMNS[c].unit for c in interval("net")} == {"fraction of 1"}


def test_every_column_has_a_meaning_and_a_table():
    used = {column for table in TABLES.values() for column in table.columns}
    assert used == set(COLUMNS)
    assert all(column.meaning for column in COLUMNS.values())


def test_every_table_of_a_study_is_one_notebook_s():
    notebooks = ("04_correlation", "05_silent_zone", "06_volume_direction", "07_prompts")
    assert [name for notebook in notebooks for name in tables_of(notebook)] == list(OF_STUDIES)
    assert tables_of("08_findings") == ()


def test_a_correlation_is_the_same_in_every_table_that_has_one():
    for name in ("zone", "zone_rules"):
        assert registered(name).columns[5:] == CORRELATION
    assert set(registered("correlation").empty()) == set(CORRELATION) - set(registered("correlation").key)


def test_the_documentation_holds_every_table_column_and_unit():
    text = describe_results()
    for name, table in OF_STUDIES.items():
        assert f"- `{name}.csv`, {table.says}: " in text
    assert "| `edge` | KLD at which half of the subsets tell a quant from the reference | nats |" in text
    assert text.count("\n| `") == len({column for table in OF_STUDIES.values() for column in table.columns})


@pytest.mark.parametrize(
    "names",
    [TEXTS, EVIDENCE, PER_PROMPT, *MADE_OF.values(), RIGHT_SINCE, EXPLAINED, OF_ANSWERS],
    ids=lambda names: "-".join(names),
)
def test_other_lists_name_tables_of_the_registry(names):
    assert [name for name in names if name not in TABLES] == []


def test_notebooks_are_those_that_have_knobs_a_rule_and_a_file(repository):
    assert {rule.notebook for rule in RULES.values()} == set(STAGES)
    assert {file.stem for file in (repository / "notebooks").glob("*.ipynb")} == set(STAGES)
    assert {table.notebook for table in OF_STUDIES.values()} < set(STAGES)
