"""Compare a study's scores of its reference with lm-evaluation-harness's hf model, item by item, and record the result.

    .venv/bin/python -m validation.crosschecks.harness_check --out tests/data/harness_check

The study's side is the item table of notebook 03 and the answers in the stores of notebook 01; where there is no table,
both are made anew in a temporary folder. The harness's side is its class HFLM on the same torch module, in float32 and
with one request at a time, so that no padding changes anything: it gets the same task objects, and makes prompts,
chat templates included, tokens and stops by itself.

  choices  the choice taken and whether it is right; ln p of the right choice, its margin over the best wrong one and
           the entropy of all choices, within `TOLERANCE`.
  written  the prompt's tokens, the text of the answer, and whether it is right.

A difference is explained by a tie alone: two choices, or two tokens at the first place where the answers part, of which
neither leads by more than rounding. Any other difference is recorded as not explained, and the script fails. Tasks that
the record holds already, of the same table and with as many items as asked for, are kept. The record is what
tests/validation/test_harness_check_record.py holds to its limits.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lm_eval.api.instance import Instance
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from scipy.special import log_softmax
from torch import Tensor, nn

from qkld.benchmarks.harness_tasks import LoadedTask, fetched_task, prompts_of
from qkld.benchmarks.judging.checkers import are_right
from qkld.benchmarks.packing import layout_name
from qkld.benchmarks.reference_items import open_written, record_benchmarks
from qkld.benchmarks.stage import score_benchmarks
from qkld.benchmarks.writing.task_answers import stored_items
from qkld.errors import BenchmarkError
from qkld.models import OpenedModel, open_model
from qkld.study.params import Benchmark, Study, load_params
from qkld.study.paths import StudyPaths
from qkld.study.provenance import made_by, write_json
from qkld.study.schemas import ITEMS, read_table_and_provenance, write_table

TOLERANCE = 1e-3
"""Nats by which log-probabilities of a choice may differ: sums over its tokens in float32, of items packed or alone."""

TIE = 1e-3
"""Logits by which neither of two tokens has to lead: a cache or a pass without one changes SmolLM2's by less."""

EXACT = ("correct", "answer", "right")
VALUES = ("logp_right", "margin", "choice_entropy")
"""Columns of the item table that are compared where there are choices."""

Difference = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """A written answer: token ids of the prompt and of what followed it, and the text that was judged."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    text: str


class Harness(HFLM):
    """The harness's own model, asked one request after the other; ``written[i]`` is its answer to document ``i``."""

    def __init__(self, module: nn.Module, tokenizer: Any) -> None:
        super().__init__(pretrained=module, tokenizer=tokenizer, softmax_dtype="float32", batch_size=1)
        self.written: dict[int, Answer] = {}

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        for request in requests:
            (text,) = super().generate_until([request], disable_tqdm=True)
            self.written[request.doc_id] = Answer(*self._ids, text)
        return [self.written[request.doc_id].text for request in requests]

    def _model_generate(self, context: Tensor, **settings: Any) -> Tensor:
        whole = super()._model_generate(context=context, **settings)
        prompt, answer = whole[0].tensor_split([context.shape[1]])
        self._ids = tuple(prompt.tolist()), tuple(answer.tolist())
        return whole


# --- the two sides ----------------------------------------------------------------------------------------------------


def harness_choices(task: LoadedTask, harness: Harness) -> pd.DataFrame:
    """The compared columns by the harness's own model, one row an item, and the lead of its best choice.

    Margin, lead and entropy are of log-probabilities as the task's metric compares them: nats, per character for
    ``acc_norm``.
    """
    rows = []
    for sample in _samples(task, harness):
        logp = np.array([response[0] for response in sample["filtered_resps"]])
        by_length = task.metric == "acc_norm"
        compared = logp / [len(text) for text in task.task.doc_to_choice(sample["doc"])] if by_length else logp
        right, (second, best) = sample["target"], np.sort(compared)[-2:]
        probabilities = log_softmax(compared)
        rows.append(
            {
                "item": str(task.items[sample["doc_id"]]),
                "correct": int(sample[task.metric]),
                "answer": int(np.argmax(compared)),
                "right": right,
                "logp_right": logp[right],
                "margin": compared[right] - np.delete(compared, right).max(),
                "choice_entropy": -(np.exp(probabilities) * probabilities).sum(),
                "lead": best - second,
            }
        )
    return pd.DataFrame(rows).set_index("item")


def harness_answers(task: LoadedTask, harness: Harness) -> tuple[list[Answer], list[bool]]:
    """The harness's own model's answers in the order of the task's documents, and which of them are right."""
    harness.written.clear()
    if task.benchmark.answer_tokens is not None:
        task.task.config.generation_kwargs["max_gen_toks"] = task.benchmark.answer_tokens
    if task.judging.checker:
        harness.generate_until(task.build(harness))
        documents = [dict(document) for document in task.task.eval_docs]
        texts = [harness.written[i].text for i in range(len(documents))]
        right = are_right(task.judging.checker, documents, texts)
    else:
        kept = [s for s in _samples(task, harness) if s["filter"] == task.judging.filter]
        right = [bool(sample[task.judging.metric]) for sample in kept]
    return [harness.written[i] for i in range(len(task.items))], right


