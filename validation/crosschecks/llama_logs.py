"""Make the logs of llama-perplexity that the importer's tests read: KLD of SmolLM2's quants, items of a random model's.

    .venv/bin/python -m validation.crosschecks.llama_logs --folder data/llama.cpp --out tests/data/llama_logs

Builds the programs (tools/build_llama_cpp.py) and quants once. Each run's standard output and error go into one log, as
``> quant.log 2>&1`` writes them; one run's output alone is kept too. The items are those of the repository's own
HellaSwag and ARC-Easy files; the Winogrande sentences are made here. About six minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
from pathlib import Path

from qkld.sources import fetch
from qkld.sources.corpora import read_documents
from tools.build_llama_cpp import LlamaCpp, built
from validation.crosschecks.llama_perplexity import GGUF, quantized
from validation.crosschecks.tiny_gguf import write_tiny

REFERENCE, QUANTS = "F16", ("Q8_0", "Q4_0", "Q2_K")
TINY = ("F32", "Q4_0")
WINDOWS, CONTEXT = 24, 128
HELLASWAG, CHOICES, WINOGRANDE = 24, 30, 104
"""Items of each task; the program prints Winogrande's total from 100 on."""

PEOPLE = (("Anna", "Maria"), ("Paul", "Tom"), ("Lena", "Ruth"), ("Karl", "Ben"))
SENTENCES = (
    ("{0} lent {1} money because _ had plenty of it to spare.", 1),
    ("{0} asked {1} for help because _ knew how to mend the pump.", 2),
    ("{0} thanked {1} warmly because _ had received a gift on that day.", 1),
    ("{0} could not lift the box but {1} could because _ was the stronger one.", 2),
)
ITEMS_LINES = 6
"""Lines of a HellaSwag item: context, right ending, four endings."""


def write_hellaswag(path: Path, count: int) -> None:
    """The first items of HellaSwag's validation file in the form that the program reads."""
    items = _first("benchmark-hellaswag", count)
    lines = [[f"{i['activity_label']}: {i['ctx']}", i["label"], *i["endings"]] for i in items]
    path.write_text("\n".join(" ".join(str(cell).split()) for item in lines for cell in item), encoding="utf-8")


def _first(asset: str, count: int) -> list[dict]:
    """The first items of a benchmark's file."""
    return [json.loads(line) for line in fetch(asset).read_text(encoding="utf-8").split("\n")[:count]]


def write_choices(path: Path, count: int) -> None:
    """The first items of ARC-Easy as the program's binary file: their number, their places, then each item."""
    items = _first("benchmark-arc_easy", count)
    packed = [_packed(item) for item in items]
    begin = 4 * (1 + len(packed))
    places = [begin + sum(map(len, packed[:i])) for i in range(len(packed))]
    path.write_bytes(struct.pack(f"<{1 + len(packed)}I", len(packed), *places) + b"".join(packed))


def _packed(item: dict) -> bytes:
    """Question, answers and which is right; and no second list of answers."""
    labels = [int(label == item["answerKey"]) for label in item["choices"]["label"]]
    answers = b"".join(_text(f"Answer: {text}") for text in item["choices"]["text"])
    first = struct.pack("<I", len(labels)) + answers + struct.pack(f"<{len(labels)}i", *labels)
    return _text(f"Question: {item['question']}") + first + struct.pack("<I", 0)


def _text(text: str) -> bytes:
    return struct.pack("<I", len(text.encode())) + text.encode()


