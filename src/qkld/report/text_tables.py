"""Result tables as text: what a report, a README or an analysed table shows of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pandas as pd

from qkld.report.figures.directional import NAMES as METRIC_NAMES
from qkld.report.numbers import NOT_AVAILABLE, p_value, printed, significant, with_interval
from qkld.statistics.prompts.rows import ALL_QUANTS
from qkld.study.text_table import TextTable

QUANTITY_NAMES = {
    "flip_rate": "volume (flip rate)",
    "improvement_fraction": "direction (improvement fraction)",
    "net": "net (score − reference)",
}


def _text(title: str, note: str, columns: Mapping[str, Callable[[Mapping], str]], rows: pd.DataFrame) -> TextTable:
    cells = tuple(tuple(make(row) for make in columns.values()) for row in rows.to_dict("records"))
    return TextTable(title, note, tuple(columns), cells)


def _plain(column: str, digits: int = 2, *, percent: bool = False) -> Callable[[Mapping], str]:
    return lambda row: printed(row[column], digits, percent=percent)


def _whole(column: str) -> Callable[[Mapping], str]:
    return lambda row: "" if pd.isna(row[column]) else f"{int(row[column]):,}"


def _p(column: str) -> Callable[[Mapping], str]:
    return lambda row: p_value(row[column])


def _between(low: str, high: str, digits: int = 2, *, percent: bool = False) -> Callable[[Mapping], str]:
    def text(row: Mapping) -> str:
        if pd.isna(row[low]) or pd.isna(row[high]):
            return ""
        return " to ".join(printed(row[c], digits, percent=percent) for c in (low, high))

    return text


def _correlation(table: pd.DataFrame) -> TextTable:
    return _text(
        "Fidelity against scores",
        "Spearman's ρ over quants with the paper's percentile bootstrap interval, the z-max interval (an exact one of "
        "fewer than 8 quants or all in order), the two-way interval (other quants and other items), and permutation p, "
        "free and within families, exact up to 7 quants.",
        {
            "score": _plain("benchmark"),
            "quants": _plain("subset"),
            "n": _whole("n"),
            "ρ [bootstrap]": with_interval,
            "z-max": _between("zmax_low", "zmax_high"),
            "two-way": _between("twoway_low", "twoway_high"),
            "p": _p("p"),
            "p in families": _p("p_within_families"),
        },
        table,
    )


def _partial(table: pd.DataFrame) -> TextTable:
    return _text(
        "Fidelity against scores at equal size",
        "Spearman's ρ, the same at equal size, its p, and the variance inflation: above 5 the metric and the size are "
        "too much alike to tell their parts apart.",
        {
            "score": _plain("benchmark"),
            "n": _whole("n"),
            "ρ": _plain("estimate"),
            "ρ at equal size": _plain("partial"),
            "p": _p("p_partial"),
            "variance inflation": _plain("inflation", 1),
        },
        table,
    )


def _score_noise(table: pd.DataFrame) -> TextTable:
    return _text(
        "Noise of the scores, from the numbers of items",
        "Standard error of a score in points, and the range in which the largest |ρ| lies that a perfect metric could "
        "be expected to show: the answers themselves would give one number.",
        {
            "score": _plain("benchmark"),
            "quants": _plain("subset"),
            "n": _whole("n"),
            "items": _whole("items"),
            "standard error": _plain("score_se", percent=True),
            "largest |ρ|": _between("attainable_low", "attainable_high"),
        },
        table,
    )


def _noise(table: pd.DataFrame) -> TextTable:
    return _text(
        "What the items can resolve",
        "Reliability of the scores over these quants with Feldt's interval, the largest |ρ| that a perfect metric is "
        "expected to show, and the ρ that new items would show if true scores followed the metric (5 to 95 %).",
        {
            "score": _plain("benchmark"),
            "quants": _plain("subset"),
            "n": _whole("n"),
            "items": _whole("items"),
            "reliability": lambda row: with_interval(
                {"estimate": row["reliability"], "low": row["reliability_low"], "high": row["reliability_high"]}
            ),
            "largest |ρ|": _plain("attainable"),
            "ρ": _plain("estimate"),
            "expected if carried": _between("predictive_low", "predictive_high"),
        },
        table,
    )


def _verdict(table: pd.DataFrame) -> TextTable:
    return _text(
        "Noise or missing direction",
        "The verdict and the share of true differences that lies along √KLD (90 % interval); the verdict with 1.3 "
        "times the noise; quants that stand apart from the line, and quants that the verdict on all would rest on, for "
        "which it is not given; items that would settle it.",
        {
            "score": _plain("benchmark"),
            "quants": _plain("subset"),
            "n": _whole("n"),
            "verdict": lambda row: row["verdict"] or "none",
            "R² along √KLD": _between("r2_low", "r2_high"),
            "with 1.3 × noise": _plain("verdict_inflated"),
            "set aside": _plain("set_aside"),
            "rests on": _plain("rests_on"),
            "items to settle": _whole("items_to_settle"),
        },
        table,
    )


def _volume_direction(table: pd.DataFrame) -> TextTable:
    shown = table[table["quantity"].isin(QUANTITY_NAMES)]
    return _text(
        "Volume and direction",
        "Spearman's ρ of fidelity with how much moves and which way, beside how reliably each is measured.",
        {
            "score": _plain("benchmark"),
            "quants": _plain("subset"),
            "fidelity against": lambda row: QUANTITY_NAMES[row["quantity"]],
            "n": _whole("n"),
            "ρ [bootstrap]": with_interval,
            "reliability": _plain("reliability"),
        },
        shown,
    )


def _thinning(table: pd.DataFrame) -> TextTable:
    return _text(
        "Volume measured as badly as direction",
        "ρ of fidelity with the flip rate, with the net score, and with the flip rate after so many flips are thrown "
        "away that both are equally reliable.",
        {
            "score": _plain("benchmark"),
            "quants": _plain("subset"),
            "ρ volume": _plain("rho_volume"),
            "ρ net": _plain("rho_net"),
            "flips kept (%)": _plain("kept", 1, percent=True),
            "flips kept": _whole("flips_left"),
            "ρ volume, thinned": _plain("rho_thinned"),
            "|ρ| difference, thinned": lambda row: with_interval(
                {"estimate": row["thinned_gap"], "low": row["thinned_gap_low"], "high": row["thinned_gap_high"]}
            ),
        },
        table,
    )


def _decision(table: pd.DataFrame) -> TextTable:
    shown = table[table["benchmark"] == table["benchmark"].iloc[-1]]
    margin = 100 * shown["margin"].iloc[0]
    return _text(
        "Which quants are as good as the reference",
        "Score − reference score in points with Tango's interval (Student's t where the primary score is the "
        "probability of the right choice), each quant by itself; equivalent: shown to differ by "
        f"less than {margin:g} points. Decisions hold for all quants together (Holm), so that a quant whose interval "
        "leaves 0 out may be undecided. Items: that would decide an undecided quant with power .8, were the difference "
        f"seen the true one. One item weighs up to {100 * shown['item_weight'].iloc[0]:.2f} points; the last column "
        "says where a single one makes more than half of the difference, or the decision.",
        {
            "quant": _plain("label"),
            "size": _plain("size"),
            "flips (%)": _plain("flip_rate", 1, percent=True),
            "difference": lambda row: with_interval(
                {"estimate": row["net"], "low": row["net_low"], "high": row["net_high"]}, percent=True
            ),
            "decision": lambda row: row["decision"] + (", the smallest" if row["smallest"] else ""),
            "items needed": _whole("items_needed"),
            "one item": _plain("note"),
        },
        shown,
    )


def _two_scores(table: pd.DataFrame) -> TextTable:
    def by(name: str, make: Callable[[str], Callable[[Mapping], str]]) -> dict[str, Callable[[Mapping], str]]:
        return {f"{name}, {score}": make(score) for score in ("accuracy", "probability")}

    return _text(
        "Accuracy and the probability of the right choice",
        f"Verdict, ρ of fidelity and standard error of a difference by either score; error rates are those of "
        f"{table['primary_score'].iloc[0]}, the primary score, named before scores were looked at.",
        {
            "score": _plain("benchmark"),
            "quants": _plain("subset"),
            "n": _whole("n"),
            **by("verdict", lambda score: lambda row: row[f"verdict_{score}"] or "none"),
            **by("ρ", lambda score: _plain(f"estimate_{score}")),
            **by("SE (points)", lambda score: _plain(f"mean_se_{score}", percent=True)),
        },
        table,
    )


def _probability(table: pd.DataFrame) -> TextTable:
    shown = table[table["benchmark"] == table["benchmark"].iloc[-1]]

    def part(name: str) -> Callable[[Mapping], str]:
        error = f"{name}_se"
        return lambda row: (
            "" if pd.isna(row[name]) else f"{printed(row[name], percent=True)} ± {printed(row[error], percent=True)}"
        )

    return _text(
        "Flatter, or worse",
        "Change of the mean probability of the right choice in points with its t interval; of it, what one temperature "
        "of the reference explains (fitted on other items) and the rest, each ± its standard error; items with another "
        "choice; decisions by this score and by accuracy.",
        {
            "quant": _plain("label"),
            "change": lambda row: with_interval(
                {"estimate": row["net"], "low": row["net_low"], "high": row["net_high"]}, percent=True
            ),
            "by scale": part("by_scale"),
            "rest": part("rest"),
            "other choices": _whole("choices_changed"),
            "it is": _plain("reading"),
            "decision": _plain("decision"),
            "by accuracy": _plain("decision_accuracy"),
        },
        shown[shown["net"].notna()],
    )


def _builds(table: pd.DataFrame) -> TextTable:
    return _text(
        "Builds at equal displacement",
        "Standard deviation of scores in points, between builds of one recipe and between recipes, beside a line in "
        "√KLD: restricted maximum likelihood with the items' noise given, a Q-profile interval, and p of none.",
        {
            "bases": _plain("basis_kind"),
            "score": _plain("by_score"),
            "quants": _plain("subset"),
            "between": lambda row: {"within": "builds of a recipe", "between": "recipes"}[row["component"]],
            "recipes": _whole("recipes"),
            "builds": _whole("builds"),
            "SD [interval]": lambda row: with_interval(
                {"estimate": row["sd"], "low": row["sd_low"], "high": row["sd_high"]}, percent=True
            ),
            "p": _p("p_zero"),
        },
        table[table["component"] != ""],
    )


def _pairs(table: pd.DataFrame) -> TextTable:
    shown = table[table["order"] != "not ordered"]
    return _text(
        "Which of two quants is the better",
        f"The {len(shown)} of {len(table)} pairs that these items put in order, after Holm over all pairs; difference "
        "of scores in points.",
        {
            "a": _plain("label_a"),
            "b": _plain("label_b"),
            "difference": lambda row: with_interval(
                {"estimate": row["difference"], "low": row["low"], "high": row["high"]}, percent=True
            ),
            "order": _plain("order"),
            "the nearer is the better": lambda row: {1.0: "yes", 0.0: "no"}.get(row["metric_right"], ""),
        },
        shown,
    )


def _paired_fidelity(table: pd.DataFrame) -> TextTable:
    return _text(
        "Which neighbours the tokens put in order",
        "Every quant against the next by mean KLD, and a file in torch against itself in llama.cpp, on the same "
        "tokens: difference of mean KLD in nats with its interval clustered by document or window (CR1 and t), p of no "
        "difference after Holm over these pairs, exact sign test by cluster, the windows that were run, and how many "
        "it takes to find this difference with power .8.",
        {
            "a": _plain("label_a"),
            "b": _plain("label_b"),
            "KLD b − KLD a": kld_difference,
            "p": _p("t_p_holm"),
            "sign test": _p("sign_p"),
            "windows": _whole("windows"),
            "windows needed": _count("windows_needed"),
        },
        table,
    )


def kld_difference(row: Mapping) -> str:
    """The difference of mean KLD in a row of ``paired_fidelity``, with its interval where there is one."""
    middle, low, high = (significant(row[c]) for c in ("kld_difference", "low", "high"))
    return middle if NOT_AVAILABLE in (low, high) else f"{middle} [{low}, {high}]"


def _count(column: str) -> Callable[[Mapping], str]:
    return lambda row: "no number is enough" if row[column] == math.inf else _whole(column)(row)


def _directional(table: pd.DataFrame) -> TextTable:
    shown = table[table["estimate"].notna()]
    gain = {"estimate": "gain", "low": "gain_band_low", "high": "gain_band_high"}
    return _text(
        "Does anything cheap beat KLD",
        "Metrics taken on one half of the items, by Spearman's ρ over quants with the net score on the other half: "
        "mean over random halves, bootstrap interval, p adjusted for choosing among all metrics (max-T), and the gain "
        "over mean KLD with a band that holds for all metrics together. Direction: signed by the right answers.",
        {
            "metric": lambda row: METRIC_NAMES.get(row["metric"], row["metric"]),
            "quants": _plain("subset"),
            "n": _whole("n"),
            "kind": _plain("kind"),
            "held-out ρ [bootstrap]": with_interval,
            "p": _p("p_adjusted"),
            "gain over KLD": lambda row: with_interval({k: row[c] for k, c in gain.items()}),
            "beats KLD": lambda row: "yes" if row["beats_kld"] else "",
        },
        shown,
    )


def _prompt_baselines(table: pd.DataFrame) -> TextTable:
    return _text(
        "What KLD has to beat, prompt by prompt",
        "AUROC of failing over all quants, comparing items of one quant, and how much more KLD has than each baseline; "
        "intervals clustered by prompt. Above ½: failed items have the higher value.",
        {
            "benchmark": _plain("benchmark"),
            "predictor": _plain("predictor"),
            "AUROC": lambda row: with_interval({**row, "estimate": row["auroc"]}, digits=3),
            "gain of KLD": lambda row: (
                ""
                if pd.isna(row["gain"])
                else with_interval(
                    {"estimate": row["gain"], "low": row["gain_low"], "high": row["gain_high"]}, digits=3
                )
            ),
        },
        table[table["auroc"].notna()],
    )


def _prompt_within(table: pd.DataFrame) -> TextTable:
    return _text(
        "Quants on one and the same prompt",
        "AUROC over pairs of a quant that fails and one that passes the same prompt, by KLD as measured and by ln KLD "
        "less the quant's mean; intervals clustered by prompt.",
        {
            "benchmark": _plain("benchmark"),
            "KLD": _plain("form"),
            "pairs": _whole("pairs"),
            "AUROC": lambda row: with_interval({**row, "estimate": row["auroc"]}, digits=3),
        },
        table[table["auroc"].notna()],
    )


def _prompt_flips(table: pd.DataFrame) -> TextTable:
    def auroc(name: str) -> Callable[[Mapping], str]:
        return lambda row: with_interval(
            {"estimate": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}, digits=3
        )

    return _text(
        "Does KLD know which way an answer flips",
        "AUROC of KLD for answers that became wrong and for answers that became right, and the difference: about 0 "
        "where displacement has no direction, above 0 where it has. Over all quants, intervals clustered by prompt.",
        {
            "benchmark": _plain("benchmark"),
            "drops": _whole("drops"),
            "AUROC of drops": auroc("auroc_drop"),
            "leapfrogs": _whole("leapfrogs"),
            "AUROC of leapfrogs": auroc("auroc_leapfrog"),
            "difference": auroc("drop_less_leapfrog"),
        },
        table[table["label"] == ALL_QUANTS],
    )


TEXTS: Mapping[str, Callable[[pd.DataFrame], TextTable]] = {
    "correlation": _correlation,
    "partial": _partial,
    "paired_fidelity": _paired_fidelity,
    "score_noise": _score_noise,
    "noise": _noise,
    "verdict": _verdict,
    "volume_direction": _volume_direction,
    "thinning": _thinning,
    "decision": _decision,
    "two_scores": _two_scores,
    "probability": _probability,
    "builds": _builds,
    "pairs": _pairs,
    "prompt_baselines": _prompt_baselines,
    "prompt_within": _prompt_within,
    "prompt_flips": _prompt_flips,
    "directional": _directional,
}
"""Result table → how the report shows it, in this order."""
