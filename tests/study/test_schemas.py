"""Tables between stages: what comes back, and which damage is noticed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import REPOSITORY

from qkld.errors import DiskError, StageError, TableError
from qkld.study.parquet import write_parquet
from qkld.study.provenance import canonical_json
from qkld.study.schemas import (
    COHORT,
    FIDELITY,
    SCHEMAS,
    TOKENS,
    Column,
    Schema,
    describe,
    read_table,
    read_table_and_provenance,
    write_table,
)
from qkld.workflow.pages import tables_page

MADE = {"model": {"label": "q8", "bits_per_weight": 8.5}, "commit": None}
SMALL = Schema(
    "small",
    {
        "name": Column("str", "a name"),
        "flag": Column("bool", "a flag"),
        "tiny": Column("int8", "a small number"),
        "count": Column("int64", "a number"),
        "value": Column("float64", "a measured value", missing=True),
        "remark": Column("str", "a remark", missing=True),
    },
    key=("name",),
    more=True,
)


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=lambda schema: schema.name)
def test_a_stored_table_names_the_notebook_that_makes_it(schema):
    assert (REPOSITORY / "notebooks" / f"{schema.notebook}.ipynb").is_file()


def small(rows: int = 5, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "name": [f"Größe-{i}" for i in range(rows)],
            "flag": rng.random(rows) < 0.5,
            "tiny": rng.integers(-128, 128, rows).astype("int8"),
            "count": rng.integers(-(2**62), 2**62, rows),
            "value": np.where(np.arange(rows) % 3 == 1, np.nan, rng.normal(size=rows)),
            "remark": [None if i % 2 else "\x1f,\"'\n‖" for i in range(rows)],
        }
    )


def filled(schema: Schema, rows: int = 3) -> pd.DataFrame:
    """A table that fits a schema, each column with as many values as rows, optional ones with one missing."""
    columns = {}
    for name, column in schema.columns.items():
        values = (
            pd.Series([f"{name}{i}" for i in range(rows)], dtype="str")
            if column.dtype == "str"
            else pd.Series(np.arange(rows) % 2 if "bool" in column.dtype else np.arange(rows)).astype(column.dtype)
        )
        if column.missing:
            values.iloc[0] = None if column.dtype in ("str", "boolean") else np.nan
        columns[name] = values
    return pd.DataFrame(columns)


@pytest.fixture
def written(tmp_path) -> Path:
    path = tmp_path / "t.parquet"
    write_table(path, small(), SMALL, MADE)
    return path


def refusal(path: Path, schema: Schema = SMALL) -> str:
    with pytest.raises(TableError) as caught:
        read_table(path, schema, made_in="02_quant_kld")
    return str(caught.value)


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_every_table_comes_back_with_its_types_values_and_provenance(tmp_path, schema):
    table = filled(schema)
    write_table(tmp_path / "t.parquet", table, schema, MADE)
    back, made = read_table_and_provenance(tmp_path / "t.parquet", schema, made_in="02")
    pd.testing.assert_frame_equal(back, table)
    assert [str(t) for t in back.dtypes] == [c.dtype for c in schema.columns.values()]
    assert made == MADE


def test_awkward_texts_missing_values_and_more_columns_come_back(tmp_path):
    table = small().assign(score_arc=np.float32([0.1, 0.2, np.nan, 0.4, 0.5]), seen=[1, 2, 3, 4, 5])
    write_table(tmp_path / "t.parquet", table, SMALL, MADE)
    back = read_table(tmp_path / "t.parquet", SMALL, made_in="02")
    for name in table:
        assert back[name].isna().tolist() == table[name].isna().tolist()
        assert back[name].dropna().tolist() == table[name].dropna().tolist()
    assert (back["score_arc"].dtype, back["seen"].dtype) == (np.float32, np.int64)


def test_columns_are_put_in_the_schema_s_order_and_the_caller_s_table_stays(tmp_path):
    table = small()[list(SMALL.columns)[::-1]]
    before = table.copy()
    write_table(tmp_path / "t.parquet", table, SMALL, MADE)
    assert list(read_table(tmp_path / "t.parquet", SMALL, made_in="02")) == list(SMALL.columns)
    pd.testing.assert_frame_equal(table, before)


def test_infinities_signed_zeros_and_every_nan_come_back(tmp_path):
    payload = np.array([0x7FF8000000000123, 0xFFF8000000000000], dtype=np.uint64).view(np.float64)
    values = [np.inf, -np.inf, -0.0, *payload]
    write_table(tmp_path / "t.parquet", small().assign(value=values), SMALL, MADE)
    back = read_table(tmp_path / "t.parquet", SMALL, made_in="02")["value"].to_numpy()
    assert back[:2].tolist() == [np.inf, -np.inf]
    assert np.signbit(back[2])
    assert np.isnan(back[3:]).all()


def test_a_folder_with_an_equals_sign_adds_no_column(tmp_path):
    path = tmp_path / "runs=1" / "t.parquet"
    write_table(path, small(), SMALL, MADE)
    assert list(read_table(path, SMALL, made_in="02")) == list(SMALL.columns)


def test_an_optional_column_may_be_left_out_and_comes_back_where_it_is_there(tmp_path):
    schema = Schema(
        "wide", {"name": Column("str", "a name"), "extra": Column("float64", "more", optional=True)}, ("name",)
    )
    whole = pd.DataFrame({"extra": [1.5, 2.5], "name": pd.Series(["a", "b"], dtype="str")})
    for table in (whole, whole[["name"]]):
        write_table(tmp_path / "t.parquet", table, schema, MADE)
        back = read_table(tmp_path / "t.parquet", schema, made_in="02")
        assert list(back.columns) == [c for c in ("name", "extra") if c in table]
    assert describe(schema).splitlines()[-1] == "| `extra` | float64 | more; optional |"
    with pytest.raises(TableError, match="empty"):
        schema.checked(whole.assign(extra=[1.5, np.nan]))


def test_a_missing_table_names_the_notebook_to_run(tmp_path):
    with pytest.raises(StageError, match=r"(?s)'tokens' does not exist yet.*do:       run 02_quant_kld first"):
        read_table(tmp_path / "none.parquet", TOKENS, made_in="02_quant_kld")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda t: t.drop(columns="flag"), r"missing \['flag'\]"),
        (lambda t: t.assign(name=None), r"missing values in 'name'(?s:.*)5 of 5 rows empty"),
        (lambda t: t.assign(count=[1, 2, np.nan, 4, 5]), r"missing values in 'count'(?s:.*)1 of 5"),
        (lambda t: t.assign(name="same"), r"same key twice(?s:.*)\('name',\)"),
        (lambda t: t.assign(count=[1, 2, 3, 4, 5.5]), r"another type in 'count'(?s:.*)\[5\.5\]"),
        (lambda t: t.assign(tiny=[1, 2, 3, 4, 300]), r"another type in 'tiny'(?s:.*)\[300\]"),
        (lambda t: t.assign(flag=[0, 1, 2, 0, 1]), r"another type in 'flag'(?s:.*)\[2\]"),
        (lambda t: t.assign(value=list("abcde")), r"another type in 'value'(?s:.*)float64"),
        (lambda t: t[:0], r"'small' has no rows"),
    ],
)
def test_a_table_that_breaks_its_schema_is_not_written(tmp_path, change, problem):
    with pytest.raises(TableError, match=problem):
        write_table(tmp_path / "t.parquet", change(small()), SMALL, MADE)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_column_is_refused_where_no_more_may_follow():
    with pytest.raises(TableError, match=r"unknown \['kld'\]"):
        FIDELITY.checked(filled(FIDELITY).assign(kld=1.0))
    assert "score" in COHORT.checked(filled(COHORT).assign(score=1.0))


def test_another_schema_s_table_is_refused(written):
    assert "no 'tokens' table" in refusal(written, TOKENS)


def test_a_parquet_file_of_somebody_else_is_refused(tmp_path):
    path = tmp_path / "t.parquet"
    small().to_parquet(path)
    assert "found:    no qkld metadata" in refusal(path)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused_with_what_to_do(written, keep):
    whole = written.read_bytes()
    written.write_bytes(whole[: int(len(whole) * keep)])
    message = refusal(written)
    assert "cannot be read" in message
    assert "delete it and run 02_quant_kld" in message


def rewritten(path: Path, *, note: dict | None = None, table: pd.DataFrame | None = None) -> None:
    """The file written anew by Parquet alone, with its old note changed or its values replaced."""
    arrow = pq.read_table(path)
    old = json.loads(pq.read_metadata(path).metadata[b"qkld"])
    values = arrow if table is None else pa.Table.from_pandas(table, preserve_index=False)
    pq.write_table(values.replace_schema_metadata({b"qkld": canonical_json({**old, **(note or {})})}), path)


def test_altered_provenance_is_noticed(written):
    rewritten(written, note={"made_by": {**MADE, "model": {"label": "q8", "bits_per_weight": 4.5}}})
    assert "was altered" in refusal(written)


def test_a_table_of_an_earlier_version_is_refused_with_what_to_run(written):
    note = {"schema": "small", "made_by": MADE, "sha256": "0" * 64}
    pq.write_table(pq.read_table(written).replace_schema_metadata({b"qkld": canonical_json(note)}), written)
    message = refusal(written)
    assert "an earlier version of qkld wrote it" in message
    assert "delete it and run 02_quant_kld" in message


def test_a_note_with_other_keys_is_no_note(written):
    write_parquet(written, pq.read_table(written), {"schema": "small", "made_by": MADE, "made": {}})
    assert "no 'small' table" in refusal(written)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.assign(value=t["value"] + 1e-15),
        lambda t: t.assign(value=t["value"].fillna(0.0)),
        lambda t: t.assign(flag=~t["flag"]),
        lambda t: t.assign(remark=t["remark"].fillna("")),
        lambda t: t[::-1],
        lambda t: t[:-1],
        lambda t: t.assign(count=t["count"] + 1),
        lambda t: t.assign(extra=1.0),
        lambda t: t.rename(columns={"extra_int": "extra_number"}),
        lambda t: t.assign(extra_int=t["extra_int"].astype("float64")),
    ],
)
def test_values_altered_by_another_program_are_noticed(tmp_path, change):
    path = tmp_path / "t.parquet"
    write_table(path, small().assign(extra_int=[0, 1, 2, 3, 4]), SMALL, MADE)
    rewritten(path, table=change(pq.read_table(path).to_pandas()))
    assert "was altered" in refusal(path)


def test_texts_can_not_slide_from_one_row_into_the_next(tmp_path):
    path = tmp_path / "t.parquet"
    table = small(2).assign(remark=["a\x1fb", "c"])
    write_table(path, table, SMALL, MADE)
    rewritten(path, table=table.assign(remark=["a", "b\x1fc"]))
    assert "was altered" in refusal(path)


def test_equal_tables_have_equal_digests_and_other_provenance_another(tmp_path):
    notes = []
    for number, made in enumerate((MADE, MADE, {**MADE, "commit": "x"})):
        path = tmp_path / f"{number}.parquet"
        write_table(path, small(), SMALL, made)
        notes.append(json.loads(pq.read_metadata(path).metadata[b"qkld"])["file_sha256"])
    assert notes[0] == notes[1] != notes[2]


def test_a_full_disk_leaves_the_old_table_and_says_so(small_disk):
    path = small_disk / "t.parquet"
    write_table(path, small(), SMALL, MADE)
    with pytest.raises(DiskError, match=r"(?s)cannot be written.*(No space left|File too large).*free some space"):
        write_table(path, small(200_000), SMALL, MADE)
    assert [p.name for p in small_disk.iterdir()] == ["t.parquet"]
    pd.testing.assert_frame_equal(read_table(path, SMALL, made_in="02")[["value"]], small()[["value"]])


def test_a_description_has_one_row_a_column_and_marks_keys_and_missing_values():
    lines = describe(SMALL).splitlines()
    assert lines[:2] == ["| column | type | meaning |", "| --- | --- | --- |"]
    assert lines[2] == "| **`name`** | str | a name |"
    assert lines[6] == "| `value` | float64 | a measured value; may be missing |"
    assert len(lines) == 2 + len(SMALL.columns)


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_documentation_shows_the_schemas_as_they_are(name):
    assert describe(SCHEMAS[name]) in tables_page()
