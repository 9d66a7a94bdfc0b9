"""The probability of the right choice in files of other tools: from samples, or from columns a choice of a table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from qkld.errors import TableError
from qkld.statistics.items.probability import PROBABILITY, SCORES, choice_scores, log_probabilities, probability_right
from qkld.study.task_metrics import BY_LENGTH

OF_CHOICE = re.compile(r"^(?P<what>probability|logp|length)_(?P<number>\d+)$")
"""Columns of a table that hold a number of each choice, counted from 0."""

ROUNDING = 0.005
"""What each of an item's probabilities may be off by in their sum: two decimals."""

Columns = dict[str, Any]


# --- samples of lm-evaluation-harness ---------------------------------------------------------------------------------


def sample_columns(sample: Mapping[str, Any], metric: str, values: np.ndarray | None) -> Columns:
    """Both columns of a sample; empty where its choices' lengths, or the right one, are not known.

    They are not either where the choice that they make the best is right and the sample says otherwise, or the reverse:
    then the task counts lengths or choices in another way.
    An answer that is written has its own correctness, 1 or 0, so that the mean over repeats is the share right.

    Parameters
    ----------
    sample : as ``--log_samples`` writes it
    metric : what its correctness is by
    values : ln p of each choice, nats; None where the answer is written
    """
    if values is None:
        return {PROBABILITY: float(sample[metric])}
    right, lengths = right_choice(sample, len(values)), _lengths(sample, len(values)) if metric == "acc_norm" else None
    if right is None or metric not in ("acc", "acc_norm") or (metric == "acc_norm" and lengths is None):
        return {}
    if not np.isfinite(values).all():
        return {}
    scores = choice_scores(values, lengths)
    if (int(np.argmax(scores)) == right) != bool(sample[metric]):
        return {}
    return {PROBABILITY: probability_right(values, right, lengths), SCORES: scores.astype(np.float32)}


def right_choice(sample: Mapping[str, Any], choices: int) -> int | None:
    """The number of the right choice; None where the sample does not say one."""
    target = str(sample.get("target", ""))
    return int(target) if target.isdigit() and int(target) < choices else None


def _lengths(sample: Mapping[str, Any], choices: int) -> np.ndarray | None:
    """Characters of each choice as the harness counts them, without the space that it puts before; None if unknown.

    The harness asks for ``target_delimiter + choice``, whose delimiter is one space unless a task says otherwise.
    """
    asked = sample.get("arguments")
    pairs = list(asked.values()) if isinstance(asked, dict) else asked
    try:
        texts = [str(pair["arg_1"] if isinstance(pair, dict) else pair[1]) for pair in pairs]
    except (TypeError, KeyError, IndexError):
        return None
    lengths = np.array([len(text.removeprefix(" ")) for text in texts], dtype=float)
    return lengths if len(texts) == choices and lengths.all() else None


# --- a table with columns of each choice ------------------------------------------------------------------------------


def with_probabilities(items: pd.DataFrame, *, source: str) -> pd.DataFrame:
    """Items with both columns, of a table that has ``probability_0, …`` or ``logp_0, …`` beside ``right``.

    ``right`` is the right choice, counted from 0. Where ``metric`` is ``acc_norm``, or there is none and the benchmark
    is published by it, log-probabilities need ``length_0, …`` as well. Cells of choices that an item does not have are
    empty. A table without such columns comes back as it is.

    Raises
    ------
    TableError
        If there is no ``right`` or it is none of the choices, a probability is outside 0 to 1, an item's do not add up
        to 1, a log-probability is above 0, or lengths are missing.
    """
    found = {what: _of_choices(items, what) for what in ("probability", "logp", "length")}
    what = next((w for w in ("logp", "probability") if found[w] is not None), None)
    if what is None or PROBABILITY in items:
        return items
    values = found[what]
    right = _right(items, values, source)
    if what == "probability":
        _check_add_up(values, source)
        with np.errstate(divide="ignore"):
            logp, lengths = np.log(values), None
    else:
        _check(bool((np.nan_to_num(values) <= 0).all()), source, "a log-probability above 0", "natural logarithms")
        logp, lengths = values, found["length"]
        _check_lengths(items, ~np.isnan(logp), lengths, source)
    return items.assign(**_both(logp, right, lengths, _by_length(items)))


