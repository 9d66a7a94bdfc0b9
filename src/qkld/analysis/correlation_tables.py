"""Result tables of notebook 04 that rest on cohort and items: what a metric says of scores, over all quants."""

from __future__ import annotations

import pandas as pd

from qkld.analysis.evidence import Evidence
from qkld.statistics.correlation import metric_correlations, partial


def correlation_table(evidence: Evidence) -> pd.DataFrame:
    """Spearman's ρ of every metric with every score; of the headline's metric Kendall's τ and Pearson's r of ln KLD
    too."""
    headline = (evidence.kld,)
    wanted = [(evidence.variants, "spearman"), (headline, "kendall"), (headline, "pearson_log")]
    found = [
        metric_correlations.correlation_table(
            evidence.cohort,
            metrics,
            list(evidence.groups),
            resampling=evidence.resampling,
            method=method,
            items=evidence.draws,
        )
        for metrics, method in wanted
    ]
    return pd.concat(found, ignore_index=True)


def partial_table(evidence: Evidence) -> pd.DataFrame:
    """The metric with every score at an equal size; quants without a size are left out by name."""
    metrics, scores = [evidence.fidelity], list(evidence.groups)
    return partial.partial_table(evidence.cohort, metrics, scores, control=evidence.size, missing="drop")