def _samples(task: LoadedTask, harness: Harness) -> list[dict[str, Any]]:
    found = evaluate(harness, {"tasks": {task.name: task.task}}, bootstrap_iters=0, apply_chat_template=task.in_chat)
    return sorted(found["samples"][task.name], key=lambda sample: sample["doc_id"])


def study_answers(params: Study, benchmark: Benchmark, model: OpenedModel, rows: pd.DataFrame) -> dict[str, Answer]:
    """Item → the reference's answer: its tokens from the store of notebook 01, its text from the item table."""
    task = fetched_task(benchmark)
    prompts = prompts_of(task, model.tokenizer)
    store = open_written(params, task, layout_name(model, params.benchmark_scores), prompts)
    items = stored_items(task.name, prompts, store.header.windows)
    return {p.name: Answer(p.tokens, items[p.request].choices[0], rows["written"][p.name]) for p in prompts}


@contextmanager
def finished_run(params: Study, model: OpenedModel) -> Iterator[tuple[pd.DataFrame, dict[str, Any]]]:
    """The reference's item table and what made it, its stores at `StudyPaths`; made anew where there is no table."""
    path = StudyPaths(params.study).items(model.label)
    if path.exists():
        yield read_table_and_provenance(path, ITEMS, made_in=ITEMS.made_in)
        return
    with tempfile.TemporaryDirectory(prefix="qkld-harness-check-") as folder:
        os.environ["QKLD_RUNS"] = folder
        record_benchmarks(params, model)
        path, made = StudyPaths(params.study).items(model.label), made_by(study=params.study, model=model.facts())
        write_table(path, score_benchmarks(params, model), ITEMS, made)
        yield read_table_and_provenance(path, ITEMS, made_in="this script")


# --- their differences ------------------------------------------------------------------------------------------------


def choice_differences(study: pd.DataFrame, harness: pd.DataFrame) -> list[Difference]:
    """Items in which the two sides differ; explained where only a tie between choices fell the other way."""
    found = []
    for item, theirs in harness.iterrows():
        ours = study.loc[item]
        close = all(abs(ours[name] - theirs[name]) <= TOLERANCE for name in VALUES)
        if close and all(ours[name] == theirs[name] for name in EXACT):
            continue
        columns = {name: [float(ours[name]), float(theirs[name])] for name in EXACT + VALUES}
        is_tie = close and ours["right"] == theirs["right"] and theirs["lead"] <= TOLERANCE
        found.append({"item": item, "explained": bool(is_tie), "lead": float(theirs["lead"]), **columns})
    return found


def written_difference(
    study: Answer, harness: Answer, correct: tuple[bool, bool], module: nn.Module
) -> Difference | None:
    """What differs between two answers to an item, and by which lead the first differing token was chosen; or None.

    ``kind`` is the first of these that differs: ``prompt``, ``token``, ``end`` (equal as far as the shorter goes),
    ``verdict``. Tokens after a stop text are no difference as long as the texts are equal.
    """
    if study.prompt != harness.prompt:
        return {"kind": "prompt", "explained": False}
    if study.text == harness.text:
        return None if correct[0] == correct[1] else {"kind": "verdict", "explained": False, "correct": list(correct)}
    pairs = list(zip(study.tokens, harness.tokens, strict=False))
    place = next((i for i, (ours, theirs) in enumerate(pairs) if ours != theirs), len(pairs))
    facts = {"place": place, "correct": list(correct)}
    if place == len(pairs):
        return {"kind": "end", "explained": False, **facts}
    best, lead = two_best(module, (*study.prompt, *study.tokens[:place]))
    is_tie = sorted(best) == sorted(pairs[place]) and lead <= TIE
    return {"kind": "token", "explained": is_tie, **facts, "tokens": list(pairs[place]), "best": best, "lead": lead}


@torch.inference_mode()
def two_best(module: nn.Module, tokens: Sequence[int]) -> tuple[list[int], float]:
    """The two most likely next tokens and the first one's lead in logits, by one pass, alone and without a cache."""
    best = module(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1].double().topk(2)
    return best.indices.tolist(), (best.values[0] - best.values[1]).item()


# --- the record -------------------------------------------------------------------------------------------------------


def checked_choices(task: LoadedTask, rows: pd.DataFrame, harness: Harness) -> dict[str, Any]:
    """What the record says of a task of multiple choice; ``rows`` are the study's, by item."""
    theirs = harness_choices(task, harness)
    ours = rows.loc[theirs.index]
    return {
        "right": {"study": int(ours["correct"].sum()), "harness": int(theirs["correct"].sum())},
        "largest_difference": {name: float((ours[name] - theirs[name]).abs().max()) for name in VALUES},
        "differences": choice_differences(ours, theirs),
    }


