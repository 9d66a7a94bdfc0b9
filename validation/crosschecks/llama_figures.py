"""What ``llama-perplexity --kl-divergence`` prints, computed from a base file and the quant's log-probabilities.

These are llama.cpp's own definitions, kept to compare with it: terms in float32 and sums in float64, the base file's
rows not brought to sum 1, every token of which the decoded log p is at most −16 left out, and each token taken as
independent in the uncertainties. qkld's own figures are those of `token_divergence` and `fidelity`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qkld.compare.stores.base_file import BaseFile

Figures = dict[str, tuple[float, float | None]]
"""Label as printed → value and uncertainty, in the printed unit."""

LEFT_OUT = np.float32(-16.0)
"""Decoded log-probability at and below which llama.cpp leaves a token out of the sum."""

KLD_PERCENTILES = (99.9, 99.0, 95.0, 90.0, 10.0, 5.0, 1.0, 0.1)
SHIFT_PERCENTILES = (99.9, 99.0, 95.0, 90.0, 75.0, 25.0, 10.0, 5.0, 1.0, 0.1)


def llama_tokens(
    base: NDArray[np.float32], quant: NDArray[np.float32], targets: NDArray[np.integer[Any]]
) -> pd.DataFrame:
    """Per scored token: ``kld``, ``nll``, ``nll_base`` (nats), ``shift`` (Δp) and ``same_top``.

    Parameters
    ----------
    base, quant : float32, shape (rows, vocab)
        Log-probabilities: of the base as decoded, of the quant as logit − ln Σ exp.
    targets : shape (rows,)
    """
    row = np.arange(len(targets))
    taken = base > LEFT_OUT
    terms = np.where(taken, np.exp(base) * (base - quant), np.float32(0))
    nll, nll_base = -quant[row, targets], -base[row, targets]
    return pd.DataFrame(
        {
            "kld": terms.sum(axis=1, dtype=np.float64),
            "nll": nll,
            "nll_base": nll_base,
            "shift": np.exp(-nll) - np.exp(-nll_base),
            "same_top": base.argmax(axis=1) == quant.argmax(axis=1),
        }
    )


def tokens_of_files(base: BaseFile, quant: BaseFile) -> pd.DataFrame:
    """`llama_tokens` of every scored token, from two base files of the same windows.

    llama-perplexity itself takes the quant's logits as computed; from a file they are half a code step off.
    """
    parts = []
    for index in range(len(base.windows)):
        rows = [file.rows(index).log_probabilities() for file in (base, quant)]
        parts.append(llama_tokens(*rows, base.targets(index)))
    return pd.concat(parts, ignore_index=True)


def llama_log_probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits − maximum − ln Σ exp, shape (rows, vocab), with float32 terms and float64 sums as llama.cpp takes them."""
    logits = np.asarray(logits, dtype=np.float32)
    largest = logits.max(axis=1, keepdims=True)
    total = np.exp(logits - largest).sum(axis=1, keepdims=True, dtype=np.float64)
    return logits - (largest + np.log(total).astype(np.float32))


def llama_figures(tokens: pd.DataFrame) -> Figures:
    """Every figure of the closing block, by its label; the table is that of `llama_tokens`, at least 100 rows."""
    return {**_perplexity(tokens), **_divergence(tokens["kld"]), **_shift(tokens)}


def _mean(values: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Mean and its standard error √((⟨x²⟩ − ⟨x⟩²) / (n − 1)), as for independent tokens."""
    values = np.asarray(values, dtype=np.float64)
    mean = float(values.mean())
    return mean, float(np.sqrt(max(float((values**2).mean()) - mean**2, 0.0) / (len(values) - 1)))


def _perplexity(tokens: pd.DataFrame) -> Figures:
    quant, base = (tokens[name].to_numpy(np.float64) for name in ("nll", "nll_base"))
    (mean, error), (base_mean, base_error) = _mean(quant), _mean(base)
    covariance = (float((quant * base).mean()) - mean * base_mean) / (len(quant) - 1)
    ratio = mean - base_mean
    ratio_error = float(np.sqrt(max(error**2 + base_error**2 - 2 * covariance, 0.0)))
    ppl, base_ppl = float(np.exp(mean)), float(np.exp(base_mean))
    spread = (ppl * error) ** 2 + (base_ppl * base_error) ** 2 - 2 * ppl * base_ppl * covariance
    return {
        "Mean PPL(Q)": (ppl, ppl * error),
        "Mean PPL(base)": (base_ppl, base_ppl * base_error),
        "Cor(ln(PPL(Q)), ln(PPL(base)))": (100 * covariance / (error * base_error), None),
        "Mean ln(PPL(Q)/PPL(base))": (ratio, ratio_error),
        "Mean PPL(Q)/PPL(base)": (float(np.exp(ratio)), float(np.exp(ratio)) * ratio_error),
        "Mean PPL(Q)-PPL(base)": (ppl - base_ppl, float(np.sqrt(max(spread, 0.0)))),
    }


def _divergence(kld: pd.Series) -> Figures:
    return {"Mean KLD": _mean(kld.to_numpy()), **_ranked("KLD", kld.to_numpy(), KLD_PERCENTILES, 1.0)}


def _shift(tokens: pd.DataFrame) -> Figures:
    shift = tokens["shift"].to_numpy()
    mean, error = _mean(shift)
    square, square_error = _mean(shift.astype(np.float64) ** 2)
    root, same = float(np.sqrt(square)), float(tokens["same_top"].mean())
    return {
        "Mean Δp": (100 * mean, 100 * error),
        **_ranked("Δp", shift, SHIFT_PERCENTILES, 100.0),
        "RMS Δp": (100 * root, 100 * (0.5 / root * square_error if root else 0.0)),
        "Same top p": (100 * same, 100 * float(np.sqrt(same * (1 - same) / (len(tokens) - 1)))),
    }


def _ranked(what: str, values: NDArray[np.floating[Any]], percentiles: tuple[float, ...], unit: float) -> Figures:
    """Ends, median and percentiles of float32 values, linear between order statistics."""
    single = values.astype(np.float32).astype(np.float64)
    ranks = {f"{p:.1f}% {what}": p for p in percentiles}
    ranks = {f"Maximum {what}": 100.0, **ranks, f"Median {what}": 50.0, f"Minimum {what}": 0.0}
    return {label: (unit * float(np.percentile(single, p)), None) for label, p in ranks.items()}
