"""What ``qkld pick`` is asked for, checked once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qkld.errors import ParameterError
from qkld.statistics.items.probability import Score

TASKS = ("arc_easy", "piqa", "social_iqa", "sciq")
"""Benchmarks asked where none are named: short items with a shared prompt, 7,168 of them."""

CONTEXT = 4096
"""Tokens of the key-value cache that ``--fit`` counts where none are named."""

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)(i?)B", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def size_in_bytes(text: str) -> int:
    """``12GB`` or ``12GiB`` → bytes, by 1000 and by 1024.

    Raises
    ------
    ParameterError
        If it is no size above 0.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None or float(found[1]) <= 0:
        raise ParameterError(
            "The size is invalid.", expected="a number with its unit, 12GB or 11.5GiB", found=text, do="correct it"
        )
    return int(float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2].lower()])


@dataclass(frozen=True)
class PickRequest:
    """One question for a file.

    Attributes
    ----------
    what : str
        A folder of GGUF files or of checkpoints; a study; or, with ``items``, a table of quants.
    out : Path
        Where everything that was measured is kept, for a later run to go on.
    scores : tuple of str
        Score columns of a table, where their names are no benchmark's.
    reference : str, optional
        A model that the files are quants of; by default the full-precision file beside them.
    fit, context : int, optional
        Bytes that weights and a key-value cache of so many tokens may take.
    max_kld : float, optional
        Mean KLD, nats, above which a file is given no items.
    margin, probability_margin : float
        Difference of each score that does not matter, fractions of 1.
    primary : Score
        The score that decides, named before any score is seen.
    hours : float, optional
        Time to use; without it rounds go on until every file is decided or there are no more items.
    tasks, limit
        Benchmarks, and items of each at most.
    windows, text
        Of the KLD, as ``qkld compare`` has them.
    speed : bool
        Measure tokens a second of every file too.
    remove : bool
        Remove files that were fetched from a hub after use.
    """

    what: str
    out: Path
    items: Path | None = None
    scores: tuple[str, ...] = ()
    reference: str | None = None
    fit: int | None = None
    context: int = CONTEXT
    max_kld: float | None = None
    margin: float = 0.02
    probability_margin: float = 0.01
    primary: Score = "probability"
    hours: float | None = None
    tasks: tuple[str, ...] = TASKS
    limit: int | None = None
    windows: int | None = None
    text: Path | None = None
    engine: Literal["torch", "llamacpp"] | None = None
    speed: bool = False
    remove: bool = False
    confidence: float = 0.95
    seed: int = 2606

    def __post_init__(self) -> None:
        problems = [
            ("--margin", 0 < self.margin < 1, "a fraction between 0 and 1", self.margin),
            ("--probability-margin", 0 < self.probability_margin < 1, "between 0 and 1", self.probability_margin),
            ("--max-kld", self.max_kld is None or self.max_kld > 0, "nats, above 0", self.max_kld),
            ("--hours", self.hours is None or self.hours > 0, "above 0", self.hours),
            ("--confidence", 0 < self.confidence < 1, "between 0 and 1", self.confidence),
            ("--tasks", bool(self.tasks), "at least one benchmark", "none"),
        ]
        for option, holds, expected, found in problems:
            if not holds:
                raise ParameterError(
                    f"{option} cannot be used.", expected=expected, found=found, do="give another value"
                )

    @property
    def primary_margin(self) -> float:
        """The margin of the score that decides."""
        return self.margin if self.primary == "accuracy" else self.probability_margin
