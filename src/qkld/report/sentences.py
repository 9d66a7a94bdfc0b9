"""One sentence a section of a notebook: the answer to its question, from the result tables of the study.

A sentence says what its table says, with sizes and intervals; where a number is missing it says that, and the table's
``note`` why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from qkld.report.numbers import printed
from qkld.statistics.items.probability import Score
from qkld.statistics.noise.two_scores import NAMES

VERDICTS = {
    "carried": "the scores differ by more than chance, and most of that follows {metric}",
    "direction missing": "the scores differ by more than chance, but less than half of that follows {metric}",
    "noise-limited": "these items cannot tell the quants apart, so nothing can be said for or against {metric}",
    "undetermined": "the scores differ by more than chance, and these items do not decide whether by {metric}",
}
"""Verdict → what it says."""

FLOOR = "floor-dtype"
"""Label of the row that measures the reference against itself in the next wider dtype."""

TOLD_APART = 0.05
"""Level, held over all pairs together, at which two quants count as told apart."""

OUT_OF_REACH = 100
"""More items than so many times those at hand are not given as a number."""


def interval(row: Mapping[str, Any], name: str = "estimate", low: str = "low", high: str = "high") -> str:
    """A number with its interval, as ``−0.14 [−0.74, 0.58]``."""
    if pd.isna(row[name]):
        return "not available"
    if pd.isna(row[low]) or pd.isna(row[high]):
        return f"{printed(row[name])} (no interval)"
    return f"{printed(row[name])} [{printed(row[low])}, {printed(row[high])}]"


def count(number: int, what: str = "quant") -> str:
    """``1 quant``, ``20 quants``."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def row_of(table: pd.DataFrame, **values: object) -> Mapping[str, Any] | None:
    """The first row with these values; None where there is none."""
    found = table
    for column, value in values.items():
        found = found[found[column] == value]
    return None if found.empty else found.iloc[0].to_dict()


def named(score: Score | None) -> str:
    """``By accuracy, the primary score: ``; empty where none is named."""
    return "" if score is None else f"By {NAMES[score]}, the primary score: "


# --- 03b: are benchmarks above chance, and quants above the floor ----------------------------------------------------


def composite_sentence(composite: pd.DataFrame) -> str:
    """Which benchmarks are far enough above chance to form the composite."""
    enter = composite.loc[composite["in_composite"].astype(bool), "benchmark"].tolist()
    of = f"{len(enter) or 'None'} of {count(len(composite), 'benchmark')}"
    if not enter:
        return f"{of} can be part of the composite."
    return f"{of} {'is' if len(enter) == 1 else 'are'} part of the composite: {', '.join(enter)}."


def floor_sentence(floors: pd.DataFrame) -> str:
    """How many quants cannot be told from the reference in a wider dtype."""
    if FLOOR not in floors.index or pd.isna(floors.loc[FLOOR, "kl_mean"]):
        return "The floor in a wider dtype: not available."
    floor, below = floors.loc[FLOOR, "kl_mean"], int(floors.loc[FLOOR, "quants_below"])
    at_floor = f"{below or 'no'} {'quant is' if below == 1 else 'quants are'} at this floor"
    return f"The reference in a wider dtype has a mean KLD of {floor:.2g} nats; {at_floor}."


# --- 04: does KLD rank scores -----------------------------------------------------------------------------------------


def correlation_sentence(correlation: pd.DataFrame, score: str) -> str:
    """Whether mean KLD ranks the whole cohort by a score."""
    row = row_of(correlation, metric="kl_mean", benchmark=score, method="spearman", subset="full")
    if row is None or pd.isna(row["estimate"]):
        return f"Mean KLD and {score}: not available{_why(row)}."
    return f"Over {count(int(row['n']))}, ρ(mean KLD, {score}) = {interval(row)}, permutation p {_p(row['p'])}."


def partial_sentence(partial: pd.DataFrame, score: str) -> str:
    """What is left of the correlation among quants of equal bits per weight."""
    row = row_of(partial, metric="kl_mean", benchmark=score, subset="full")
    if row is None or pd.isna(row["partial"]):
        return f"At equal bits per weight: not available{_why(row)}."
    return (
        f"At equal bits per weight ρ is {printed(row['partial'])} (p {_p(row['p_partial'])}); without that condition "
        f"{printed(row['estimate'])}."
    )


