"""Logs of Inspect that inspect-ai writes of a model whose answers are given, read by its own reader."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from qkld.analysis.importing import import_items
from qkld.errors import TableError

WRITER = Path(__file__).with_name("write_inspect_logs.py")
SUMS = ("sum-0", "sum-1", "sum-2")
LOGS = {
    "right": {"answers": ["1", "2", "3"]},
    "eval": {"answers": ["1", "2", "7"]},
    "json": {"answers": ["1", "2", "7"], "form": "json"},
    "scorers": {"answers": ["so: 1", "2 it is", "7"], "scorers": 2},
    "epochs": {"answers": ["1", "1", "2", "2", "3", "4"], "epochs": 2},
}


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """The folder of every log, written by inspect-ai in one process of its own."""
    root = tmp_path_factory.mktemp("inspect")
    specification = root / "logs.json"
    specification.write_text(json.dumps({str(root / name): values for name, values in LOGS.items()}))
    subprocess.run([sys.executable, str(WRITER), str(specification)], check=True, cwd=root)
    return {name: root / name for name in LOGS}


@pytest.fixture(autouse=True)
def nothing_left_open():
    """Nothing that the reader opened waits for the collector, in this test or the next."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gc.collect()


@pytest.mark.parametrize("form", ["eval", "json"])
def test_answers_item_by_item(logs, form):
    items = import_items("inspect", [logs[form]])
    assert items[["model", "benchmark", "item", "correct"]].to_numpy().tolist() == [
        ["mockllm/model", "sums", name, correct] for name, correct in zip(SUMS, (1, 1, 0), strict=True)
    ]
    assert items["metric"].unique().tolist() == ["match"]
    assert "cluster" not in items


def test_of_several_scorers_one_is_named(logs):
    folder = logs["scorers"]
    with pytest.raises(TableError, match="no right or wrong answer") as error:
        import_items("inspect", [folder])
    assert error.value.found == "scorers match, includes"
    assert import_items("inspect", [folder], metric="includes")["correct"].tolist() == [1, 1, 0]
    assert import_items("inspect", [folder], metric="sums=match")["correct"].tolist() == [1, 0, 0]


def test_epochs_are_samples_of_one_item(logs):
    items = import_items("inspect", [logs["epochs"]], labels=["q4"])
    assert len(items) == 6
    assert items["cluster"].nunique() == 3
    assert set(items["item"]) == {f"{name}#{epoch}" for name in SUMS for epoch in (0, 1)}


def test_models_were_asked_the_same(logs):
    items = import_items("inspect", [logs["right"], logs["eval"]], labels=["f16", "q4"])
    assert items.groupby("item")["request"].nunique().tolist() == [1, 1, 1]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"{}"])
def test_damaged_logs_are_refused(tmp_path, content):
    path = tmp_path / "log.eval"
    path.write_bytes(content)
    with pytest.raises(TableError, match="cannot be imported"):
        import_items("inspect", [path])


def test_without_the_extra_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    (tmp_path / "log.eval").write_bytes(b"PK")
    with pytest.raises(TableError, match="need the package inspect-ai") as error:
        import_items("inspect", [tmp_path / "log.eval"])
    assert "qkld[inspect]" in error.value.do
