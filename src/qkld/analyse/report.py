"""The report of an analysed table: one HTML file with its pictures, tables, limits and provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from qkld.analyse.figures import CAPTIONS
from qkld.plotting.axes import metric_name
from qkld.provenance import written_whole
from qkld.report import inlined, render_page
from qkld.text_tables import TEXTS, TextTable

LIMITS = (
    "A ρ near 0 in a zone also appears where the metric ranks true quality perfectly and the benchmarks have too few "
    "items to see the differences; only answers item by item tell the two apart.",
    "Scores share their items and quants of one family share a recipe: quants are not independent draws.",
    "A zone or a margin that was chosen after looking at the scores makes its own result.",
)


def write_table_report(
    path: Path, summary: Mapping[str, Any], tables: Mapping[str, pd.DataFrame], pictures: Mapping[str, bytes]
) -> None:
    """Write the report whole; ``summary`` is what ``summary.json`` holds."""
    html = render_page(
        "analysis.html",
        name=summary["table"],
        facts=_facts(summary),
        conclusions=_conclusions(summary["conclusions"]),
        pictures=[inlined(name, CAPTIONS[name], pictures[name]) for name in CAPTIONS if name in pictures],
        tables=[table for name, make in TEXTS.items() if name in tables for table in [make(tables[name])]],
        notes=[*summary["notes"], *_empty(tables), *LIMITS],
        provenance=_provenance(summary),
    )
    with written_whole(path) as temporary:
        temporary.write_text(html, encoding="utf-8")


def _facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    zone = summary["zone_quants"]
    decision = summary["decision"]
    facts = [
        ("fidelity", metric_name(summary["fidelity"])),
        ("scores", f"{', '.join(summary['scores'])}; read as {summary['score_unit']}"),
        ("quants", str(summary["quants"])),
        ("reference", summary["reference"] or "none named: nothing is measured from it"),
        ("zone", f"{summary['zone']}: {len(zone)} quants" if zone is not None else "none given"),
        ("items", _sizes(summary["items"]) or "not given"),
    ]
    if decision is not None:
        facts.append(("smallest equivalent quant", ", ".join(decision["smallest"]) or "none shown, or no size given"))
    return facts


def _sizes(items: Mapping[str, int] | None) -> str:
    return ", ".join(f"{name} {n}" for name, n in (items or {}).items())


def _conclusions(entries: Sequence[Mapping[str, Any]]) -> TextTable:
    rows = [(e["conclusion"], f"yes, from the {e['from']}" if e["available"] else f"needs {'; '.join(e['needs'])}")
            for e in entries]  # fmt: skip
    return TextTable("", "", ("conclusion", "available"), tuple(rows))


def _provenance(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    made = summary["made_by"]
    return [
        ("table", f"{summary['table']}, SHA-256 {summary['table_sha256']}"),
        ("commit", str(made["commit"])),
        ("metrics version", str(made["metrics_version"])),
        ("packages", ", ".join(f"{k} {v}" for k, v in made["packages"].items())),
    ]


def _empty(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Why numbers are missing: each table's notes, once each."""
    notes = (f"{name}: {note}" for name, t in tables.items() if "note" in t for note in t["note"].unique() if note)
    return list(dict.fromkeys(notes))
