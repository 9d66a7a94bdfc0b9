"""The tables of a study's report, as text: what was measured, correlated and counted, with intervals and n."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import pandas as pd

from qkld.analysis.headline import drawn_flips, score_names, shown_score, zone_of
from qkld.analysis.study import LoadedStudy
from qkld.analysis.tokens import both_engines
from qkld.report.figures.axes import metric_name
from qkld.report.numbers import NOT_AVAILABLE, p_value, printed, significant, with_interval
from qkld.report.text_tables import QUANTITY_NAMES, TEXTS, kld_difference
from qkld.statistics.noise.reliability import attainable
from qkld.statistics.prompts.prompt_rows import ALL_PAIRS, ALL_QUANTS
from qkld.study.text_table import TextTable

EVIDENCE = ("verdict", "two_scores", "noise", "thinning", "decision", "probability", "pairs")
"""Result tables that rest on answers item by item, in the order in which a report shows them."""

PER_PROMPT = ("prompt_baselines", "prompt_within", "prompt_flips", "directional")
"""Result tables of notebook 07 beside ratio and router, in the same order."""

HEADLINE = "Mean KLD against score, volume and direction"
EACH_BENCHMARK = "Each benchmark"
VARIANTS = "Measurement variants"
FLIPS = "Volume and direction"
ENGINES = "One file in two engines"
PROMPTS = "Prompt by prompt"
BENCHMARKS = "Benchmarks"
COHORT = "Cohort"

MADE_OF: Mapping[str, tuple[str, ...]] = {
    HEADLINE: ("zone", "noise", "volume_direction"),
    EACH_BENCHMARK: ("zone",),
    VARIANTS: ("variants",),
    FLIPS: ("flips",),
    ENGINES: ("paired_fidelity",),
    PROMPTS: ("prompts", "router"),
    BENCHMARKS: ("composite",),
    COHORT: ("zone_members",),
}
"""Title of a table that is made here → the result tables whose numbers stand in it; `TEXTS` shows one each."""


PAPER = {
    ("score", "full"): ("−0.72", "−0.86"),
    ("score", "zone"): ("+0.00", "−0.24"),
    ("flip_rate", "zone"): ("+0.94", "+0.55"),
}
"""Spearman's ρ of KLD in arXiv:2606.19558, Qwen3.6-35B-A3B and Devstral-Small-2-24B: quantity and subset → values."""


def titles_of(tables: Collection[str]) -> list[str]:
    """Titles under which a study's report and the README show numbers of these result tables."""
    alone = [TEXTS[name].title for name in tables if name in TEXTS]
    return [*alone, *(title for title, shown in MADE_OF.items() if not set(shown).isdisjoint(tables))]


def _of(table: pd.DataFrame, **wanted: str | int) -> pd.DataFrame:
    """The rows in which each of these columns has this value."""
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


def _named(study: LoadedStudy, table: pd.DataFrame) -> pd.DataFrame:
    """The table with the metric of each benchmark in its name."""
    return table.assign(benchmark=table["benchmark"].replace(score_names(study))) if "benchmark" in table else table


def _level(study: LoadedStudy) -> str:
    return f"{study.resampling.confidence:.0%}".replace("%", " %")


def _rho(row: Mapping) -> tuple[str, str, str]:
    return with_interval(row), str(int(row["n"])), p_value(row["p"])


def _resolved(reliability: float) -> tuple[str, str]:
    """A reliability, and the largest |ρ| that it allows."""
    return printed(reliability), printed(reliability if pd.isna(reliability) else attainable(reliability))


def headline_table(study: LoadedStudy) -> TextTable:
    """ρ of mean KLD with score, volume and direction, full cohort and zone, beside the paper's."""
    benchmark = shown_score(study).benchmark
    zone = _of(study.analysis("zone"), benchmark=benchmark)
    noise = _of(study.analysis("noise"), benchmark=benchmark).set_index("subset")["reliability"]
    zone = zone.assign(reliability=zone["subset"].map(noise))
    moved = _of(study.analysis("volume_direction"), benchmark=benchmark)
    rows = []
    shown = score_names(study).get(benchmark, benchmark)
    for quantity, name in (("score", f"{shown} score"), *QUANTITY_NAMES.items()):
        table = zone if quantity == "score" else _of(moved, quantity=quantity)
        for row in table.to_dict("records"):
            subset = "full cohort" if row["subset"] == "full" else "zone"
            paper = " / ".join(PAPER.get((quantity, row["subset"]), ("",)))
            rows.append((f"{name}, {subset}", *_rho(row), *_resolved(row["reliability"]), paper))
    return TextTable(
        HEADLINE,
        f"Spearman's ρ over quants with its {_level(study)} bootstrap interval (of 8 quants or more, not all in order) "
        "and permutation p; reliability: share of the spread that is no item noise; largest |ρ|: what a perfect "
        "metric can be expected to show. The last column holds what arXiv:2606.19558 gives for its cohorts "
        "(Qwen3.6-35B-A3B / Devstral-Small-2-24B), where it does.",
        ("KLD against", "ρ [interval]", "n", "p", "reliability", "largest |ρ|", "paper"),
        tuple(rows),
    )


