"""How KLD is spread over the tokens of one quant: most are near 0, and a few make the mean."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from qkld.report.figures.axes import KLD_LABEL

BINS = 60

SMALLEST = 1e-9
"""Nats; tokens below, rounding and exact zeros, are counted at the left edge."""


def draw_kld_distribution(ax: Axes, kl: ArrayLike, *, floor: float | None = None) -> None:
    """Draw the share of tokens by KL(reference ‖ quant), nats, on a log axis, with the mean and the share of the mean.

    ``kl`` is one number a scored token, shape (tokens,); ones that are not finite are left out and counted in the
    label. The line says how much of the mean comes from tokens above each value. ``floor`` is the mean KLD that the
    measurement itself adds, where it is known.
    """
    values = np.asarray(kl, dtype=float)
    finite = np.clip(values[np.isfinite(values)], SMALLEST, None)
    edges = np.geomspace(SMALLEST, max(finite.max(), 10 * SMALLEST), BINS + 1)
    ax.hist(finite, bins=edges, weights=np.full(finite.size, 1 / finite.size), color="0.7")
    ax.axvline(finite.mean(), color="black", linewidth=1, label=f"mean {finite.mean():.3g}")
    if floor is not None and floor > 0:
        ax.axvline(floor, color="black", linewidth=1, linestyle=":", label="floor")
    ax.set_xscale("log")
    missing = values.size - finite.size
    ax.set_xlabel(KLD_LABEL.replace("mean ", "") + (f"; {missing} not finite" if missing else ""))
    ax.set_ylabel("share of tokens")
    share = ax.twinx()
    falling = np.sort(finite)[::-1]
    share.plot(falling, np.cumsum(falling) / falling.sum(), color="#0072b2", linewidth=1)
    share.set_ylim(0, 1.02)
    share.set_ylabel("share of the mean from larger KL")
    ax.legend(loc="upper left", frameon=False)


def concentration(kl: ArrayLike) -> float:
    """The smallest share of tokens that makes half of the mean KL: .5 where all are equal, small where few decide."""
    values = np.asarray(kl, dtype=float)
    falling = np.sort(values[np.isfinite(values)])[::-1]
    return float((np.searchsorted(np.cumsum(falling), falling.sum() / 2) + 1) / falling.size)
