"""Runs of ``llama-perplexity --kl-divergence`` that belong together: quants, windows, and neighbours in pairs."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from qkld.analysis.importing.imported import PAIRS, QUANTS, WINDOWS
from qkld.analysis.importing.llama_logs import KLD_STEP, Run, Window
from qkld.analysis.importing.reference_line import check_one_reference
from qkld.analysis.importing.running_table import Blocks, blocks_of, window_means
from qkld.errors import TableError

Runs = Mapping[str, Run]
"""Label → its run."""

_SIZES = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
NAMED = 5


def fidelity_tables(
    runs: Runs, windows: int | None
) -> tuple[pd.DataFrame, pd.DataFrame | None, pd.DataFrame | None, list[str]]:
    """Tables of quants, windows and pairs of runs on one text against one reference, and notes.

    Parameters
    ----------
    runs : label → run
    windows : windows to take from the beginning of every running table; None takes all, the same for every run

    Raises
    ------
    TableError
        If runs are of several texts, references or numbers of windows, or one was cut off.
    """
    check_one_reference(runs)
    count = _common_windows(runs, windows)
    curves = {label: curve for label, run in runs.items() if (curve := _curve(run, count)) is not None}
    rows = [_row(label, run, count, curves.get(label)) for label, run in runs.items()]
    notes = [f"{row['label']}: {row['note']}" for row in rows if row["note"]]
    quants = QUANTS.checked(pd.DataFrame(rows).dropna(axis=1, how="all"))
    parts = [_windows_of(label, curve) for label, curve in curves.items()]
    of_windows = WINDOWS.checked(pd.concat(parts, ignore_index=True)) if parts else None
    return quants, of_windows, _pairs(quants, curves), notes


# --- the windows that all have ----------------------------------------------------------------------------------------


def _common_windows(runs: Runs, wanted: int | None) -> int | None:
    """The windows that the figures are of; None where no log says how many it has."""
    if wanted is not None:
        lacking = [label for label, run in runs.items() if _at(run, wanted) is None]
        if lacking:
            raise TableError(
                f"Some logs do not reach window {wanted}.",
                expected=f"a row of window {wanted} in every running table",
                found="; ".join(f"{label}: {_extent(runs[label])}" for label in lacking[:NAMED]),
                do="use fewer windows, or leave these logs out",
            )
        return wanted
    counts = {label: _windows_measured(run) for label, run in runs.items()}
    known = {n for n in counts.values() if n is not None}
    short = {label for label, run in runs.items() if _cut_off(run, max(known, default=0))}
    if len(known) > 1 or short:
        raise _uneven(runs, counts, short)
    return next(iter(known), None)


def _windows_measured(run: Run) -> int | None:
    said = run.facts.get("windows")
    return run.last_window or (int(said) if said and run.closed else None)


def _cut_off(run: Run, most: int) -> bool:
    """Whether a log ends before its run did, as far as it or the others tell."""
    return not run.closed and (run.last_window or 0) < max(int(run.facts.get("windows", 0)), most)


def _uneven(runs: Runs, counts: Mapping[str, int | None], short: set[str]) -> TableError:
    least = min(n for n in counts.values() if n is not None)
    possible = all(_at(run, least) is not None for run in runs.values())
    cut = f"cut off: {', '.join(sorted(short)[:NAMED])}; " if short else ""
    shown = [f"{label}: {_extent(run)}" for label, run in runs.items()]
    more = f"; and {len(shown) - NAMED} more" if len(shown) > NAMED else ""
    return TableError(
        "The logs cover different windows." if not short else "A log is incomplete.",
        expected="final figures after the same number of windows in every log",
        found=cut + "; ".join(shown[:NAMED]) + more,
        do=(f"compare only the first windows with --windows {least}, or " if possible else "")
        + "run these quants again",
    )


def _extent(run: Run) -> str:
    of = f" of {run.facts['windows']}" if "windows" in run.facts else ""
    if run.last_window is None:
        return f"closing figures{of and f',{of[3:]} windows'} without a running table"
    return f"window {run.last_window}{of}{'' if run.closed else ', no closing figures'}"


def _at(run: Run, window: int) -> Window | None:
    return next((row for row in run.windows if row.window == window), None)


def _curve(run: Run, count: int | None) -> np.ndarray | None:
    """Running means up to this window; None where rows are missing or a mean is no number."""
    if count is None or not run.whole_table or len(run.windows) < count:
        return None
    means = np.array([row.kl_mean for row in run.windows[:count]])
    return means if np.isfinite(means).all() else None


# --- quants -----------------------------------------------------------------------------------------------------------


def _row(label: str, run: Run, count: int | None, curve: np.ndarray | None) -> dict[str, object]:
    at_end = run.last_window is None or count is None or run.last_window == count
    statistics = _closing(run) if run.closed and at_end else _running(run, count)
    blocks = None if curve is None else blocks_of(curve, KLD_STEP)
    return {
        "label": label,
        **_facts(run),
        "windows": count,
        **_of_windows(statistics["kl_mean"], blocks),
        **statistics,
        "note": "; ".join(_notes(run, count, statistics["kl_mean"], at_end=at_end)),
    }


def _closing(run: Run) -> dict[str, float]:
    values = {name: figure.value for name, figure in run.figures.items()}
    errors = {f"{name}_se": figure.error for name, figure in run.figures.items() if figure.error is not None}
    if "top1_agreement" not in values and run.windows:
        last = run.windows[-1]
        values |= {"top1_agreement": last.top1_agreement, "top1_agreement_se": last.top1_agreement_se}
    return values | errors


def _running(run: Run, count: int | None) -> dict[str, float]:
    row = _at(run, count) if count is not None else run.windows[-1]
    return {name: value for name, value in row._asdict().items() if name != "window"}


def _of_windows(mean: float, blocks: Blocks | None) -> dict[str, float]:
    if blocks is None:
        return {}
    low, high = blocks.interval
    return {
        "kl_mean_se_windows": blocks.error,
        "kl_mean_low": low + mean - blocks.mean,
        "kl_mean_high": high + mean - blocks.mean,
    }


def _facts(run: Run) -> dict[str, object]:
    """What a log says of the model and the run, under the names of columns."""
    facts = {name: run.facts[name] for name in ("name", "file_type", "build") if name in run.facts}
    if "size" in run.facts:
        digits, unit = run.facts["size"].split()
        facts["size_bytes"] = round(float(digits) * _SIZES[unit])
        facts["bits_per_weight"] = float(run.facts["bits_per_weight"])
    return facts | ({"context": int(run.facts["context"])} if "context" in run.facts else {})


def _notes(run: Run, count: int | None, mean: float, *, at_end: bool) -> list[str]:
    notes = []
    if not run.closed:
        notes.append(f"no closing figures: those after window {count}, from the running table")
    elif not at_end:
        notes.append(f"those after window {count}, from the running table")
    if run.windows and not run.whole_table:
        notes.append("rows of the running table are missing, so that it tells no single windows")
    if not np.isfinite(mean):
        first = next((row.window for row in run.windows if not np.isfinite(row.kl_mean)), None)
        since = "" if first is None else f" from window {first} on"
        notes.append(f"the mean KLD is no number{since}: a model gave logits that are not finite")
    if mean < 0:
        notes.append("mean KLD below 0: the base file's rounding, as of the reference against itself")
    return notes


# --- windows and pairs ------------------------------------------------------------------------------------------------


def _windows_of(label: str, curve: np.ndarray) -> pd.DataFrame:
    means, bounds = window_means(curve, KLD_STEP)
    return pd.DataFrame(
        {
            "label": label,
            "window": np.arange(1, len(curve) + 1),
            "running_kl_mean": curve,
            "kl_mean": means,
            "bound": bounds,
        }
    )


def _pairs(quants: pd.DataFrame, curves: Mapping[str, np.ndarray]) -> pd.DataFrame | None:
    """Each quant with the next one by mean KLD, with Holm's adjustment over the pairs that are tested."""
    order = [label for label in quants.sort_values("kl_mean", kind="stable")["label"] if label in curves]
    if len(order) < 2:
        return None
    means = quants.set_index("label")["kl_mean"]
    pairs = pd.DataFrame([_pair(a, b, curves, float(means[b] - means[a])) for a, b in pairwise(order)])
    tested = pairs["t_p"].notna()
    if tested.any():
        pairs.loc[tested, "t_p_holm"] = multipletests(pairs.loc[tested, "t_p"], method="holm")[1]
    return PAIRS.checked(pairs)


def _pair(a: str, b: str, curves: Mapping[str, np.ndarray], difference: float) -> dict[str, object]:
    curve = curves[b] - curves[a]
    blocks = blocks_of(curve, 2 * KLD_STEP)
    row = {"label_a": a, "label_b": b, "kld_difference": difference, "windows": len(curve)}
    empty = dict.fromkeys(("low", "high", "t_p", "t_p_holm", "bound"), np.nan) | {"block_windows": pd.NA}
    if blocks is None:
        why = "identical at every window" if not curve.any() else "too few windows, or their rounding hides the scatter"
        return {**row, **empty, "note": f"no test: {why}"}
    low, high = blocks.interval
    return {
        **row,
        "low": low,
        "high": high,
        "t_p": blocks.p,
        "t_p_holm": np.nan,
        "block_windows": blocks.size,
        "bound": blocks.bound,
        "note": blocks.note,
    }
