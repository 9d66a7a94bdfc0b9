"""What an import gives: a table of quants, their answers item by item, or both, with what a reader should know."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from qkld.study.schemas import Column, Schema

QUANTS = Schema(
    "imported quants",
    {
        "label": Column("str", "the quant"),
        "kl_mean": Column("float64", "mean KL(reference ‖ quant), nats per token", missing=True, optional=True),
        "kl_mean_se": Column(
            "float64", "its standard error as the tool prints it, tokens taken as independent", True, True
        ),
        "kl_mean_se_windows": Column(
            "float64", "its standard error over blocks of windows, where the running table tells them", True, True
        ),
        "kl_mean_low": Column("float64", "lower end of the 95 % interval of the same", True, True),
        "kl_mean_high": Column("float64", "upper end of this interval", True, True),
        "note": Column("str", "what to be careful of; else empty", True, True),
    },
    key=("label",),
    more=True,
)
"""One row a quant; further columns are the tool's other statistics, shares as fractions, and ``<name>_se``."""

WINDOWS = Schema(
    "imported windows",
    {
        "label": Column("str", "the quant"),
        "window": Column("int32", "place of the window in the text, from 1"),
        "running_kl_mean": Column("float64", "mean KLD of all windows up to this one, as printed, nats"),
        "kl_mean": Column("float64", "mean KLD of this window: the difference of two printed means, nats"),
        "bound": Column("float64", "by how much the printed rounding can alter it, nats"),
    },
    key=("label", "window"),
)

PAIRS = Schema(
    "imported pairs",
    {
        "label_a": Column("str", "the quant nearer to the reference by its mean KLD"),
        "label_b": Column("str", "the next one"),
        "kld_difference": Column("float64", "mean KLD of b minus that of a, nats"),
        "low": Column("float64", "lower end of its 95 % interval, by t over blocks of windows", missing=True),
        "high": Column("float64", "upper end of this interval", missing=True),
        "t_p": Column("float64", "two-sided p that there is no difference", missing=True),
        "t_p_holm": Column("float64", "the same, adjusted by Holm's method over the pairs", missing=True),
        "windows": Column("int32", "windows that both were measured on"),
        "block_windows": Column("Int32", "windows a block", missing=True),
        "bound": Column("float64", "by how much the printed rounding can alter the standard error, nats", missing=True),
        "note": Column("str", "why there is no test, or what to be careful of; else empty"),
    },
    key=("label_a", "label_b"),
)


@dataclass(frozen=True)
class Imported:
    """Tables of an import; those that the files do not give are None.

    Attributes
    ----------
    quants, windows, pairs : of schemas `QUANTS`, `WINDOWS`, `PAIRS`
    items : of schema `qkld.analysis.importing.imported_items.IMPORTED`
    found : what each file was, a line each
    notes : what a reader should know
    """

    quants: pd.DataFrame | None = None
    items: pd.DataFrame | None = None
    windows: pd.DataFrame | None = None
    pairs: pd.DataFrame | None = None
    found: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
