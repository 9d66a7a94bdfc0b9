"""Compare both GGUF engines with llama-perplexity on the same windows, and record the result.

    .venv/bin/python -m validation.crosschecks.gguf_crosscheck --folder data/llama.cpp --out tests/data/gguf_crosscheck

Builds llama-perplexity and llama-quantize (tools/build_llama_cpp.py) from the source that engine llamacpp is
compiled from. The references, in float32, are a random model of 301 tokens and SmolLM2-135M-Instruct, padded and
rotated; llama-quantize makes files of six and seven types from them. For each file:

  llamacpp   the file in engine llamacpp against llama-perplexity on the same file.
  torch      the file in engine torch, from its dequantized weights, against llama-perplexity on the file that
             llama-quantize dequantizes to float32.

Each engine's logits are turned into figures twice: by llama.cpp's own definitions, against the base file that
llama-perplexity wrote of the reference, and by qkld's, against the reference's logits in torch. Program and engine
run a window (64 and 512 tokens) as one batch on as many threads, with a float32 key-value cache and without flash
attention. The record is what tests/validation/test_gguf_crosscheck_record.py holds to its limits.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from qkld.compare.stores import BaseFile
from qkld.divergence import FullLogits, TokenDivergence, token_divergence
from qkld.models import OpenedModel, open_model
from qkld.models.gguf.gguf_files import contents
from qkld.models.gguf.llama_as_gguf import write_gguf
from qkld.models.gguf.llamacpp_library import version
from qkld.models.gguf.open_in_torch import gguf_files
from qkld.models.making.study_files import IN_TORCH
from qkld.models.opening import stored_folder
from qkld.models.transformers import load_module
from qkld.sources import fetch
from qkld.sources.corpora import read_documents
from qkld.study.entries import GgufModel
from qkld.study.provenance import made_by, sha256_of_file, write_json
from tools.build_llama_cpp import built
from validation.crosschecks.llama_figures import llama_figures, llama_log_probabilities, llama_tokens
from validation.crosschecks.llama_perplexity import (
    Pair,
    Runner,
    processor,
    quantized,
    reference_entry,
    tiny,
)

TYPES = {
    "tiny": ("Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "IQ4_NL"),
    "smollm2": ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_M", "Q2_K"),
}
PAD, SEED = 256, 2606

LABELS = ("Mean KLD", "Median KLD", "99.9% KLD", "Same top p", "Mean PPL(Q)", "Mean PPL(base)")
"""Figures that are compared, as llama-perplexity names them."""

LIKE_THE_PROGRAM = {"engine": "llamacpp", "cache_k": "f32", "cache_v": "f32", "flash_attention": False}

Figures = dict[str, list[float | None]]


@dataclass(frozen=True)
class Check:
    """What every file of a model is compared by: the base file, and the reference's logits of each window."""

    runner: Runner
    pair: Pair
    base: BaseFile
    reference: GgufModel
    logits: tuple[Tensor, ...]


def smollm2(folder: Path) -> Pair:
    """The padded and rotated reference as a float32 file, and Wikipedia passages."""
    entry = reference_entry().model_copy(update={"pad": PAD, "rotate": SEED})
    base = folder / f"smollm2-pad{PAD}-rotate{SEED}-f32.gguf"
    if not base.exists():
        module = load_module(stored_folder(entry), label=entry.label, dtype=torch.float32)
        write_gguf(module, gguf_files(entry)[0], base)
    text = folder / "prose.txt"
    text.write_text("\n\n".join(read_documents(fetch("boolq-passages"))[:60]), encoding="utf-8")
    return Pair("smollm2", base, base, "F32", text, 512)


def entry_of(file: Path, **more: Any) -> GgufModel:
    """A study's entry of a file."""
    facts = {"family": "gguf", "maker": "llama.cpp", "recipe": file.stem, "nominal_bits": 32.0}
    place = {"path": str(file.parent), "file": file.name, "to_be_checked": ("sha256",)}
    return GgufModel(label=file.stem.replace("+", "-"), **facts, **place, **more)


@torch.inference_mode()
def logits_of(model: OpenedModel, base: BaseFile) -> tuple[Tensor, ...]:
    """The model's logits of the rows that a base file keeps, one (rows, vocab) a window."""
    kept = []
    for window in base.windows:
        hidden = model.hidden(torch.tensor([window.tokens]))[0, list(window.positions)]
        kept.append(model.head.logits(hidden).float())
    return tuple(kept)


def by_llama(base: BaseFile, logits: tuple[Tensor, ...]) -> Figures:
    """Figures by llama.cpp's definitions against its base file."""
    tokens = [
        llama_tokens(base.rows(i).log_probabilities(), llama_log_probabilities(rows.numpy()), base.targets(i))
        for i, rows in enumerate(logits)
    ]
    found = llama_figures(pd.concat(tokens, ignore_index=True))
    return {label: list(found[label]) for label in LABELS}


