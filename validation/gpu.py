"""Check qkld on a CUDA GPU, in six minutes → figures/gpu/gpu.json and gpu.md.

The Triton kernel's checks on the card, its time and distance from the torch walk, the rows of the benchmarks that a
card changes (measuring, walk, scoring), and a study of three quants from the first notebook to the last. Everything is
of the repository and its fetched data. With ``--rehearse`` the same code runs small on the CPU, the kernel in Triton's
interpreter: then the times say nothing, and no record is kept.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from qkld.benchmarks.harness_tasks import fetched_task, items_of
from qkld.benchmarks.items import distinct, scored_items
from qkld.benchmarks.packing import layout_name
from qkld.benchmarks.reference_items import items_header, record_items
from qkld.benchmarks.scoring import score_items
from qkld.divergence import HeadLogits, TokenDivergence
from qkld.divergence.quantities import quantities
from qkld.divergence.walk import running_sums
from qkld.errors import QkldError
from qkld.models import OpenedModel, open_model
from qkld.models.head import Head
from qkld.reference.store import ReferenceStore
from qkld.study.params import Benchmark, Study
from qkld.study.paths import StudyPaths, data_folder, project_root
from qkld.study.provenance import made_by, write_json, written_whole
from qkld.study.text_table import TextTable, table_of_words
from validation.bench import items_row, stage, walk_row
from validation.bench.machine import best_seconds, seconds_of

DEVICE = "QKLD_CHECK_DEVICE"
"""Environment variable of the kernel's checks: where they run."""


@dataclass(frozen=True)
class Sizes:
    """How much is run: tokens and vocabulary of the walk, windows, items, and repeats of what is timed."""

    tokens: int = 2048
    vocabulary: int = 151_936
    width: int = 896
    windows: int = 16
    items: int = 200
    repeats: int = 3


REHEARSAL = Sizes(tokens=70, vocabulary=130, width=16, windows=1, items=3, repeats=1)


@dataclass(frozen=True)
class Line:
    """One line of the record: what was done, and what was found."""

    what: str
    found: str


def card(device: str) -> str:
    """The card's name, memory and compute capability; of the CPU that it rehearses.

    Raises
    ------
    QkldError
        If there is no card.
    """
    if device == "cpu":
        return "rehearsed on the CPU"
    if not torch.cuda.is_available():
        raise QkldError(
            "This machine has no CUDA card that torch can use.",
            expected="torch.cuda.is_available()",
            found=f"torch {torch.__version__} without a card",
            do="run it where there is one, with a torch built for it, or rehearse it on the CPU by --rehearse",
        )
    about = torch.cuda.get_device_properties(0)
    return f"{about.name}, {about.total_memory / 2**30:.0f} GiB, compute capability {about.major}.{about.minor}"


def kernel_checks(device: str) -> list[Line]:
    """The checks of tests/divergence/fused_checks.py, on the device."""
    file = project_root() / "tests" / "divergence" / "fused_checks.py"
    interpreted = {"TRITON_INTERPRET": "1"} if device == "cpu" else {}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", str(file)]
    environment = {**os.environ, DEVICE: device, **interpreted}
    done = subprocess.run(command, env=environment, cwd=project_root(), capture_output=True, text=True, check=False)
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-300:]
    return [Line("checks of the kernel against float64 and the torch walk", last.strip("= "))]


# --- kernel and walk --------------------------------------------------------------------------------------------------


def moved(source: HeadLogits, device: str, dtype: torch.dtype) -> HeadLogits:
    """The same hidden states and head elsewhere and in another dtype."""
    weight = source.head.weight.to(device=device, dtype=dtype)
    return HeadLogits(source.hidden.to(device=device, dtype=dtype), Head(weight))


def kernel_beside_walk(device: str, sizes: Sizes) -> list[Line]:
    """Largest difference of KLD between kernel and torch walk, and the time of both, in each dtype."""
    from qkld.divergence.fused import fused_sums

    shape = walk_row.Sizes(sizes.tokens, sizes.vocabulary, sizes.width, sizes.repeats)
    reference, quant, targets = walk_row.inputs(shape)
    lines = []
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        sources = moved(reference, device, dtype), moved(quant, device, dtype)
        where = targets.to(device)
        ways: dict[str, Callable[[], TokenDivergence]] = {
            "kernel": lambda s=sources, t=where: quantities(*fused_sums(*s, t), t),
            "torch": lambda s=sources, t=where: quantities(*running_sums(*s, t, tile=8192), t),
        }
        lines.append(_compared(str(dtype).removeprefix("torch."), ways, device, sizes))
    return lines


