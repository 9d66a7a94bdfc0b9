r"""Compare qkld's reading and writing of base files with llama-perplexity itself, and record the comparison.

    .venv/bin/python -m validation.crosschecks.llama_perplexity --folder data/llama.cpp \
        --out tests/data/llama_perplexity

Builds the programs (tools/build_llama_cpp.py), then for two models, SmolLM2-135M-Instruct and one of 301 tokens:

  files      llama-perplexity writes a base file of the float32 model and one of its quant, and prints its figures of
             the quant against the first; qkld computes the same figures from the two files.
  accepted   (SmolLM2) qkld writes the base file itself, from hidden states in float32; llama-perplexity reads it and
             prints its figures of the same float32 model, which are those of rounding, and of the quant.

The record is what tests check against: record.json, every scored token's figures of SmolLM2, and both whole files of
the random model. The key-value cache is float32 and flash attention off, so that both sides compute the same thing.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qkld.analysis.importing.llama_lines import figures_of
from qkld.compare.stores import BaseFile, HiddenStates, to_base_file
from qkld.models import OpenedModel, open_model
from qkld.models.making.study_files import IN_TORCH
from qkld.reference.recording import corpus_header, record_windows
from qkld.reference.store import ReferenceStore
from qkld.sources import ASSETS, fetch
from qkld.sources.corpora import CorpusWindows, read_documents
from qkld.study.entries import GgufModel
from qkld.study.provenance import made_by, sha256_of_file, write_json
from tools.build_llama_cpp import LlamaCpp, built
from validation.crosschecks.llama_figures import llama_figures, tokens_of_files
from validation.crosschecks.tiny_gguf import CONTEXT as TINY_CONTEXT
from validation.crosschecks.tiny_gguf import write_tiny

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
WINDOWS = 4
ATTEMPTS = 10


@dataclass(frozen=True)
class Pair:
    """A float32 model and its quant as GGUF files, and the windows they are run on."""

    name: str
    base: Path
    quant: Path
    quant_type: str
    text: Path
    context: int
    windows: int = WINDOWS


class Runner:
    """llama-perplexity with everything that the comparison keeps equal."""

    def __init__(self, programs: LlamaCpp, folder: Path, threads: int) -> None:
        self.programs, self.folder, self.threads = programs, folder, threads

    def _run(self, model: Path, context: int, *more: str) -> str:
        command = [str(self.programs.perplexity), "-m", str(model), "-t", str(self.threads), "-c", str(context)]
        command += ["-b", str(context), "-ub", str(context), *more]
        command += ["--cache-type-k", "f32", "--cache-type-v", "f32", "--flash-attn", "off"]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        return done.stdout + done.stderr

    def base_file(self, model: Path, pair: Pair) -> BaseFile:
        """The base file that it writes of a model on the pair's text."""
        path = self.folder / f"{model.stem}.kld"
        arguments = ("-f", str(pair.text), "--chunks", str(pair.windows), "--kl-divergence-base", str(path))
        self._run(model, pair.context, *arguments)
        return BaseFile(path)

    def figures(self, model: Path, base: BaseFile) -> dict[str, list[float | None]]:
        """What it prints of a model against a base file: label → value and uncertainty.

        Its log is written by a thread that its end does not wait for, so on a busy machine the last lines may be lost,
        with exit code 0: it is then run again.
        """
        arguments = ("--kl-divergence-base", str(base.path), "--kl-divergence")
        for _ in range(ATTEMPTS):
            text = self._run(model, base.header.context, *arguments)
            printed = printed_figures(text)
            if "Same top p" in printed:
                return printed
        raise SystemExit(f"llama-perplexity printed no figures, {ATTEMPTS} times:\n{text[-2000:]}")


def printed_figures(text: str) -> dict[str, list[float | None]]:
    """Label → value and uncertainty of the closing block, as printed; what it lacks is left out."""
    block = text.split("====== Perplexity statistics ======")[-1]
    return {f.label: list(f.printed) for line in block.splitlines() for f in figures_of(line)}


def quantized(programs: LlamaCpp, source: Path, target: Path, kind: str) -> Path:
    """A GGUF file in another type, made once."""
    if not target.exists():
        command = [str(programs.quantize), "--allow-requantize", str(source), str(target), kind]
        subprocess.run(command, check=True, capture_output=True)
    return target


def smollm2(programs: LlamaCpp, folder: Path) -> Pair:
    """SmolLM2, dequantized to float32, and Q8_0 made of that; on Wikipedia passages."""
    source = fetch("smollm2-135m-instruct") / GGUF
    base = quantized(programs, source, folder / "smollm2-f32.gguf", "F32")
    quant = quantized(programs, base, folder / "smollm2-q8_0.gguf", "Q8_0")
    text = folder / "prose.txt"
    text.write_text("\n\n".join(read_documents(fetch("boolq-passages"))[:60]), encoding="utf-8")
    return Pair("smollm2", base, quant, "Q8_0", text, 512)


