"""One colour and one marker a quant family, the same in every figure of a study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from qkld.errors import ParameterError

OKABE_ITO = {
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "yellow": "#F0E442",
}
"""Colours that people with a colour-vision deficiency tell apart (Okabe and Ito 2008). Black is the reference's."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")

FIRST = ("torchao", "bitsandbytes", "hqq", "gguf", "compressed-tensors")
"""Families that always come first, in this order; others follow by name."""


@dataclass(frozen=True)
class FamilyStyle:
    """How a family's quants are drawn."""

    colour: str
    marker: str


def family_order(families: Iterable[str]) -> list[str]:
    """Each family once: those of `FIRST` in their order, then the others by name."""
    present = set(families)
    return [f for f in FIRST if f in present] + sorted(present - set(FIRST))


def family_styles(families: Iterable[str]) -> Mapping[str, FamilyStyle]:
    """Family → colour and marker, from all families of a study, whatever their order and repetition.

    The first seven families differ in colour and in marker; up to 49 differ in the pair.

    Raises
    ------
    ParameterError
        With more families than there are pairs.
    """
    order = family_order(families)
    colours = list(OKABE_ITO.values())
    n = len(colours)
    if len(order) > n * n:
        raise ParameterError(
            "A study has more quant families than colours and markers can distinguish.",
            expected=f"at most {n * n} families",
            found=len(order),
            do="assign quants of the same quantizer to one family",
        )
    return {f: FamilyStyle(colours[i % n], MARKERS[(i + i // n) % n]) for i, f in enumerate(order)}


def cohort_styles(cohort: pd.DataFrame) -> Mapping[str, FamilyStyle]:
    """`family_styles` of a cohort's quants; use it in every figure of a study, whichever quants the figure shows."""
    return family_styles(cohort.loc[cohort["role"] == "quant", "family"])
