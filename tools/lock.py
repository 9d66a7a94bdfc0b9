"""Write requirements.lock and environment.yml from the environment that runs this script.

    .venv/bin/python -m tools.lock

A pin is a distribution's name and public version. Local versions (torch's ``+cpu``) are cut off, because another
machine's index names its build otherwise; what torch itself pins to one version (CUDA's libraries) is left to it,
because that differs between machines.
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = re.compile(
    r"^(qkld|pip|wheel|nvidia-.*|cuda-.*|llama-cpp-python|diskcache|scikit-build-core|pathspec|cmake|ninja)$"
)
"""The project itself, the installer, what torch pins, and the extra that is compiled on demand with what that needs."""

LOCK_HEADER = """\
# Every package of the environment, for Python 3.11; made by tools/lock.py, which also writes environment.yml.
# CUDA's libraries follow from torch, which pins each to one version.
"""

CONDA_HEADER = """\
# The environment of requirements.lock through conda; made by tools/lock.py. `conda env create -f environment.yml`
name: qkld
channels: [conda-forge]
dependencies:
  - python=3.11
  - pip
  - make
  - git
  - pip:
"""


def canonical_name(name: str) -> str:
    """A distribution's name as the package index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> list[str]:
    """``name==version`` of every installed distribution, sorted by name."""
    versions = {canonical_name(d.metadata["Name"]): d.version.partition("+")[0] for d in metadata.distributions()}
    return [f"{name}=={version}" for name, version in sorted(versions.items()) if not LEFT_OUT.match(name)]


def main() -> None:
    """Write both files."""
    lines = pins()
    (ROOT / "requirements.lock").write_text(LOCK_HEADER + "".join(f"{line}\n" for line in lines))
    conda = "".join(f"      - {line}\n" for line in [*lines, "-e ."])
    (ROOT / "environment.yml").write_text(CONDA_HEADER + conda)


if __name__ == "__main__":
    main()