def _compared(dtype: str, ways: dict[str, Callable[[], TokenDivergence]], device: str, sizes: Sizes) -> Line:
    found = {name: way().kl for name, way in ways.items()}
    apart = float((found["kernel"] - found["torch"]).abs().max())
    seconds = {name: best_seconds(lambda way=way: finished(way, device), sizes.repeats) for name, way in ways.items()}
    times = ", ".join(f"{name} {1e3 * s:.1f} ms" for name, s in seconds.items())
    shape = f"{sizes.tokens} × {sizes.vocabulary:,} × {sizes.width}"
    return Line(f"KLD of kernel and torch walk, {dtype}, {shape}", f"{apart:.1e} nats apart; {times}")


def finished(work: Callable[[], Any], device: str) -> Any:
    """What the work gives, once the card has done it."""
    result = work()
    if device == "cuda":
        torch.cuda.synchronize()
    return result


@torch.inference_mode()
def row_3(device: str, sizes: Sizes) -> list[Line]:
    """The walk over log_softmax on full logits: time, and memory on the card."""
    shape = walk_row.Sizes(sizes.tokens, sizes.vocabulary, sizes.width, sizes.repeats)
    reference, quant, targets = walk_row.inputs(shape)
    given = moved(reference, device, torch.float32), moved(quant, device, torch.float32), targets.to(device)
    found = {name: _cost(lambda w=walk_row.WAYS[name]: w(*given), device, sizes) for name in ("walk", "full")}
    (walk, extra), (full, whole) = found["walk"], found["full"]
    memory = f", memory {extra / 1e6:,.0f} MB over {whole / 1e6:,.0f} MB" if whole else ""
    return [Line("row 3, the walk over full logits", f"{1e3 * walk:.1f} ms over {1e3 * full:.1f} ms{memory}")]


def _cost(work: Callable[[], Tensor], device: str, sizes: Sizes) -> tuple[float, int]:
    """Seconds, and bytes on the card beyond those that were taken before; 0 on the CPU."""
    seconds = best_seconds(lambda: finished(work, device), sizes.repeats)
    if device == "cpu":
        return seconds, 0
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    finished(work, device)
    return seconds, torch.cuda.max_memory_allocated() - before


# --- measuring and scoring --------------------------------------------------------------------------------------------


def study_on(device: str) -> Study:
    """The study of the benchmarks on the device, in bfloat16 on a card."""
    study = stage.bench_study("float32" if device == "cpu" else "bfloat16")
    return study.model_copy(update={"compute": study.compute.model_copy(update={"device": device})})


def row_1(device: str, sizes: Sizes, folder: Path) -> list[Line]:
    """Measuring a quant over its bare forward pass."""
    study = study_on(device)
    reference, corpus = _opened(study, study.reference.label), stage.prose(study, sizes.windows)
    store, scored = stage.recorded(study, corpus, reference, folder / "reference")
    quant = _opened(study, stage.QUANT)
    windows = store.header.windows
    bare = best_seconds(lambda: finished(lambda: stage.bare_pass(quant, windows), device), sizes.repeats)
    whole = min(
        seconds_of(lambda: finished(lambda: stage.measured(study, quant, (store, scored), folder), device))
        for _ in range(sizes.repeats)
    )
    what = f"row 1, measuring over the bare pass, {len(windows)} windows of {stage.CONTEXT} tokens"
    return [Line(what, f"{whole:.2f} s over {bare:.2f} s: {whole / bare:.2f}")]


def _opened(study: Study, label: str) -> OpenedModel:
    entry = study.reference if label == study.reference.label else study.entry(label)
    return open_model(entry, reference=study.reference, compute=study.compute)


def scoring(device: str, sizes: Sizes, folder: Path) -> list[Line]:
    """Scoring a quant's items beside the reference over the bare pass of the same packs."""
    study = study_on(device)
    reference, knobs = _opened(study, study.reference.label), study.benchmark_scores
    task = fetched_task(Benchmark(task="arc_easy", chance=0.25, limit=sizes.items))
    whole = distinct(items_of(task, reference.tokenizer))
    items = scored_items(whole, knobs.item_kld)
    header = items_header(task.name, items, reference, layout=layout_name(reference, knobs))
    record_items(folder / "reference", header, items, reference, pack_tokens=knobs.pack_tokens)
    store = ReferenceStore.open(header.folder(folder / "reference"), expected_key=header.key)
    quant = _opened(study, stage.QUANT)
    bare = best_seconds(lambda: finished(lambda: _bare(quant, whole, knobs.pack_tokens), device), sizes.repeats)
    scored = min(
        seconds_of(lambda own=folder / str(i): finished(lambda: _scored(study, quant, items, store, own), device))
        for i in range(sizes.repeats)
    )
    what = f"scoring over the bare pass of the same packs, {len(items)} items"
    return [Line(what, f"{scored:.2f} s over {bare:.2f} s: {scored / bare:.2f}")]


def _bare(quant: OpenedModel, items: Sequence[Any], pack_tokens: int) -> None:
    items_row.bare_pass(quant, [items], pack_tokens)


