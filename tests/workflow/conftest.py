"""What tests of the workflow share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_runs_of_the_repository(tmp_path, monkeypatch):
    """Studies have no runs here, such as of what `qkld plan --measure` found on this machine."""
    monkeypatch.setenv("QKLD_RUNS", str(tmp_path / "runs"))
