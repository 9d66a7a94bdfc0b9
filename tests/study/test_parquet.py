"""Tables beside one another: what they have alike is stored once, and read from where it is."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qkld.analysis.importing.long_table import read_long_table
from qkld.analysis.own_table.table_files import read_table_file
from qkld.study.parquet import AlteredFile, leaves_out, read_note, read_parquet, write_parquet

ROWS = 500
ITEMS = pd.DataFrame(
    {
        "item": [str(i) for i in range(ROWS)],
        "nll": np.r_[np.nan, np.random.default_rng(0).normal(size=ROWS - 1)],
        "scores": [np.float32([i, -i]) for i in range(ROWS)],
    }
)

MODELS = (("q8", 0.0), ("q4", 0.5))


@pytest.fixture
def beside(tmp_path):
    """A table written whole and one beside it, with the second's frame."""
    own = ITEMS.assign(kl=np.random.default_rng(1).normal(size=ROWS), model="q4")
    write_parquet(tmp_path / "reference.parquet", pa.Table.from_pandas(ITEMS.assign(model="reference")), {"by": 1})
    write_parquet(tmp_path / "q4.parquet", pa.Table.from_pandas(own), {"by": 2}, tmp_path / "reference.parquet")
    return tmp_path, own


def test_what_is_alike_is_stored_once_and_read_back(beside):
    folder, own = beside
    assert pq.read_schema(folder / "q4.parquet").names == ["kl", "model"]
    assert leaves_out(folder / "q4.parquet")
    assert not leaves_out(folder / "reference.parquet")
    table, note = read_parquet(folder / "q4.parquet")
    assert note["by"] == 2
    assert "base" not in note
    pd.testing.assert_frame_equal(table.to_pandas()[own.columns], own)
    cells = read_table_file(folder / "q4.parquet", ("kl",)).cells
    assert cells["item"].tolist() == own["item"].tolist()


def test_items_beside_others_are_read_as_a_user_gives_them(tmp_path):
    own = {m: ITEMS[["item"]].assign(benchmark="arc", model=m, correct=(ITEMS["nll"] > at) * 1) for m, at in MODELS}
    write_parquet(tmp_path / "q8.parquet", pa.Table.from_pandas(own["q8"]), {})
    write_parquet(tmp_path / "q4.parquet", pa.Table.from_pandas(own["q4"]), {}, tmp_path / "q8.parquet")
    items = read_long_table(tmp_path / "q4.parquet")
    assert items["item"].tolist() == ITEMS["item"].tolist()
    assert items["correct"].tolist() == own["q4"]["correct"].tolist()


def test_the_key_stays_in_every_file_for_readers_that_know_no_base(tmp_path):
    write_parquet(tmp_path / "q8.parquet", pa.Table.from_pandas(ITEMS.assign(model="q8")), {})
    own = ITEMS.assign(model="q4")
    write_parquet(
        tmp_path / "q4.parquet", pa.Table.from_pandas(own), {}, tmp_path / "q8.parquet", key=("model", "item")
    )
    plain = pd.read_parquet(tmp_path / "q4.parquet")
    pd.testing.assert_frame_equal(plain, own[["item", "model"]])
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "q4.parquet")[0].to_pandas()[own.columns], own)


@pytest.mark.parametrize("change", ["shorter", "another order", "another type", "one number"])
def test_what_is_not_alike_row_by_row_is_stored(change, tmp_path):
    other = {
        "shorter": ITEMS[:-1],
        "another order": ITEMS[::-1].reset_index(drop=True),
        "another type": ITEMS.assign(nll=ITEMS["nll"].astype(np.float32)),
        "one number": ITEMS.assign(nll=np.r_[ITEMS["nll"][:-1], 0.5]),
    }[change]
    write_parquet(tmp_path / "a.parquet", pa.Table.from_pandas(ITEMS), {})
    write_parquet(tmp_path / "b.parquet", pa.Table.from_pandas(other), {}, tmp_path / "a.parquet")
    assert "nll" in pq.read_schema(tmp_path / "b.parquet").names
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "b.parquet")[0].to_pandas()[ITEMS.columns], other)


def test_another_base_or_none_is_found(beside):
    folder, _ = beside
    base = folder / "reference.parquet"
    write_parquet(base, pa.Table.from_pandas(ITEMS.assign(model="reference")), {"by": "something else"})
    assert read_parquet(folder / "q4.parquet")[0].num_rows == ROWS
    write_parquet(base, pa.Table.from_pandas(ITEMS.assign(nll=0.0, model="reference")), {"by": 1})
    with pytest.raises(AlteredFile, match=r"reference\.parquet has other values"):
        read_parquet(folder / "q4.parquet")
    write_parquet(base, pa.Table.from_pandas(ITEMS.drop(columns="nll")), {"by": 1})
    with pytest.raises(AlteredFile, match=r"reference\.parquet has other values"):
        read_parquet(folder / "q4.parquet")
    base.unlink()
    with pytest.raises(AlteredFile, match=r"reference\.parquet, beside which it was written, is not there"):
        read_parquet(folder / "q4.parquet")


def test_a_note_without_anything_is_a_note(tmp_path):
    write_parquet(tmp_path / "a.parquet", pa.Table.from_pandas(ITEMS), {})
    table, note = read_parquet(tmp_path / "a.parquet")
    assert set(note) == set(read_note(tmp_path / "a.parquet")) == {"file_sha256"}
    pd.testing.assert_frame_equal(table.to_pandas(), ITEMS)
