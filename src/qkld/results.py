"""Columns of the result tables of notebooks 04 to 07, ``runs/<study>/analysis/*.csv``, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qkld.errors import TableError, explain

CORRELATION = (
    *("metric", "benchmark", "subset", "method", "n", "estimate", "low", "high", "zmax_low", "zmax_high", "p"),
    *("p_within_families", "without_family_low", "without_family_high", "distinct_metric", "distinct_score"),
    *("undefined_resamples", "note"),
)
"""What stands in every row of a correlation."""

RESULTS: Mapping[str, tuple[str, ...]] = {
    "scores": ("label", "benchmark", "items", "right", "score", "se"),
    "composite": (
        *("benchmark", "role", "items", "chance", "reference_score", "se", "above_chance_se", "in_composite"),
        "reason",
    ),
    "correlation": CORRELATION,
    "zone_members": ("label", "family", "kl_mean", "composite", "in_zone", "rule", "cut"),
    "zone": ("rule", "cut", "selection", "n_full", "n_zone", *CORRELATION),
    "variants": (*CORRELATION, "same_ranks_as"),
    "zone_curve": ("metric", "benchmark", "cut", "n", "estimate", "low", "high", "note"),
    "flips": (
        *("label", "benchmark", "items", "reference_right", "model_right", "leapfrogs", "drops", "volume"),
        *("flip_rate", "net", "improvement_fraction", "improvement_low", "improvement_high", "z", "note"),
    ),
    "volume_direction": ("metric", "quantity", *CORRELATION[1:]),
    "prompts": (
        *("label", "benchmark", "items", "failed", "passed", "zeros", "share_zero", "missing", "ratio", "low", "high"),
        *("sd_log", "auroc", "note"),
    ),
    "router": (
        *("benchmark", "label_a", "label_b", "items", "ties", "right", "accuracy", "low", "high", "chance"),
        *("margins_only", "always_better", "fisher_p", "note"),
    ),
}
"""Result table → its columns, in order."""

MEANINGS: Mapping[str, str] = {
    "above_chance_se": "standard errors by which the reference's score lies above chance; 5 are needed",
    "accuracy": "share of items on which the model with the lower KLD is the right one of the two; ties count one half",
    "always_better": "accuracy of always taking the model with the higher score",
    "auroc": "P(KLD of a failed item > KLD of a passed item) + ½ P(equal)",
    "benchmark": "task, or `composite`: the unweighted mean of the tasks that enter it",
    "chance": "score of guessing; of the router ½",
    "composite": "unweighted mean of the scores of the tasks that enter it",
    "cut": "mean KLD at or below which a quant is counted, nats; for `score_margin` a fraction of 1",
    "distinct_metric": "different values of the metric: fewer than n where there are ties",
    "distinct_score": "different values of the score",
    "drops": "items that the reference has right and the quant wrong",
    "estimate": "the correlation",
    "failed": "items that the model has wrong",
    "family": "quantizer family",
    "fisher_p": "Fisher's exact test of who is routed to against who is right",
    "flip_rate": "volume / items",
    "high": "upper end of the interval: percentile bootstrap over quants for a correlation (the paper's)",
    "improvement_fraction": "leapfrogs / volume; empty where the volume is 0",
    "improvement_high": "upper end of its Wilson interval",
    "improvement_low": "lower end of its Wilson interval",
    "in_composite": "whether the task enters the composite",
    "in_zone": "whether the quant is in the zone",
    "items": "benchmark items",
    "kl_mean": "mean KLD on the headline corpus, nats a token",
    "label": "model; `all quants` pools them",
    "label_a": "first model of a pair; `all pairs` pools them",
    "label_b": "second model of a pair",
    "leapfrogs": "items that the quant has right and the reference wrong",
    "low": "lower end of the interval",
    "margins_only": "accuracy expected from how often each is routed to and right, were the two unrelated",
    "method": "`spearman` (midranks), `kendall` (τ_b) or `pearson_log` (of ln metric)",
    "metric": "fidelity metric or measurement variant",
    "missing": "items without a KLD",
    "model_right": "items that the model has right",
    "n": "quants that enter",
    "n_full": "quants of the cohort",
    "n_zone": "quants in the zone",
    "net": "score − reference's score = (leapfrogs − drops) / items",
    "note": "why something is empty",
    "p": "two-sided permutation p, the observed arrangement counted",
    "p_within_families": "the same with scores changing places within a family only",
    "passed": "items that the model has right",
    "quantity": "what the metric is correlated with: a column of `flips`",
    "ratio": "geometric mean KLD of failed items / of passed items, with an interval clustered by item",
    "reason": "why a task does not enter the composite",
    "reference_right": "items that the reference has right",
    "reference_score": "the reference's score, a fraction of 1",
    "right": "items answered right; of the router, ties one half",
    "role": "`composite` or `control`",
    "rule": "how the zone is chosen",
    "same_ranks_as": "variants that rank these quants exactly alike, or exactly the other way round",
    "score": "share of items answered right",
    "sd_log": "standard deviation of ln KLD over items",
    "se": "standard error of the score over items",
    "selection": "what the rule does to the correlation inside",
    "share_zero": "zeros / items",
    "subset": "`full` cohort or `zone`",
    "ties": "items on which both models have the same KLD",
    "undefined_resamples": "bootstrap resamples with a constant column",
    "volume": "leapfrogs + drops",
    "without_family_high": "largest correlation with one family left out",
    "without_family_low": "smallest correlation with one family left out",
    "z": "(leapfrogs − drops) / √volume, the signed root of McNemar's statistic",
    "zeros": "items with a KLD of 0",
    "zmax_high": "upper end of the interval on the z scale (larger of Bonett–Wright's and the jackknife's error)",
    "zmax_low": "lower end of the same",
}
"""Column → meaning; a name means the same in every table."""


def check_columns(name: str, columns: Sequence[str]) -> None:
    """Refuse a result table that is unknown or has other columns than `RESULTS` says.

    Raises
    ------
    TableError
        With both lists.
    """
    if tuple(columns) != RESULTS.get(name):
        raise TableError(
            explain(
                f"Result table '{name}' has other columns than its schema.",
                expected=RESULTS.get(name, f"one of {list(RESULTS)}"),
                found=list(columns),
                do="bring qkld.results.RESULTS and the notebook together",
            )
        )


def describe_results() -> str:
    """Markdown: each result table's columns, then each column's meaning."""
    tables = [f"- `{name}.csv`: {', '.join(f'`{c}`' for c in columns)}" for name, columns in RESULTS.items()]
    rows = [f"| `{column}` | {MEANINGS[column]} |" for column in sorted({c for cs in RESULTS.values() for c in cs})]
    return "\n".join([*tables, "", "| column | meaning |", "|---|---|", *rows])
