"""Columns and literal correlations that tests of several modules take."""

import numpy as np
from scipy import stats

# Bonett and Wright's example as R's statpsych::ci.spear gives it
PUBLISHED_Y = [21, 4, 9, 12, 35, 18, 10, 22, 24, 1, 6, 8, 13, 16, 19]
PUBLISHED_X = [67, 28, 30, 28, 52, 40, 25, 37, 44, 10, 14, 20, 28, 40, 51]
METHODS = ["spearman", "kendall", "pearson_log"]


def scipy_correlation(x, y, method):
    if method == "spearman":
        return stats.spearmanr(x, y).statistic
    if method == "kendall":
        return stats.kendalltau(x, y).statistic
    return stats.pearsonr(np.log(x), y).statistic


def tied_columns(rng, n):
    """Positive x and y with ties in both."""
    x = rng.integers(1, max(3, n // 2), n).astype(float)
    return x, np.round(-x + rng.normal(0, 2, n))
