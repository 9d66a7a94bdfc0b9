"""The measurement variants of fidelity that are compared, and the check that no two are one variant counted twice.

arXiv:2606.19558 compares 14 variants of five families and does not list them; these are this project's.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from qkld.errors import StatisticsError
from qkld.statistics.core.checks import Missing, complete_quants, joined, noted, quants_of, score_column
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.correlation.simultaneous import max_t, simultaneous_band
from qkld.statistics.correlation.twoway import ItemDraws
from qkld.statistics.zone.zone import full_and_zone

ONE_RANKING = (
    frozenset({"ppl", "ppl_ratio", "log_ppl", "log_ppl_ratio", "nll_mean", "nll_difference"}),
    frozenset({"top1_agreement", "top1_disagreement", "flip_rate_top1"}),
    frozenset({"dp_rms", "dp_mean_square"}),
)
"""Metrics of one text that are monotone functions of each other: within a group all quants rank alike, always."""

MAY_COINCIDE = frozenset({"ppl_ratio", "abs_log_ppl_ratio"})
"""Two variants by definition, though one is a function of the other where no quant is below the reference's perplexity.
That is a finding about a cohort and is reported, not refused."""


def check_variants_distinct(variants: Sequence[str], cohort: pd.DataFrame | None = None) -> None:
    """Refuse two variants that rank the quants identically by construction.

    By definition: two names of one group of `ONE_RANKING`, or one name twice. By the data, where a cohort is given: one
    column an affine function of the other, or of its logarithm, over at least four quants, whatever it is called.

    Raises
    ------
    StatisticsError
        Naming the pair.
    """
    columns = None if cohort is None else _columns(cohort, variants)
    for a, b in combinations(variants, 2):
        if a == b or any({a, b} <= group for group in ONE_RANKING):
            _refuse(a, b, "by their definition")
        if columns is not None and {a, b} != MAY_COINCIDE and _one_function(*_both_known(columns[a], columns[b])):
            _refuse(a, b, "in every quant: one is a linear function of the other or of its logarithm")


def _refuse(a: str, b: str, why: str) -> None:
    raise StatisticsError(
        f"Variants '{a}' and '{b}' rank quants identically {why}.",
        expected="variants that can differ",
        found=f"one variant counted twice: {a}, {b}",
        do=f"leave out '{b}'",
    )


def _columns(cohort: pd.DataFrame, variants: Sequence[str]) -> dict[str, np.ndarray]:
    quants = quants_of(cohort)
    return {v: quants[v].to_numpy(dtype=float) for v in variants}


def _both_known(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both columns of the quants that have a value in each."""
    known = ~(np.isnan(x) | np.isnan(y))
    return x[known], y[known]


def _one_function(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether y is an affine function of x, or the two are so after taking logarithms of one or both."""
    if len(x) < 4 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return False
    forms = [[v, np.log(v)] if (v > 0).all() else [v] for v in (x, y)]
    return any(_aligned(u, v) for u in forms[0] for v in forms[1])


def _aligned(u: np.ndarray, v: np.ndarray) -> bool:
    u, v = u - u.mean(), v - v.mean()
    return (u @ v) ** 2 >= (1 - 1e-12) * (u @ u) * (v @ v)


def same_ranks_as(variant: str, variants: Sequence[str], cohort: pd.DataFrame) -> str:
    """The other variants that rank these quants exactly alike or exactly the other way round, by name."""
    columns = _columns(cohort, [variant, *variants])
    others = [v for v in variants if v != variant]
    return " ".join(v for v in others if _rank_alike(*_both_known(columns[variant], columns[v])))


def _rank_alike(x: np.ndarray, y: np.ndarray) -> bool:
    ranks = stats.rankdata(np.stack([x, y]), axis=1)
    same, reverse = ranks[0] == ranks[1], ranks[0] == x.size + 1 - ranks[1]
    return bool(x.size) and bool(same.all() or reverse.all())


ADJUSTED = ("p_adjusted", "p_adjusted_within_families", "critical", "band_low", "band_high")
"""Columns that take account of how many variants are compared."""


def variants_table(
    cohort: pd.DataFrame,
    members: pd.Series,
    variants: Sequence[str],
    *,
    resampling: Resampling,
    benchmark: str = "composite",
    missing: Missing = "refuse",
    items: ItemDraws | None = None,
) -> pd.DataFrame:
    """Spearman of each variant with a score, full cohort beside zone; ``same_ranks_as`` names those that rank alike.

    `ADJUSTED` columns hold for all variants of one subset together: p by max-T, free and within families, the |ρ| that
    is significant among all, and the simultaneous band. Variants without a ρ are not among them.

    Raises
    ------
    StatisticsError
        If two variants rank identically by construction; and as `complete_quants`.
    """
    check_variants_distinct(variants, cohort)
    table = full_and_zone(cohort, members, variants, [benchmark], resampling=resampling, missing=missing, items=items)
    subsets = {"full": cohort, "zone": cohort[members]}
    parts = []
    for subset, rows in subsets.items():
        part = table[table["subset"] == subset].reset_index(drop=True)
        known = list(part.loc[part["estimate"].notna(), "metric"])
        parts.append(_adjusted(part, rows, known, score_column(benchmark), resampling, missing))
    table = pd.concat(parts, ignore_index=True)
    table["same_ranks_as"] = [
        same_ranks_as(row.metric, variants, subsets[row.subset]) for row in table.itertuples(index=False)
    ]
    return table


def _adjusted(
    table: pd.DataFrame, cohort: pd.DataFrame, known: list[str], score: str, resampling: Resampling, missing: Missing
) -> pd.DataFrame:
    """The rows of one subset with `ADJUSTED` columns; reasons why one is empty are added to every note."""
    table = table.assign(**dict.fromkeys(ADJUSTED, np.nan))
    if not known:
        return table
    quants, _ = complete_quants(cohort, [*known, score], missing=missing)
    columns = {"resampling": resampling, "names": known}
    parts = [
        lambda: _max_t_part("p_adjusted", quants, known, score, None, columns),
        lambda: _max_t_part("p_adjusted_within_families", quants, known, score, quants["family"], columns),
        lambda: _band_part(quants, known, score, columns),
    ]
    for part in parts if "family" in quants else (parts[0], parts[2]):
        found = noted(part, {})
        note = found.pop("note")
        table["note"] = [joined(old, note) for old in table["note"]]
        for column, values in found.items():
            table[column] = table["metric"].map(values)
    return table


def _max_t_part(
    name: str, quants: pd.DataFrame, known: list[str], score: str, families: pd.Series | None, columns: dict
) -> dict[str, dict[str, float]]:
    found = max_t(quants[known].to_numpy(), quants[score], families=families, **columns)
    part = {name: dict(zip(known, found.p, strict=True))}
    return part if families is not None else {**part, "critical": dict.fromkeys(known, found.critical)}


def _band_part(quants: pd.DataFrame, known: list[str], score: str, columns: dict) -> dict[str, dict[str, float]]:
    band = simultaneous_band(quants[known].to_numpy(), quants[score], **columns)
    return {"band_low": band["low"].to_dict(), "band_high": band["high"].to_dict()}
