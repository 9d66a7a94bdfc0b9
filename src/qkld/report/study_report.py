"""What notebook 08 says of a study beside its figures: its numbers, limits, parameters and provenance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from qkld.analysis.cohort import plain_warning
from qkld.analysis.headline import shown_score
from qkld.analysis.study import LoadedStudy
from qkld.report.figures.axes import floor_of
from qkld.report.findings import headline_numbers
from qkld.report.numbers import flat_numbers, printed, significant
from qkld.report.sentences import count
from qkld.report.study_tables import notes_of, parameter_rows
from qkld.statistics.flips.one_item import MOST
from qkld.study.params import FLOOR_DTYPE
from qkld.study.provenance import METRICS_VERSION, made_by, write_json
from qkld.study.registry import OF_STUDIES
from qkld.study.text_table import TextTable, table_of_words

BROKEN_DOWN = "fidelity_breakdown"
"""A table too long for one file of numbers; its CSV file holds it."""

EXPLAINED = {"paired_fidelity": "low", BROKEN_DOWN: "low", "flips": "improvement_fraction", "decision": "net"}
"""Tables whose notes also say other things, with the column whose empty cells they explain."""


def study_numbers(study: LoadedStudy) -> dict[str, Any]:
    """Every number of a study under one flat key: its cohort and all its result tables; see `flat_numbers`.

    ``study/…`` holds what the study is: name, quants, zone rule and cut, the benchmark that headlines are about, and by
    which metrics version the tables were made.
    """
    zone = study.analysis("zone").iloc[0]
    facts = {
        "study/name": study.params.study,
        "study/quants": len(study.quants),
        "study/metrics_version": METRICS_VERSION,
        "study/headline_benchmark": shown_score(study).benchmark,
        "study/primary_score": study.params.primary_score,
        "study/zone_rule": str(zone["rule"]),
        "study/zone_cut": float(zone["cut"]),
        "study/zone_quants": int(zone["n_zone"]),
        **({"study/preregistration": study.preregistration.said} if study.preregistration else {}),
    }
    tables = {name: table for name, table in result_tables(study).items() if name != BROKEN_DOWN}
    return facts | flat_numbers({"cohort": study.cohort, **tables})


def result_tables(study: LoadedStudy) -> dict[str, pd.DataFrame]:
    """All result tables of notebooks 04 to 07 by name."""
    return {name: study.analysis(name) for name in OF_STUDIES}


def write_headline(path: Path, study: LoadedStudy) -> None:
    """Write the few numbers that README and documentation print sentences of, as JSON."""
    write_json(path, headline_numbers(study_numbers(study)))


def bullets(lines: Sequence[str], otherwise: str = "") -> str:
    """Lines as a list in Markdown; ``otherwise`` where there is none."""
    return "\n".join(f"- {line}" for line in lines) or otherwise


# --- what the study cannot show --------------------------------------------------------------------------------------


def limits_of(study: LoadedStudy) -> list[str]:
    """What this study cannot show, with its own sizes."""
    zone = study.analysis("zone").iloc[0]
    tasks = study.analysis("composite")
    used = tasks[tasks["in_composite"]]
    registered = [f"The study was {study.preregistration.said}."] if study.preregistration else []
    limits = [
        *registered,
        f"The zone holds {zone['n_zone']} of {zone['n_full']} quants; it was {zone['selection']}.",
        "A ρ near 0 in the zone also appears where KLD ranks true quality perfectly and the benchmarks have too few "
        "items to see the differences. The verdict tells the two apart as far as these items allow, for these quants "
        "and a smooth curve in √KLD.",
        "Quants of one family share a recipe, and all scores share their items: quants are not independent draws. The "
        "CSV files hold permutation p within families beside the free one.",
        "Everything here holds for this cohort, these texts and these benchmarks; the zone's cut is not a constant.",
    ]
    if len(used):
        error = printed(shown_score(study).reference_error, 1, percent=True)
        sizes = f"{int(used['items'].sum())} items in {count(len(used), 'benchmark')}"
        limits.insert(
            1 + len(registered),
            f"The composite rests on {sizes}; the reference's has a standard error of {error} points.",
        )
    else:
        limits.insert(
            1 + len(registered),
            "No benchmark enters the composite: the reference is too near chance on these few items.",
        )
    return [*limits, *_plain_warnings(study), *one_item_limit(study), *study.params.notes]


def _plain_warnings(study: LoadedStudy) -> list[str]:
    """One sentence for each quant that is a good part not quantized."""
    quants = study.cohort[study.cohort["role"] == "quant"]
    if "plain_trunk_share" not in quants:
        return []
    warnings = map(plain_warning, quants["label"], quants["plain_trunk_share"])
    return [f"{warning}." for warning in warnings if warning]


def one_item_limit(study: LoadedStudy) -> list[str]:
    """What one item weighs in the shown score, and for how many quants one item makes most of the difference."""
    table = study.analysis("decision")
    shown = table[table["benchmark"] == shown_score(study).benchmark]
    made = int((shown["one_item"] > MOST).sum())
    weight = printed(shown["item_weight"].iloc[0], percent=True)
    few = f"; for {made} of {len(shown)} quants a single item makes more than half of the difference to the reference"
    return [f"One item weighs up to {weight} points of the score{few if made else ''}."]


def missing_of(study: LoadedStudy) -> list[str]:
    """What is not available, and why: numbers without a value, a floor that was not found, entries to be checked."""
    missing = [
        f"{name}: {_one_line(reason)} ({count} {'row' if count == 1 else 'rows'})"
        for name, reason, count in notes_of(
            {n: t[t[EXPLAINED[n]].isna()] if n in EXPLAINED else t for n, t in result_tables(study).items()}
        )
    ]
    if floor_of(study.cohort) is None:
        missing.append(f"The floor of the compute dtype is {_no_floor(study)}, so no figure draws it.")
    for model in (study.params.reference, *study.params.quants):
        if model.to_be_checked:
            missing.append(f"{model.label}: still to be checked: {', '.join(model.to_be_checked)}")
    return missing


def _one_line(note: str) -> str:
    """A note of several reasons, each of which may be an error's text, as one sentence."""
    return note.replace(".; ", "; ").replace(" | ", "; ").rstrip(".")


