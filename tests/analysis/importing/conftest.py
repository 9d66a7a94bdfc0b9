"""Where the files of other tools are."""

from __future__ import annotations

from pathlib import Path

import pytest

FILES = Path(__file__).parent / "files"


@pytest.fixture(scope="session")
def files() -> Path:
    """Files that the tools wrote themselves; see their README."""
    return FILES
