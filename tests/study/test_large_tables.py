"""A spooled table is the table that its blocks make, and is not taken into memory to be written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated_tokens import token_table

from qkld.errors import DiskError, TableError
from qkld.statistics.tokens.fidelity import summarise
from qkld.study.large_tables import spooled
from qkld.study.provenance import made_by
from qkld.study.schemas import TOKENS, read_table, write_table

HOW = {"confidence": 0.95, "bootstrap": 20}


@pytest.fixture
def blocks() -> list[pd.DataFrame]:
    """Windows of two corpora in turn, some tokens of which have no finite logits."""
    rng = np.random.default_rng(5)
    prose, code = (token_table(rng, corpus=name, windows=6, tokens=7) for name in ("prose", "code"))
    prose.loc[[3, 20], ["kl", "nll_quant", "p_quant", "top5_shared"]] = np.nan
    parts = [t[t["window"] == window] for window in range(6) for t in (prose, code)]
    return [TOKENS.checked(part) for part in parts]


def test_a_spooled_table_is_written_byte_for_byte_as_the_whole_one_is(
    tmp_path: Path, blocks: list[pd.DataFrame]
) -> None:
    whole = pd.concat(blocks, ignore_index=True)
    made = made_by(quant="q")
    write_table(tmp_path / "whole.parquet", whole, TOKENS, made)
    write_table(tmp_path / "spooled.parquet", spooled(tmp_path / "tokens.arrow", iter(blocks)), TOKENS, made)
    assert (tmp_path / "spooled.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    both = [read_table(tmp_path / f"{name}.parquet", TOKENS, made_in="a test") for name in ("whole", "spooled")]
    pd.testing.assert_frame_equal(*both, check_exact=True)


def test_the_rows_of_one_window_are_those_of_the_whole_table(tmp_path: Path, blocks: list[pd.DataFrame]) -> None:
    whole = pd.concat(blocks, ignore_index=True)
    rows = spooled(tmp_path / "tokens.arrow", blocks).where(corpus="code", window=3)
    expected = whole[(whole["corpus"] == "code") & (whole["window"] == 3)].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows, expected, check_exact=True, check_dtype=False)


def test_its_summary_is_the_whole_tables_bit_for_bit(tmp_path: Path, blocks: list[pd.DataFrame]) -> None:
    whole = pd.concat(blocks, ignore_index=True)
    summaries = [
        summarise(tokens, "q", **HOW, rng=np.random.default_rng(1))
        for tokens in (whole, spooled(tmp_path / "tokens.arrow", blocks))
    ]
    pd.testing.assert_frame_equal(*summaries, check_exact=True)


def test_its_columns_are_the_blocks_and_outlive_the_file(tmp_path: Path, blocks: list[pd.DataFrame]) -> None:
    table = spooled(tmp_path / "tokens.arrow", blocks)
    (tmp_path / "tokens.arrow").unlink()
    whole = pd.concat(blocks, ignore_index=True)
    assert (table.columns, len(table)) == (list(whole.columns), len(whole))
    pd.testing.assert_frame_equal(table.whole(), whole, check_exact=True)
    pd.testing.assert_series_equal(table["kl"], whole["kl"], check_names=False, check_exact=True)


def test_blocks_are_taken_one_at_a_time(tmp_path: Path, blocks: list[pd.DataFrame]) -> None:
    alive = []

    def one_by_one():
        for block in blocks:
            alive.append((tmp_path / "tokens.arrow").exists())
            yield block

    assert len(spooled(tmp_path / "tokens.arrow", one_by_one())) == sum(map(len, blocks))
    assert alive == [False] * len(blocks)  # the file has its name only once it is whole


def test_no_block_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no rows"):
        spooled(tmp_path / "tokens.arrow", iter(()))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing_and_says_so(small_disk: Path) -> None:
    block = TOKENS.checked(token_table(np.random.default_rng(1), windows=40))
    with pytest.raises(DiskError, match="free"):
        spooled(small_disk / "tokens.arrow", [block] * 2)
    assert not list(small_disk.iterdir())
