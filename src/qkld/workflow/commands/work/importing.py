"""``qkld import``: files of another tool, or a folder of anything → tables that the analysis reads."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from qkld.analysis.importing.formats import FORMATS
from qkld.analysis.importing.groups import parse_groups
from qkld.analysis.importing.imported import PAIRS, QUANTS, WINDOWS, Imported
from qkld.analysis.importing.imported_items import IMPORTED
from qkld.analysis.importing.matching import metric_notes
from qkld.analysis.importing.results import TABLE_FORMATS, Asked, import_folder, import_results
from qkld.errors import ParameterError
from qkld.study.provenance import made_by, sha256_of_file
from qkld.study.schemas import write_table

SCHEMAS = {"quants": QUANTS, "items": IMPORTED, "windows": WINDOWS, "pairs": PAIRS}
"""Table of an import → its schema, in the order of their weight."""

SHOWN = 60
"""Quants that are printed; the table on disk has all."""


def run_import(options: argparse.Namespace) -> str:
    """Import what the options of ``qkld import`` name, write the tables, and return what to print of them.

    Raises
    ------
    QkldError
        As `import_results` and `import_folder`; nothing is written then.
    """
    asked = Asked(
        options.label, options.filter, options.metric, parse_groups(options.group), options.windows, options.benchmark
    )
    known = options.format in (*FORMATS, *TABLE_FORMATS)
    if known or options.files:
        found, files = import_results(options.format, options.files, asked), options.files
    else:
        found, files = import_folder(Path(options.format), asked), [Path(options.format)]
    tables = {name: table for name in SCHEMAS if (table := getattr(found, name)) is not None}
    places = _places(options.out, tables)
    sources = {str(path): sha256_of_file(path) for path in files if path.is_file()}
    made = made_by(format=options.format, files=[str(p) for p in files], sha256=sources)
    for name, table in tables.items():
        write_table(places[name], table, SCHEMAS[name], made)
    return _text(found, tables, places)


def _places(out: Path, tables: Mapping[str, pd.DataFrame]) -> dict[str, Path]:
    """Where each table goes: into a folder, or the first to a name in .parquet and others beside it.

    Raises
    ------
    ParameterError
        If the name has another ending.
    """
    if not out.suffix or out.is_dir():
        return {name: out / f"{name}.parquet" for name in tables}
    if out.suffix != ".parquet":
        raise ParameterError(
            "--out needs a Parquet file or a folder.", expected="a name in .parquet, or a folder", found=out,
            do="rename it",
        )  # fmt: skip
    first, *others = tables
    return {first: out} | {name: out.with_name(f"{out.stem}_{name}.parquet") for name in others}


def _text(found: Imported, tables: Mapping[str, pd.DataFrame], places: Mapping[str, Path]) -> str:
    parts = [f"read: {line}" for line in found.found]
    parts += [f"{places[name]}: {len(table)} rows" for name, table in tables.items()]
    if found.items is not None:
        parts += [*metric_notes(found.items), _shares(found.items).to_string()]
    if found.quants is not None and "kl_mean" in found.quants:
        parts.append(quants_text(found.quants))
    if found.pairs is not None:
        parts.append(pairs_text(found.pairs))
    parts += [f"mind: {note}" for note in found.notes]
    return "\n".join((*parts, *_next(tables, places))) + "\n"


def _next(tables: Mapping[str, pd.DataFrame], places: Mapping[str, Path]) -> Sequence[str]:
    """The command that goes on from here, where there are scores to hold the fidelity against."""
    if "quants" not in tables or "items" not in tables:
        return ()
    names, quants = list(dict.fromkeys(tables["items"]["benchmark"])), tables["quants"]
    measured = quants[quants["kl_mean"].notna()] if "kl_mean" in quants else quants
    drop = " --missing drop" if measured[[n for n in names if n in quants]].isna().any(axis=None) else ""
    given = f"{places['quants']} --items {places['items']} --scores {','.join(names)}"
    return (f"next: qkld analyse {given} --reference LABEL{drop}",)


def _shares(items: pd.DataFrame) -> pd.DataFrame:
    """Right answers of right and wrong, for every model and benchmark."""
    counted = items.groupby(["model", "benchmark"], sort=False)["correct"].agg(["sum", "size"])
    return (counted["sum"].astype(str) + " of " + counted["size"].astype(str)).unstack()


def quants_text(quants: pd.DataFrame) -> str:
    """Each quant's mean KLD with its error, perplexity ratio and top-token agreement, nearest first."""
    shown = quants[quants["kl_mean"].notna()].sort_values("kl_mean", kind="stable").head(SHOWN)
    rows = [
        {
            "quant": row["label"],
            "mean KLD, nats": _with_error(row["kl_mean"], row.get("kl_mean_se_windows"), row.get("kl_mean_se")),
            "PPL ratio": _number(row.get("ppl_ratio"), 5),
            "same top token": _number(row.get("top1_agreement"), 4),
        }
        for row in shown.to_dict("records")
    ]
    return pd.DataFrame(rows).to_string(index=False)


def pairs_text(pairs: pd.DataFrame) -> str:
    """Each quant against the next one by mean KLD, in a sentence."""
    lines = []
    for row in pairs.itertuples():
        said = f"{row.label_b} − {row.label_a}: {row.kld_difference:.6f} nats"
        if pd.isna(row.t_p):
            lines.append(f"{said}, {row.note}")
        else:
            lines.append(f"{said} [{row.low:.6f}, {row.high:.6f}], p {row.t_p_holm:.2g} (Holm)")
    return "\n".join(lines)


def _with_error(value: float, by_windows: float | None, by_tokens: float | None) -> str:
    for error, of in ((by_windows, "windows"), (by_tokens, "tokens")):
        if error is not None and pd.notna(error):
            return f"{value:.6f} ± {error:.6f} ({of})"
    return f"{value:.6f}"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None or pd.isna(value) else f"{value:.{digits}f}"
