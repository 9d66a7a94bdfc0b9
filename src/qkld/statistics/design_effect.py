"""How much clusters of items (questions on one passage, one subject) add to the noise of score differences."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qkld.statistics.covariance import Floats, item_covariance

Clusters = Mapping[str, np.ndarray] | None


def mean_covariance(values: Mapping[str, np.ndarray], clusters: Clusters) -> Floats:
    """Covariance of the unweighted mean over tasks of each task's mean of ``values`` (items, models): (models, models).

    Items are drawn one by one, or as ``clusters`` of each task; see `item_covariance`.
    """
    parts = [item_covariance(v, None if clusters is None else clusters[task]) for task, v in values.items()]
    return np.sum(parts, axis=0) / len(parts) ** 2


def design_effects(values: Mapping[str, np.ndarray], clusters: Clusters) -> Floats:
    """Design effect (Kish 1965) of each model's mean: variance with clusters over variance without, (models,).

    1 without clusters, where nothing varies, and where clusters would make the variance smaller: few clusters show too
    small a variance as easily as too large a one.
    """
    ones = np.ones(next(iter(values.values())).shape[1])
    if clusters is None:
        return ones
    return _ratio(*(np.diag(mean_covariance(values, c)) for c in (clusters, None)))


def pair_design_effects(values: Mapping[str, np.ndarray], clusters: Clusters, a: np.ndarray, b: np.ndarray) -> Floats:
    """The same of the difference of two models' means, for pairs of columns ``a`` and ``b``: (pairs,)."""
    if clusters is None:
        return np.ones(len(a))
    matrices = (mean_covariance(values, c) for c in (clusters, None))
    return _ratio(*(np.diag(v)[a] + np.diag(v)[b] - 2 * v[a, b] for v in matrices))


def _ratio(clustered: Floats, alone: Floats) -> Floats:
    varies = alone > 1e-15
    return np.maximum(1.0, np.divide(clustered, alone, out=np.ones_like(alone), where=varies))
