"""`qkld analyse`: from a table, and items where there are any, to a summary, result tables, figures and a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from qkld.analysis.correlation_tables import partial_table
from qkld.analysis.evidence import Evidence, Part, Settings
from qkld.analysis.flip_tables import decision_table, direction_table, flip_table, pair_table, thinning_table
from qkld.analysis.own_table.answers_by_item import Reading
from qkld.analysis.own_table.checked_table import OwnTable, describe_rows
from qkld.analysis.own_table.given import Asked, read_given
from qkld.analysis.own_table.measure import Columns
from qkld.analysis.own_table.score_columns import doubts
from qkld.analysis.prompt_tables import (
    baseline_table,
    directional_table,
    flip_signal_table,
    prompt_table,
    router_table,
    within_table,
)
from qkld.analysis.score_tables import probability_table, two_scores_table
from qkld.analysis.zone_tables import (
    curve_table,
    edge_table,
    full_and_zone,
    leave_one_out_table,
    noise_table,
    verdict_table,
)
from qkld.errors import StatisticsError
from qkld.report.own_table.answer_in_words import answer_of
from qkld.report.own_table.conclusions import conclusions
from qkld.report.own_table.figures import save_figures
from qkld.report.own_table.quants_table import quants_table
from qkld.report.own_table.table_report import write_table_report
from qkld.statistics.core.checks import Missing, is_divergence, quants_of, score_column
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.flips.decision import DECISIONS, UNDECIDED, pair_counts
from qkld.statistics.items.probability import Score
from qkld.statistics.noise.score_noise import not_whole, score_noise_table
from qkld.study.provenance import made_by, sha256_of_file, write_json, written_whole
from qkld.study.registry import registered

PAPER = Resampling(confidence=0.95, resamples=10_000, permutations=9_999, seed=2606)
"""The paper's bootstrap (percentile, B = 10,000, 95 %), with permutations and a seed of this project."""

LEAST_TO_ORDER = 2
"""Quants of which two can be put in order."""

MARGIN = 0.01
"""Difference of scores that does not matter unless another is given: one point."""

COMPOSITE = "unweighted mean of the score columns; whether each is above chance cannot be seen from a table"


def analyse_table(
    table: Path | str | None,
    fidelity: str | None = None,
    scores: Sequence[str] | None = None,
    reference: str | None = None,
    zone: str | None = None,
    out: Path | str | None = None,
    *,
    items: Path | str | None = None,
    n_items: Mapping[str, int] | None = None,
    missing: Missing = "refuse",
    margin: float = MARGIN,
    size: str | None = None,
    remarks: Sequence[str] = (),
    reading: Reading | None = None,
    columns: Columns | None = None,
    choices: Mapping[str, int] | None = None,
    primary_score: Score | None = None,
    probability_margin: float | None = None,
    resampling: Resampling = PAPER,
    settings: Settings | None = None,
) -> dict[str, Any]:
    """A fidelity column against scores, and what the answers behind the scores allow to conclude.

    Parameters
    ----------
    table : one quant a row, in one of the forms of `qkld.analysis.own_table.table_files`; None where there are items
    alone fidelity, scores : its columns; scores are fractions or percent, which is recognised and stated. Without a
    fidelity
        column the one that is a mean KL divergence by its name is taken; without any, the rest is given
    reference : label of the reference's row; it is not part of any correlation
    zone : ``COLUMN<=NUMBER``, to be fixed before looking at scores
    out : folder for ``summary.json``, the result tables as CSV, figures and ``report.html``
    items : answers item by item: see `qkld.analysis.own_table.answers_by_item.load_items`
    n_items : score → items behind it, for standard errors where there are no items
    missing : "drop" leaves out quants with empty cells or missing answers, by name; "refuse" names them and stops
    margin : difference to the reference that does not matter, a fraction of 1, to be fixed beforehand
    size : column by which the smallest equivalent quant is the smallest, for example stored bytes; the correlation at
        equal size is given with it
    reading : filter, metric and groups of the items
    columns : which columns are the label, and what the fidelity column is
    choices : score → choices of an item, by which scores at chance are named, where it is not a known benchmark
    primary_score : the score that decides where items have the probability of the right choice too; accuracy if None
    probability_margin : as ``margin``, of that probability
    remarks : what a reader should know of the table, put before the notes
    settings : draws and least numbers, such as those of a study; ``margin`` stands above theirs

    Returns
    -------
    dict
        What ``summary.json`` holds. A number that is not available is None, and ``note`` beside it says why.

    Raises
    ------
    TableError, StatisticsError
        As `read_own_table`, `load_items` and `items_of`; or if something of the second score is asked for and the items
        have none.
    """
    asked = Asked(fidelity, tuple(scores or ()), reference, zone, size, columns or Columns())
    path, own, found = read_given(table, items, asked, reading=reading or Reading(), missing=missing)
    second = {"primary_score": primary_score, "probability_margin": probability_margin}
    settings = _settings(settings, resampling, margin, second)
    whole = Evidence.of_table(own, None, resampling, settings)
    given = None if found is None else Evidence.of_table(own, found, resampling, settings)
    _check_second(given, second)
    counts = dict(n_items or {})
    notes = (*remarks, *own.notes, *(found.notes if found else ()), *_doubtful_counts(own, counts))
    counts = given.sizes if given is not None else {**own.behind, **counts}
    tables = _tables(own, whole, given, counts if given is None else n_items or {})
    if zone is None:
        tables = {name: _only_full(found) for name, found in tables.items()}
    deciding = margin if settings.primary_score == "accuracy" else settings.probability_margin
    answer = answer_of(own, tables, zone=zone, sizes=None if given is None else given.sizes, margin=deciding)
    summary = {
        "table": path.name,
        "table_sha256": sha256_of_file(path) if path.is_file() else None,
        "answer": answer.entries(),
        **_facts(own, given, zone, counts if given is None else n_items or {}, margin),
        "read": list(own.read),
        "notes": [*notes, *_doubts(own, choices or {}, counts)],
        **_results(tables),
    }
    if out is not None:
        shown = quants_table(own, tables, sizes=counts)
        for name, found in tables.items():
            registered(name).check(found.columns)
        _write(Path(out), own, summary, {**tables, "quants": shown})
    return summary