def cohort_table(study: LoadedStudy) -> TextTable:
    """Every model with its bits, fidelity and scores, by rising KLD."""
    cohort, zone = study.cohort, zone_of(study).labels
    order = {"reference": 0, "floor": 1, "quant": 2}
    cohort = cohort.assign(order=cohort["role"].map(order)).sort_values(["order", "kl_mean", "label"])
    shown = shown_score(study)
    rows = []
    for row in cohort.to_dict("records"):
        marks = [m for m, there in (("zone", row["label"] in zone), ("at the floor", row["at_floor"])) if there]
        scored = "" if pd.isna(row[shown.column]) else printed(row[shown.column], 1, percent=True)
        scored += f" ± {printed(row[shown.error_column], 1, percent=True)}" if scored else ""
        rows.append(
            (
                row["label"],
                row["family"],
                printed(row["bits_per_weight"]),
                printed(row["bits_per_trunk_weight"]),
                printed(row.get("plain_trunk_share"), 1, percent=True),
                _kld(row),
                printed(row["top1_agreement"], 1, percent=True),
                printed(row["ppl_ratio"], 3),
                scored,
                ", ".join(marks),
            )
        )
    return TextTable(
        COHORT,
        f"KLD: mean over scored tokens of {study.params.headline.corpus}, nats, with its interval clustered by "
        "document or window. Bits: as stored, with and without embeddings and head; plain: share of the trunk's "
        "weights that no quantizer has touched. Score ± one standard error over "
        "items. At the floor: mean KLD below three times that of floor-dtype.",
        (
            "model",
            "family",
            "bits",
            "trunk bits",
            "plain (%)",
            "KLD [interval]",
            "top-1 (%)",
            "PPL ratio",
            f"{score_names(study).get(shown.benchmark, shown.benchmark)}, %",
            "",
        ),
        tuple(rows),
    )  # fmt: skip


def _kld(row: Mapping) -> str:
    if pd.isna(row["kl_mean"]):
        return ""
    middle, low, high = (significant(row[c]) for c in ("kl_mean", "kl_mean_low", "kl_mean_high"))
    return middle if NOT_AVAILABLE in (low, high) else f"{middle} [{low}, {high}]"


def composite_table(study: LoadedStudy) -> TextTable:
    """Which benchmarks enter the composite, and why the others do not."""
    rows = [
        (
            row["benchmark"],
            row["metric"],
            _counted(row),
            printed(row["chance"], 0, percent=True),
            f"{printed(row['reference_score'], 1, percent=True)} ± {printed(row['se'], 1, percent=True)}",
            printed(row["above_chance_se"], 1),
            "" if pd.isna(row["item_weight"]) else printed(row["item_weight"], percent=True),
            "yes" if row["in_composite"] else f"no: {row['reason']}",
        )
        for row in study.analysis("composite").to_dict("records")
    ]
    return TextTable(
        BENCHMARKS,
        "A benchmark enters the composite where the reference scores at least five standard errors above chance. One "
        "item: what it weighs in the composite, in points. acc takes the most likely choice, so that short ones are "
        "favoured and a score may lie below chance; acc_norm the most likely one per character.",
        (
            *("benchmark", "metric", "items", "chance (%)", "reference (%)", "SE above chance", "one item"),
            "in the composite",
        ),
        tuple(rows),
    )


def _counted(row: Mapping) -> str:
    """Items of a benchmark, and the clusters they come in where they are not drawn one by one."""
    return f"{row['items']}" if row["clusters"] == row["items"] else f"{row['items']} in {row['clusters']} clusters"


