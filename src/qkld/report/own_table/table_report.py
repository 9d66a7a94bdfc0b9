"""The report of an analysed table: the answer in words, the quants, pictures, and below them every number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from qkld.analysis.own_table.checked_table import OwnTable
from qkld.report.numbers import NOT_AVAILABLE
from qkld.report.own_table.answer_in_words import points
from qkld.report.own_table.figures import CAPTIONS, LARGE
from qkld.report.own_table.quants_table import quants_text
from qkld.report.page import inlined, render_page
from qkld.report.text_tables import TEXTS
from qkld.statistics.core.checks import LEAST_QUANTS, is_divergence
from qkld.study.provenance import written_whole
from qkld.study.text_table import TextTable

SHOWN = 3
"""Notes that stand with the answer."""

LIMITS = (
    "A ρ near 0 among quants near the reference also appears where the metric ranks true quality perfectly and the "
    "benchmarks have too few items to see the differences; only answers item by item tell the two apart.",
    "Scores share their items and quants of one family share a recipe: quants are not independent draws.",
    "A zone or a margin that was chosen after looking at the scores makes its own result.",
)

TERMS = {
    "KLD": "Kullback–Leibler divergence of a quant's next-token probabilities from the reference's, averaged over the "
    "tokens of a text, in nats. 0: both predict the same. It says how far a quant is from the reference, and not "
    "whether it is worse.",
    "reference": "The model before quantization. It is not part of any correlation.",
    "zone": "The quants near the reference, by a cut that is fixed before scores are looked at: where one chooses.",
    "ρ": "Spearman's rank correlation over the quants: −1 where the lower metric always has the higher score, 0 where "
    "there is no relation, +1 the other way round. The interval says where ρ may lie with other quants.",
    "p": "How often a ρ as large would come about by chance, were there no relation.",
    "leapfrogs and drops": "Items that the quant answers right and the reference wrong, and the other way round. "
    "Their sum is the volume, how much moved; their difference is the score's.",
    "equivalent": "Shown by a test to differ by less than the margin from the reference; more than “no difference "
    "found”.",
    "verdict": "Carried: most of the true differences in score follow KLD. Direction missing: less than half do. "
    "Noise-limited: the items cannot tell the quants apart. Undetermined: they can, and do not decide.",
}
"""Terms of the report → what they mean, for readers who meet them here."""


NAMING = frozenset({"score", "benchmark", "quants", "quant", "n", "metric"})
"""Columns that say what a row is about; a table of them alone says nothing."""


def write_table_report(
    path: Path,
    own: OwnTable,
    summary: Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame],
    pictures: Mapping[str, bytes],
) -> None:
    """Write the report whole; ``summary`` is what ``summary.json`` holds."""
    margin = summary["margin"]
    texts = [shown for name, make in TEXTS.items() if name in tables and (shown := _filled(make(tables[name])))]
    html = render_page(
        "analysis.html",
        name=summary["table"],
        answer=_sentences(summary),
        quants=quants_text(tables["quants"], own, zone=summary["zone"], margin=margin),
        pictures=[
            {**inlined(name, _caption(name, summary), pictures[name]), "large": name in LARGE}
            for name in CAPTIONS
            if name in pictures
        ],
        facts=_facts(summary),
        tables=texts,
        terms=_terms(summary),
        missing=[*_lacking(summary["conclusions"]), *_empty(tables, own)],
        read=summary["read"],
        notes=[*summary["notes"], *LIMITS],
        provenance=_provenance(summary),
    )
    with written_whole(path) as temporary:
        temporary.write_text(html, encoding="utf-8")


def _sentences(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The answer, question by question."""
    answer = summary["answer"]
    asked = (
        ("Does the metric tell good quants from bad?", answer["headline"]),
        ("What decides that?", answer["decides"]),
        ("Which is the smallest quant as good as the reference?", answer["smallest"]),
        ("How many are decided?", f"{answer['decisions']}." if answer["decisions"] else ""),
        ("Which of two is the better?", f"{answer['order']}." if answer["order"] else ""),
        ("What says the probability of the right choice?", answer["second"]),
        ("What is to be kept in mind?", _first_notes(summary["notes"])),
    )
    return [(question, text) for question, text in asked if text]


