"""``qkld share``: tables of items → files of every_eval_ever."""

from __future__ import annotations

import argparse

from qkld.analysis.every_eval_ever_records import Origin, share_items
from qkld.analysis.gate.estimates import QuantsTable
from qkld.analysis.gate.thresholds import KLD
from qkld.analysis.importing import import_items


def run_share(options: argparse.Namespace) -> str:
    """Write the files that the options of ``qkld share`` ask for, and return what to print of them.

    Raises
    ------
    QkldError
        If a table cannot be read, or a model names no developer; nothing is written then.
    """
    items = import_items("csv", options.items)
    library, _, version = options.library.partition("==")
    origin = Origin(
        options.collection,
        options.developer,
        options.organization,
        options.relationship,
        library,
        version or "unknown",
    )
    divergences = None if options.quants is None else QuantsTable.read(options.quants).estimates(KLD)
    written = share_items(items, options.out, origin, divergences=divergences)
    return "".join(f"{path}: {model}\n" for path, model in zip(written, items["model"].unique(), strict=True))