def write_winogrande(path: Path, count: int) -> None:
    """Sentences with a gap, two names and the right one."""
    rows = []
    for number in range(count):
        one, two = PEOPLE[number % len(PEOPLE)]
        text, right = SENTENCES[(number // len(PEOPLE)) % len(SENTENCES)]
        day = f"On day {number} "
        rows.append(f"{number},{day}{text.format(one, two)},{one},{two},{right}\n")
    path.write_text("".join(rows), encoding="utf-8")


def prepare(programs: LlamaCpp, folder: Path) -> None:
    """Models, text and items, below ``folder``."""
    reference = quantized(programs, fetch("smollm2-135m-instruct") / GGUF, folder / f"smollm2-{REFERENCE}.gguf", "F16")
    for kind in QUANTS:
        quantized(programs, reference, folder / f"smollm2-{kind}.gguf", kind)
    write_tiny(folder / "tiny-F32.gguf")
    quantized(programs, folder / "tiny-F32.gguf", folder / "tiny-Q4_0.gguf", "Q4_0")
    documents = read_documents(fetch("boolq-passages"))[:40]
    (folder / "prose.txt").write_text("\n\n".join(documents), encoding="utf-8")
    write_hellaswag(folder / "hellaswag.txt", HELLASWAG)
    write_winogrande(folder / "winogrande.csv", WINOGRANDE)
    write_choices(folder / "arc-easy.bin", CHOICES)


class Runs:
    """The program, run inside the folder so that its logs name files alone."""

    def __init__(self, programs: LlamaCpp, folder: Path, out: Path, threads: int) -> None:
        self.program, self.folder, self.out, self.threads = programs.perplexity, folder, out, threads

    def log(self, model: str, name: str, *more: str, error: bool = True) -> None:
        """One run of a model; its output, with the standard error unless it is left out, becomes the log ``name``."""
        command = [str(self.program), "-m", f"{model}.gguf", "-t", str(self.threads), *more]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT if error else subprocess.DEVNULL}
        done = subprocess.run(command, cwd=self.folder, check=True, **streams)
        (self.out / name).write_bytes(done.stdout)

    def tasks(self, kind: str) -> None:
        """The three kinds of items of the random model."""
        of_task = {
            "hellaswag": ("-f", "hellaswag.txt", "--hellaswag", "--hellaswag-tasks", str(HELLASWAG - 4)),
            "winogrande": ("-f", "winogrande.csv", "--winogrande"),
            "arc": ("-bf", "arc-easy.bin", "--multiple-choice", "-np", "8"),
        }
        for task, options in of_task.items():
            self.log(f"tiny-{kind}", f"{task}-{kind}.log", "-c", "2048", "-b", "2048", *options)


def make(runs: Runs) -> None:
    """Every log."""
    sized = ("-c", str(CONTEXT), "-b", str(CONTEXT), "-ub", str(CONTEXT))
    base = ("-f", "prose.txt", "--chunks", str(WINDOWS), "--kl-divergence-base", "base.kld")
    against = (*sized, "--kl-divergence-base", "base.kld", "--kl-divergence")
    runs.log(f"smollm2-{REFERENCE}", f"base-{REFERENCE}.log", *sized, *base)
    for kind in QUANTS:
        runs.log(f"smollm2-{kind}", f"kld-{kind}.log", *against)
    runs.log(f"tiny-{TINY[0]}", "tiny-base.log", *sized, *base[:-1], "tiny.kld")
    of_tiny = (*sized, "--kl-divergence-base", "tiny.kld", "--kl-divergence")
    runs.log(f"tiny-{TINY[1]}", "tiny-output.log", *of_tiny, error=False)
    for kind in TINY:
        runs.tasks(kind)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder", type=Path, required=True, help="folder for source, build and models; kept for the next run"
    )
    parser.add_argument("--out", type=Path, required=True, help="output folder for the logs")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="parallel compiler jobs (default %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=2, help="threads of llama-perplexity")
    arguments = parser.parse_args()
    folder, out = arguments.folder.resolve(), arguments.out.resolve()
    programs = built(folder, arguments.jobs)
    prepare(programs, folder)
    out.mkdir(parents=True, exist_ok=True)
    make(Runs(programs, folder, out, arguments.threads))


if __name__ == "__main__":
    main()