def _first_notes(notes: Sequence[str]) -> str:
    more = f" {len(notes) - SHOWN} more are under Notes." if len(notes) > SHOWN else ""
    return " ".join(f"{note[0].upper()}{note[1:].rstrip('.')}." for note in notes[:SHOWN]) + more


def _caption(name: str, summary: Mapping[str, Any]) -> str:
    of_zone = " Shaded: the zone near the reference; its quants are filled." if summary["zone"] else ""
    return CAPTIONS[name] + (of_zone if name == "kld_score" else "")


def _terms(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The terms that this report uses."""
    unused = {
        "KLD": not (summary["fidelity"] and is_divergence(summary["fidelity"])),
        "reference": summary["reference"] is None,
        "zone": summary["zone"] is None,
        "ρ": not summary["correlations"],
        "p": not summary["correlations"],
        "leapfrogs and drops": summary["decision"] is None,
        "equivalent": summary["decision"] is None,
        "verdict": not summary["verdict"],
    }
    return [(term, meaning) for term, meaning in TERMS.items() if not unused[term]]


def _filled(table: TextTable) -> TextTable | None:
    """A table without columns and rows in which nothing stands; None where nothing is left."""
    void = ("", NOT_AVAILABLE, "none")
    kept = [i for i in range(len(table.columns)) if any(row[i] not in void for row in table.rows)]
    rows = tuple(tuple("" if row[i] == NOT_AVAILABLE else row[i] for i in kept) for row in table.rows)
    columns = tuple(table.columns[i] for i in kept)
    return None if set(columns) <= NAMING else TextTable(table.title, table.note, columns, rows)


def _facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    zone = summary["zone_quants"]
    items = summary["items"] or summary["n_items"]
    facts = [
        ("fidelity", summary["fidelity"]),
        ("scores", f"{', '.join(summary['scores'])}; read as {summary['score_unit']}"),
        ("composite", summary["composite"] if len(summary["scores"]) > 1 else ""),
        ("quants", str(summary["quants"])),
        ("reference", summary["reference"]),
        ("zone", f"{summary['zone']}: {', '.join(zone)}" if zone else summary["zone"]),
        ("items", ", ".join(f"{name} {n:,}" for name, n in items.items())),
        ("margin", points(summary["margin"]) if summary["decision"] else ""),
    ]
    return [(name, text) for name, text in facts if text]


def _lacking(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """What cannot be concluded, with what it would take."""
    return [f"{e['conclusion']}: needs {'; '.join(e['needs'])}" for e in entries if not e["available"]]


def _empty(tables: Mapping[str, pd.DataFrame], own: OwnTable) -> list[str]:
    """Why numbers are missing, each reason once a table."""
    few = len(own.quants) < LEAST_QUANTS
    reasons = (
        [f"reliability is not drawn: {len(own.quants)} quants are too few for a variance between them"] if few else []
    )
    for name, table in tables.items():
        if name in TEXTS and "note" in table:
            title = TEXTS[name](table).title
            notes = {part.strip() for note in table["note"].dropna() for part in str(note).split("|") if part.strip()}
            reasons += [f"{title}: {_plain(note)}" for note in sorted(notes)]
    return list(dict.fromkeys(reasons))


def _plain(note: str) -> str:
    """A note of a result table as one sentence for a reader."""
    return note.replace(".; expected: ", ": it takes ").replace("; found: ", "; there: ")


def _provenance(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    made = summary["made_by"]
    digest = f", SHA-256 {summary['table_sha256']}" if summary["table_sha256"] else ""
    return [
        ("table", f"{summary['table']}{digest}"),
        ("commit", str(made["commit"] or "not known")),
        ("metrics version", str(made["metrics_version"])),
        ("packages", ", ".join(f"{k} {v}" for k, v in made["packages"].items())),
    ]