def _settings(given: Settings | None, resampling: Resampling, margin: float, second: Mapping[str, Any]) -> Settings:
    """Those that are given, else the usual ones at the level of the resampling."""
    level = resampling.confidence
    usual = given or Settings(direction_confidence=level, prompt_confidence=level)
    return replace(usual, equivalence_margin=margin, **{k: value for k, value in second.items() if value is not None})


def _check_second(given: Evidence | None, second: Mapping[str, Any]) -> None:
    """Refuse a margin or a rank of a score that is not there."""
    margin, primary = second["probability_margin"], second["primary_score"]
    asked = [] if margin is None else [f"a margin of {margin:g}"]
    asked += ["the primary score"] if primary == "probability" else []
    if asked and (given is None or not given.has("probability")):
        raise StatisticsError(
            "The probability of the right choice was requested but is not available.",
            expected="items with the probability of the right choice, or the choices' log-probabilities",
            found=f"{' and '.join(asked)}, and no such score",
            do="give them with --items as columns logp_0, logp_1, … beside `right`, or leave out these options",
        )


def _doubts(own: OwnTable, choices: Mapping[str, int], sizes: Mapping[str, int]) -> list[str]:
    """Notes on scores that may be no accuracies, or lie at chance."""
    columns = {score: score_column(score) for score in own.scores}
    return doubts(own.cohort, own.fidelity, columns, unit=own.unit, choices=choices, items=sizes)


# --- the tables -------------------------------------------------------------------------------------------------------

OF_ANSWERS: Mapping[str, tuple[Callable[[Evidence], pd.DataFrame], tuple[Part, ...]]] = {
    "noise": (noise_table, ("fidelity",)),
    "verdict": (verdict_table, ("kld",)),
    "leave_one_out": (leave_one_out_table, ("kld",)),
    "pairs": (pair_table, ()),
    "prompts": (prompt_table, ("item_kld",)),
    "prompt_baselines": (baseline_table, ("item_kld",)),
    "prompt_within": (within_table, ("item_kld",)),
    "router": (router_table, ("item_kld",)),
    "prompt_flips": (flip_signal_table, ("item_kld", "base")),
    "directional": (directional_table, ("item_kld", "base", "kld")),
    "flips": (flip_table, ("base",)),
    "volume_direction": (direction_table, ("base", "fidelity")),
    "thinning": (thinning_table, ("base", "fidelity")),
    "decision": (decision_table, ("base",)),
    "two_scores": (two_scores_table, ("kld", "probability")),
    "probability": (probability_table, ("base", "probability")),
    "zone_edge": (lambda evidence: edge_table(evidence, list(evidence.groups)), ("base", "kld")),
}
"""Table that rests on answers → what makes it, and what it needs beside them."""


OF_THE_PRIMARY = frozenset({"noise", "verdict", "leave_one_out", "decision"})
"""Those that are by the score that was named to decide; the others are of answers, or of both scores."""


