"""``python -m qkld.benchmarks.judging.sandbox``: which bubblewrap programs run in here, and whether it holds."""

from __future__ import annotations

import sys

from qkld.benchmarks.judging.sandbox import check_sandbox
from qkld.benchmarks.judging.sandbox.bubblewrap import find_bubblewrap
from qkld.errors import SandboxError


def main() -> None:
    """One line where programs can be run here; else what is missing, with exit status 1."""
    try:
        check_sandbox()
    except SandboxError as error:
        sys.exit(f"qkld: {error}")
    print(f"{find_bubblewrap()} works here and holds its limits")


if __name__ == "__main__":
    main()
