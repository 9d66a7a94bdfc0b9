"""Volume and direction of disagreement with the reference.

An item that the quant has right and the reference wrong is a leapfrog, the other way round a drop; both together are
flips (Dutta et al. 2024, arXiv:2407.09141). The identity of arXiv:2606.19558,
score = reference score + volume (2f − 1)/N with f = leapfrogs/volume, is score − reference = (L − D)/N, which holds
exactly and at volume 0 too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from statsmodels.stats.proportion import proportion_confint

from qkld.errors import StatisticsError, explain
from qkld.statistics.checks import quants_of
from qkld.statistics.correlation import Resampling, correlate
from qkld.statistics.paired import difference_interval, mcnemar_exact, mcnemar_midp
from qkld.statistics.sample_size import items_for_difference
from qkld.statistics.score import correct_matrix

QUANTITIES = ("leapfrogs", "drops", "volume", "flip_rate", "net", "improvement_fraction", "z")
"""What a fidelity metric is correlated with: how much moved (the first four), and which way (the last three)."""


@dataclass(frozen=True)
class Flips:
    """Counts of one model on one benchmark beside the reference."""

    items: int
    reference_right: int
    model_right: int
    leapfrogs: int
    drops: int

    def __post_init__(self) -> None:
        if self.model_right - self.reference_right != self.leapfrogs - self.drops:
            raise StatisticsError(
                explain(
                    "Scores and flips do not agree.",
                    expected=f"L − D = {self.model_right - self.reference_right}, the difference of right answers",
                    found=f"L − D = {self.leapfrogs} − {self.drops}",
                    do="count both from the same items",
                )
            )

    @property
    def volume(self) -> int:
        """Items on which the two disagree: leapfrogs + drops."""
        return self.leapfrogs + self.drops

    @property
    def flip_rate(self) -> float:
        """Volume as a fraction of the items."""
        return self.volume / self.items

    @property
    def net(self) -> Fraction:
        """Score minus the reference's score, exactly: (L − D)/N."""
        return Fraction(self.leapfrogs - self.drops, self.items)

    @property
    def improvement_fraction(self) -> float:
        """Leapfrogs as a fraction of the volume; NaN at volume 0, where it is not defined."""
        return self.leapfrogs / self.volume if self.volume else np.nan

    def improvement_interval(self, confidence: float) -> tuple[float, float]:
        """Wilson interval of the improvement fraction; NaN at volume 0."""
        if not self.volume:
            return np.nan, np.nan
        low, high = proportion_confint(self.leapfrogs, self.volume, alpha=1 - confidence, method="wilson")
        return float(low), float(high)

    @property
    def z(self) -> float:
        """Signed root of McNemar's χ² without correction, (L − D)/√(L + D); NaN at volume 0."""
        return (self.leapfrogs - self.drops) / np.sqrt(self.volume) if self.volume else np.nan


def count_flips(reference_correct: ArrayLike, model_correct: ArrayLike) -> Flips:
    """Leapfrogs and drops of a model against the reference; 0/1 a item, the same items in the same order.

    Raises
    ------
    StatisticsError
        If lengths differ, there is no item, or a value is neither 0 nor 1.
    """
    reference, model = np.asarray(reference_correct), np.asarray(model_correct)
    if (
        reference.shape != model.shape
        or not reference.size
        or not (np.isin(reference, (0, 1)) & np.isin(model, (0, 1))).all()
    ):
        raise StatisticsError(
            explain(
                "Flips need one right or wrong answer an item from both models.",
                expected="two equally long, non-empty columns of 0 and 1",
                found=f"shapes {reference.shape} and {model.shape}, values {np.unique([*reference, *model])[:4]}",
                do="give both models' `correct` on the same items",
            )
        )
    reference, model = reference.astype(bool), model.astype(bool)
    return Flips(
        items=reference.size,
        reference_right=int(reference.sum()),
        model_right=int(model.sum()),
        leapfrogs=int((model & ~reference).sum()),
        drops=int((reference & ~model).sum()),
    )


def flip_table(
    items: pd.DataFrame, *, reference: str, benchmarks: Sequence[str], tasks: Sequence[str], confidence: float
) -> pd.DataFrame:
    """Flips of every model but the reference on every benchmark, and on the composite of ``tasks``.

    Items count as drawn one by one; `decision.decision_table` takes clusters of items into account.

    ``net_low`` and ``net_high`` are Tango's interval, ``p_midp`` and ``p_exact`` McNemar's test, ``items_half_point``
    and ``items_point`` the items on which a true difference of 0.5 and 1 point would be found with power .8.

    Rows of ``composite``: counts are sums over its tasks; ``flip_rate`` and ``net`` are unweighted means of the tasks',
    so that ``net`` is exactly the difference of the composites; ``improvement_fraction``, ``z`` and McNemar's p are of
    the sums, the interval is of the mean.
    """
    counted: dict[str, dict[str, list[Flips]]] = {}
    for benchmark in benchmarks:
        matrix = correct_matrix(items, benchmark)
        models = matrix.columns.drop(reference)
        counted[benchmark] = {m: [count_flips(matrix[reference], matrix[m])] for m in models}
    if tasks:
        counted["composite"] = {m: [counted[t][m][0] for t in tasks] for m in counted[tasks[0]]}
    return pd.concat([_benchmark_rows(*each, confidence) for each in counted.items()], ignore_index=True)


