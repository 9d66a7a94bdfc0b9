"""Volume and direction of disagreement with the reference.

An item that the quant has right and the reference wrong is a leapfrog, the other way round a drop; both together are
flips (Dutta et al. 2024, arXiv:2407.09141). The identity of arXiv:2606.19558,
score = reference score + volume (2f − 1)/N with f = leapfrogs/volume, is score − reference = (L − D)/N, which holds
exactly and at volume 0 too.

On the unweighted mean of several benchmarks every rate is the mean of theirs, so that net = flip rate (2f − 1) holds
there as well, with f the mean rate of leapfrogs over the mean rate of flips; counts are sums and obey no such identity.
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
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from qkld.errors import StatisticsError
from qkld.statistics.core.checks import joined, quants_of
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.correlation.single import correlate
from qkld.statistics.flips.design_effect import design_effects
from qkld.statistics.flips.one_item import drawn_one_by_one, item_weight, largest_part
from qkld.statistics.items.answers import clusters_by_task
from qkld.statistics.items.covariance import net_differences
from qkld.statistics.items.sample_size import items_for_difference
from qkld.statistics.items.score_differences import difference_interval, mcnemar_exact, mcnemar_midp
from qkld.statistics.items.scores import correct_matrix, metric_of

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
                "Scores and flips contradict each other.",
                expected=f"L − D = {self.model_right - self.reference_right}, the difference of right answers",
                found=f"L − D = {self.leapfrogs} − {self.drops}",
                do="count both from the same items",
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
            "Flips need one right or wrong answer per item from both models.",
            expected="two equally long, non-empty columns of 0 and 1",
            found=f"shapes {reference.shape} and {model.shape}, values {np.unique([*reference, *model])[:4]}",
            do="give both models' `correct` on the same items",
        )
    reference, model = reference.astype(bool), model.astype(bool)
    return Flips(
        items=reference.size,
        reference_right=int(reference.sum()),
        model_right=int(model.sum()),
        leapfrogs=int((model & ~reference).sum()),
        drops=int((reference & ~model).sum()),
    )


@dataclass(frozen=True)
class MeanFlips:
    """Flips of one model on the unweighted mean of benchmarks; of one benchmark, its own.

    Rates are exact fractions, so that equal ones stay equal however many items they are of.
    """

    parts: tuple[Flips, ...]

    def total(self, count: str) -> int:
        """A count of `Flips`, summed over the benchmarks."""
        return sum(getattr(part, count) for part in self.parts)

    def _mean(self, count: str, power: int = 1) -> Fraction:
        """Σ_b count_b/(B N_b)^power: the mean rate at power 1, the variance of the net of equal rates at power 2."""
        return sum(Fraction(getattr(p, count), (len(self.parts) * p.items) ** power) for p in self.parts)

    @property
    def flip_rate(self) -> float:
        return float(self._mean("volume"))

    @property
    def net(self) -> float:
        """Score minus the reference's score, a fraction of 1."""
        return float(self._mean("leapfrogs") - self._mean("drops"))

    @property
    def improvement_fraction(self) -> float:
        """Mean rate of leapfrogs over that of flips; NaN where no answer changed."""
        volume = self._mean("volume")
        return float(self._mean("leapfrogs") / volume) if volume else np.nan

    @property
    def z(self) -> float:
        """The net in standard errors of equally likely leapfrogs and drops: `score_z` at 0; NaN at volume 0."""
        net, variance = self._mean("leapfrogs") - self._mean("drops"), self._mean("volume", 2)
        return float(np.sign(net)) * float(np.sqrt(float(net**2 / variance))) if variance else np.nan

    def improvement_interval(
        self, confidence: float, design_effect: float = 1.0, df: float = np.inf
    ) -> tuple[float, float]:
        """Wilson interval of the improvement fraction; NaN at volume 0.

        Its number of trials is (Σ_b w_b V_b)²/Σ_b w_b² V_b with w_b = 1/N_b (Kish 1965), the volume itself on one
        benchmark, over the ``design_effect`` of clusters of items. Where that has ``df`` degrees of freedom, the
        quantile is Student's.
        """
        if not self.total("volume"):
            return np.nan, np.nan
        trials = float(self._mean("volume") ** 2 / self._mean("volume", 2)) / design_effect
        alpha = 2 * stats.norm.sf(stats.t.ppf(0.5 + confidence / 2, df))
        ends = proportion_confint(self.improvement_fraction * trials, trials, alpha=alpha, method="wilson")
        return float(ends[0]), float(ends[1])


