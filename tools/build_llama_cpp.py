"""Build llama-perplexity and llama-quantize from pinned source, to compare qkld's figures with theirs.

    .venv/bin/python -m tools.build_llama_cpp data/llama.cpp --jobs 2

The source is the llama.cpp (MIT) inside llama-cpp-python's sdist, taken by the hash in requirements-llamacpp.lock: what
`make llamacpp` compiles engine llamacpp from, here with the same options of ggml and the same CMAKE_ARGS, so that
program and engine run the same kernels. Needs cmake, ninja or make, git, and a C++ compiler; 138 files take about
twelve minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qkld.study.provenance import sha256_of_file
from tools.build_llama_cpp_python import COMPILED, FLAGS, pins, run_pip

TARGETS = ("llama-perplexity", "llama-quantize")

OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    *(flag for flag in FLAGS if flag.startswith("-DGGML_")),
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_SERVER=OFF",
    "-DLLAMA_BUILD_APP=OFF",
)

WHOLE_LOG = Path(__file__).with_name("whole_log.cmake")
"""What is added to llama.cpp: without it, the last lines of a log, and with them all figures, may be lost."""

MARKER = "built-from.txt"
"""Beside the programs: the sdist's hash, the options and the addition, so that another build is made anew."""


@dataclass(frozen=True)
class LlamaCpp:
    """The two programs, and what they were built from."""

    perplexity: Path
    quantize: Path
    facts: dict[str, Any]


def built(folder: Path, jobs: int) -> LlamaCpp:
    """The programs below ``folder``, built on first use, and anew where the pin or the options are others."""
    (pin,) = pins()[0]
    options = (*OPTIONS, *shlex.split(os.environ.get("CMAKE_ARGS", "")))
    build, added = folder / "build", WHOLE_LOG.with_suffix(".cpp").read_text()
    wanted = "\n".join((pin, *options, added))
    marker = build / MARKER
    if not marker.exists() or marker.read_text() != wanted:
        shutil.rmtree(build, ignore_errors=True)
        _compile(_source(folder, pin), build, options, jobs)
        marker.write_text(wanted)
    perplexity, quantize = (build / "bin" / name for name in TARGETS)
    return LlamaCpp(perplexity, quantize, _facts(perplexity, pin, options))


def _compile(source: Path, build: Path, options: tuple[str, ...], jobs: int) -> None:
    configure = ["cmake", "-S", str(source), "-B", str(build), *options]
    configure += [f"-DCMAKE_PROJECT_llama.cpp_INCLUDE={WHOLE_LOG}"]
    configure += ["-G", "Ninja"] if shutil.which("ninja") else []
    subprocess.run(configure, check=True)
    command = ["cmake", "--build", str(build), "--parallel", str(jobs), "--target", *TARGETS]
    subprocess.run(command, check=True)


def _facts(program: Path, pin: str, options: tuple[str, ...]) -> dict[str, Any]:
    """What the program says of itself, and what it was built from."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    version, compiler = (said.stdout + said.stderr).strip().splitlines()[-2:]
    name, _, sha256 = pin.partition(" --hash=sha256:")
    facts = {"source": f"llama.cpp in the sdist of {name}", "source_sha256": sha256, "cmake_options": list(options)}
    return {**facts, "version": version.removeprefix("version: "), "compiler": compiler.removeprefix("built with ")}


def _source(folder: Path, pin: str) -> Path:
    """llama.cpp's own folder of the unpacked sdist, which pip downloads once; pip refuses another hash."""
    name, _, sha256 = pin.partition(" --hash=sha256:")
    stem = name.replace(COMPILED, COMPILED.replace("-", "_")).replace("==", "-")
    archive, target = folder / f"{stem}.tar.gz", folder / stem / "vendor" / "llama.cpp"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        if not archive.exists():
            _download(folder)
        if sha256_of_file(archive) != sha256:
            raise SystemExit(f"{archive} is not the pinned file: remove it and run this again")
        with tarfile.open(archive) as opened:
            opened.extractall(folder, filter="data")
    return target


def _download(folder: Path) -> None:
    """Fetch the sdist; pip reads its metadata with the pinned build backend, which is installed for that."""
    own, others = pins()
    run_pip(["install", "--no-deps", "--require-hashes"], others)
    options = ["download", "--no-deps", "--no-build-isolation", "--no-binary", COMPILED, "--require-hashes"]
    run_pip([*options, "--dest", str(folder)], own)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="\n".join(__doc__.splitlines()[4:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="folder for source and build; kept for the next run")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="parallel compiler jobs (default %(default)s)"
    )
    arguments = parser.parse_args()
    programs = built(arguments.folder, arguments.jobs)
    print(programs.perplexity, programs.quantize, sep="\n")


if __name__ == "__main__":
    main()
