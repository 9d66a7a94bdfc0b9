"""Items that a model answered once or several times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def sample_rows(item: str, samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a sample; several are named ``item#0``, ``item#1`` … and are of one cluster, the item itself.

    Samples of one item share its difficulty, so they are no independent items: intervals cluster them.
    """
    several = len(samples) > 1
    return [{"item": f"{item}#{i}" if several else item, "cluster": item, **sample} for i, sample in enumerate(samples)]