def neighbours_sentence(paired: pd.DataFrame) -> str:
    """How many neighbouring quants the tokens put in order."""
    if paired.empty:
        return "There is a single quant, so nothing to compare it with."
    apart = int((paired["t_p_holm"] < TOLD_APART).sum())
    return (
        f"The tokens tell {apart} of {count(len(paired), 'pair')} of neighbours by mean KLD apart "
        f"(all pairs together at {TOLD_APART:g})."
    )


def entropy_sentence(entropy: pd.DataFrame) -> str:
    """How much larger mean KLD is where the reference is least sure; a row a quant, a column a group by entropy."""
    ratio = (entropy.iloc[:, -1] / entropy.iloc[:, 0]).median() if entropy.shape[1] > 1 else float("nan")
    if pd.isna(ratio):
        return "KLD by the reference's entropy: not available."
    return (
        f"Where the reference's entropy is highest, mean KLD is {printed(ratio, 1)} times what it is where the entropy "
        "is lowest (median over quants)."
    )


def position_sentence(ratios: pd.DataFrame) -> str:
    """Whether KLD grows along the text: the ratios of `half_ratios`, and how many intervals exclude 1."""
    known = ratios.dropna(subset="estimate")
    if known.empty:
        return "KLD by position: not available."
    each = ", ".join(f"{label} {interval(row)}" for label, row in known.to_dict("index").items())
    said = f"Mean KLD from position {known['split'].min():.0f} on, over that before it: {each}."
    if known["low"].isna().all():
        return f"{said.replace(' (no interval)', '')} Intervals need the tokens, which are not kept here."
    moved = int(((known["low"] > 1) | (known["high"] < 1)).sum())
    return f"{said} The interval excludes 1 for {moved} of {count(len(known))}."


# --- 05: near the baseline --------------------------------------------------------------------------------------------


def zone_sentence(zone: pd.DataFrame, score: str) -> str:
    """How many quants are near the baseline, and ρ among them."""
    row = row_of(zone, metric="kl_mean", benchmark=score, subset="zone")
    whole = zone.iloc[0]
    rule = f" with a mean KLD of at most {whole['cut']:g} nats" if whole["rule"] == "kld_cut" else ""
    inside = f"{whole['n_zone']} of {count(int(whole['n_full']))} are in the zone{rule}"
    if row is None or pd.isna(row["estimate"]):
        return f"{inside}; ρ inside: not available{_why(row)}."
    return f"{inside}; inside, ρ = {interval(row)}."


def noise_sentence(noise: pd.DataFrame, score: str) -> str:
    """Whether these items could show a ranking at all."""
    row = row_of(noise, benchmark=score, subset="zone")
    if row is None or pd.isna(row["reliability"]):
        return f"What these items can resolve: not available{_why(row)}."
    below = " (below 0: the scores differ less than item noise alone is expected to make them)"
    return (
        "In the zone the scores' reliability is "
        f"{interval(row, 'reliability', 'reliability_low', 'reliability_high')}"
        f"{below if row['reliability'] < 0 else ''}; "
        f"a perfect predictor of the true scores would be expected to show |ρ| of {printed(row['attainable'])}."
    )


def verdict_sentence(verdict: pd.DataFrame, score: str, primary: Score | None = None) -> str:
    """Noise or missing direction, and what would settle it, by the ``primary`` score."""
    row = row_of(verdict, benchmark=score, subset="zone")
    if row is None or not row["verdict"] or pd.isna(row["verdict"]):
        return f"{named(primary)}No verdict{_why(row)}."
    said = VERDICTS[row["verdict"]].format(metric="KLD")
    rests = f" This rests on {row['rests_on']}." if row["rests_on"] and not pd.isna(row["rests_on"]) else ""
    return f"{named(primary)}*{row['verdict']}*: {said}.{share_of_kld(row)}{rests}{_to_settle(row)}"


def share_of_kld(row: Mapping[str, Any]) -> str:
    """How much of the true differences lies along √KLD, R²_true, where they are seen; else nothing."""
    if row["verdict"] == "noise-limited" or row["r2_low"] is None or pd.isna(row["r2_low"]):
        return ""
    share, low, high = (printed(row[column]) for column in ("r2", "r2_low", "r2_high"))
    return f" KLD accounts for {share} [{low}, {high}] of the variance of the true scores (90 % interval)."