def variants_table(study: LoadedStudy) -> TextTable:
    """ρ of every measurement variant, full cohort beside zone."""
    variants = study.analysis("variants")
    rows = []
    for metric in dict.fromkeys(variants["metric"]):
        pair = variants[variants["metric"] == metric].set_index("subset").to_dict("index")
        full, zone = pair["full"], pair["zone"]
        alike = ", ".join(metric_name(m) for m in zone["same_ranks_as"].split())
        rows.append((metric_name(metric), *_rho(full), *_rho(zone), alike))
    return TextTable(
        VARIANTS,
        f"Spearman's ρ with the composite, {_level(study)} bootstrap interval, permutation p; the last column names "
        "variants that rank the zone's quants exactly alike or exactly the other way round.",
        ("variant", "full: ρ [interval]", "n", "p", "zone: ρ [interval]", "n", "p", "same ranks in the zone as"),
        tuple(rows),
    )


def benchmarks_table(study: LoadedStudy) -> TextTable:
    """ρ of mean KLD with each benchmark, full cohort and zone."""
    rows = [
        (f"{row['benchmark']}, {'full cohort' if row['subset'] == 'full' else 'zone'}", *_rho(row))
        for row in _named(study, study.analysis("zone")).sort_values("benchmark", kind="stable").to_dict("records")
    ]
    return TextTable(
        EACH_BENCHMARK,
        f"Spearman's ρ of mean KLD with each benchmark's score, {_level(study)} bootstrap interval, permutation p.",
        ("benchmark", "ρ [interval]", "n", "p"),
        tuple(rows),
    )


def flips_table(study: LoadedStudy) -> TextTable:
    """Leapfrogs and drops of every quant, by rising KLD."""
    benchmark = shown_score(study).benchmark
    flips = drawn_flips(study).sort_values(["kl_mean", "label"])
    rows = [
        (
            row["label"],
            str(row["leapfrogs"]),
            str(row["drops"]),
            printed(row["flip_rate"], 1, percent=True),
            printed(row["net"], 1, percent=True),
            with_interval(
                {**row, "low": row["improvement_low"], "high": row["improvement_high"]}, "improvement_fraction"
            ),
        )
        for row in flips.to_dict("records")
    ]
    return TextTable(
        FLIPS,
        f"Against the reference on {score_names(study).get(benchmark, benchmark)}: leapfrogs are items that only the "
        "quant has right, drops those that only the reference has right. Improvement fraction = leapfrogs / (leapfrogs "
        "+ drops), of a composite by its benchmarks' mean rates, with Wilson's interval: net = flip rate × (2 × "
        "improvement fraction − 1).",
        ("quant", "leapfrogs", "drops", "flip rate (%)", "net (points)", "improvement fraction [interval]"),
        tuple(rows),
    )


def prompts_table(study: LoadedStudy) -> TextTable:
    """The failed-to-passed ratio of all quants together, and the router over all pairs, for each benchmark."""
    prompts, router = (
        _named(study, _of(study.analysis(name), **pool)).set_index("benchmark").to_dict("index")
        for name, pool in (("prompts", {"label": ALL_QUANTS}), ("router", {"label_a": ALL_PAIRS}))
    )
    rows = [
        (
            benchmark,
            with_interval(prompts[benchmark], "ratio"),
            str(int(prompts[benchmark]["failed"])),
            str(int(prompts[benchmark]["passed"])),
            with_interval(_ends_of(prompts[benchmark], "auroc")),
            with_interval(router[benchmark], "accuracy", 1, percent=True),
            printed(router[benchmark]["margins_only"], 1, percent=True),
            with_interval(_ends_of(router[benchmark], "auroc")),
            str(int(router[benchmark]["items"])),
        )
        for benchmark in prompts
    ]
    return TextTable(
        PROMPTS,
        "Ratio of the geometric mean KLD of failed to passed items over all quants, and how often the quant with the "
        "lower KLD is the right one where exactly one of a pair is; chance is 50 %. Margins only: a router that sends "
        "as many items to each quant without looking at them. Both AUROCs are free of a quant's own level of KLD. The "
        "paper: ratio 1.08 to 1.22, router 42.3 to 49.4 %.",
        (
            *("benchmark", "ratio [interval]", "failed", "passed", "AUROC of failing"),
            *("router (%) [interval]", "margins only (%)", "AUROC of the router", "decisions"),
        ),
        tuple(rows),
    )


