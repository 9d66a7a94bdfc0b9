"""Both ways to take a tile into the sums, so that each is held to the definitions."""

from __future__ import annotations

import pytest

from qkld.divergence import walk
from qkld.divergence.compiled import CompiledSums


@pytest.fixture(params=[CompiledSums, walk.Blocks], ids=["compiled", "torch"])
def either_adder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk with machine code, and with torch's operations as where numba is missing."""
    monkeypatch.setattr(walk, "fastest_adder", lambda device: request.param)
