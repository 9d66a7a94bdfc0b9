"""A study's report: one HTML file that holds its pictures, tables, limits and provenance, and fetches nothing."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from qkld.analysis.cohort import plain_warning
from qkld.analysis.headline import shown_score
from qkld.analysis.study import LoadedStudy
from qkld.report.figures.axes import floor_of
from qkld.report.numbers import flat_numbers, printed, significant
from qkld.report.study_tables import all_tables, notes_of, parameter_rows
from qkld.statistics.flips.one_item import MOST
from qkld.study.params import FLOOR_DTYPE
from qkld.study.provenance import METRICS_VERSION, made_by, write_json, written_whole
from qkld.study.registry import OF_STUDIES
from qkld.study.text_table import TextTable

CAPTIONS = {
    "kld_score": "Mean KLD of each quant against its score. Shaded, and filled markers: the zone. Dotted: the floor, "
    "the reference against itself in another dtype. Grey band: the reference's score and one standard error of it over "
    "items.",
    "variants": "Each measurement variant's ρ with the score, full cohort and zone, with bootstrap intervals; thin: "
    "the band that holds for all variants together.",
    "zone_curve": "ρ of mean KLD with the score for every cut of the zone, with pointwise intervals, and the number of "
    "quants inside. Dashed blue: where ρ would lie (5 to 95 %) were the true scores monotone in KLD. Dashed grey: the "
    "study's own cut.",
    "reliability": "Reliability of the score over all quants, for random subsets of the items and, by Spearman–Brown, "
    "for more of them. Dashed: this study's items.",
    "volume_direction": "Mean KLD against how many answers change, which way they change (Wilson intervals; at one "
    "half as many became right as wrong), and the score's difference to the reference.",
    "decision": "Score − reference score of every quant, by falling size. Thin: interval of the difference; thick: the "
    "one that equivalence rests on; grey: the margin.",
    "directional": "Metrics taken on one half of the items, by their ρ with the net score on the other half (mean over "
    "halves, bootstrap interval over quants). Dashed: KLD. Grey: where the largest |ρ| of all these metrics lies by "
    "chance. A ring: the gain over KLD holds among all of them.",
    "prompt_kld": "KLD of items that a quant failed and passed. Thin: 10th to 90th percentile; thick: quartiles; "
    "marker: geometric mean.",
    "bits_kld": "Bits stored a weight against mean KLD. Filled: in the zone. Dotted: the floor.",
}
"""Figure → caption; a figure named ``<figure>_<task>`` takes the caption of ``<figure>``."""


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
        "study/zone_rule": str(zone["rule"]),
        "study/zone_cut": float(zone["cut"]),
        "study/zone_quants": int(zone["n_zone"]),
    }
    tables = {name: table for name, table in result_tables(study).items() if name != BROKEN_DOWN}
    return facts | flat_numbers({"cohort": study.cohort, **tables})


def result_tables(study: LoadedStudy) -> dict[str, pd.DataFrame]:
    """All result tables of notebooks 04 to 07 by name."""
    return {name: study.analysis(name) for name in OF_STUDIES}


def write_numbers(path: Path, study: LoadedStudy) -> None:
    """Write `study_numbers` as JSON."""
    write_json(path, study_numbers(study))


# --- what the report says ---------------------------------------------------------------------------------------------


def limits_of(study: LoadedStudy) -> list[str]:
    """What this study can not show, with its own sizes."""
    zone = study.analysis("zone").iloc[0]
    tasks = study.analysis("composite")
    used = tasks[tasks["in_composite"]]
    reference = study.cohort[study.cohort["role"] == "reference"].iloc[0]
    limits = [
        f"The zone holds {zone['n_zone']} of {zone['n_full']} quants; it was {zone['selection']}.",
        "A ρ near 0 in the zone also appears where KLD ranks true quality perfectly and the benchmarks have too few "
        "items to see the differences. The verdict tells the two apart as far as these items allow, for these quants "
        "and a smooth curve in √KLD.",
        "Quants of one family share a recipe, and all scores share their items: quants are not independent draws. The "
        "CSV files hold permutation p within families beside the free one.",
        "Everything here holds for this cohort, these texts and these benchmarks; the zone's cut is not a constant.",
    ]
    if len(used):
        error = printed(reference["composite_se"], 1, percent=True)
        sizes = f"{int(used['items'].sum())} items in {len(used)} benchmarks"
        limits.insert(1, f"The composite rests on {sizes}; the reference's has a standard error of {error} points.")
    else:
        limits.insert(1, "No benchmark enters the composite: the reference is too near chance on these few items.")
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
        f"{name}: {reason} ({count} {'row' if count == 1 else 'rows'})"
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
        ("floor", _no_floor(study) if floor is None else f"{significant(floor)} nats a token"),
    ]


def _no_floor(study: LoadedStudy) -> str:
    """Why a figure draws no floor: the rounding changes nothing, or it could not be measured."""
    reasons = study.cohort.loc[study.cohort["label"] == FLOOR_DTYPE].get("note", [""])
    return next(filter(None, reasons), "0 or not measured")


def _quants_table(study: LoadedStudy) -> TextTable:
    rows = tuple((q.label, q.family, q.maker, q.recipe, f"{q.nominal_bits:g}", q.method) for q in study.params.quants)
    return TextTable("Quants", "As the study's YAML names them.",
                     ("label", "family", "maker", "recipe", "nominal bits", "method"), rows)  # fmt: skip


# --- rendering --------------------------------------------------------------------------------------------------------


def _picture(name: str, content: bytes) -> dict[str, str]:
    kind = name if name in CAPTIONS else next((k for k in CAPTIONS if name.startswith(f"{k}_")), "")
    task = name[len(kind) + 1 :] if kind != name else ""
    caption = CAPTIONS.get(kind, name)
    return inlined(name, f"{task}. {caption}" if task else caption, content)


def render_page(template: str, **values: Any) -> str:
    """A template of ``qkld/plotting`` filled in; what it names and is not given is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("qkld", "report/templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(template).render(**values)


def inlined(name: str, caption: str, content: bytes) -> dict[str, str]:
    """A PNG as the page's templates show it: its name, its caption, and its bytes as text."""
    return {"name": name, "caption": caption, "data": base64.b64encode(content).decode("ascii")}


def render_report(study: LoadedStudy, pictures: Mapping[str, bytes]) -> str:
    """The report as HTML. ``pictures`` maps a figure's name to its PNG; they are shown in this order."""
    values = study.params.model_dump(mode="json", exclude={"quants", "description", "notes", "study"})
    return render_page(
        "report.html",
        study=study.params.study,
        description=study.params.description,
        facts=facts_of(study),
        pictures=[_picture(name, content) for name, content in pictures.items()],
        tables=all_tables(study),
        limits=limits_of(study),
        missing=missing_of(study),
        parameters=list(parameter_rows(values)),
        corpora=[dict(parameter_rows(c)) for c in values["corpora"]],
        tasks=[dict(parameter_rows(b)) for b in values["benchmarks"]],
        quants=_quants_table(study),
        provenance=provenance_of(study),
    )


def write_report(path: Path, study: LoadedStudy, pictures: Mapping[str, bytes]) -> None:
    """Write the report whole: one file, pictures inlined, nothing fetched when it is read."""
    html = render_report(study, pictures)
    with written_whole(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
