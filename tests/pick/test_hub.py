"""Files of a hub's repository, from a server here that speaks the hub's interface: listed, and fetched one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hub_server import Hub, served_hub
from tiny_gguf_files import write_model

from qkld.errors import SourceError
from qkld.pick import hub as picked_hub
from qkld.pick.candidates import candidates_in
from qkld.pick.hub import fetched_files, is_repository


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with served_hub(tmp_path, monkeypatch) as handler:
        write_model(handler.folder / "tiny-F32.gguf")
        write_model(handler.folder / "tiny-small.gguf", inner=256)
        (handler.folder / "README.md").write_text("a card")
        (handler.folder / "mmproj-tiny-F32.gguf").write_bytes(b"no language model")
        yield handler


def test_the_models_files_are_fetched_smallest_first_and_once(hub: type[Hub], tmp_path: Path):
    folder, notes = fetched_files("some/model", tmp_path / "files")
    assert hub.fetched == ["tiny-small.gguf", "tiny-F32.gguf"]
    assert notes == []
    for name in hub.fetched:
        assert (folder / name).read_bytes() == (hub.folder / name).read_bytes()
    assert [c.label for c in candidates_in(folder)] == ["tiny-F32", "tiny-small"]
    fetched_files("some/model", tmp_path / "files")
    assert len(hub.fetched) == 2


def test_files_that_do_not_fit_are_left_but_for_the_reference(hub, tmp_path):
    write_model(hub.folder / "tiny-large.gguf", inner=1024)
    _, notes = fetched_files("some/model", tmp_path / "files", largest=(hub.folder / "tiny-small.gguf").stat().st_size)
    assert hub.fetched == ["tiny-F32.gguf", "tiny-small.gguf"]
    assert notes == ["Not fetched, as they do not fit: tiny-large.gguf."]


def test_without_space_for_the_next_file_it_goes_on_with_what_it_has(hub, tmp_path, monkeypatch):
    sizes = sorted(p.stat().st_size for p in hub.folder.glob("tiny*.gguf"))
    free = picked_hub.SPARE + sizes[0] + 1
    monkeypatch.setattr(picked_hub.shutil, "disk_usage", lambda _: type("Usage", (), {"free": free}))
    folder, notes = fetched_files("some/model", tmp_path / "files")
    assert [p.name for p in folder.glob("*.gguf")] == ["tiny-small.gguf"]
    assert notes[0].startswith("tiny-F32.gguf was not fetched: it takes")


def test_a_repository_without_such_files_and_a_hub_that_does_not_answer_are_refused(hub, tmp_path, monkeypatch):
    for file in hub.folder.glob("tiny*.gguf"):
        file.unlink()
    with pytest.raises(SourceError, match="has no GGUF file"):
        fetched_files("some/model", tmp_path / "files")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SourceError, match="cannot be had"):
        fetched_files("some/model", tmp_path / "files")


def test_what_lies_here_is_no_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some" / "model").mkdir(parents=True)
    assert not is_repository("some/model")
    assert is_repository("owner/name@main")
    assert not is_repository("gguf")
