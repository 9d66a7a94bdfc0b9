"""A simulated cohort as somebody's own table with items, written once a session."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from simulated_study import BENCHMARKS, simulated_study


@dataclass(frozen=True)
class Own:
    """A table of 22 quants with their reference, as CSV, and its items in long form, as Parquet."""

    table: Path
    items: Path

    def with_table(self, folder: Path, change) -> Path:
        """A copy of the table, changed."""
        path = folder / "changed.csv"
        change(pd.read_csv(self.table)).to_csv(path, index=False)
        return path

    def with_items(self, folder: Path, change) -> Path:
        """A copy of the items, changed."""
        path = folder / "changed.parquet"
        change(pd.read_parquet(self.items)).to_parquet(path)
        return path


@pytest.fixture(scope="session")
def own(tmp_path_factory) -> Own:
    cohort, items = simulated_study()
    folder = tmp_path_factory.mktemp("own")
    kept = ["label", "family", "bits_per_weight", "kl_mean", *(f"score_{s}" for s in BENCHMARKS)]
    table = cohort.loc[cohort["role"] != "floor", kept].rename(columns=lambda c: c.removeprefix("score_"))
    table.to_csv(folder / "table.csv", index=False)
    items[["model", "benchmark", "item", "correct", "margin", "kl_prompt"]].to_parquet(folder / "items.parquet")
    return Own(folder / "table.csv", folder / "items.parquet")
