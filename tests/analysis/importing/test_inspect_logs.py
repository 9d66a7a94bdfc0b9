"""Logs of Inspect that inspect-ai writes in the test, of a model whose answers are given; read by its own reader."""

from __future__ import annotations

import sys

import pytest

from qkld.analysis.importing import import_items
from qkld.errors import TableError

pytestmark = [  # of inspect-ai's own threads and streams
    pytest.mark.filterwarnings(f"ignore::{kind}")
    for kind in ("ResourceWarning", "DeprecationWarning", "pytest.PytestUnraisableExceptionWarning")
]

SUMS = {"sum-0": "1", "sum-1": "2", "sum-2": "3"}


@pytest.fixture
def write(tmp_path):
    """Run Inspect on three sums with these answers; the log lies in its own folder."""

    def run(*answers: str, scorers: int = 1, epochs: int = 1, form: str = "eval"):
        from inspect_ai import Task, eval
        from inspect_ai.dataset import MemoryDataset, Sample
        from inspect_ai.model import ModelOutput, ModelUsage, get_model
        from inspect_ai.scorer import includes, match

        folder = tmp_path / f"{form}-{len(list(tmp_path.iterdir()))}"
        dataset = MemoryDataset([Sample(id=name, input=f"{name}?", target=t) for name, t in SUMS.items()], name="sums")
        outputs = [ModelOutput.from_content("mockllm/model", text) for text in answers]
        for output in outputs:  # else it counts tokens by a vocabulary that it would have to fetch
            output.usage = ModelUsage(input_tokens=4, output_tokens=1, total_tokens=5)
        task = Task(dataset=dataset, scorer=[match(), includes()][:scorers], name="sums", epochs=epochs)
        model = get_model("mockllm/model", custom_outputs=outputs)
        eval(task, model=model, log_dir=str(folder), log_format=form, max_samples=1, display="none")
        return folder

    return run


@pytest.mark.parametrize("form", ["eval", "json"])
def test_answers_item_by_item(write, form):
    items = import_items("inspect", [write("1", "2", "7", form=form)])
    assert items[["model", "benchmark", "item", "correct"]].to_numpy().tolist() == [
        ["mockllm/model", "sums", name, correct] for name, correct in zip(SUMS, (1, 1, 0), strict=True)
    ]
    assert items["metric"].unique().tolist() == ["match"]
    assert "cluster" not in items


def test_of_several_scorers_one_is_named(write):
    folder = write("so: 1", "2 it is", "7", scorers=2)
    with pytest.raises(TableError, match="no right or wrong answer") as error:
        import_items("inspect", [folder])
    assert error.value.found == "scorers match, includes"
    assert import_items("inspect", [folder], metric="includes")["correct"].tolist() == [1, 1, 0]
    assert import_items("inspect", [folder], metric="sums=match")["correct"].tolist() == [1, 0, 0]


def test_epochs_are_samples_of_one_item(write):
    items = import_items("inspect", [write("1", "1", "2", "2", "3", "4", epochs=2)], labels=["q4"])
    assert len(items) == 6
    assert items["cluster"].nunique() == 3
    assert set(items["item"]) == {f"{name}#{epoch}" for name in SUMS for epoch in (0, 1)}


def test_models_were_asked_the_same(write):
    items = import_items("inspect", [write("1", "2", "3"), write("1", "2", "7")], labels=["f16", "q4"])
    assert items.groupby("item")["request"].nunique().tolist() == [1, 1, 1]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"{}"])
def test_damaged_logs_are_refused(tmp_path, content):
    path = tmp_path / "log.eval"
    path.write_bytes(content)
    with pytest.raises(TableError, match="can not be imported"):
        import_items("inspect", [path])


def test_without_the_extra_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    (tmp_path / "log.eval").write_bytes(b"PK")
    with pytest.raises(TableError, match="need the package inspect-ai") as error:
        import_items("inspect", [tmp_path / "log.eval"])
    assert "qkld[inspect]" in error.value.do
