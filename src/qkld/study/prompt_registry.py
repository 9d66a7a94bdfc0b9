"""Result tables of prompts, entries of `qkld.study.registry`."""

from __future__ import annotations

from qkld.study.column import ends, interval
from qkld.study.result_table import Table

PROMPT_TABLES = (
    Table(
        "prompts",
        "07_prompts",
        key=("label", "benchmark"),
        columns=(
            *("label", "benchmark", "items", "failed", "passed", "zeros", "share_zero", "missing", "ratio"),
            *("low", "high", "sd_log", *interval("auroc"), "note"),
        ),
        says="KLD of failed items beside that of passed ones",
    ),
    Table(
        "prompt_baselines",
        "07_prompts",
        key=("benchmark", "predictor"),
        columns=(
            *("benchmark", "predictor", "items", "failed", "passed", "auroc", "low", "high"),
            *(*interval("gain"), "note"),
        ),
        says="what KLD has to beat, prompt by prompt",
    ),
    Table(
        "prompt_within",
        "07_prompts",
        key=("benchmark", "form"),
        columns=("benchmark", "form", "prompts", "pairs", "auroc", "low", "high", "note"),
        says="quants on one and the same prompt",
    ),
    Table(
        "prompt_flips",
        "07_prompts",
        key=("label", "benchmark"),
        columns=(
            *("label", "benchmark", "drops", "stayed_right", "leapfrogs", "stayed_wrong"),
            *(*interval("auroc_drop"), *interval("auroc_leapfrog"), *interval("drop_less_leapfrog"), "note"),
        ),
        says="whether KLD knows which way an answer flips",
    ),
    Table(
        "directional",
        "07_prompts",
        key=("metric", "subset"),
        columns=(
            *("metric", "kind", "benchmark", "subset", "n", "items", "splits", "rank", "estimate", "low", "high"),
            *(*ends("split"), "p", "p_adjusted", "p_adjusted_within_families", "critical"),
            *(*interval("gain"), *ends("gain_band"), "beats_kld", "note"),
        ),
        says="whether anything cheap beats KLD",
    ),
    Table(
        "router",
        "07_prompts",
        key=("label_a", "label_b", "benchmark"),
        columns=(
            *("benchmark", "label_a", "label_b", "bases", "items", "ties", "right", "accuracy", "low", "high"),
            *("chance", "margins_only", "always_better", "entropy", "fisher_p", *interval("auroc")),
            *("z_accuracy", *ends("z"), "z_fisher_p", "note"),
        ),
        says="whether the quant with the lower KLD on an item is the one that is right",
    ),
)