def by_qkld(reference: tuple[Tensor, ...], base: BaseFile, logits: tuple[Tensor, ...]) -> Figures:
    """The same figures by qkld's definitions against the reference's logits, in llama.cpp's names and units."""
    parts = [
        token_divergence(FullLogits(before), FullLogits(after), torch.from_numpy(base.targets(i)))
        for i, (before, after) in enumerate(zip(reference, logits, strict=True))
    ]
    found = TokenDivergence.cat(parts)
    kl = found.kl.numpy()
    values = {
        "Mean KLD": kl.mean(),
        "Median KLD": np.median(kl),
        "99.9% KLD": np.percentile(kl, 99.9),
        "Same top p": 100 * found.same_top1.double().mean().item(),
        "Mean PPL(Q)": np.exp(found.nll_quant.mean().item()),
        "Mean PPL(base)": np.exp(found.nll_reference.mean().item()),
    }
    return {label: [float(value), None] for label, value in values.items()}


def compared(check: Check, run_here: GgufModel, run_there: Path) -> dict[str, Figures]:
    """An engine's figures of one file beside those that llama-perplexity, run meanwhile, prints of it or of another."""
    with ThreadPoolExecutor(1) as beside:
        printing = beside.submit(check.runner.figures, run_there, check.base)
        model = open_model(run_here, reference=check.reference, compute=IN_TORCH)
        logits = logits_of(model, check.base)
        ours = {"by_llama": by_llama(check.base, logits), "by_qkld": by_qkld(check.logits, check.base, logits)}
        printed = printing.result()
    return {"printed": {label: printed[label] for label in LABELS}, **ours}


def as_deployed(check: Check, file: Path) -> dict[str, Figures]:
    """Engine llamacpp and llama-perplexity on the file itself."""
    return compared(check, entry_of(file, **LIKE_THE_PROGRAM), file)


def weights_alone(check: Check, file: Path) -> dict[str, Figures]:
    """Engine torch beside llama-perplexity on the file dequantized; what is converted on the way is removed again."""
    dense, entry = (
        quantized(check.runner.programs, file, file.with_name(f"{file.stem}-f32.gguf"), "F32"),
        entry_of(file),
    )
    found = compared(check, entry, dense)
    shutil.rmtree(stored_folder(entry))
    dense.unlink()
    return found


ENGINES = {"llamacpp": as_deployed, "torch": weights_alone}


def prepared(pair: Pair, runner: Runner) -> Check:
    """The base file, and the reference's own logits of its windows."""
    base = runner.base_file(pair.base, pair)
    reference = entry_of(pair.base)
    logits = logits_of(open_model(reference, reference=reference, compute=IN_TORCH), base)
    return Check(runner, pair, base, reference, logits)


def checked(check: Check, types: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What is known of a model after each type: of all types in engine llamacpp first, then in torch."""
    header, source = check.base.header, check.pair.base
    facts = {"windows": header.chunks, "context": header.context, "vocabulary": header.vocabulary}
    facts |= {"scored_tokens": header.chunks * header.rows, "reference_sha256": sha256_of_file(source)}
    kinds: dict[str, dict[str, Any]] = {}
    for (engine, compare), kind in product(ENGINES.items(), types):
        file = quantized(check.runner.programs, source, source.with_name(f"{source.stem}-{kind}.gguf"), kind)
        if kind not in kinds:
            kinds[kind] = {"file": contents([file]).as_json(), "sha256": sha256_of_file(file)}
        kinds[kind][engine] = compare(check, file)
        print(kind, engine, json.dumps(kinds[kind][engine], ensure_ascii=False), flush=True)
        yield {**facts, "types": kinds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder",
        type=Path,
        required=True,
        help="folder for source, build, models and base files; kept for the next run",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for record.json")
    parser.add_argument(
        "--models", nargs="+", choices=TYPES, default=list(TYPES), help="models to check (default: all)"
    )
    parser.add_argument(
        "--windows", type=int, default=8, help="windows of 512 tokens; of 64 tokens for the tiny model (default 8)"
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="parallel compiler jobs (default %(default)s)"
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of the program and of the engine, which run at the same time"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    folder = arguments.folder.resolve()
    programs = built(folder, arguments.jobs)
    runner = Runner(programs, folder, arguments.threads)
    record = {"llama.cpp": programs.facts, "engine": version(), "made_by": made_by(), "processor": processor()}
    record["models"] = {}
    for name in arguments.models:
        pair = tiny(programs, folder) if name == "tiny" else smollm2(folder)
        check = prepared(replace(pair, windows=arguments.windows), runner)
        for found in checked(check, TYPES[name]):
            record["models"][name] = found
            write_json(arguments.out / "record.json", record)


if __name__ == "__main__":
    main()
