"""Columns of the result tables of notebooks 04 to 07, ``runs/<study>/analysis/*.csv``, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qkld.errors import TableError
from qkld.study.meanings import MEANINGS

CORRELATION = (
    *("metric", "benchmark", "subset", "method", "n", "estimate", "low", "high", "zmax_low", "zmax_high"),
    *("bca_low", "bca_high", "twoway_low", "twoway_high", "p"),
    *("p_within_families", "without_family_low", "without_family_high", "distinct_metric", "distinct_score"),
    *("zeros", "range_metric", "range_score", "undefined_resamples", "note"),
)
"""What stands in every row of a correlation."""

BREAKDOWN = (
    *("label", "corpus", "context", "by", "bucket", "bucket_from", "bucket_to", "metric"),
    *("estimate", "low", "high", "bootstrap_low", "bootstrap_high", "tokens", "clusters", "nonfinite", "note"),
)
"""Columns of a breakdown, in order."""

PAIRED = (
    *("label_a", "label_b", "corpus", "context", "kld_a", "kld_b", "floor_kld", "kld_difference"),
    *(
        "low",
        "high",
        "bootstrap_low",
        "bootstrap_high",
        "t_p",
        "t_p_holm",
        "lower_a",
        "lower_b",
        "tied_clusters",
        "sign_p",
    ),
    *("windows_needed", "detectable", "tokens", "windows", "clusters", "nonfinite", "note"),
)
"""Columns of a paired table, in order."""

RESULTS: Mapping[str, tuple[str, ...]] = {
    "scores": (
        *("label", "benchmark", "metric", "items", "clusters", "right", "clusters_right", "clusters_wrong"),
        *("score", "se"),
    ),
    "composite": (
        *("benchmark", "metric", "role", "items", "clusters", "chance", "reference_score", "se", "above_chance_se"),
        *("in_composite", "item_weight", "reason"),
    ),
    "correlation": CORRELATION,
    "partial": (
        *("metric", "benchmark", "subset", "control", "n", "estimate", "partial", "p_partial", "p_ranks"),
        *("rho_metric_control", "rho_score_control", "inflation", "note"),
    ),
    "paired_fidelity": PAIRED,
    "fidelity_breakdown": BREAKDOWN,
    "zone_members": ("label", "family", "kl_mean", "composite", "in_zone", "rule", "cut"),
    "zone": ("rule", "cut", "selection", "n_full", "n_zone", *CORRELATION),
    "variants": (
        *(*CORRELATION, "p_adjusted", "p_adjusted_within_families", "critical", "band_low", "band_high"),
        "same_ranks_as",
    ),
    "differences": (
        *("metric", "baseline", "benchmark", "subset", "n", "estimate", "estimate_baseline", "stronger_by"),
        *("stronger_low", "stronger_high", "share_stronger", "note"),
    ),
    "zone_rules": ("rule", "cut", "selection", "n_full", "n_zone", *CORRELATION),
    "zone_split": (
        *("rule", "cut", "metric", "benchmark", "splits", "undefined_splits", "n_low", "n_median", "n_high"),
        *("estimate", "split_low", "split_high", "same_half", "selection_effect", "note"),
    ),
    "zone_break": (
        *("metric", "benchmark", "n", "zeros", "cut", "slope_below", "slope_above", "p_break", "hinge_gain", "note"),
    ),
    "zone_curve": (
        *("metric", "benchmark", "cut", "n", "estimate", "low", "high", "distinct_score", "range_metric"),
        *("null_low", "null_median", "null_high", "note"),
    ),
    "flips": (
        *("label", "benchmark", "metric", "items", "design_effect", "design_df", "reference_right", "model_right"),
        *("leapfrogs", "drops", "volume", "flip_rate", "net", "improvement_fraction", "improvement_low"),
        *("improvement_high", "z", "net_low", "net_high", "p_midp", "p_exact", "items_half_point", "items_point"),
        *("item_weight", "note"),
    ),
    "self_flips": (
        *("label", "benchmark", "items", "self_flips", "self_flip_rate", "flip_rate", "excess", "excess_low"),
        *("excess_high", "run_variance", "note"),
    ),
    "volume_direction": ("metric", "quantity", *CORRELATION[1:], "reliability"),
    "thinning": (
        *("metric", "benchmark", "subset", "n", "reliability_volume", "reliability_net", "rho_volume", "rho_net"),
        *("gap", "gap_low", "gap_high", "kept", "flips_left", "rho_thinned", "rho_thinned_low"),
        *("rho_thinned_high", "thinned_gap", "thinned_gap_low", "thinned_gap_high", "note"),
    ),
    "prompts": (
        *("label", "benchmark", "items", "failed", "passed", "zeros", "share_zero", "missing", "ratio", "low", "high"),
        *("sd_log", "auroc", "auroc_low", "auroc_high", "note"),
    ),
    "prompt_baselines": (
        *("benchmark", "predictor", "items", "failed", "passed", "auroc", "low", "high"),
        *("gain", "gain_low", "gain_high", "note"),
    ),
    "prompt_within": ("benchmark", "form", "prompts", "pairs", "auroc", "low", "high", "note"),
    "prompt_flips": (
        *("label", "benchmark", "drops", "stayed_right", "leapfrogs", "stayed_wrong"),
        *("auroc_drop", "auroc_drop_low", "auroc_drop_high"),
        *("auroc_leapfrog", "auroc_leapfrog_low", "auroc_leapfrog_high"),
        *("drop_less_leapfrog", "drop_less_leapfrog_low", "drop_less_leapfrog_high", "note"),
    ),
    "router": (
        *("benchmark", "label_a", "label_b", "bases", "items", "ties", "right", "accuracy", "low", "high", "chance"),
        *("margins_only", "always_better", "entropy", "fisher_p", "auroc", "auroc_low", "auroc_high"),
        *("z_accuracy", "z_low", "z_high", "z_fisher_p", "note"),
    ),
    "directional": (
        *("metric", "kind", "benchmark", "subset", "n", "items", "splits", "rank", "estimate", "low", "high"),
        *("split_low", "split_high", "p", "p_adjusted", "p_adjusted_within_families", "critical"),
        *("gain", "gain_low", "gain_high", "gain_band_low", "gain_band_high", "beats_kld", "note"),
    ),
    "decision": (
        *("label", "benchmark", "items", "design_effect", "size", "flip_rate", "net", "net_low", "net_high"),
        "equivalence_low",
        *("equivalence_high", "margin", "p_difference", "p_difference_holm", "p_equivalent", "p_equivalent_holm"),
        *("decision", "decision_alone", "items_needed", "item_weight", "one_item", "note", "smallest"),
    ),
    "pairs": (
        *("benchmark", "label_a", "label_b", "items", "design_effect", "flip_rate", "difference", "low", "high", "p"),
        *("p_holm", "order", "metric_right", "items_needed"),
    ),
    "noise": (
        *("metric", "benchmark", "subset", "n", "items", "zeros", "estimate", "mean_se"),
        *("reliability", "reliability_low", "reliability_high", "attainable", "attainable_low", "attainable_high"),
        *("items_for_reliability", "disattenuated", "disattenuated_low", "disattenuated_high"),
        *("cochran_q", "cochran_p", "cochran_test", "residual_p_linear", "residual_p_sqrt", "residual_p_log"),
        *("residual_p", "residual_test"),
        *("tau", "tau_low", "tau_high", "least_tau", "predictive_low", "predictive_high", "predictive_p", "note"),
    ),
    "verdict": (
        *("metric", "benchmark", "subset", "n", "items", "verdict", "verdict_all", "verdict_kept"),
        *(
            "verdict_inflated",
            "set_aside",
            "rests_on",
            "settles_as",
            "direction_z",
            "slope_z",
            "r2",
            "r2_low",
            "r2_high",
        ),
        *("cochran_p", "cochran_test", "direction_z_kept", "r2_kept", "items_to_settle", "items_at_least", "note"),
    ),
    "leave_one_out": (
        *("metric", "benchmark", "subset", "n", "left_out", "verdict", "estimate", "reliability", "cochran_p"),
        *("cochran_test", "residual_p", "residual_test", "tau", "predictive_low", "predictive_high", "direction_z"),
        *("r2", "r2_low", "r2_high", "note"),
    ),
    "zone_edge": (
        *("metric", "benchmark", "n", "items", "draws", "told_apart", "edge", "reliability", "expected_reliability"),
        *("edge_slope", "edge_slope_low", "edge_slope_high", "note"),
    ),
}
"""Result table → its columns, in order."""


def check_columns(name: str, columns: Sequence[str]) -> None:
    """Refuse a result table that is unknown or has other columns than `RESULTS` says.

    Raises
    ------
    TableError
        With both lists.
    """
    if tuple(columns) != RESULTS.get(name):
        raise TableError(
            f"Result table '{name}' has other columns than its schema.",
            expected=RESULTS.get(name, f"one of {list(RESULTS)}"),
            found=list(columns),
            do="bring qkld.study.registry.RESULTS and the notebook together",
        )


def describe_results() -> str:
    """Markdown: each result table's columns, then each column's meaning."""
    tables = [f"- `{name}.csv`: {', '.join(f'`{c}`' for c in columns)}" for name, columns in RESULTS.items()]
    rows = [f"| `{column}` | {MEANINGS[column]} |" for column in sorted({c for cs in RESULTS.values() for c in cs})]
    return "\n".join([*tables, "", "| column | meaning |", "|---|---|", *rows])
