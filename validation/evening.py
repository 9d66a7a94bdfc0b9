"""An evening with ``qkld pick``: files of study ``gguf``, from a folder that holds nothing else, beside the study.

``python -m validation.evening --hours 3`` makes the files where they are missing, links them under the names that hubs
give them, and picks among them as ``qkld pick FOLDER --engine llamacpp`` does. It writes ``figures/evening/pick.md``,
which the documentation shows, and the same as JSON. A run that was killed goes on where it was.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from qkld.models import open_model
from qkld.models.gguf.open_in_torch import made_file, made_folder
from qkld.models.making import make_study_files
from qkld.models.making.study_files import IN_TORCH, source_file
from qkld.pick.answer import NONE, Answer, Row
from qkld.pick.answer_from_results import answer_of_study
from qkld.pick.pick_request import PickRequest
from qkld.pick.picking import pick
from qkld.statistics.flips.decision import UNDECIDED
from qkld.study.params import Study, load_params
from qkld.study.processors import processor
from qkld.study.provenance import write_json, written_whole
from qkld.study.text_table import TextTable

STUDY = "gguf"
MODEL = "SmolLM2-135M-Instruct"
QUANTS = (
    *("q8-0", "q6-k", "q5-k-m", "q4-k-m", "q4-0", "iq4-xs"),
    *("q3-k-m", "iq3-s", "iq3-xxs-imatrix", "q2-k", "iq2-m-imatrix"),
)
"""Of the study, one of each type; those below three bits with an importance matrix, as hubs have them."""

MARGIN = 0.05
"""Points of the probability of the right choice: the study's own margin, so that both answer one question."""

WORK = Path("build", "evening")
PLACE = Path("figures", "evening", "pick.md")


@dataclass(frozen=True)
class Evening:
    """What is asked: hours, windows of the KLD, items of each benchmark at most or all, and a folder to work in."""

    hours: float
    windows: int
    limit: int | None
    work: Path = WORK

    @property
    def request(self) -> PickRequest:
        own = {"windows": self.windows, "limit": self.limit, "hours": self.hours, "engine": "llamacpp"}
        return PickRequest(str(self.work / "files"), self.work / "out", probability_margin=MARGIN, **own)

    @property
    def command(self) -> str:
        """What a user types for the same."""
        limit = "" if self.limit is None else f" --limit {self.limit}"
        options = f"--engine llamacpp --windows {self.windows}{limit} --hours {self.hours:g}"
        return f"qkld pick FOLDER {options} --probability-margin {MARGIN:g}"


def names(study: Study) -> dict[str, str]:
    """Label of each quant in the study → its file's name without the ending, as a hub would have it."""
    kept = {quant.label: quant for quant in study.quants}
    return {label: f"{MODEL}-{kept[label].made.type}" for label in QUANTS}


def link_files(study: Study, folder: Path) -> None:
    """Put the reference and the files of `QUANTS` into a new folder, as links; they are made where they are missing."""
    kept = {quant.label: made_file(quant, study.reference) for quant in study.quants}
    if not all(kept[label].is_file() for label in QUANTS):
        make_study_files(study, threads=torch.get_num_threads())
    how = {"reference": study.reference, "compute": IN_TORCH}
    source = source_file(study.reference, lambda: open_model(study.reference, **how), made_folder(study.reference))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, path in {f"{MODEL}-F32": source, **{n: kept[label] for label, n in names(study).items()}}.items():
        (folder / f"{name}.gguf").symlink_to(path.resolve())


def agreement(answer: Answer, of_study: Answer, names: Mapping[str, str]) -> TextTable:
    """Both answers about each file, largest file first, and a note that counts how often they agree."""
    labels = {name: label for label, name in names.items()}
    other = {row.label: row for row in of_study.rows}
    pairs = [(row, other[labels[row.label]]) for row in answer.rows]
    both = [p for p in pairs if UNDECIDED not in (p[0].decision, p[1].decision) and p[0].items]
    same = sum(own.decision == kept.decision for own, kept in both)
    note = (
        f"Of {len(pairs)} files both decide {len(both)}, and {same} of these alike. Items and texts are not the "
        "study's."
    )
    cells = tuple((row.label, *_cells(row), *_cells(kept)) for row, kept in pairs)
    header = ("file", "KLD", "items", "decision", "KLD, study", "items, study", "decision, study")
    return TextTable("", note, header, cells, words=frozenset({"decision", "decision, study"}))


def _cells(row: Row) -> tuple[str, str, str]:
    return NONE if row.kld is None else f"{row.kld[0]:.3g}", f"{row.items:,}", row.decision


def page(answer: Answer, beside: TextTable, command: str) -> str:
    """What the documentation shows: the printed lines, the machine's rate, and the study's decisions."""
    return "\n\n".join([answer.page(command), _rate(answer.seconds_an_item), beside.markdown()]) + "\n"


def _rate(seconds: float | None) -> str:
    """How fast the slowest file answered, and on what; where nothing was run, on what alone."""
    threads = torch.get_num_threads()
    where = f"{threads} thread{'s' * (threads > 1)} of {processor()['name']}, shared with other work"
    return f"Run on {where}." if seconds is None else f"The slowest file took {seconds:.2g} s an item on {where}."


def main() -> None:
    """Pick, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--windows", type=int, default=8, help="windows of 512 tokens")
    parser.add_argument("--limit", type=int, help="items of each benchmark at most")
    parser.add_argument("--work", type=Path, default=WORK)
    evening, study = Evening(**vars(parser.parse_args())), load_params(STUDY)
    link_files(study, evening.work / "files")
    answer = pick(evening.request)
    kept = answer_of_study(PickRequest(STUDY, evening.work, probability_margin=MARGIN))
    PLACE.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(PLACE) as temporary:
        temporary.write_text(page(answer, agreement(answer, kept, names(study)), evening.command), encoding="utf-8")
    write_json(PLACE.with_suffix(".json"), answer.as_json())


if __name__ == "__main__":
    main()
