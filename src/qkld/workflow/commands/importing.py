"""``qkld import``: files of another tool → one table of items."""

from __future__ import annotations

import argparse

import pandas as pd

from qkld.analysis.importing.formats import import_items
from qkld.analysis.importing.groups import parse_groups
from qkld.analysis.importing.matching import metric_notes
from qkld.analysis.importing.tables import IMPORTED
from qkld.errors import ParameterError
from qkld.study.provenance import made_by, sha256_of_file
from qkld.study.schemas import write_table


def run_import(options: argparse.Namespace) -> str:
    """Import what the options of ``qkld import`` name, write the table, and return what to print of it.

    Raises
    ------
    QkldError
        As `import_items`; nothing is written then.
    """
    if options.out.suffix != ".parquet":
        raise ParameterError(
            "--out needs a Parquet file.", expected="a name in .parquet", found=options.out, do="rename it"
        )
    items = import_items(
        options.format,
        options.files,
        labels=options.label,
        filter_name=options.filter,
        metric=options.metric,
        groups=parse_groups(options.group),
    )
    sources = {str(path): sha256_of_file(path) for path in options.files if path.is_file()}
    made = made_by(format=options.format, files=[str(p) for p in options.files], sha256=sources)
    write_table(options.out, items, IMPORTED, made)
    taken = "".join(f"{note}\n" for note in metric_notes(items))
    return f"{options.out}: {len(items)} rows\n{taken}{_shares(items).to_string()}\n"


def _shares(items: pd.DataFrame) -> pd.DataFrame:
    """Right answers of right and wrong, for every model and benchmark."""
    counted = items.groupby(["model", "benchmark"], sort=False)["correct"].agg(["sum", "size"])
    return (counted["sum"].astype(str) + " of " + counted["size"].astype(str)).unstack()
