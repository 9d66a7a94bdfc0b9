"""Per-prompt KLD of failed and passed items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from qkld.report.figures.axes import drawable

OUTCOMES = {0: ("failed", "black", "black", 0.17), 1: ("passed", "0.55", "white", -0.17)}
"""Correctness → name, line colour, marker face, offset from the row's middle."""

TOKENS_OF = {
    "kl_prompt": "prompt tokens",
    "kl_choice_right": "tokens of the right choice",
    "kl_choice_mean": "choice tokens, mean over choices",
    "kl_answer": "tokens of the reference's own answer",
}
"""Column of divergence → the tokens it is taken over."""


def draw_prompt_kld(ax: Axes, items: pd.DataFrame, *, divergence: str, models: Sequence[str]) -> None:
    """Draw, a model a row, the per-item KLD of failed and of passed items on a log axis.

    Thin line: 10th to 90th percentile; thick line: quartiles; marker: geometric mean, whose ratio is the paper's.

    Parameters
    ----------
    items : DataFrame
        Schema ``items``.
    divergence : column of ``items`` in nats.
    models : labels to draw, first on top.
    """
    kept = items[items["model"].isin(models) & items[divergence].notna()]
    positive = drawable(kept[divergence])
    zeros = int((~positive).sum())
    rows = {label: len(models) - 1 - i for i, label in enumerate(models)}
    ax.set_xscale("log")
    for (model, correct), part in kept[positive].groupby(["model", "correct"]):
        _, colour, face, offset = OUTCOMES[correct]
        low, first, third, high = np.quantile(part[divergence], [0.1, 0.25, 0.75, 0.9])
        y = rows[model] + offset
        ax.hlines(y, low, high, color=colour, linewidth=0.6)
        ax.hlines(y, first, third, color=colour, linewidth=1.8)
        ax.plot(np.exp(np.log(part[divergence]).mean()), y, "o", color=colour, markerfacecolor=face, markersize=3,
                markeredgewidth=0.7)  # fmt: skip
    for name, colour, face, _ in OUTCOMES.values():
        ax.plot([], [], "o-", color=colour, markerfacecolor=face, markersize=3, markeredgewidth=0.7, label=name)
    ax.set_yticks(list(rows.values()), list(rows), fontsize=6)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(-0.6, len(models) - 0.4)
    note = f"\nnot on the log axis: {zeros} of {len(kept)} items with KLD 0" if zeros else ""
    ax.set_xlabel(f"KLD of an item (nats per token)\n{TOKENS_OF[divergence]}{note}")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2)