def _to_settle(row: Mapping[str, Any]) -> str:
    """How many items would settle a verdict that is open, as far as the table knows."""
    about, least, now = row["items_to_settle"], row["items_at_least"], f"(now {row['items']:,.0f})"
    if about > OUT_OF_REACH * row["items"]:
        return f" It would take more than {OUT_OF_REACH} times the items to settle it {now}."
    if not pd.isna(about):
        return f" About {about:,.0f} items would settle it {now}."
    if row["verdict"] == "noise-limited" and least > row["items"]:
        return f" No fewer than {least:,.0f} items could settle it {now}."
    return ""


def two_scores_sentence(both: pd.DataFrame, score: str) -> str:
    """ρ in the zone and its error by either score, whether their verdicts differ, and whose error rate is meant."""
    row = row_of(both, benchmark=score, subset="zone")
    if row is None:
        return "The two scores: not available."
    told = [
        f"by {name} ρ = {printed(row[f'estimate_{which}'])} and a standard error of "
        f"{printed(row[f'mean_se_{which}'], 2, percent=True)} points"
        for which, name in NAMES.items()
        if not pd.isna(row[f"mean_se_{which}"])
    ]
    return f"In the zone, {'; '.join(told)}. {row['says']}" if told else str(row["says"])


def left_out_sentence(left_out: pd.DataFrame, verdict: pd.DataFrame, score: str) -> str:
    """Whether the verdict stays whichever quant is left out."""
    own = row_of(verdict, benchmark=score, subset="zone")
    rows = left_out[(left_out["benchmark"] == score) & (left_out["subset"] == "zone")]
    if own is None or rows.empty or pd.isna(own["verdict"]) or not own["verdict"]:
        return "Leaving single quants out: not available."
    others = rows[rows["verdict"] != own["verdict"]]
    if others.empty:
        return f"Whichever of the {count(len(rows))} is left out, the verdict is the same."
    labels = others.groupby(others["verdict"].replace("", "no verdict"), sort=False)["left_out"]
    named = "; ".join(f"without {', '.join(without)}: {verdict}" for verdict, without in labels)
    return f"The verdict changes in {len(others)} of {len(rows)} cases ({named})."


def curve_sentence(curve: pd.DataFrame) -> str:
    """How much the correlation inside the zone depends on where it ends."""
    drawn = curve[curve["estimate"].notna()]
    if drawn.empty:
        return "ρ for other cuts: not available."
    away = int(((drawn["high"] < 0) | (drawn["low"] > 0)).sum())
    first, last = drawn.iloc[0], drawn.iloc[-1]
    return (
        f"With the zone's cut moved from {first['cut']:.2g} to {last['cut']:.2g} nats ({int(first['n'])} to "
        f"{int(last['n'])} quants), ρ goes from {printed(first['estimate'])} to {printed(last['estimate'])}; its "
        f"interval excludes 0 at {away} of {count(len(drawn), 'cut')}."
    )


def rules_sentence(rules: pd.DataFrame) -> str:
    """What ρ is in the zones that other rules choose."""
    found = rules.iloc[1:]
    told = [f"{row.rule}, ρ = {printed(row.estimate)} ({count(int(row.n_zone))})" for row in found.itertuples()]
    return f"Zones by the other rules: {'; '.join(told)}." if told else ""


def variants_sentence(variants: pd.DataFrame) -> str:
    """Whether another way to measure KLD ranks the zone's quants, one error rate for all of them."""
    inside = variants[(variants["subset"] == "zone") & variants["estimate"].notna()]
    if inside.empty:
        return "Other ways to measure KLD: not available in the zone."
    away = inside.loc[inside["p_adjusted"] < TOLD_APART, "metric"].tolist()
    named = f" ({', '.join(away)})" if away else ""
    return (
        f"In the zone, {len(away) or 'none'} of {count(len(inside), 'measurement variant')} has a ρ that differs from "
        f"0 (all together at {TOLD_APART:g}){named}."
    )


# --- 06: volume and direction -----------------------------------------------------------------------------------------


def volume_sentence(volume: pd.DataFrame, score: str) -> str:
    """KLD against how many answers change and against the direction in which they do, near the baseline."""
    parts = []
    for quantity, name in (
        ("flip_rate", "the share of answers that change"),
        ("improvement_fraction", "its direction"),
    ):
        row = row_of(volume, quantity=quantity, benchmark=score, subset="zone")
        parts.append(f"{name}: ρ = {'not available' if row is None else interval(row)}")
    return f"In the zone, KLD and {'; and '.join(parts)}."