def provenance_of(study: LoadedStudy) -> list[tuple[str, str]]:
    """Commit, versions and machine of the cohort and of this report, and what made each result table."""
    cohort, now = study.cohort_made_by, made_by()
    rows = [
        ("commit, cohort", str(cohort["commit"])),
        ("commit, report", str(now["commit"])),
        ("metrics version", str(cohort["metrics_version"])),
        ("machine", f"{cohort['machine']}, Python {cohort['python']}"),
        ("packages", ", ".join(f"{k} {v}" for k, v in cohort["packages"].items())),
    ]
    for name, table in OF_STUDIES.items():
        made = study.made(name)
        knobs = ", ".join(f"{k} {v}" for k, v in made["knobs"].items())
        rows.append((f"{name}.csv", f"{table.notebook}: {knobs}" if knobs else table.notebook))
    return rows


def facts_of(study: LoadedStudy) -> list[tuple[str, str]]:
    """The study in a few rows: reference, cohort, zone, text, benchmarks, floor."""
    params, zone = study.params, study.analysis("zone").iloc[0]
    unit = "nats" if zone["rule"] == "kld_cut" else "of 1"
    families = study.cohort[study.cohort["role"] == "quant"].groupby("family", sort=False).size()
    floor = floor_of(study.cohort)
    return [
        ("reference", f"{params.reference.recipe} ({params.reference.maker})"),
        ("quants", f"{len(study.quants)}: " + ", ".join(f"{n} {f}" for f, n in families.items())),
        ("zone", f"{zone['rule']} at {zone['cut']:g} {unit}: {zone['n_zone']} quants"),
        ("text", f"{params.headline.corpus}, windows of {params.headline.context or 'their own'} tokens"),
        ("benchmarks", ", ".join(study.benchmarks)),
        ("floor", _no_floor(study) if floor is None else f"{significant(floor)} nats per token"),
    ]


def _no_floor(study: LoadedStudy) -> str:
    """Why a figure draws no floor: the rounding changes nothing, or it could not be measured."""
    reasons = study.cohort.loc[study.cohort["label"] == FLOOR_DTYPE].get("note", [""])
    return next(filter(None, reasons), "0 or not measured")


# --- tables of what it is ---------------------------------------------------------------------------------------------


def facts_table(study: LoadedStudy) -> TextTable:
    """`facts_of` as a table."""
    return table_of_words(("the study", study.params.study), tuple(facts_of(study)))


def provenance_table(study: LoadedStudy) -> TextTable:
    """`provenance_of` as a table."""
    return table_of_words(("made by", "value"), tuple(provenance_of(study)))


def parameters_table(study: LoadedStudy) -> TextTable:
    """Every parameter of the study's YAML file but its quants; one row a corpus and a benchmark."""
    values = study.params.model_dump(mode="json", exclude={"quants", "description", "notes", "study"})
    several = [(f"{kind} {entry[name]}", entry) for kind, name in (("corpora", "name"), ("benchmarks", "task"))
               for entry in values[kind]]  # fmt: skip
    rows = [(title, "; ".join(f"{key} {value}" for key, value in parameter_rows(entry))) for title, entry in several]
    return table_of_words(("parameter", "value"), (*parameter_rows(values), *rows))


def quants_table(study: LoadedStudy) -> TextTable:
    """Every quant as the study's YAML file names it."""
    rows = tuple((q.label, q.family, q.maker, q.recipe, f"{q.nominal_bits:g}", q.method) for q in study.params.quants)
    return table_of_words(("quant", "family", "maker", "recipe", "nominal bits", "method"), rows)
