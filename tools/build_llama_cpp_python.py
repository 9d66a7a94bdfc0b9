"""Compile llama-cpp-python once for this machine and install it into this environment: `make llamacpp`.

    .venv/bin/python -m tools.build_llama_cpp_python --jobs 2

The wheel is kept in data/wheels/, in a folder named by what decides its content: the sdist's hash, the compiler, the
instructions of this processor, and CMAKE_ARGS. Where that folder is there (a cache of CI, another checkout's), nothing
is compiled. Give CMAKE_ARGS=-DGGML_CUDA=on for a GPU. Needs cmake, ninja or make, and a C++ compiler; about ten minutes
on one core.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from qkld.study.paths import data_folder

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements-llamacpp.lock"
COMPILED = "llama-cpp-python"

FLAGS = (
    "-DGGML_NATIVE=ON",
    "-DGGML_OPENMP=OFF",  # torch brings an OpenMP of its own; ggml's threads leave it alone
    "-DLLAVA_BUILD=OFF",
    f"-DCMAKE_PROJECT_llama.cpp_INCLUDE={ROOT / 'tools' / 'llama_only.cmake'}",
)
"""CMAKE_ARGS of the environment come after these and win."""

PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="parallel compiler jobs (default %(default)s)"
    )
    arguments = parser.parse_args()
    own, others = pins()
    more = os.environ.get("CMAKE_ARGS", "")
    folder = data_folder() / "wheels" / f"{COMPILED}-{key(own[0], more)}"
    marker = Path(sys.prefix) / f".{COMPILED}"
    if marker.exists() and marker.read_text() == folder.name:
        return
    run_pip(["install", "--no-deps", "--require-hashes"], others)
    if not list(folder.glob("*.whl")):
        _compile(own, folder, more, arguments.jobs)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*PIP, "install", "--no-deps", "--force-reinstall", str(wheel)], check=True)
    marker.write_text(folder.name)


def pins() -> tuple[list[str], list[str]]:
    """Lines of the lock: the one to be compiled here, and the others."""
    lines = [x for x in LOCK.read_text().splitlines() if x and not x.startswith("#")]
    own = [x for x in lines if x.startswith(f"{COMPILED}==")]
    return own, [x for x in lines if x not in own]


def key(pin: str, more: str) -> str:
    """Names what decides the wheel's content: the sdist, the compiler with this processor's flags, CMAKE_ARGS."""
    command = ["c++", "-march=native", "-E", "-v", "-x", "c++", "/dev/null"]
    compiler = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    return hashlib.sha256("\n".join((pin, compiler, " ".join(FLAGS[:-1]), more)).encode()).hexdigest()[:16]


def _compile(own: list[str], folder: Path, more: str, jobs: int) -> None:
    """The wheel, moved into its folder when it is whole."""
    arguments = " ".join((*FLAGS, more)).strip()
    environment = {**os.environ, "CMAKE_ARGS": arguments, "CMAKE_BUILD_PARALLEL_LEVEL": str(jobs)}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".partial-") as temporary:
        options = ["wheel", "--no-deps", "--no-build-isolation", "--no-binary", COMPILED, "--require-hashes"]
        run_pip([*options, "--wheel-dir", temporary], own, environment)
        folder.mkdir(exist_ok=True)
        for wheel in Path(temporary).glob("*.whl"):
            wheel.replace(folder / wheel.name)


def run_pip(options: list[str], lines: list[str], environment: dict[str, str] | None = None) -> None:
    """Run pip on these pins, each with its hash."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as wanted:
        wanted.write("\n".join(lines) + "\n")
        wanted.flush()
        subprocess.run([*PIP, *options, "--requirement", wanted.name], check=True, env=environment)


if __name__ == "__main__":
    main()