def _ends_of(row: Mapping, column: str) -> dict[str, float]:
    """A column of a row with its interval, as `with_interval` takes it."""
    return {"estimate": row[column], "low": row[f"{column}_low"], "high": row[f"{column}_high"]}


def per_prompt_tables(study: LoadedStudy) -> list[TextTable]:
    """Ratio and router, baselines, quants on one prompt, the two ways to flip, and metrics that may carry direction."""
    return [prompts_table(study), *(TEXTS[name](_named(study, study.analysis(name))) for name in PER_PROMPT)]


def evidence_tables(study: LoadedStudy, names: Sequence[str] = EVIDENCE) -> list[TextTable]:
    """What the items show and decide, for the score that headlines are about; no table that would have no row."""
    benchmark = shown_score(study).benchmark
    tables = [TEXTS[name](_named(study, _of(study.analysis(name), benchmark=benchmark))) for name in names]
    return [table for table in tables if table.rows]


def all_tables(study: LoadedStudy) -> list[TextTable]:
    """Every table of the report, in order."""
    before, after = (benchmarks_table, variants_table, flips_table), (composite_table, cohort_table)
    return [
        *(headline_table(study), *evidence_tables(study), *build_tables(study)),
        *(*paired_tables(study), *engine_tables(study)),
        *(make(study) for make in before),
        *(*per_prompt_tables(study), *(make(study) for make in after)),
    ]


def build_tables(study: LoadedStudy) -> list[TextTable]:
    """What replicate builds say; nothing where the study has none, or too few."""
    builds = study.analysis("builds")
    return [TEXTS["builds"](builds)] if (builds["component"] != "").any() else []


def paired_tables(study: LoadedStudy) -> list[TextTable]:
    """Which neighbouring quants the headline corpus tells apart; nothing where the study has a single quant."""
    where = study.params.headline
    pairs = _of(study.analysis("paired_fidelity"), corpus=where.corpus, context=where.context)
    return [TEXTS["paired_fidelity"](pairs)] if len(pairs) else []


def engine_tables(study: LoadedStudy) -> list[TextTable]:
    """What llama.cpp's own products add to a file's weights; nothing where no file runs in both engines."""
    where, bits = study.params.headline, study.cohort.set_index("label")["bits_per_weight"]
    pairs = _of(study.analysis("paired_fidelity"), corpus=where.corpus, context=where.context)
    pairs = pairs.set_index(["label_a", "label_b"]).to_dict("index")
    rows = []
    for weights, deployed in both_engines(study.params):
        row = pairs[weights, deployed]
        klds = [significant(row[column]) for column in ("kld_a", "kld_b")]
        rows.append((weights, deployed, printed(bits[weights]), *klds, kld_difference(row)))
    table = TextTable(
        ENGINES,
        f"Mean KLD on {where.corpus}, nats: in torch from the file's dequantized weights, and in llama.cpp, whose "
        f"products quantize activations too; their difference on the same {_tokens_of(pairs)} tokens, with its "
        "interval clustered by document or window.",
        ("in torch", "in llama.cpp", "bits", "KLD, torch", "KLD, llama.cpp", "llama.cpp − torch [interval]"),
        tuple(rows),
    )
    return [table] if rows else []


def _tokens_of(pairs: Mapping[tuple[str, str], Mapping]) -> str:
    return f"{min(row['tokens'] for row in pairs.values()):,}" if pairs else NOT_AVAILABLE


def notes_of(tables: Mapping[str, pd.DataFrame]) -> list[tuple[str, str, int]]:
    """Why numbers are not available: table, reason, and how many rows carry it; nothing where every number is there."""
    found: list[tuple[str, str, int]] = []
    for name in tables:
        if "note" in tables[name]:
            counts = tables[name]["note"].loc[lambda note: note != ""].value_counts(sort=False)
            found += [(name, reason, int(count)) for reason, count in counts.items()]
    return found


def parameter_rows(values: Mapping, prefix: str = "") -> Iterable[tuple[str, str]]:
    """Nested parameters as rows ``section.key``, value; lists of mappings are left to their own tables."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from parameter_rows(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            if not any(isinstance(v, Mapping) for v in value):
                yield f"{prefix}{key}", ", ".join(map(str, value))
        elif value is not None:
            yield f"{prefix}{key}", str(value)
