"""Columns of scores: their unit, what can be no accuracy, and what lies at chance."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from qkld.errors import TableError
from qkld.statistics.core.checks import is_divergence

CHOICES = {
    **dict.fromkeys(("mmlu", "arc", "hellaswag", "openbookqa", "obqa", "sciq", "gpqa", "race", "logiqa", "medmcqa"), 4),
    **dict.fromkeys(("cmmlu", "ceval", "swag", "kmmlu", "medqa"), 4),
    **dict.fromkeys(("winogrande", "piqa", "boolq", "copa", "rte", "wic", "wsc", "storycloze", "mrpc", "qnli"), 2),
    **dict.fromkeys(("socialiqa", "siqa", "anli", "mnli"), 3),
    **dict.fromkeys(("commonsenseqa", "csqa", "mathqa"), 5),
    "mmlupro": 10,
}
"""Benchmark, by the beginning of its name in letters alone → choices of an item; the longest beginning counts."""

WRITTEN = (
    "gsm",
    "math",
    "humaneval",
    "mbpp",
    "ifeval",
    "bbh",
    "triviaqa",
    "truthfulqa",
    "lambada",
    "aime",
    "livecodebench",
)
"""Beginnings of names of benchmarks without choices, or whose choices differ from item to item."""

ACCURACY = frozenset({"acc", "accuracy", "score", "scores", "em", "pass", "mmlu", "arc", "correct", "average", "avg"})
"""Words in names of columns that are shares of right answers."""

NO_ACCURACY = frozenset(
    {"ppl", "ppls", "perplexity", "perplexities", "nll", "loss", "bpb", "bpw", "bpc", "size", "gb", "gib", "mb", "mib"}
    | {
        "bytes",
        "time",
        "speed",
        "tps",
        "latency",
        "elo",
        "wikitext",
        "wikitext2",
        "wiki",
        "wiki2",
        "ptb",
        "c4",
        "fineweb",
    }
    | {"mtbench", "bleu", "stderr", "std", "se", "err", "error", "agreement", "same"}
)
"""Words in names of columns that are no shares of right answers."""

TOLD_FROM_CHANCE = 2.0
"""Standard errors above chance from which a score is not at chance."""

NEAR_CHANCE = 0.02
"""The same as a difference, where the number of items is not known."""

TEN_POINTS = 10.0
"""Scores of at most this and above 1 are as likely marks out of ten as percent."""

RISES = 0.7
"""Spearman's ρ with KLD from which a score looks like a perplexity."""


def score_unit(table: pd.DataFrame, scores: Sequence[str], percent: Sequence[str] = ()) -> str:
    """``fraction`` where every score lies within 0 and 1, ``percent`` where every column passes 1 and none 100.

    ``percent`` names columns that are said to be percent, whatever their values.

    Raises
    ------
    TableError
        If a column is no accuracy by its name, columns differ in unit or a value lies outside both.
    """
    _refuse_others(scores)
    high, low = table[list(scores)].max(), table[list(scores)].min()
    said = pd.Series([s in percent for s in scores], index=list(scores))
    if (low >= 0).all() and (high <= 1).all() and not said.any():
        return "fraction"
    if (low >= 0).all() and ((high > 1) | said).all() and (high <= 100).all():
        return "percent"
    raise TableError(
        "The unit of the scores is ambiguous.",
        expected="all scores within 0 and 1, or all in percent up to 100",
        found=", ".join(f"{c}: {low[c]:g} to {high[c]:g}" for c in scores),
        do="use one unit for all score columns, write counts of right answers as 264/400, and leave out columns "
        "that are not accuracies, such as a perplexity",
    )


def _refuse_others(scores: Sequence[str]) -> None:
    odd = [s for s in scores if is_divergence(s) or not NO_ACCURACY.isdisjoint(_words(s))]
    if odd:
        raise TableError(
            "Columns that were named as scores are not accuracies.",
            expected="shares of right answers, from 0 to 1 or in percent",
            found=f"{', '.join(odd)}: by name a perplexity, a loss or an agreement",
            do="leave them out of --scores; one of them can be the --fidelity. Rename a column that is an accuracy",
        )


def _words(name: str) -> list[str]:
    """The words of a name, and the name as one word."""
    words = re.findall("[a-z0-9]+", name.lower())
    return [*words, "".join(words)]


