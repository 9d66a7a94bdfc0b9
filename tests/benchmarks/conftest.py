"""A model of a few thousand weights with a tokenizer of bytes, and files of benchmark items, all made here."""

import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
from byte_models import byte_model, byte_tokenizer

from qkld.benchmarks import harness_tasks
from qkld.benchmarks.items import distinct
from qkld.benchmarks.packing import layout_name
from qkld.benchmarks.reference_items import items_header, record_items
from qkld.benchmarks.scoring import score_items
from qkld.reference.store import ReferenceStore
from qkld.study.params import Benchmark, BenchmarkScores, load_params

SUMS = [{"question": f"What is {n} + {n}?" * (1 + n % 3), "answer": f"{2 * n}\n#### {2 * n}"} for n in range(6)]
PACK = 200
KNOBS = BenchmarkScores(pack_tokens=PACK)


@pytest.fixture(scope="session")
def tokenizer():
    return byte_tokenizer()


@pytest.fixture(scope="session")
def make_model(tokenizer):
    """Seed → an opened model with random weights, float32, on the CPU."""
    return partial(byte_model, tokenizer)


@pytest.fixture(scope="session")
def tiny(make_model):
    """Two models of one architecture: a reference and a quant that is far from it."""
    return SimpleNamespace(reference=make_model(1), quant=make_model(2))


@pytest.fixture
def write_lines(tmp_path):
    """Rows → a file of JSON lines."""

    def written(rows, name="items.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return path

    return written


@pytest.fixture(scope="session")
def arc_rows():
    """Nine questions of ARC's form; the third is asked twice."""
    things = ["sun", "ice", "lead", "salt", "frog", "wheat", "river", "moon"]
    rows = [
        {
            "id": f"q{number}",
            "question": f"Which of these {'really ' * (number % 3)}is like {thing}?",
            "choices": {"text": things[number:] + things[:number], "label": list("ABCDEFGH")},
            "answerKey": "ABCDEFGH"[(3 * number) % 8],
        }
        for number, thing in enumerate(things)
    ]
    return [*rows, {**rows[2], "id": "again"}]


@pytest.fixture
def study(tmp_path, monkeypatch, write_lines, arc_rows):
    """Benchmark entries → the smoke study with these, its runs in the test's folder and its items made here."""
    files = {"benchmark-gsm8k": write_lines(SUMS, "gsm8k.jsonl"), "benchmark-arc_easy": write_lines(arc_rows)}
    monkeypatch.setenv("QKLD_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(harness_tasks, "fetch", files.__getitem__)
    smoke = load_params("smoke")

    def made(*entries):
        return smoke.model_copy(update={"benchmarks": tuple(Benchmark(**entry) for entry in entries)})

    return made


@pytest.fixture
def task(write_lines, arc_rows):
    return harness_tasks.load_task(Benchmark(task="arc_easy", chance=0.125), write_lines(arc_rows))


@pytest.fixture
def store(task, tiny, tokenizer, tmp_path):
    items = distinct(harness_tasks.items_of(task, tokenizer))
    header = items_header("arc_easy", items, tiny.reference, layout=layout_name(tiny.reference, KNOBS))
    record_items(tmp_path / "reference", header, items, tiny.reference, pack_tokens=PACK)
    return ReferenceStore.open(header.folder(tmp_path / "reference"))


@pytest.fixture
def scored(task, store, tokenizer, tmp_path):
    """Model → its scores, kept in a folder named by its label."""

    def scored(model):
        items = distinct(harness_tasks.items_of(task, tokenizer))
        return score_items(model, items, store, tmp_path / model.label, pack_tokens=PACK, tile=100)

    return scored


@pytest.fixture(scope="session")
def without_answers():
    """(scores, requests) → scores in which the last choice of these requests has no finite log-probability."""

    def changed(scores, requests):
        without = dict(scores)
        for request in requests:
            answer = scores[request].answer
            none = replace(answer, loglikelihood=(*answer.loglikelihood[:-1], None))
            without[request] = replace(scores[request], answer=none)
        return without

    return changed