def _tables(
    own: OwnTable, whole: Evidence, answered: Evidence | None, n_items: Mapping[str, int]
) -> dict[str, pd.DataFrame]:
    """Every result table by name, of the ``whole`` table and of what of it is ``answered`` item by item."""
    complete = answered is not None and answered.quants == whole.quants and answered.groups == whole.groups
    primary = None if answered is None else answered.primary
    of_scores, tables = primary if complete else whole, {}
    if whole.has("fidelity"):
        tables["correlation"] = full_and_zone(of_scores)
        tables["zone_curve"] = curve_table(primary if answered is not None and whole.has("kld") else whole)
    if whole.has("fidelity") and "size" in own.cohort and quants_of(own.cohort)["size"].notna().any():
        tables["partial"] = partial_table(of_scores)
    if n_items:
        tables["score_noise"] = score_noise_table(own.cohort, own.members, n_items, own.scores)
    for name, (make, needs) in OF_ANSWERS.items() if answered is not None else ():
        if answered.has(*needs) and not (name == "pairs" and len(answered.quants) < LEAST_TO_ORDER):
            tables[name] = make(primary if name in OF_THE_PRIMARY else answered)
    return tables


def _only_full(table: pd.DataFrame) -> pd.DataFrame:
    """Without a zone there is nothing to say of one."""
    return table[table["subset"] == "full"].reset_index(drop=True) if "subset" in table else table


def _facts(
    own: OwnTable, given: Evidence | None, zone: str | None, n_items: Mapping[str, int], margin: float
) -> dict[str, Any]:
    reference = own.reference is not None if given is None else given.reference is not None
    return {
        "fidelity": own.fidelity,
        "scores": list(own.scores),
        "score_unit": own.unit,
        "composite": COMPOSITE,
        "reference": own.reference,
        "quants": len(own.quants),
        "zone": zone,
        "zone_example": own.zone_example,
        "margin": margin,
        "zone_quants": list(own.cohort.loc[own.members, "label"]) if zone else None,
        "items": None if given is None else given.sizes,
        "n_items": dict(n_items),
        "conclusions": conclusions(
            items=given is not None,
            reference=reference,
            counts=bool(n_items),
            zone=zone is not None,
            divergence=own.fidelity is not None and is_divergence(own.fidelity),
            families="family" in own.cohort,
        ),
    }


def _doubtful_counts(own: OwnTable, n_items: Mapping[str, int]) -> list[str]:
    quants = quants_of(own.cohort)
    odd = [s for s, n in n_items.items() if s in own.scores and not_whole(quants[score_column(s)], n, own.rounding)]
    return [f"no whole numbers of right answers with the --n-items given: {', '.join(odd)}"] if odd else []


def _results(tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """What of the tables stands in the summary; None for what could not be looked at."""
    found: dict[str, Any] = {"correlations": [], "decision": None, "pairs": None}
    if "correlation" in tables:
        found["correlations"] = describe_rows(tables["correlation"])
    for name in ("partial", "score_noise", "noise", "verdict", "thinning", "two_scores", "probability"):
        found[name] = describe_rows(tables[name]) if name in tables else None
    if "decision" in tables:
        found["decision"] = _decided(tables["decision"])
    if "pairs" in tables:
        found["pairs"] = pair_counts(tables["pairs"])
    return found


def _decided(decision: pd.DataFrame) -> dict[str, Any]:
    """The headline's decisions: labels by decision, and the items that each undecided quant would take."""
    rows = decision[decision["benchmark"] == decision["benchmark"].iloc[-1]]
    by = {d: list(rows.loc[rows["decision"] == d, "label"]) for d in DECISIONS}
    return {
        "benchmark": str(rows["benchmark"].iloc[0]),
        "margin": float(rows["margin"].iloc[0]),
        "items": int(rows["items"].iloc[0]),
        **by,
        "smallest": list(rows.loc[rows["smallest"], "label"]),
        "items_needed": {r.label: int(r.items_needed) for r in rows.itertuples() if r.decision == UNDECIDED},
    }


def _write(out: Path, own: OwnTable, summary: dict[str, Any], tables: Mapping[str, pd.DataFrame]) -> None:
    for name, table in tables.items():
        with written_whole(out / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)
    made = {**summary, "made_by": made_by()}
    write_json(out / "summary.json", made)
    of_reference = tables["quants"].loc[tables["quants"]["role"] == "reference", "score_se"].dropna()
    pictures = save_figures(out, own, tables, reference_error=next(iter(of_reference), None))
    write_table_report(out / "report.html", own, made, tables, pictures)