def tiny(programs: LlamaCpp, folder: Path) -> Pair:
    """The random model and its Q4_0; on a text of plain ASCII."""
    base = folder / "tiny-f32.gguf"
    write_tiny(base)
    (folder / "tiny-q4_0.gguf").unlink(missing_ok=True)
    quant = quantized(programs, base, folder / "tiny-q4_0.gguf", "Q4_0")
    text = folder / "tiny.txt"
    text.write_text("".join(f"{i * i * 7919 % 10007} is {'even' if i % 2 else 'odd'}. " for i in range(60)))
    return Pair("tiny", base, quant, "Q4_0", text, TINY_CONTEXT)


def comparison(
    printed: dict[str, list[float | None]], computed: dict[str, tuple[float, float | None]]
) -> dict[str, Any]:
    """Both sets of figures, and where they are furthest apart."""
    apart = {label: abs(value[0] - computed[label][0]) for label, value in printed.items()}
    worst = max(apart, key=apart.get)
    return {
        "printed": printed,
        "computed": {label: list(value) for label, value in computed.items()},
        "furthest_apart": [worst, apart[worst]],
    }


def reference_entry() -> GgufModel:
    """SmolLM2's own file, as a study names it."""
    asset = ASSETS["smollm2-135m-instruct"]
    return GgufModel(
        label="smollm2",
        family="reference",
        maker="HuggingFaceTB",
        recipe="dequantized",
        nominal_bits=32.0,
        asset=asset.name,
        file=GGUF,
        sha256=asset.files[GGUF],
    )


def opened() -> OpenedModel:
    """SmolLM2 from the same file in torch, float32."""
    return open_model(reference_entry(), reference=reference_entry(), compute=IN_TORCH)


def written_here(base: BaseFile, folder: Path) -> tuple[BaseFile, dict[str, Any]]:
    """The base file that qkld writes of the same windows, and how far its rows lie from llama.cpp's."""
    model = opened()
    header = corpus_header(CorpusWindows("prose", base.windows), model)
    record_windows(folder, header, model, description="hidden states")
    store = HiddenStates(ReferenceStore.open(header.folder(folder)))
    own = to_base_file(store, folder / "written-here.kld")
    both = ([file.rows(i).log_probabilities() for file in (own, base)] for i in range(base.header.chunks))
    apart = [np.abs(here - there) for here, there in both]
    return own, {"largest_difference": float(np.max(apart)), "mean_difference": float(np.mean(apart))}


def described(base: BaseFile, pair: Pair) -> dict[str, Any]:
    """What went into a comparison."""
    return {
        "quant": pair.quant_type,
        "windows": base.header.chunks,
        "context": base.header.context,
        "vocabulary": base.header.vocabulary,
        "scored_tokens": base.header.chunks * base.header.rows,
        "clamp": base.clamp(),
        "sha256": {path.name: sha256_of_file(path) for path in (pair.base, pair.quant, pair.text)},
    }


def processor() -> str:
    """The processor's name, as Linux gives it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))


def compared(pair: Pair, runner: Runner, folder: Path, out: Path) -> dict[str, Any]:
    """Everything about one model; the tiny one's files, and the other's tokens, go beside the record."""
    base, quant = (runner.base_file(model, pair) for model in (pair.base, pair.quant))
    tokens = tokens_of_files(base, quant)
    found = {**described(base, pair), "files": comparison(runner.figures(pair.quant, base), llama_figures(tokens))}
    if pair.name == "tiny":
        for file in (base, quant):
            (out / f"{file.name}.gz").write_bytes(gzip.compress(file.path.read_bytes(), 9, mtime=0))
        return found
    np.savez_compressed(out / f"{pair.name}_tokens.npz", **{c: tokens[c].to_numpy() for c in tokens})
    own, apart = written_here(base, folder)
    accepted = {"base": runner.figures(pair.base, own), "quant": runner.figures(pair.quant, own)}
    return {**found, "accepted": {**accepted, "rows": apart}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder",
        type=Path,
        required=True,
        help="folder for source, build, models and base files; kept for the next run",
    )
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="parallel compiler jobs (default %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of llama-perplexity")
    arguments = parser.parse_args()
    folder, out = arguments.folder.resolve(), arguments.out
    torch.set_num_threads(arguments.threads)
    programs = built(folder, arguments.jobs)
    runner = Runner(programs, folder, arguments.threads)
    out.mkdir(parents=True, exist_ok=True)
    record = {"llama.cpp": programs.facts, "made_by": made_by(), "processor": processor(), "models": {}}
    for pair in (make(programs, folder) for make in (tiny, smollm2)):
        record["models"][pair.name] = compared(pair, runner, folder, out)
        print(json.dumps(record["models"][pair.name], indent=1, ensure_ascii=False), flush=True)
        write_json(out / "record.json", record)


if __name__ == "__main__":
    main()