def checked_written(
    task: LoadedTask, rows: pd.DataFrame, answers: dict[str, Answer], harness: Harness
) -> dict[str, Any]:
    """The same of a task in which answers are written; ``answers`` are the study's, by item."""
    theirs, right = harness_answers(task, harness)
    names = [str(item) for item in task.items]
    verdicts = [(bool(rows["correct"][name]), bool(r)) for name, r in zip(names, right, strict=True)]
    differences = []
    for name, answer, correct in zip(names, theirs, verdicts, strict=True):
        difference = written_difference(answers[name], answer, correct, harness.model)
        differences += [{"item": name, **difference}] if difference else []
    return {
        "right": {side: sum(v) for side, v in zip(("study", "harness"), zip(*verdicts, strict=True), strict=True)},
        "prompt_tokens": sum(len(answer.prompt) for answer in theirs),
        "answer_tokens": sum(len(answer.tokens) for answer in theirs),
        "truncated": int(rows["truncated"][names].sum()),
        "same_text": sum(answers[name].text == answer.text for name, answer in zip(names, theirs, strict=True)),
        "same_tokens": sum(answers[name].tokens == answer.tokens for name, answer in zip(names, theirs, strict=True)),
        "differences": differences,
    }


def limited(params: Study, limit: int | None) -> Study:
    """The study with at most ``limit`` items a task: some of its own."""
    if limit is None:
        return params
    few = [b.model_copy(update={"limit": min(limit, b.limit or limit)}) for b in params.benchmarks]
    return params.model_copy(update={"benchmarks": tuple(few)})


def check_like_with_like(params: Study, model: OpenedModel, made: dict[str, Any]) -> None:
    """Refuse what cannot be equal: a table of other weights or another dtype, and answers that are drawn."""
    drawn = [benchmark.task for benchmark in params.benchmarks if benchmark.temperature]
    names = ("weights_sha256", "tokenizer_sha256", "compute_dtype")
    found, expected = ({name: facts.get(name) for name in names} for facts in (made["model"], model.facts()))
    if drawn or found != expected:
        raise BenchmarkError(
            "The study and the harness's model cannot be compared.",
            expected=f"greedy answers, of {expected}",
            found=f"answers drawn in {', '.join(drawn)}" if drawn else found,
            do="run the study in compute_dtype float32, with temperature 0",
        )


def kept_tasks(path: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """The tasks of an earlier record with the same facts; none where there is no such record."""
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return earlier["tasks"] if facts.items() <= earlier.items() else {}


def checked(
    params: Study, few: Study, model: OpenedModel, table: pd.DataFrame, kept: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """What is known after each task of ``few``; ``table`` and stores are those of ``params``.

    A task of ``kept`` with at least as many items is taken as it is: a larger draw holds the items of a smaller one.
    """
    harness, found = Harness(model.module, model.tokenizer), dict(kept)
    for whole, benchmark in zip(params.benchmarks, few.benchmarks, strict=True):
        task = fetched_task(benchmark)
        if len(task.items) <= kept.get(task.name, {}).get("items", 0):
            continue
        rows = table[table["benchmark"] == task.name].set_index("item")
        facts = {"family": benchmark.family, "prompt": benchmark.prompt, "items": len(task.items)}
        if task.judging is None:
            found[task.name] = {**facts, "kind": "choices", **checked_choices(task, rows, harness)}
        else:
            answers = study_answers(params, whole, model, rows)
            found[task.name] = {**facts, "kind": "written", **checked_written(task, rows, answers, harness)}
        print(task.name, json.dumps(found[task.name], ensure_ascii=False), flush=True)
        yield found
    yield found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", default="five-families", help="name of the study (default %(default)s)")
    parser.add_argument("--limit", type=int, help="largest number of items per task (default: all)")
    parser.add_argument("--out", type=Path, required=True, help="folder for record.json")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="CPU threads (default %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    params = load_params(arguments.study)
    few = limited(params, arguments.limit)
    in_float32 = params.compute.model_copy(update={"device": "cpu", "compute_dtype": "float32"})
    model = open_model(params.reference, reference=params.reference, compute=in_float32)
    own = params if StudyPaths(params.study).items(model.label).exists() else few
    with finished_run(own, model) as (table, made):
        check_like_with_like(own, model, made)
        facts = {"table_made_by": made, "tolerance_nats": TOLERANCE, "tie_logits": TIE}
        path, record = arguments.out / "record.json", {"made_by": made_by(study=params.study), **facts}
        for tasks in checked(own, few, model, table, kept_tasks(path, facts)):
            write_json(path, {**record, "tasks": tasks})
    open_ones = [[name, d] for name, task in tasks.items() for d in task["differences"] if not d["explained"]]
    sys.exit(f"Differences that nothing explains: {json.dumps(open_ones)}" if open_ones else 0)


if __name__ == "__main__":
    main()