def decision_sentence(decision: pd.DataFrame, score: str, primary: Score | None = None) -> str:
    """Which quants are as good as the reference by the ``primary`` score, one error rate for all of them."""
    own = decision[decision["benchmark"] == score]
    if own.empty:
        return "Comparison with the reference: not available."
    by = named(primary)
    told = own["decision"].value_counts()
    counted = ", ".join(f"{told[word]} {word}" for word in sorted(told.index))
    smallest = own.loc[own["smallest"].fillna(False).astype(bool), "label"].tolist()
    are = "quants are" if len(smallest) > 1 else "quant is"
    named_ones = ", ".join(sorted(smallest))
    tail = f" The smallest equivalent {are} {named_ones}." if smallest else " No quant is shown to be equivalent."
    margin = printed(own["margin"].iloc[0], 1, percent=True)
    of = "of" if by else "Of"
    return f"{by}{of} {count(len(own))}, within a margin of {margin} points of the reference: {counted}.{tail}"


def scale_sentence(second: pd.DataFrame, score: str) -> str:
    """What the probability of the right choice decides, where accuracy decides otherwise, and what scale explains."""
    own = second[second["benchmark"] == score]
    if own.empty or own["net"].isna().all():
        return f"By the probability of the right choice: not available{_why(None if own.empty else own.iloc[0])}."
    decided, read = own["decision"].value_counts(), own["reading"].replace("", "not clear").value_counts()
    counted = ", ".join(f"{n} {word}" for word, n in sorted(decided.items()))
    readings = ", ".join(f"*{word}* ({n})" for word, n in sorted(read.items()))
    other = int((own["says"] != "").sum())
    margin = printed(own["margin"].iloc[0], 1, percent=True)
    return (
        f"By the probability of the right choice, of {count(len(own))} within a margin of {margin} points: {counted}; "
        f"for {other} of them accuracy decides otherwise. What changed, with the number of quants: {readings}."
    )


def builds_sentence(builds: pd.DataFrame) -> str:
    """How far builds of a recipe, and recipes, lie apart at equal displacement, for each kind of builds and score."""
    keys = builds[["basis_kind", "by_score"]].drop_duplicates().itertuples(index=False)
    return " ".join(_of_builds(builds[(builds["basis_kind"] == k) & (builds["by_score"] == s)], k, s) for k, s in keys)


def _of_builds(rows: pd.DataFrame, kind: str, score: Score) -> str:
    whole, zone = (_components(rows[rows["subset"].isin(subsets)]) for subsets in (("", "full"), ("zone",)))
    if whole is None:
        where = f"Builds by {kind}, {NAMES[score]}" if kind else "Builds of recipes"
        return f"{where}: not available{_why(rows.iloc[0].to_dict())}."
    sizes, told = whole
    inside = f" In the zone, over {zone[0]}: {zone[1]}." if zone else ""
    return f"Over {sizes} by {kind}, {NAMES[score]} at equal KLD differs {told} (standard deviations).{inside}"


def _components(rows: pd.DataFrame) -> tuple[str, str] | None:
    """Numbers of builds and recipes, and both standard deviations, in words; None where they are not known."""
    found = {part: row_of(rows, component=part) for part in ("within", "between")}
    if any(row is None or pd.isna(row["sd"]) for row in found.values()):
        return None
    told = [
        f"between {what} by {_points(row['sd'])} points [{_points(row['sd_low'])}, {_points(row['sd_high'])}], "
        f"p {_p(row['p_zero'])}"
        for what, row in (("builds of one recipe", found["within"]), ("recipes", found["between"]))
    ]
    sizes = f"{int(found['within']['builds'])} builds of {int(found['within']['recipes'])} recipes"
    return sizes, " and ".join(told)


