"""Result tables as text: what a report, a README or an analysed table shows of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from qkld.report.figures.directional_figure import NAMES as METRIC_NAMES
from qkld.report.numbers import NOT_AVAILABLE, p_value, printed, significant, with_interval
from qkld.statistics.prompts.prompt_rows import ALL_QUANTS
from qkld.study.text_table import TextTable

Cell = Callable[[Mapping], str]
"""A row of a result table → the text of one of its cells."""

QUANTITY_NAMES = {
    "flip_rate": "volume (flip rate)",
    "improvement_fraction": "direction (improvement fraction)",
    "net": "net (score − reference)",
}


@dataclass(frozen=True)
class Shown:
    """How a result table is shown as text: its title, its columns with what each says of a row, and the note below.

    ``note`` is made from the rows where it holds their numbers; ``rows`` picks those that are shown.
    """

    title: str
    note: str | Callable[[pd.DataFrame, pd.DataFrame], str]
    columns: Mapping[str, Cell]
    rows: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table

    def __call__(self, table: pd.DataFrame) -> TextTable:
        """The result table as text."""
        rows = self.rows(table)
        note = self.note if isinstance(self.note, str) else self.note(rows, table)
        cells = tuple(tuple(make(row) for make in self.columns.values()) for row in rows.to_dict("records"))
        return TextTable(self.title, note, tuple(self.columns), cells)


def _plain(column: str, digits: int = 2, *, percent: bool = False) -> Cell:
    return lambda row: printed(row[column], digits, percent=percent)


def _whole(column: str) -> Cell:
    return lambda row: "" if pd.isna(row[column]) else f"{int(row[column]):,}"


def _p(column: str) -> Cell:
    return lambda row: p_value(row[column])


def _between(low: str, high: str, digits: int = 2, *, percent: bool = False) -> Cell:
    def text(row: Mapping) -> str:
        if pd.isna(row[low]) or pd.isna(row[high]):
            return ""
        return " to ".join(printed(row[c], digits, percent=percent) for c in (low, high))

    return text


def _interval(column: str, ends: tuple[str, str] | None = None, *, digits: int = 2, percent: bool = False) -> Cell:
    """An estimate with its interval, whose columns are named after it unless they are given."""
    low, high = ends or (f"{column}_low", f"{column}_high")

    def text(row: Mapping) -> str:
        of = {"estimate": row[column], "low": row[low], "high": row[high]}
        return with_interval(of, digits=digits, percent=percent)

    return text


def _where_known(column: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda table: table[table[column].notna()]


def kld_difference(row: Mapping) -> str:
    """The difference of mean KLD in a row of ``paired_fidelity``, with its interval where there is one."""
    middle, low, high = (significant(row[c]) for c in ("kld_difference", "low", "high"))
    return middle if NOT_AVAILABLE in (low, high) else f"{middle} [{low}, {high}]"


def _count(column: str) -> Cell:
    return lambda row: "no number is enough" if row[column] == math.inf else _whole(column)(row)


SCORE: Mapping[str, Cell] = {"score": _plain("benchmark")}

OF_QUANTS: Mapping[str, Cell] = {**SCORE, "quants": _plain("subset"), "n": _whole("n")}
"""What a row is about: a score, and all quants or those of the zone."""

ENDS = ("low", "high")
"""Columns of the one interval of a table that has one."""


# --- correlations -----------------------------------------------------------------------------------------------------

_CORRELATION = Shown(
    "Fidelity against scores",
    "Spearman's ρ over quants with the paper's percentile bootstrap interval, the z-max interval (an exact one of "
    "fewer than 8 quants or all in order), the two-way interval (other quants and other items), and permutation p, "
    "free and within families, exact up to 7 quants.",
    {
        **OF_QUANTS,
        "ρ [bootstrap]": with_interval,
        "z-max": _between("zmax_low", "zmax_high"),
        "two-way": _between("twoway_low", "twoway_high"),
        "p": _p("p"),
        "p in families": _p("p_within_families"),
    },
)

_PARTIAL = Shown(
    "Fidelity against scores at equal size",
    "Spearman's ρ, the same at equal size, its p, and the variance inflation: above 5 the metric and the size are "
    "too much alike to tell their parts apart.",
    {
        **SCORE,
        "n": _whole("n"),
        "ρ": _plain("estimate"),
        "ρ at equal size": _plain("partial"),
        "p": _p("p_partial"),
        "variance inflation": _plain("inflation", 1),
    },
)

_PAIRED_FIDELITY = Shown(
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
)


# --- noise and verdict ------------------------------------------------------------------------------------------------

_SCORE_NOISE = Shown(
    "Noise of the scores, from the numbers of items",
    "Standard error of a score in points, and the range in which the largest |ρ| lies that a perfect metric could "
    "be expected to show: the answers themselves would give one number.",
    {
        **OF_QUANTS,
        "items": _whole("items"),
        "standard error": _plain("score_se", percent=True),
        "largest |ρ|": _between("attainable_low", "attainable_high"),
    },
)

_NOISE = Shown(
    "What the items can resolve",
    "Reliability of the scores over these quants with Feldt's interval, the largest |ρ| that a perfect metric is "
    "expected to show, and the ρ that new items would show if true scores followed the metric (5 to 95 %).",
    {
        **OF_QUANTS,
        "items": _whole("items"),
        "reliability": _interval("reliability"),
        "largest |ρ|": _plain("attainable"),
        "ρ": _plain("estimate"),
        "expected if carried": _between("predictive_low", "predictive_high"),
    },
)

_VERDICT = Shown(
    "Noise or missing direction",
    "The verdict and the share of true differences that lies along √KLD (90 % interval); the verdict with 1.3 "
    "times the noise; quants that stand apart from the line, and quants that the verdict on all would rest on, for "
    "which it is not given; items that would settle it.",
    {
        **OF_QUANTS,
        "verdict": lambda row: row["verdict"] or "none",
        "R² along √KLD": _between("r2_low", "r2_high"),
        "with 1.3 × noise": _plain("verdict_inflated"),
        "left out": _plain("set_aside"),
        "rests on": _plain("rests_on"),
        "items to settle": _whole("items_to_settle"),
    },
)


# --- answers ----------------------------------------------------------------------------------------------------------

_VOLUME_DIRECTION = Shown(
    "Fidelity against volume and direction",
    "Spearman's ρ of fidelity with how much moves and which way, beside how reliably each is measured.",
    {
        **SCORE,
        "quants": _plain("subset"),
        "fidelity against": lambda row: QUANTITY_NAMES[row["quantity"]],
        "n": _whole("n"),
        "ρ [bootstrap]": with_interval,
        "reliability": _plain("reliability"),
    },
    rows=lambda table: table[table["quantity"].isin(QUANTITY_NAMES)],
)

_THINNING = Shown(
    "Volume measured as badly as direction",
    "ρ of fidelity with the flip rate, with the net score, and with the flip rate after so many flips are thrown "
    "away that both are equally reliable.",
    {
        **SCORE,
        "quants": _plain("subset"),
        "ρ volume": _plain("rho_volume"),
        "ρ net": _plain("rho_net"),
        "flips kept (%)": _plain("kept", 1, percent=True),
        "flips kept": _whole("flips_left"),
        "ρ volume, thinned": _plain("rho_thinned"),
        "|ρ| difference, thinned": _interval("thinned_gap"),
    },
)


def _decision_note(shown: pd.DataFrame, _: pd.DataFrame) -> str:
    return (
        "Score − reference score in points with Tango's interval (Student's t where the primary score is the "
        "probability of the right choice), each quant by itself; equivalent: shown to differ by "
        f"less than {100 * shown['margin'].iloc[0]:g} points. Decisions hold for all quants together (Holm), so that a "
        "quant whose interval leaves 0 out may be undecided. Items: that would decide an undecided quant with power "
        ".8, were the difference seen the true one. One item weighs up to "
        f"{100 * shown['item_weight'].iloc[0]:.2f} points; the last column says where a single one makes more than "
        "half of the difference, or the decision."
    )


_DECISION = Shown(
    "Which quants are as good as the reference",
    _decision_note,
    {
        "quant": _plain("label"),
        "size": _plain("size"),
        "flips (%)": _plain("flip_rate", 1, percent=True),
        "difference": _interval("net", percent=True),
        "decision": lambda row: row["decision"] + (", the smallest" if row["smallest"] else ""),
        "items needed": _whole("items_needed"),
        "one item": _plain("note"),
    },
    rows=lambda table: table[table["benchmark"] == table["benchmark"].iloc[-1]],
)


def _primary_note(_: pd.DataFrame, table: pd.DataFrame) -> str:
    return (
        "Verdict, ρ of fidelity and standard error of a difference by either score; error rates are those of "
        f"{table['primary_score'].iloc[0]}, the primary score, named before scores were looked at."
    )


def _by_both(name: str, make: Callable[[str], Cell]) -> dict[str, Cell]:
    return {f"{name}, {score}": make(score) for score in ("accuracy", "probability")}


_TWO_SCORES = Shown(
    "Accuracy and the probability of the right choice",
    _primary_note,
    {
        **OF_QUANTS,
        **_by_both("verdict", lambda score: lambda row: row[f"verdict_{score}"] or "none"),
        **_by_both("ρ", lambda score: _plain(f"estimate_{score}")),
        **_by_both("SE (points)", lambda score: _plain(f"mean_se_{score}", percent=True)),
    },
)


def _with_error(name: str) -> Cell:
    def text(row: Mapping) -> str:
        return " ± ".join(printed(row[column], percent=True) for column in (name, f"{name}_se"))

    return lambda row: "" if pd.isna(row[name]) else text(row)


def _known_of_headline(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["benchmark"] == table["benchmark"].iloc[-1]) & table["net"].notna()]


_PROBABILITY = Shown(
    "Flatter, or worse",
    "Change of the mean probability of the right choice in points with its t interval; of it, what one temperature "
    "of the reference explains (fitted on other items) and the rest, each ± its standard error; items with another "
    "choice; decisions by this score and by accuracy.",
    {
        "quant": _plain("label"),
        "change": _interval("net", percent=True),
        "by scale": _with_error("by_scale"),
        "rest": _with_error("rest"),
        "other choices": _whole("choices_changed"),
        "it is": _plain("reading"),
        "decision": _plain("decision"),
        "by accuracy": _plain("decision_accuracy"),
    },
    rows=_known_of_headline,
)

_BUILDS = Shown(
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
        "SD [interval]": _interval("sd", percent=True),
        "p": _p("p_zero"),
    },
    rows=lambda table: table[table["component"] != ""],
)

_PAIRS = Shown(
    "Which of two quants is the better",
    lambda shown, table: (
        f"The {len(shown)} of {len(table)} pairs that these items put in order, after Holm over all pairs; difference "
        "of scores in points."
    ),
    {
        "a": _plain("label_a"),
        "b": _plain("label_b"),
        "difference": _interval("difference", ENDS, percent=True),
        "order": _plain("order"),
        "the nearer is the better": lambda row: {1.0: "yes", 0.0: "no"}.get(row["metric_right"], ""),
    },
    rows=lambda table: table[table["order"] != "not ordered"],
)


# --- prompt by prompt -------------------------------------------------------------------------------------------------


def _gain_of_kld(row: Mapping) -> str:
    return "" if pd.isna(row["gain"]) else _interval("gain", digits=3)(row)


_PROMPT_BASELINES = Shown(
    "What KLD has to beat, prompt by prompt",
    "AUROC of failing over all quants, comparing items of one quant, and how much more KLD has than each baseline; "
    "intervals clustered by prompt. Above ½: failed items have the higher value.",
    {
        "benchmark": _plain("benchmark"),
        "predictor": _plain("predictor"),
        "AUROC": _interval("auroc", ENDS, digits=3),
        "gain of KLD": _gain_of_kld,
    },
    rows=_where_known("auroc"),
)

_PROMPT_WITHIN = Shown(
    "Quants on one and the same prompt",
    "AUROC over pairs of a quant that fails and one that passes the same prompt, by KLD as measured and by ln KLD "
    "less the quant's mean; intervals clustered by prompt.",
    {
        "benchmark": _plain("benchmark"),
        "KLD": _plain("form"),
        "pairs": _whole("pairs"),
        "AUROC": _interval("auroc", ENDS, digits=3),
    },
    rows=_where_known("auroc"),
)

_PROMPT_FLIPS = Shown(
    "Does KLD know which way an answer flips",
    "AUROC of KLD for answers that became wrong and for answers that became right, and the difference: about 0 "
    "where displacement has no direction, above 0 where it has. Over all quants, intervals clustered by prompt.",
    {
        "benchmark": _plain("benchmark"),
        "drops": _whole("drops"),
        "AUROC of drops": _interval("auroc_drop", digits=3),
        "leapfrogs": _whole("leapfrogs"),
        "AUROC of leapfrogs": _interval("auroc_leapfrog", digits=3),
        "difference": _interval("drop_less_leapfrog", digits=3),
    },
    rows=lambda table: table[table["label"] == ALL_QUANTS],
)

_DIRECTIONAL = Shown(
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
        "gain over KLD": _interval("gain", ("gain_band_low", "gain_band_high")),
        "beats KLD": lambda row: "yes" if row["beats_kld"] else "",
    },
    rows=_where_known("estimate"),
)

TEXTS: Mapping[str, Shown] = {
    "correlation": _CORRELATION,
    "partial": _PARTIAL,
    "paired_fidelity": _PAIRED_FIDELITY,
    "score_noise": _SCORE_NOISE,
    "noise": _NOISE,
    "verdict": _VERDICT,
    "volume_direction": _VOLUME_DIRECTION,
    "thinning": _THINNING,
    "decision": _DECISION,
    "two_scores": _TWO_SCORES,
    "probability": _PROBABILITY,
    "builds": _BUILDS,
    "pairs": _PAIRS,
    "prompt_baselines": _PROMPT_BASELINES,
    "prompt_within": _PROMPT_WITHIN,
    "prompt_flips": _PROMPT_FLIPS,
    "directional": _DIRECTIONAL,
}
"""Result table → how a report shows it, in this order."""