def flip_table(
    items: pd.DataFrame, *, reference: str, benchmarks: Sequence[str], tasks: Sequence[str], confidence: float
) -> pd.DataFrame:
    """Flips of every model but the reference on every benchmark, and on the composite of ``tasks``.

    ``metric`` names what says that an answer is right. ``net_low`` and ``net_high`` are Tango's interval, ``p_midp``
    and ``p_exact`` McNemar's test, ``items_half_point`` and ``items_point`` the items on which a true difference of 0.5
    and 1 point would be found with power .8. ``item_weight`` is the most that one item weighs in the score, and
    ``note`` says where one item makes more than half of the difference.

    Rows of ``composite``: counts are sums over its tasks; rates, ``net`` and direction are those of `MeanFlips`, so
    that ``net`` is exactly the difference of the composites, and ``flip_rate`` (2 ``improvement_fraction`` − 1) in
    every row. McNemar's test is of one benchmark whose items are drawn one by one, so its cells are empty elsewhere;
    `decision.decision_table` has a p for all. Where items come in clusters, intervals are widened and more items are
    needed by their ``design_effect``, known with ``design_df`` degrees of freedom; NaN where there are none.

    Raises
    ------
    StatisticsError
        If the reference or every other model has no items, or models answered different ones; with one cluster alone.
    """
    everything = list(dict.fromkeys([*benchmarks, *tasks]))
    matrices, clusters = {b: correct_matrix(items, b) for b in everything}, clusters_by_task(items, everything)
    groups = {b: [b] for b in benchmarks} | ({"composite": list(tasks)} if tasks else {})
    tables = []
    for benchmark, parts in groups.items():
        chosen = {task: matrices[task] for task in parts}
        table = _benchmark_rows(benchmark, chosen, reference, clusters, confidence)
        table.insert(2, "metric", metric_of(items[items["benchmark"].isin(parts)]))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _benchmark_rows(
    benchmark: str,
    matrices: Mapping[str, pd.DataFrame],
    reference: str,
    clusters: Mapping[str, np.ndarray] | None,
    confidence: float,
) -> pd.DataFrame:
    """One row a model from its answers on each task that the benchmark consists of."""
    answered = next(iter(matrices.values())).columns
    models = [model for model in answered if model != reference]
    if reference not in answered or not models:
        raise StatisticsError(
            f"No models can be compared on '{benchmark}'.",
            expected=f"answers of the reference '{reference}' and of at least one other model",
            found=f"answers of {', '.join(answered)}",
            do="run notebook 03_benchmark_scores for the models that are missing",
        )
    moved = {task: net_differences(matrix, reference, models) for task, matrix in matrices.items()}
    counted = [MeanFlips(tuple(count_flips(m[reference], m[model]) for m in matrices.values())) for model in models]
    wider, alone = design_effects(moved, clusters), drawn_one_by_one(moved, clusters)
    table = pd.DataFrame([_row(flips, confidence, *each) for flips, *each in zip(counted, *wider, strict=True)])
    table.insert(0, "label", models)
    table.insert(1, "benchmark", benchmark)
    place = table.columns.get_loc("items") + 1
    table.insert(place, "design_effect", wider.effect)
    table.insert(place + 1, "design_df", np.where(np.isfinite(wider.df), wider.df, np.nan))
    counts = [[[getattr(p, f) for p in flips.parts] for flips in counted] for f in ("leapfrogs", "drops", "items")]
    low, high = difference_interval(*counts, confidence, *wider)
    rate, largest = effective_flip_rate(*counts), table["flip_rate"]
    needed = partial(items_for_difference, rate, confidence=confidence, largest=largest, design_effect=wider.effect)
    tested = alone and len(matrices) == 1
    by_mcnemar = {"p_midp": mcnemar_midp, "p_exact": mcnemar_exact}
    kinds = _kinds_note(len(matrices), alone)
    notes = zip(table["volume"], largest_part(moved, clusters).notes(), strict=True)
    return table.assign(
        net_low=low,
        net_high=high,
        **{name: p(table["leapfrogs"], table["drops"]) if tested else np.nan for name, p in by_mcnemar.items()},
        items_half_point=needed(0.005),
        items_point=needed(0.01),
        item_weight=item_weight(moved, clusters),
        note=[joined(kinds, "" if volume else UNCHANGED, one) for volume, one in notes],
    )


UNCHANGED = "no answer changed: the direction is not defined"


def _kinds_note(tasks: int, alone: bool) -> str:
    """What a row's counts and rates are of, where that is not one benchmark of single items."""
    several = f"mean of {tasks} benchmarks: counts are sums, rates and direction of the mean, no McNemar p"
    return joined(several if tasks > 1 else "", "" if alone else "items come in clusters: no McNemar p")


def _row(flips: MeanFlips, confidence: float, design_effect: float, df: float) -> dict[str, Any]:
    low, high = flips.improvement_interval(confidence, design_effect, df)
    counts = ("items", "reference_right", "model_right", "leapfrogs", "drops", "volume")
    return {
        **{count: flips.total(count) for count in counts},
        "flip_rate": flips.flip_rate,
        "net": flips.net,
        "improvement_fraction": flips.improvement_fraction,
        "improvement_low": low,
        "improvement_high": high,
        "z": flips.z,
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

    ``reliability`` is `qkld.statistics.flips.direction.direction_reliability`'s table for the same two subsets; its
    column stands beside each ρ, since a ρ with a quantity of low reliability is near 0 whatever is true. NaN without
    it.

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