def choices_of(score: str, given: Mapping[str, int]) -> int | None:
    """Choices of a benchmark's items: as given, else known by its name; None where it is not known."""
    if score in given:
        return given[score]
    letters = re.sub("[^a-z]", "", score.lower())
    known = max((name for name in CHOICES if letters.startswith(name)), key=len, default=None)
    return CHOICES[known] if known and not letters.startswith("arcagi") else None


def likely_scores(columns: Sequence[str]) -> list[str]:
    """Columns that are shares of right answers by their name: a known benchmark's, or an accuracy."""
    words = {c: re.findall("[a-z]+", c.lower()) for c in columns}
    named = [
        c
        for c in columns
        if choices_of(c, {}) or any(word.startswith(WRITTEN) for word in words[c]) or not ACCURACY.isdisjoint(words[c])
    ]
    return [c for c in named if not is_divergence(c) and NO_ACCURACY.isdisjoint(_words(c))]


def doubts(
    cohort: pd.DataFrame,
    fidelity: str | None,
    columns: Mapping[str, str],
    *,
    unit: str,
    choices: Mapping[str, int],
    items: Mapping[str, int],
) -> list[str]:
    """Notes on scores that may be no accuracies, or lie at chance; ``columns``: score → its column of fractions."""
    notes = []
    quants = cohort[cohort["role"] == "quant"]
    for score, column in columns.items():
        best = _best(cohort, column)
        if unit == "percent" and 100 * cohort[column].max() <= TEN_POINTS:
            most = f"{100 * cohort[column].max():g}"
            notes.append(f"'{score}' is at most {most} and read as percent: leave it out if these are marks out of ten")
        elif fidelity and is_divergence(fidelity) and _rises(quants[fidelity], quants[column]):
            notes.append(f"'{score}' rises with KLD: is it an accuracy, and not a perplexity or a loss?")
        known = choices_of(score, choices)
        if known and best is not None and _at_chance(best, 1 / known, items.get(score)):
            notes.append(
                f"'{score}' is at chance: {100 * best:.1f} % where guessing among {known} choices gives "
                f"{100 / known:.3g} %; such a score says nothing of a quant"
            )
    return notes


def _best(cohort: pd.DataFrame, column: str) -> float | None:
    """The reference's score, or the best one where there is none."""
    own = cohort.loc[cohort["role"] == "reference", column].dropna()
    values = own if len(own) else cohort[column].dropna()
    return float(values.max()) if len(values) else None


def _at_chance(score: float, chance: float, items: int | None) -> bool:
    margin = TOLD_FROM_CHANCE * np.sqrt(chance * (1 - chance) / items) if items else NEAR_CHANCE
    return score < chance + margin


def _rises(fidelity: pd.Series, score: pd.Series) -> bool:
    known = fidelity.notna() & score.notna()
    if known.sum() < 6 or score[known].nunique() < 2 or fidelity[known].nunique() < 2:
        return False
    return bool(stats.spearmanr(fidelity[known], score[known]).statistic > RISES)


def items_behind(scores: pd.Series, errors: pd.Series) -> int | None:
    """The number of items at which √(p(1 − p)/N) gives the standard errors of all scores (fractions), else None.

    An error counts with half of its last decimal, by which it may be off.
    """
    known = scores.notna() & (errors > 0) & (scores > 0) & (scores < 1)
    if known.sum() < 2:
        return None
    variance, error = (scores * (1 - scores))[known], errors[known]
    slack = np.minimum(0.5 * last_decimal(errors), error / 2)
    low, high = (variance / (error + slack) ** 2).max(), (variance / (error - slack) ** 2).min()
    if low > 1.02 * high or high < 2:
        return None
    return round(float(np.sqrt(low * high)))


def items_in_name(score: str) -> int | None:
    """The number of items that a column's name gives (``MMLU (n=400)``, ``GSM8K [1,319 items]``), else None."""
    digits = r"(\d{1,3}(?:[,'’ ]\d{3})+|\d+)(?![\d.,])"
    found = re.search(
        rf"(?<![a-z])n\s*=\s*{digits}|(?<![\d.,]){digits}\s*(?:items|questions|samples|problems|prompts)\b", score, re.I
    )
    number = int(re.sub(r"\D", "", found[1] or found[2])) if found else 0
    return number or None


def last_decimal(values: pd.Series | pd.DataFrame) -> float:
    """The unit of the last decimal that any value is printed with."""
    numbers = np.ravel(values.to_numpy(dtype=float))
    texts = [np.format_float_positional(v, trim="0") for v in numbers if np.isfinite(v)]
    return 10.0 ** -max((len(text.partition(".")[2]) for text in texts), default=0)
