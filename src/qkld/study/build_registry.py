"""Result tables of replicate builds, entries of `qkld.study.registry`."""

from __future__ import annotations

from qkld.study.column import interval
from qkld.study.result_table import Table

_OF_BUILDS = ("basis_kind", "by_score", "subset")
"""What tells sets of builds apart in each of their tables."""

BUILD_TABLES = (
    Table(
        "builds",
        "06_volume_direction",
        key=(*_OF_BUILDS, "component"),
        columns=(
            *(*_OF_BUILDS, "component", "recipes", "builds", *interval("sd"), "moment", "p_zero", "component_test"),
            *("contrasts", "at_zero", "proportional_gain", "note"),
        ),
        says="how far scores lie apart at equal displacement, between recipes and between builds of one recipe",
    ),
    Table(
        "build_slopes",
        "06_volume_direction",
        key=(*_OF_BUILDS, "slope_name"),
        columns=(*_OF_BUILDS, "slope_name", *interval("slope"), "slope_se", "slope_p", "slope_df", "note"),
        says="what a score loses by √KLD between recipes and between builds of one recipe",
    ),
    Table(
        "build_correlations",
        "06_volume_direction",
        key=(*_OF_BUILDS, "level"),
        columns=(*_OF_BUILDS, "level", "n", "estimate", "p", "rearrangements", "note"),
        says="ρ of mean KLD and score over recipes' means and over builds, whole recipes permuted",
    ),
    Table(
        "builds_left_out",
        "06_volume_direction",
        key=(*_OF_BUILDS, "left_out"),
        columns=(*_OF_BUILDS, "left_out", "builds", "slope", "sd_between", "sd_within", "estimate", "note"),
        says="the same with each recipe left out, and first with all",
    ),
    Table(
        "build_r2",
        "06_volume_direction",
        key=(*_OF_BUILDS, "largest_kld"),
        columns=(*_OF_BUILDS, "largest_kld", *interval("r2_design"), "sd_kld", "sd_between", "sd_within", "note"),
        says="R² of KLD by design, for recipes up to each mean KLD",
    ),
)
"""In the order of notebook 06."""