def _scored(study: Study, quant: OpenedModel, items: Sequence[Any], store: ReferenceStore, folder: Path) -> None:
    folder.mkdir()
    knobs, tile = study.benchmark_scores, study.compute.vocabulary_tile
    score_items(quant, items, store, folder, pack_tokens=knobs.pack_tokens, tile=tile)


# --- study ------------------------------------------------------------------------------------------------------------


def small_study(device: str, folder: Path) -> list[Line]:
    """The smoke study's three quants on the device, from notebook 01 to the figures; KLD beside nothing else."""
    with _project(device, folder) as environment:
        command = [
            sys.executable,
            "-m",
            "qkld.workflow.cli",
            "run",
            "smoke",
            "--cores",
            str(min(os.cpu_count() or 1, 8)),
        ]
        start = time.monotonic()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - start
    if done.returncode:
        raise QkldError("The small study did not end.", expected="0", found=done.stderr[-2000:], do="see the message")
    return [Line("a study of three quants, notebooks 01 to 08", f"{seconds:.0f} s"), *fidelity_lines(folder)]


@contextmanager
def _project(device: str, folder: Path) -> Iterator[dict[str, str]]:
    """A project whose smoke study runs on the device, and the environment that sends `qkld run` there."""
    root, own = project_root(), folder / "project"
    for name in ("notebooks", "workflow"):
        shutil.copytree(root / name, own / name)
    shutil.copy(root / "Snakefile", own)
    params = yaml.safe_load((root / "params" / "smoke.yaml").read_text(encoding="utf-8"))
    params["compute"] |= {"device": device}
    (own / "params").mkdir()
    (own / "params" / "smoke.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    yield {**os.environ, "QKLD_ROOT": str(own), "QKLD_DATA": str(data_folder()), "QKLD_RUNS": str(folder / "runs")}


def fidelity_lines(folder: Path) -> list[Line]:
    """Mean KLD of each quant of the smoke study that was run in a folder."""
    import pandas as pd

    cohort = pd.read_parquet(folder / "runs" / "smoke" / "cohort.parquet")
    quants = cohort[cohort["kl_mean"].notna()]
    return [Line(f"mean KLD of {row.label}", f"{row.kl_mean:.5f} nats") for row in quants.itertuples()]


# --- record -----------------------------------------------------------------------------------------------------------


def measured(device: str, sizes: Sizes) -> list[Line]:
    """Everything in turn, each in a temporary folder of its own, with the time that it took."""
    lines = []
    steps: dict[str, Callable[[Path], list[Line]]] = {
        "checks": lambda folder: kernel_checks(device),
        "kernel": lambda folder: kernel_beside_walk(device, sizes),
        "row 3": lambda folder: row_3(device, sizes),
        "row 1": lambda folder: row_1(device, sizes, folder),
        "scoring": lambda folder: scoring(device, sizes, folder),
        "study": lambda folder: small_study(device, folder),
    }
    for name, step in steps.items():
        with tempfile.TemporaryDirectory(prefix="qkld-gpu-") as folder:
            start = time.monotonic()
            lines += step(Path(folder))
            print(f"gpu: {name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return lines


def table(device: str, lines: Sequence[Line]) -> str:
    """The card's name and every line, as Markdown."""
    rows = tuple((line.what, line.found) for line in lines)
    words: TextTable = table_of_words(("what", "found"), rows)
    return f"{card(device)}; torch {torch.__version__}.\n\n{words.markdown()}\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and on a card write; 2 for an error that names expected, found and what to do."""
    parser = argparse.ArgumentParser(prog="python -m validation.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--rehearse", action="store_true", help="run small and on the CPU; writes no record")
    parser.add_argument("--out", type=Path, help="output folder (default figures/gpu)")
    options = parser.parse_args(arguments)
    if options.rehearse and "TRITON_INTERPRET" not in os.environ:  # Triton reads it when it is imported
        again = [sys.executable, "-m", "validation.gpu", "--rehearse"]
        return subprocess.run(again, env={**os.environ, "TRITON_INTERPRET": "1"}, check=False).returncode
    device, sizes = ("cpu", REHEARSAL) if options.rehearse else ("cuda", Sizes())
    try:
        name = card(device)
        lines = measured(device, sizes)
    except QkldError as error:
        print(f"gpu: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print(table(device, lines))
    if not options.rehearse:
        write_record(options.out or StudyPaths("gpu").figures, name, lines)
    return 0


def write_record(folder: Path, name: str, lines: Sequence[Line]) -> None:
    """``gpu.json`` with what made it, and ``gpu.md``."""
    found = {line.what: line.found for line in lines}
    write_json(folder / "gpu.json", {"card": name, "found": found, "made_by": made_by()})
    with written_whole(folder / "gpu.md") as temporary:
        temporary.write_text(table("cuda", lines), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
