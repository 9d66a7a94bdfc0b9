"""Every result table of notebooks 04 to 07 and of `qkld analyse`; every other list of them is a view of this one.

A new table is one entry here, and one in `qkld.study.columns` for each column that no other table has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from qkld.errors import TableError
from qkld.study.build_registry import BUILD_TABLES
from qkld.study.column import ends, interval
from qkld.study.prompt_registry import PROMPT_TABLES
from qkld.study.result_table import Table
from qkld.study.text_table import table_of_words

CORRELATION = (
    *("metric", "benchmark", "subset", "method", "n", "estimate", "low", "high"),
    *(*ends("zmax"), *ends("bca"), *ends("twoway"), "p", "p_within_families", *ends("without_family")),
    *("distinct_metric", "distinct_score", "zeros", "range_metric", "range_score", "undefined_resamples", "note"),
)
"""What stands in every row of a correlation."""


def _of_both(*names: str) -> tuple[str, ...]:
    """Names of columns that accuracy and the probability of the right choice each have one of."""
    return tuple(f"{name}_{score}" for name in names for score in ("accuracy", "probability"))


_ZONE = ("rule", "cut", "selection", "n_full", "n_zone", *CORRELATION)

_CORRELATION_TABLES = (
    Table(
        "scores",
        "04_correlation",
        key=("label", "benchmark"),
        columns=(
            *("label", "benchmark", "metric", "items", "clusters", "right", "clusters_right", "clusters_wrong"),
            *("score", "se"),
        ),
        says="each model's score on each benchmark",
    ),
    Table(
        "composite",
        "04_correlation",
        key=("benchmark",),
        columns=(
            *("benchmark", "metric", "role", "items", "clusters", "chance", "reference_score", "se"),
            *("above_chance_se", "in_composite", "item_weight", "reason"),
        ),
        says="which benchmarks enter the mean score, and why",
    ),
    Table(
        "correlation",
        "04_correlation",
        key=("method", "metric", "benchmark", "subset"),
        columns=CORRELATION,
        says="mean KLD against every score, over all quants",
    ),
    Table(
        "partial",
        "04_correlation",
        key=("metric", "benchmark", "subset"),
        columns=(
            *("metric", "benchmark", "subset", "control", "n", "estimate", "partial", "p_partial", "p_ranks"),
            *("rho_metric_control", "rho_score_control", "inflation", "note"),
        ),
        says="the same at equal size",
    ),
    Table(
        "paired_fidelity",
        "04_correlation",
        key=("label_a", "label_b", "corpus", "context"),
        columns=(
            *("label_a", "label_b", "corpus", "context", "kld_a", "kld_b", "floor_kld", "kld_difference"),
            *("low", "high", *ends("bootstrap"), "t_p", "t_p_holm", "lower_a", "lower_b", "tied_clusters", "sign_p"),
            *("windows_needed", "detectable", "tokens", "windows", "clusters", "nonfinite", "note"),
        ),
        says="which neighbours by mean KLD the tokens tell apart",
    ),
    Table(
        "fidelity_breakdown",
        "04_correlation",
        key=("label", "corpus", "context", "by", "bucket", "metric"),
        columns=(
            *("label", "corpus", "context", "by", "bucket", "bucket_from", "bucket_to", "metric"),
            *("estimate", "low", "high", *ends("bootstrap"), "tokens", "clusters", "nonfinite", "note"),
        ),
        says="fidelity by the reference's entropy and by position in the window",
    ),
)

_ZONE_TABLES = (
    Table(
        "zone_members",
        "05_silent_zone",
        key=("label",),
        columns=("label", "family", "kl_mean", "composite", "in_zone", "rule", "cut"),
        says="which quants lie near the reference",
    ),
    Table(
        "zone",
        "05_silent_zone",
        key=("metric", "benchmark", "subset"),
        columns=_ZONE,
        says="mean KLD against every score, over all quants and in the zone",
    ),
    Table(
        "zone_rules",
        "05_silent_zone",
        key=("rule",),
        columns=_ZONE,
        says="the correlation inside the zone by each rule",
    ),
    Table(
        "zone_split",
        "05_silent_zone",
        key=("rule",),
        columns=(
            *("rule", "cut", "metric", "benchmark", "splits", "undefined_splits", "n_low", "n_median", "n_high"),
            *("estimate", *ends("split"), "same_half", "selection_effect", "note"),
        ),
        says="the same on items that did not choose the zone",
    ),
    Table(
        "zone_break",
        "05_silent_zone",
        key=("metric", "benchmark"),
        columns=(
            *("metric", "benchmark", "n", "zeros", "cut", "slope_below", "slope_above", "p_break", "hinge_gain"),
            "note",
        ),
        says="where each score would begin to fall, and whether it breaks there at all",
    ),
    Table(
        "variants",
        "05_silent_zone",
        key=("metric", "subset"),
        columns=(
            *(*CORRELATION, "p_adjusted", "p_adjusted_within_families", "critical", *ends("band")),
            "same_ranks_as",
        ),
        says="every measurement variant against the score",
    ),
    Table(
        "differences",
        "05_silent_zone",
        key=("metric", "subset"),
        columns=(
            *("metric", "baseline", "benchmark", "subset", "n", "estimate", "estimate_baseline", "stronger_by"),
            *(*ends("stronger"), "share_stronger", "note"),
        ),
        says="how much stronger each variant's correlation is than that of mean KLD",
    ),
    Table(
        "zone_curve",
        "05_silent_zone",
        key=("n",),
        columns=(
            *("metric", "benchmark", "cut", "n", "estimate", "low", "high", "distinct_score", "range_metric"),
            *("null_low", "null_median", "null_high", "note"),
        ),
        says="the correlation for every cut of the zone",
    ),
    Table(
        "noise",
        "05_silent_zone",
        key=("benchmark", "subset"),
        columns=(
            *("metric", "benchmark", "subset", "n", "items", "zeros", "estimate", "mean_se"),
            *(*interval("reliability"), *interval("attainable"), "items_for_reliability"),
            *(*interval("disattenuated"), "cochran_q", "cochran_p", "cochran_test", "residual_p_linear"),
            *("residual_p_sqrt", "residual_p_log", "residual_p", "residual_test"),
            *(*interval("tau"), "least_tau", *ends("predictive"), "predictive_p", "note"),
        ),
        says="what the items can resolve",
    ),
    Table(
        "verdict",
        "05_silent_zone",
        key=("benchmark", "subset"),
        columns=(
            *("metric", "benchmark", "subset", "n", "items", "verdict", "verdict_all", "verdict_kept"),
            *("verdict_inflated", "set_aside", "rests_on", "settles_as", "direction_z", "slope_z", *interval("r2")),
            *("cochran_p", "cochran_test", "direction_z_kept", "r2_kept", "items_to_settle", "items_at_least", "note"),
        ),
        says="whether noise or missing direction explains the correlation",
    ),
    Table(
        "leave_one_out",
        "05_silent_zone",
        key=("benchmark", "subset", "left_out"),
        columns=(
            *("metric", "benchmark", "subset", "n", "left_out", "verdict", "estimate", "reliability", "cochran_p"),
            *("cochran_test", "residual_p", "residual_test", "tau", *ends("predictive"), "direction_z"),
            *(*interval("r2"), "note"),
        ),
        says="the same with each quant left out",
    ),
    Table(
        "two_scores",
        "05_silent_zone",
        key=("benchmark", "subset"),
        columns=(
            *("metric", "benchmark", "subset", "n", "items", "primary_score", *_of_both("verdict", "estimate")),
            *(*_of_both("mean_se", "reliability", "r2", "items_to_settle"), "says", "note"),
        ),
        says="verdict, correlation and noise by accuracy and by the probability of the right choice",
    ),
    Table(
        "zone_edge",
        "05_silent_zone",
        key=("benchmark", "items"),
        columns=(
            *("metric", "benchmark", "n", "items", "draws", "told_apart", "edge", "reliability"),
            *("expected_reliability", *interval("edge_slope"), "note"),
        ),
        says="reliability, and the KLD at which quants are told apart, for 1, ½, ¼ … of the items",
    ),
)

_FLIP_TABLES = (
    Table(
        "flips",
        "06_volume_direction",
        key=("label", "benchmark"),
        columns=(
            *("label", "benchmark", "metric", "items", "design_effect", "design_df", "reference_right"),
            *("model_right", "leapfrogs", "drops", "volume", "flip_rate", "net", "improvement_fraction"),
            *(*ends("improvement"), "z", *ends("net"), "p_midp", "p_exact", "items_half_point", "items_point"),
            *("item_weight", "note"),
        ),
        says="how many answers each quant changes, and which way",
    ),
    Table(
        "self_flips",
        "06_volume_direction",
        key=("label", "benchmark"),
        columns=(
            *("label", "benchmark", "items", "self_flips", "self_flip_rate", "flip_rate", *interval("excess")),
            *("run_variance", "note"),
        ),
        says="the same beside the reference's own flips in another batch shape",
    ),
    Table(
        "volume_direction",
        "06_volume_direction",
        key=("quantity", "benchmark", "subset"),
        columns=("metric", "quantity", *CORRELATION[1:], "reliability"),
        says="mean KLD against how much moves and which way",
    ),
    Table(
        "thinning",
        "06_volume_direction",
        key=("benchmark", "subset"),
        columns=(
            *("metric", "benchmark", "subset", "n", "reliability_volume", "reliability_net", "rho_volume", "rho_net"),
            *(*interval("gap"), "kept", "flips_left", *interval("rho_thinned"), *interval("thinned_gap"), "note"),
        ),
        says="the same with volume measured as badly as direction",
    ),
    Table(
        "decision",
        "06_volume_direction",
        key=("label", "benchmark"),
        columns=(
            *("label", "benchmark", "items", "design_effect", "size", "flip_rate", *interval("net")),
            *(*ends("equivalence"), "margin", "p_difference", "p_difference_holm", "p_equivalent"),
            *("p_equivalent_holm", "decision", "decision_alone", "items_needed", "item_weight", "one_item", "note"),
            "smallest",
        ),
        says="which quants are as good as the reference",
    ),
    Table(
        "pairs",
        "06_volume_direction",
        key=("label_a", "label_b"),
        columns=(
            *("benchmark", "label_a", "label_b", "items", "design_effect", "flip_rate", "difference", "low", "high"),
            *("p", "p_holm", "order", "metric_right", "items_needed"),
        ),
        says="which of two quants is the better",
    ),
    Table(
        "probability",
        "06_volume_direction",
        key=("label", "benchmark"),
        columns=(
            *("label", "benchmark", "items", "reference_score", "score", "net", "net_se", *ends("net")),
            *(*ends("equivalence"), "mean_change", "mean_change_se", "direction", "direction_se", "margin"),
            *("p_difference", "p_difference_holm", "p_equivalent", "p_equivalent_holm", "items_needed", "scale"),
            *("by_scale", "by_scale_se", "rest", "rest_se", "choices_changed", "reading", "decision"),
            *("decision_alone", "decision_accuracy", "says", "note"),
        ),
        says="each quant's probability of the right choice, and what one temperature explains of its change",
    ),
)

_OWN_TABLES = (
    Table(
        "score_noise",
        None,
        key=("benchmark", "subset"),
        columns=(
            *("benchmark", "subset", "n", "items", "score_se", *ends("reliability"), *ends("attainable"), "note"),
        ),
        says="what the numbers of items can resolve, where there are no answers",
    ),
)


def registry(tables: Iterable[Table]) -> dict[str, Table]:
    """Name → table.

    Raises
    ------
    TableError
        If two have one name.
    """
    found: dict[str, Table] = {}
    for table in tables:
        if table.name in found:
            raise TableError(
                "Two result tables have one name.",
                expected="a name for each",
                found=f"'{table.name}' twice",
                do="give one of them another name",
            )
        found[table.name] = table
    return found


TABLES: Mapping[str, Table] = registry(
    (*_CORRELATION_TABLES, *_ZONE_TABLES, *_FLIP_TABLES, *BUILD_TABLES, *PROMPT_TABLES, *_OWN_TABLES)
)
"""Name → result table, in the order of the notebooks."""

OF_STUDIES: Mapping[str, Table] = {name: table for name, table in TABLES.items() if table.notebook}
"""Those that a study has."""


FIGURES: Mapping[str, str] = {
    "bits_kld": "04_correlation",
    "kld_position": "04_correlation",
    "kld_score": "05_silent_zone",
    "reliability": "05_silent_zone",
    "zone_curve": "05_silent_zone",
    "variants": "05_silent_zone",
    "volume_direction": "06_volume_direction",
    "decision": "06_volume_direction",
    "directional": "07_prompts",
}
"""Figure → the notebook that draws and saves it; 07 also saves one of the prompts of each benchmark."""


def registered(name: str) -> Table:
    """The result table of this name.

    Raises
    ------
    TableError
        If there is none.
    """
    if name not in TABLES:
        raise TableError(
            f"There is no result table '{name}'.",
            expected=sorted(TABLES),
            found=name,
            do="use one of these names, or enter the new table in qkld.study.registry",
        )
    return TABLES[name]


def tables_of(notebook: str) -> tuple[str, ...]:
    """Names of the result tables that a notebook makes."""
    return tuple(name for name, table in OF_STUDIES.items() if table.notebook == notebook)


def describe_results() -> str:
    """Markdown: what each result table says and its columns, those of its key bold; then each column's meaning."""
    shown = OF_STUDIES.values()
    tables = [f"- `{table.name}.csv`, {table.says}: {_column_list(table)}" for table in shown]
    columns = {name: column for table in shown for name, column in table.described().items()}
    rows = tuple((f"`{name}`", columns[name].meaning, columns[name].unit) for name in sorted(columns))
    return "\n".join([*tables, "", table_of_words(("column", "meaning", "unit"), rows).markdown()])


def _column_list(table: Table) -> str:
    return ", ".join(f"**`{c}`**" if c in table.key else f"`{c}`" for c in table.columns)