def recipe_means_sentence(correlations: pd.DataFrame, primary: Score) -> str:
    """ρ of mean KLD and score over the means of recipes, in the zone and over all, for each kind of builds."""
    means = correlations[(correlations["level"] == "recipes") & (correlations["by_score"] == primary)]
    told = [
        f"{where} (n = {int(row['n'])}) {printed(row['estimate'])}, p {_p(row['p'])}"
        for _, kind in means.groupby("basis_kind", sort=False)
        for where, row in (("in the zone", row_of(kind, subset="zone")), ("over all", row_of(kind, subset="full")))
        if row is not None and not pd.isna(row["estimate"])
    ]
    return f"ρ(mean KLD, {NAMES[primary]}) over the means of recipes: {'; '.join(told)}." if told else ""


def pairs_sentence(pairs: pd.DataFrame) -> str:
    """How many pairs of quants the items put in order, and how often KLD has that order."""
    if pairs.empty:
        return "There are no pairs of quants to order."
    ordered = pairs[pairs["p_holm"] < TOLD_APART]
    if ordered.empty:
        return f"The items put none of {count(len(pairs), 'pair')} of quants in order."
    right = int(ordered["metric_right"].fillna(False).astype(bool).sum())
    every = count(len(pairs), "pair")
    return f"The items put {len(ordered)} of {every} of quants in order; KLD has {right} of these right."


# --- 07: item by item -------------------------------------------------------------------------------------------------


def prompts_sentence(prompts: pd.DataFrame, pool: str) -> str:
    """Whether KLD is higher on items that a quant fails."""
    row = row_of(prompts, label=pool)
    if row is None or pd.isna(row["ratio"]):
        return f"KLD of failed against passed items: not available{_why(row)}."
    return (
        f"Over all quants, the geometric mean of KLD on failed items is {interval(row, 'ratio')} times that on passed "
        f"ones; AUROC {interval(row, 'auroc', 'auroc_low', 'auroc_high')}."
    )


def baselines_sentence(baselines: pd.DataFrame) -> str:
    """Whether KLD predicts failures better than what is known without the quant."""
    known = baselines[baselines["gain"].notna()]
    if known.empty:
        return "KLD against other predictors of failing: not available."
    better = int((known["gain_low"] > 0).sum())
    return f"KLD is shown to predict failures better than {better} of {count(len(known), 'baseline')}."


def within_sentence(within: pd.DataFrame) -> str:
    """Whether, of two quants on one prompt, the one with the higher KLD is the one that fails."""
    known = within[within["auroc"].notna()]
    told = [f"{interval(row, 'auroc')} ({row['benchmark']}, {row['form']})" for row in known.to_dict("records")]
    return f"On the same prompt the quant that fails has the higher KLD with AUROC {'; '.join(told)}." if told else ""


def flip_signal_sentence(flips: pd.DataFrame, pool: str) -> str:
    """Whether items that became wrong diverge more than items that became right."""
    rows = flips[(flips["label"] == pool) & flips["drop_less_leapfrog"].notna()].to_dict("records")
    if not rows:
        return "Items that became wrong against items that became right: not available."
    told = [
        f"{row['benchmark']}: AUROC of KLD {printed(row['auroc_drop'])} for items that became wrong, "
        f"{printed(row['auroc_leapfrog'])} for items that became right, difference "
        f"{interval(row, 'drop_less_leapfrog', 'drop_less_leapfrog_low', 'drop_less_leapfrog_high')}"
        for row in rows
    ]
    return f"{'; '.join(told)}."


def router_sentence(router: pd.DataFrame, pool: str) -> str:
    """Whether KLD says which of two quants is right where they disagree."""
    row = row_of(router, label_a=pool)
    if row is None or pd.isna(row["accuracy"]):
        return f"Which of two quants is right: not available{_why(row)}."
    return f"Where two quants disagree, the one with the lower KLD is right in {interval(row, 'accuracy')} of items."


def directional_sentence(directional: pd.DataFrame) -> str:
    """Whether any cheap metric tells more about the score than KLD."""
    better = directional[directional["beats_kld"].fillna(False).astype(bool)]
    metrics = directional["metric"].nunique()
    if better.empty:
        return f"None of {count(metrics, 'metric')} is shown to tell more about the score than KLD."
    return f"Shown to tell more about the score than KLD: {', '.join(better['metric'].unique())} (of {metrics})."


def _why(row: Mapping[str, Any] | None) -> str:
    note = None if row is None else row.get("note")
    return f" ({note})" if isinstance(note, str) and note else ""


def _points(fraction: float) -> str:
    return printed(fraction, 2, percent=True)


def _p(value: float) -> str:
    return "not available" if pd.isna(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"