def _benchmark_rows(benchmark: str, counted: Mapping[str, Sequence[Flips]], confidence: float) -> pd.DataFrame:
    """One row a model from its flips on each task that the benchmark consists of."""
    table = pd.DataFrame([_row(label, benchmark, parts, confidence) for label, parts in counted.items()])
    counts = [[[getattr(p, f) for p in parts] for parts in counted.values()] for f in ("leapfrogs", "drops", "items")]
    low, high = difference_interval(*counts, confidence)
    rate, largest = effective_flip_rate(*counts), table["flip_rate"]
    needed = partial(items_for_difference, rate, confidence=confidence, largest=largest)
    note = table.pop("note")
    return table.assign(
        net_low=low,
        net_high=high,
        p_midp=mcnemar_midp(table["leapfrogs"], table["drops"]),
        p_exact=mcnemar_exact(table["leapfrogs"], table["drops"]),
        items_half_point=needed(0.005),
        items_point=needed(0.01),
        note=note,
    )


def _row(label: str, benchmark: str, parts: Sequence[Flips], confidence: float) -> dict[str, Any]:
    """One row from a model's flips on each task that the benchmark consists of."""
    pooled = Flips(
        *(sum(getattr(p, f) for p in parts) for f in ("items", "reference_right", "model_right", "leapfrogs", "drops"))
    )
    low, high = pooled.improvement_interval(confidence)
    return {
        "label": label,
        "benchmark": benchmark,
        "items": pooled.items,
        "reference_right": pooled.reference_right,
        "model_right": pooled.model_right,
        "leapfrogs": pooled.leapfrogs,
        "drops": pooled.drops,
        "volume": pooled.volume,
        "flip_rate": float(np.mean([p.flip_rate for p in parts])),
        "net": float(sum(p.net for p in parts) / len(parts)),
        "improvement_fraction": pooled.improvement_fraction,
        "improvement_low": low,
        "improvement_high": high,
        "z": pooled.z,
        "note": "" if pooled.volume else "no answer changed: the direction is not defined",
    }


def effective_flip_rate(leapfrogs: ArrayLike, drops: ArrayLike, items: ArrayLike) -> np.ndarray:
    """The flip rate at which one task with all the items would have the mean's variance; tasks on the last axis.

    With one task it is its flip rate; with B tasks N Σ f_b/(B² N_b), N all items: more items are taken in the same
    proportions.
    """
    leapfrogs, drops, items = (np.asarray(v, dtype=float) for v in (leapfrogs, drops, items))
    tasks = items.shape[-1]
    return items.sum(axis=-1) * ((leapfrogs + drops) / items**2).sum(axis=-1) / tasks**2


def direction_table(
    flips: pd.DataFrame,
    cohort: pd.DataFrame,
    members: pd.Series,
    *,
    resampling: Resampling,
    metric: str = "kl_mean",
    reliability: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Spearman of a fidelity metric with each of `QUANTITIES`, full cohort and zone, each benchmark and the composite.

    ``reliability`` is `qkld.statistics.direction.direction_reliability`'s table for the same two subsets; its column
    stands beside each ρ, since a ρ with a quantity of low reliability is near 0 whatever is true. NaN without it.

    Quants at volume 0 have no direction: they are left out of those rows, and ``note`` says how many.
    """
    known = {} if reliability is None else reliability.set_index(["benchmark", "subset", "quantity"])["reliability"]
    rows = []
    for benchmark in flips["benchmark"].unique():
        table = flips[flips["benchmark"] == benchmark].set_index("label")
        for subset, part in (("full", quants_of(cohort)), ("zone", quants_of(cohort[members]))):
            for quantity in QUANTITIES:
                row = _direction_row(part, table[quantity], metric, resampling, whole=quants_of(cohort))
                key = {"metric": metric, "quantity": quantity, "benchmark": benchmark, "subset": subset}
                rows.append({**key, **row, "reliability": known.get((benchmark, subset, quantity), np.nan)})
    return pd.DataFrame(rows)


def _direction_row(
    quants: pd.DataFrame, values: pd.Series, metric: str, resampling: Resampling, *, whole: pd.DataFrame
) -> dict[str, Any]:
    y, of_all = quants["label"].map(values), whole["label"].map(values)
    known = y.notna().to_numpy()
    row = correlate(
        quants.loc[known, metric],
        y[known],
        resampling=resampling,
        families=quants.loc[known, "family"] if "family" in quants else None,
        names=(metric, str(values.name)),
        whole=(whole.loc[of_all.notna(), metric], of_all.dropna()),
    )
    if not known.all():
        left_out = f"{int((~known).sum())} quants left out: no answer changed"
        row["note"] = " | ".join(n for n in (row["note"], left_out) if n)
    return row
