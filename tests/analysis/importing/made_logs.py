"""Logs in the forms of llama-perplexity's versions, of given windows: what a reader must get back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

HEADERS = {
    "2026": "chunk             PPL               ln(PPL(Q)/PPL(base))          KL Divergence              Δp RMS"
    "            Same top p",
    "2024": "chunk        PPL          ln(PPL(Q)/PPL(base))          KL-Divergence           Same top",
    "first": "chunk        PPL          ln(PPL(Q)/PPL(base))          KL-Divergence",
}
"""Version → the head of its running table: since May 2024, from the 22nd of January 2024 on, and the day before."""


@dataclass(frozen=True)
class Measured:
    """What a run measured, by window: mean KLD, log-perplexities of quant and reference, nats."""

    kl: np.ndarray
    nll: np.ndarray
    nll_base: np.ndarray

    def running(self, name: str) -> np.ndarray:
        values = getattr(self, name)
        return np.cumsum(values) / np.arange(1, len(values) + 1)


def measured(rng: np.random.Generator, windows: int, level: float, text: int = 0) -> Measured:
    """A quant at this mean KLD on a text: the text's hard windows are hard for every quant."""
    of_text = np.random.default_rng(1000 + text)
    hard, base = of_text.gamma(4.0, 0.25, windows), of_text.normal(2.3, 0.3, windows)
    kl = level * hard * rng.gamma(50.0, 1 / 50.0, windows)
    return Measured(kl, base + 0.4 * kl, base)


def log(
    run: Measured,
    *,
    version: str = "2026",
    sign: str = "±",
    prefix: str = "",
    model: str | None = "Tiny-Q4_K_M.gguf",
    rows: int | None = None,
    closing: bool = True,
    announced: int | None = None,
) -> str:
    """The log of a run; ``rows`` cuts the running table off behind that window, ``announced`` says another number."""
    kl, nll, base = (run.running(name) for name in ("kl", "nll", "nll_base"))
    windows = len(kl)
    said = [] if model is None else _said(model, windows if announced is None else announced)
    table = [_row(i + 1, kl[i], nll[i], base[i], version, sign) for i in range(windows if rows is None else rows)]
    end = _closing(kl[-1], nll[-1], base[-1], version, sign) if closing else []
    return "".join(f"{prefix}{line}\n" for line in [*said, "", HEADERS[version], *table, *end])


def _said(model: str, windows: int) -> list[str]:
    return [
        "build: 7001 (0a1b2c3d) with cc (GCC) 13 for x86_64-linux-gnu",
        f"llama_model_loader: loaded meta data with 30 key-value pairs and 21 tensors from models/{model} "
        "(version GGUF V3 (latest))",
        "llama_model_loader: - kv   2: general.name str              = Tiny",
        "print_info: file type   = Q4_K - Medium",
        "print_info: file size   = 2.00 GiB (4.50 BPW) ",
        f"kl_divergence: computing over {windows} chunks, n_ctx=512, batch_size=2048, n_seq=4",
    ]


def _row(window: int, kl: float, nll: float, base: float, version: str, sign: str) -> str:
    spread = f"{nll - base:10.5f} {sign} {0.001:10.5f}    {kl:10.5f} {sign} {kl / 10:10.5f}"
    if version == "2026":
        more = f"    {3.2:6.3f} {sign} {0.04:6.3f} %    {94.5:6.3f} {sign} {0.1:6.3f} %"
        return f"{window:4d}    {np.exp(nll):9.4f} {sign} {0.3:9.4f}    {spread}{more}"
    more = f"    {0.945:.5f} {sign} {0.001:.5f}" if version == "2024" else ""
    return f"{window:4d}    {np.exp(nll):10.4f}    {spread}{more}"


def _closing(kl: float, nll: float, base: float, version: str, sign: str) -> list[str]:
    if version != "2026":
        rest = ["Median :   0.005000", "Maximum:   3.100000", "KLD_99 :   0.100000", "Minimum:  -0.000002"]
        return ["", "===== KL-divergence statistics", f"Average: {kl:10.6f} {sign}{kl / 10:10.6f}", *rest]
    return [
        "====== Perplexity statistics ======",
        f"Mean PPL(Q)                   : {np.exp(nll):10.6f} {sign} {0.3:10.6f}",
        f"Mean PPL(base)                : {np.exp(base):10.6f} {sign} {0.3:10.6f}",
        "Cor(ln(PPL(Q)), ln(PPL(base))):  99.87%",
        f"Mean ln(PPL(Q)/PPL(base))     : {nll - base:10.6f} {sign} {0.001:10.6f}",
        f"Mean PPL(Q)/PPL(base)         : {np.exp(nll - base):10.6f} {sign} {0.001:10.6f}",
        f"Mean PPL(Q)-PPL(base)         : {np.exp(nll) - np.exp(base):10.6f} {sign} {0.01:10.6f}",
        "",
        "====== KL divergence statistics ======",
        f"Mean    KLD: {kl:10.6f} {sign} {kl / 10:10.6f}",
        "Maximum KLD:   3.100000",
        "99.9%   KLD:   1.200000",
        "99.0%   KLD:   0.100000",
        "95.0%   KLD:   0.040000",
        "Median  KLD:   0.005000",
        " 5.0%   KLD:   0.000010",
        "Minimum KLD:  -0.000002",
        "",
        "====== Token probability statistics ======",
        f"Mean    Δp: -0.120 {sign} 0.020 %",
        "Maximum Δp: 61.250%",
        " 0.1%   Δp: -35.500%",
        f"RMS Δp    :  3.200 {sign} 0.040 %",
        f"Same top p: 94.500 {sign} 0.100 %",
    ]
