"""Keys, hashes, and writing through a temporary name: the old file stays until the new one is whole."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from qkld.errors import DiskError
from qkld.study.provenance import (
    METRICS_HISTORY,
    METRICS_VERSION,
    canonical_json,
    commit,
    key_of,
    made_by,
    sha256_of_file,
    write_json,
    written_whole,
)


def test_a_whole_file_replaces_the_old_one(tmp_path):
    path = tmp_path / "deep" / "f"
    for text in ("first", "second"):
        with written_whole(path) as temporary:
            assert temporary.parent == path.parent
            assert temporary != path
            temporary.write_text(text)
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("error", [ValueError("x"), OSError(5, "input/output error"), KeyboardInterrupt()])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "f"
    path.write_text("old")

    def fail() -> None:
        with written_whole(path) as temporary:
            temporary.write_text("half of it")
            raise error

    with pytest.raises(type(error)) as caught:
        fail()
    assert caught.value is error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_process_killed_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "f"
    path.write_text("old")
    code = (
        "import os, signal, sys; from pathlib import Path; from qkld.study.provenance import written_whole\n"
        "with written_whole(Path(sys.argv[1])) as t:\n t.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -9
    assert path.read_text() == "old"
    assert sorted(p.name.endswith(".partial") for p in tmp_path.iterdir()) == [False, True]


def test_a_full_disk_leaves_the_old_file_and_says_what_to_do(small_disk):
    path = small_disk / "f.json"
    write_json(path, {"a": 1})
    before = path.read_bytes()
    with pytest.raises(
        DiskError, match=r"(?s)cannot be written.*(No space left|File too large).*bytes free.*same command"
    ):
        write_json(path, {"a": "x" * 2_000_000})
    assert path.read_bytes() == before
    assert list(small_disk.iterdir()) == [path]


def test_a_file_size_limit_is_reported_the_same_way(tmp_path):
    code = (
        "import resource, signal, sys; from pathlib import Path; from qkld.study.provenance import write_json\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "write_json(Path(sys.argv[1]), {'a': 'x' * 100000})"
    )
    path = tmp_path / "f.json"
    path.write_text("old")
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "DiskError" in done.stderr
    assert "File too large" in done.stderr
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_equal_json_is_equal_bytes_whatever_the_order(tmp_path):
    write_json(tmp_path / "a", {"b": [1, 2.5, None], "a": "ρ"})
    write_json(tmp_path / "b", {"a": "ρ", "b": [1, 2.5, None]})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert json.loads((tmp_path / "a").read_text()) == {"a": "ρ", "b": [1, 2.5, None]}
    assert (tmp_path / "a").read_bytes().endswith(b"}\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x"])
def test_what_is_not_json_is_neither_keyed_nor_written(tmp_path, value):
    with pytest.raises((ValueError, TypeError)):
        key_of({"a": value})
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "f", {"a": value})
    assert list(tmp_path.iterdir()) == []


def test_a_key_depends_on_the_content_alone_and_stays_the_same_for_good():
    assert canonical_json({"b": 1, "a": [1.5, "ρ", None, True]}) == '{"a":[1.5,"\\u03c1",null,true],"b":1}'
    assert key_of({"b": 1, "a": 2}) == key_of({"a": 2, "b": 1}) == hashlib.sha256(b'{"a":2,"b":1}').hexdigest()[:16]
    assert len({key_of(v) for v in ({"a": 1}, {"a": 1.5}, {"a": "1"}, {"a": None}, {"b": 1}, {}, [], "")}) == 8


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 1000])
def test_a_file_s_hash_is_that_of_its_bytes_at_any_block_size(tmp_path, size):
    path = tmp_path / "f"
    path.write_bytes(os.urandom(size))
    assert sha256_of_file(path, chunk=100) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_provenance_names_versions_machine_and_the_caller_s_facts():
    made = made_by(model={"label": "q8"})
    assert made["metrics_version"] == METRICS_VERSION
    assert made["model"] == {"label": "q8"}
    assert {"numpy", "scipy", "pandas"} <= set(made["packages"])
    assert json.loads(canonical_json(made)) == made


def test_every_metrics_version_has_its_reason():
    assert list(METRICS_HISTORY) == list(range(1, METRICS_VERSION + 1))


def git(folder: Path, *arguments: str) -> str:
    name = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    return subprocess.run(["git", *name, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_the_commit_tells_a_changed_tree_from_a_clean_one(tmp_path, monkeypatch):
    monkeypatch.setenv("QKLD_ROOT", str(tmp_path))
    assert commit() is None
    git(tmp_path, "init", "-q")
    (tmp_path / "f").write_text("1")
    git(tmp_path, "add", "f")
    git(tmp_path, "commit", "-qm", "one")
    head = git(tmp_path, "rev-parse", "HEAD").strip()
    assert commit() == head
    (tmp_path / "f").write_text("2")
    assert commit() == f"{head}+changes"
