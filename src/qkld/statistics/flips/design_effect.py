"""How much clusters of items (questions on one passage, one subject) add to the noise of score differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from qkld.statistics.items.covariance import item_covariance
from qkld.statistics.items.units import Floats, effective_units

Clusters = Mapping[str, np.ndarray] | None


class Widening(NamedTuple):
    """What clusters of items do to tests of means, as `paired.score_z` takes it: both of shape (models,) or (pairs,).

    Attributes
    ----------
    effect
        Design effect (Kish 1965): variance with clusters over variance without. 1 without clusters, where nothing
        varies, and where clusters would make the variance smaller: few show too small a variance as easily as too
        large a one.
    df
        Degrees of freedom of the variance with clusters: effective clusters less 1, of several tasks Satterthwaite's
        (1946, Biometrics Bull 2:110); infinite where items are drawn one by one.
    """

    effect: Floats
    df: Floats


def design_effects(values: Mapping[str, np.ndarray], clusters: Clusters) -> Widening:
    """What ``clusters`` do to each model's unweighted mean over tasks of ``values`` (items, models)."""
    models = next(iter(values.values())).shape[1]
    return _widening(values, clusters, np.diag, models)


def pair_design_effects(values: Mapping[str, np.ndarray], clusters: Clusters, a: np.ndarray, b: np.ndarray) -> Widening:
    """The same of the difference of two models' means, for pairs of columns ``a`` and ``b``."""
    return _widening(values, clusters, lambda v: np.diag(v)[a] + np.diag(v)[b] - 2 * v[a, b], len(a))


def _widening(
    values: Mapping[str, np.ndarray], clusters: Clusters, variances: Callable[[Floats], Floats], count: int
) -> Widening:
    """`Widening` of what has these ``variances`` under a covariance of models; ``count`` of them."""
    if clusters is None:
        return Widening(np.ones(count), np.full(count, np.inf))
    clustered = np.array([variances(item_covariance(v, clusters[task])) for task, v in values.items()])
    alone = np.sum([variances(item_covariance(v)) for v in values.values()], axis=0)
    effect = np.divide(clustered.sum(axis=0), alone, out=np.ones(count), where=alone > _NOTHING)
    return Widening(np.maximum(1.0, effect), _satterthwaite(clustered, [_df(clusters[task]) for task in values]))


_NOTHING = 1e-15
"""Variance that is rounding."""


def _df(clusters: np.ndarray) -> float:
    """Degrees of freedom of one task's variance; infinite where every item is a cluster by itself."""
    sizes = np.unique(clusters, return_counts=True)[1]
    return max(1.0, effective_units(sizes) - 1) if sizes.max() > 1 else np.inf


def _satterthwaite(variances: Floats, df: list[float]) -> Floats:
    """(Σ_b v_b)²/Σ_b v_b²/ν_b of variances (tasks, ·); infinite where the sum is 0 or no part was estimated."""
    used = (variances**2 / np.array(df)[:, None]).sum(axis=0)
    return np.divide(variances.sum(axis=0) ** 2, used, out=np.full(used.shape, np.inf), where=used > 0)
