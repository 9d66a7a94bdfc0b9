"""Row 2: the same windows measured here and by llama-perplexity, from a base file that was made beforehand."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from qkld.compare.stores import HiddenStates, to_base_file
from qkld.errors import QkldError
from qkld.models import open_model
from qkld.sources import fetch
from qkld.study.entries import GgufModel
from qkld.study.params import load_params
from qkld.study.paths import data_folder
from qkld.study.provenance import written_whole
from qkld.workflow.plan import KNOWN_SHAPES
from validation.bench.figures import Figure
from validation.bench.machine import Machine, seconds_of
from validation.bench.stage import CONTEXT, STUDY, bench_study, measured, prose, recorded

WINDOWS = 32
TARGET = 0.7

ROUNDS = 2
"""Times both sides are measured, in turn; the faster counts, since other work on a machine only adds."""

LIMIT = (
    "the trunk's products for every token and both heads' for the scored ones at this machine's matrix rate, two "
    "exponentials a logit; over the time of llama-perplexity"
)

BUILD = "`.venv/bin/python -m tools.build_llama_cpp data/llama.cpp`"

LOAD_TIME = re.compile(r"load time\s*=\s*([\d.]+) ms")


@dataclass(frozen=True)
class LlamaFiles:
    """What the row needs from llama.cpp: the program, and SmolLM2 as Q8_0."""

    program: Path
    model: Path


def llama_files() -> LlamaFiles | None:
    """What ``tools/build_llama_cpp.py`` built in ``$QKLD_LLAMA_CPP`` or ``data/llama.cpp``; None where it has not.

    The Q8_0 file is made with llama-quantize from the demo's own file, once.
    """
    folder = Path(os.environ.get("QKLD_LLAMA_CPP", data_folder() / "llama.cpp"))
    programs = [folder / "build" / "bin" / name for name in ("llama-perplexity", "llama-quantize")]
    if not all(program.exists() for program in programs):
        return None
    model = folder / "smollm2-q8_0.gguf"
    if not model.exists():
        reference = load_params(STUDY).reference
        source = fetch(reference.asset) / reference.file
        with written_whole(model) as temporary:
            command = [str(programs[1]), "--allow-requantize", str(source), str(temporary), "Q8_0"]
            subprocess.run(command, check=True, capture_output=True)
    return LlamaFiles(programs[0], model)


def llama_seconds(files: LlamaFiles, base: Path, threads: int) -> float:
    """Wall time of ``llama-perplexity --kl-divergence`` on a base file, its own load time taken off; its defaults else.

    Raises
    ------
    QkldError
        If it fails, or ends without its figures or its load time, which it may do with exit status 0.
    """
    command = [str(files.program), "--model", str(files.model), "--kl-divergence", "--kl-divergence-base", str(base)]
    command += ["--threads", str(threads), "--threads-batch", str(threads), "--ctx-size", str(CONTEXT)]
    command += ["--verbosity", "4"]  # its load time is among the details
    output: list[subprocess.CompletedProcess[str]] = []
    wall = seconds_of(lambda: output.append(subprocess.run(command, capture_output=True, text=True, check=False)))
    text = output[0].stdout + output[0].stderr
    load = LOAD_TIME.search(text)
    if output[0].returncode or "Same top p" not in text or load is None:
        raise QkldError(
            "llama-perplexity did not finish.",
            expected="exit status 0, its load time and its last lines",
            found=f"{output[0].returncode}: {text[-300:]}",
            do="run the command by hand: " + " ".join(command),
        )
    return wall - float(load[1]) / 1e3


def our_work(files: LlamaFiles, folder: Path, dtype: str) -> tuple[Callable[[], object], Path]:
    """Notebook 02's work on the Q8_0 file, from loaded model to written table, to be called; and the base file."""
    study = bench_study(dtype)
    reference = open_model(study.reference, reference=study.reference, compute=study.compute)
    store, scored = recorded(study, prose(study, WINDOWS), reference, folder / "reference")
    del reference
    base = folder / "base.kld"
    to_base_file(HiddenStates(store), base)
    entry = GgufModel(
        label="Q8_0",
        family="gguf",
        maker="llama.cpp",
        recipe="Q8_0",
        nominal_bits=8.5,
        path=str(files.model.parent),
        file=files.model.name,
        to_be_checked=("sha256",),
    )
    quant = open_model(entry, reference=study.reference, compute=study.compute)
    return (lambda: measured(study, quant, (store, scored), folder)), base


def limit_seconds(machine: Machine, dtype: torch.dtype) -> float:
    """See `LIMIT`; in seconds."""
    shape = KNOWN_SHAPES["smollm2-135m"]
    tokens, scored = WINDOWS * CONTEXT, WINDOWS * CONTEXT // 2
    operations = tokens * shape.trunk_flop + 2 * scored * shape.head_flop
    return operations / machine.flop_per_second(dtype) + machine.exp_seconds(2.0 * scored * shape.vocabulary)


def llamacpp_row(machine: Machine, folder: Path) -> list[Figure]:
    """The figure of row 2; without a value where llama.cpp is not built."""
    files = llama_files()
    if files is None:
        note = f"llama-perplexity is not built: {BUILD}, then run the benchmarks again."
        return [Figure(2, f"{WINDOWS} windows of {CONTEXT} tokens", None, target=TARGET, note=note)]
    dtype = "bfloat16" if machine.has_native_bf16 else "float32"
    work, base = our_work(files, folder, dtype)
    turns = [(seconds_of(work), llama_seconds(files, base, machine.threads)) for _ in range(ROUNDS)]
    ours, theirs = (min(side) for side in zip(*turns, strict=True))
    return [
        Figure(
            row=2,
            what=f"{WINDOWS} windows of {CONTEXT} tokens, {dtype}: {ours:.1f} s over {theirs:.1f} s",
            value=ours / theirs,
            limit=limit_seconds(machine, getattr(torch, dtype)) / theirs,
            limit_formula=LIMIT,
            target=TARGET,
            note="Load times are left out on both sides; the base file is made beforehand; the better of two rounds."
            + ("" if machine.has_native_bf16 else " The target is for bfloat16 units, which this processor has not."),
            applies=machine.has_native_bf16,
        )
    ]
