"""What ``qkld compare`` is asked for, checked once, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd

from qkld.errors import ParameterError
from qkld.study.entries import CacheType

DEFAULT_TEXT = "boolq-passages"
"""Asset measured on where no text is given: English prose, fetched by pinned hash."""

DEFAULT_WINDOWS = 40
"""Windows taken where none are asked for, or all of a shorter text: `qkld.statistics.tokens.clusters.FEW_CLUSTERS`."""

DEFAULT_CONTEXT = 512
"""Tokens of a window where none are asked for, or the model's context where that is shorter."""

SCORE_FROM = 0.5
"""Share of a window that is context only; llama.cpp's second half."""

CACHE_TYPES = frozenset(get_args(CacheType))

FIGURES = (".png", ".pdf", ".svg")
KINDS = ".png, .pdf or .svg"


@dataclass(frozen=True)
class Request:
    """One comparison.

    Attributes
    ----------
    reference : str, optional
        A model in one of `names.FORMS`; a store that notebook 01 made, as a folder or a URL that fsspec reads; or, for
        bounds, a base file of llama.cpp or a top-k store. By default the study's.
    quants : tuple of str
        Models in the same forms.
    study : str, optional
        Study whose labels are understood.
    text : Path, optional
        Plain text, or lines of JSON with a ``text``; by default the asset `DEFAULT_TEXT`.
    windows, context : int
        Windows, and tokens of each; every window is a cluster.
    packing : str
        ``packed``: texts one after the other; ``documents``: the beginning of each that is long enough.
    engine : str, optional
        What runs GGUF quants: ``torch`` their dequantized weights, ``llamacpp`` the files as deployed, activations
        quantized too. By default what a study's label says, else torch, which also runs every reference.
    device, dtype, device_map, weights
        As in a study's ``compute``. With a store, ``auto`` is what the store was made on and in.
    floor : bool
        Also measure what the rounding of the compute dtype does to the reference itself.
    second_walk : bool
        Also measure the acceptance rate of speculative decoding and the Jensen–Shannon divergence.
    cache_k, cache_v : tuple of str
        Types of llama.cpp's key and value cache; every GGUF quant is measured with each pair of them.
    score_from : float, optional
        Share of a window that is context only, by default `SCORE_FROM`.
    breakdown : bool
        Show mean KLD by entropy and position too.
    positions : int, optional
        Buckets of the position in the window, each of about as many tokens.
    figure : Path, optional
        File for a figure of mean KLD by position, a line a quant.
    floor_k, floor_log_p : int, optional, and float
        Of the floor form (Eq. 5) beside bounds: top tokens of both sides, by default a top-k store's own or 64; and the
        log-probability of a token missing from the quant's.
    confidence, bootstrap, power, seed
        Of every interval; resamples of clusters; of the plan of windows; of the resampling.
    """

    reference: str | None
    quants: tuple[str, ...]
    study: str | None = None
    text: Path | None = None
    windows: int | None = None
    context: int | None = None
    packing: Literal["packed", "documents"] = "packed"
    engine: Literal["torch", "llamacpp"] | None = None
    device: str = "auto"
    dtype: str = "auto"
    device_map: str = "none"
    weights: str = "dequantized"
    floor: bool = True
    second_walk: bool = False
    cache_k: tuple[str, ...] = ()
    cache_v: tuple[str, ...] = ()
    score_from: float | None = None
    breakdown: bool = False
    positions: int | None = None
    figure: Path | None = None
    floor_k: int | None = None
    floor_log_p: float = -16.0
    confidence: float = 0.95
    bootstrap: int = 1000
    power: float = 0.8
    seed: int = 2606

    def __post_init__(self) -> None:
        problems = [
            ("--quant", bool(self.quants), "at least one model", "none"),
            ("--reference", bool(self.reference or self.study), "a model or store, or --study", "none"),
            ("--windows", self.windows is None or self.windows >= 1, "at least 1", self.windows),
            ("--context", self.context is None or self.context >= 8, "at least 8 tokens", self.context),
            ("--confidence", 0 < self.confidence < 1, "between 0 and 1", self.confidence),
            ("--floor-k", self.floor_k is None or self.floor_k >= 1, "at least 1", self.floor_k),
            ("--floor-log-p", self.floor_log_p < 0, "a log-probability below 0, nats", self.floor_log_p),
            ("--power", 0 < self.power < 1, "between 0 and 1", self.power),
            ("--bootstrap", self.bootstrap >= 100, "at least 100", self.bootstrap),
            ("--seed", self.seed >= 0, "0 or more", self.seed),
            ("--score-from", 0 <= (self.score_from or 0) < 1, "a share from 0 to below 1", self.score_from),
            ("--positions", self.positions is None or self.positions >= 1, "at least 1", self.positions),
            ("--figure", self.figure is None or self.figure.suffix in FIGURES, f"a file in {KINDS}", self.figure),
            *(
                (
                    f"--{name.replace('_', '-')}",
                    set(types) <= CACHE_TYPES and len(set(types)) == len(types),
                    f"types of llama.cpp's cache, each once: {', '.join(sorted(CACHE_TYPES))}",
                    ", ".join(types),
                )
                for name, types in (("cache_k", self.cache_k), ("cache_v", self.cache_v))
            ),
        ]
        for option, holds, expected, found in problems:
            if not holds:
                raise ParameterError(
                    f"{option} cannot be used.", expected=expected, found=found, do="give another value"
                )


@dataclass(frozen=True)
class Comparison:
    """What was measured: facts for the record, and tables as a study has them.

    ``fidelity`` is of schema ``fidelity`` with the floor's rows where it was measured; ``paired`` has the columns
    the result table ``paired_fidelity`` and is None for a single quant; ``breakdown`` those of ``fidelity_breakdown``.
    """

    made: dict[str, Any]
    fidelity: pd.DataFrame
    breakdown: pd.DataFrame
    paired: pd.DataFrame | None