def _of_choices(items: pd.DataFrame, what: str) -> np.ndarray | None:
    """(items, choices) of the columns of one kind, NaN where a cell is empty; None without them."""
    matches = [match for column in items if (match := OF_CHOICE.match(str(column))) and match["what"] == what]
    columns = [match.string for match in sorted(matches, key=lambda match: int(match["number"]))]
    return items[columns].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float) if columns else None


def _right(items: pd.DataFrame, values: np.ndarray, source: str) -> np.ndarray:
    right = pd.to_numeric(items["right"], errors="coerce") if "right" in items else pd.Series(np.nan, items.index)
    whole = right.notna() & (right == right.round()) & right.between(0, values.shape[1] - 1)
    _check(bool(whole.all()), source, "rows without a right choice", "a column `right`, the choice counted from 0")
    right = right.to_numpy(dtype=int)
    own = ~np.isnan(values[np.arange(len(values)), right]) | np.isnan(values).all(axis=1)
    _check(bool(own.all()), source, "a right choice with an empty cell", "a number in the right choice's column")
    return right


def _check_add_up(values: np.ndarray, source: str) -> None:
    known = ~np.isnan(values).all(axis=1)
    inside = (np.nan_to_num(values) >= 0) & (np.nan_to_num(values) <= 1)
    _check(bool(inside.all()), source, f"{values[~inside][:3].tolist()}", "probabilities from 0 to 1")
    sums, choices = np.nansum(values[known], axis=1), (~np.isnan(values[known])).sum(axis=1)
    off = np.abs(sums - 1) > ROUNDING * choices
    what = f"{int(off.sum())} items whose choices add up to {sums[off][:3].round(4).tolist()}"
    _check(not off.any(), source, what, "probabilities of an item's choices that add up to 1")


def _by_length(items: pd.DataFrame) -> np.ndarray:
    """Which rows are judged by ``acc_norm``."""
    if "metric" in items:
        return (items["metric"] == "acc_norm").to_numpy()
    return items["benchmark"].isin(BY_LENGTH).to_numpy()


def _check_lengths(items: pd.DataFrame, there: np.ndarray, lengths: np.ndarray | None, source: str) -> None:
    """Refuse a choice that is ``there`` (items, choices) without a length that its item's metric divides by."""
    needed = _by_length(items)
    if not needed.any():
        return
    known = lengths is not None and lengths.shape == there.shape and bool(((lengths > 0) | ~there)[needed].all())
    names = ", ".join(map(str, items.loc[needed, "benchmark"].unique()[:4]))
    _check(known, source, f"none for {names}, judged by acc_norm", "columns length_0, …: characters of each choice")


def _both(logp: np.ndarray, right: np.ndarray, lengths: np.ndarray | None, by_length: np.ndarray) -> Columns:
    """Both columns from ln p (items, choices); empty in rows without any.

    Scores are counted as ``right`` counts choices: one that an item lacks before its last one has −inf.
    """
    probabilities, scores = np.full(len(logp), np.nan), np.full(len(logp), None, dtype=object)
    for row, own in enumerate(logp):
        there = ~np.isnan(own)
        if there.any():
            of_row = lengths[row, there] if lengths is not None and by_length[row] else None
            told = np.full(np.flatnonzero(there)[-1] + 1, -np.inf)
            told[there[: len(told)]] = choice_scores(own[there], of_row)
            probabilities[row] = np.exp(log_probabilities(told)[right[row]])
            scores[row] = told.astype(np.float32)
    return {PROBABILITY: probabilities, SCORES: scores}


def _check(holds: bool, source: str, found: str, expected: str) -> None:
    if not holds:
        raise TableError(
            f"{source} has unreadable columns of the choices.",
            expected=expected,
            found=found,
            do="give probability_0, probability_1, … or logp_0, logp_1, … in nats, and `right`",
        )
