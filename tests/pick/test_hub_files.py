"""Files of a hub's repository, from a server here that speaks the hub's interface: listed, fetched, and removed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hub_server import Hub, served_hub
from tiny_gguf_files import write_model

from qkld.errors import DiskError, ModelError, SourceError
from qkld.models.making import quantize_file
from qkld.pick import hub_files
from qkld.pick.hub_files import files_of_hub, is_repository

pytestmark = pytest.mark.model

HOW = {"remove": False, "largest": None, "reference": None}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with served_hub(tmp_path, monkeypatch) as handler:
        source = write_model(handler.folder / "tiny-F32.gguf")
        for kind in ("Q8_0", "Q4_0"):
            quantize_file(source, handler.folder / f"tiny-{kind}.gguf", kind)
        (handler.folder / "README.md").write_text("a card")
        (handler.folder / "mmproj-tiny-F32.gguf").write_bytes(b"no language model")
        yield handler


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.gguf"))


def disk_with(free: int, monkeypatch) -> None:
    """A disk on which so many bytes are free beside what is spared, and less for each file that lies there."""

    def usage(folder):
        taken = sum(path.stat().st_size for path in Path(folder).glob("*.gguf"))
        return type("Usage", (), {"free": hub_files.SPARE + free - taken})

    monkeypatch.setattr(hub_files.shutil, "disk_usage", usage)


def test_the_reference_is_fetched_first_then_the_smallest_and_each_once(hub: type[Hub], tmp_path: Path):
    files = files_of_hub("some/model", tmp_path / "files", **HOW)
    assert hub.fetched == ["tiny-F32.gguf", "tiny-Q4_0.gguf", "tiny-Q8_0.gguf"]
    assert files.notes == []
    assert [c.label for c in files.found] == ["tiny-F32", "tiny-Q8_0", "tiny-Q4_0"]
    for name in hub.fetched:
        assert (tmp_path / "files" / name).read_bytes() == (hub.folder / name).read_bytes()
    assert files_of_hub("some/model", tmp_path / "files", **HOW).found == files.found
    files.close()
    assert len(names_in(tmp_path / "files")) == 3
    assert len(hub.fetched) == 3


def test_files_that_do_not_fit_are_left_but_for_the_reference(hub, tmp_path):
    largest = (hub.folder / "tiny-Q4_0.gguf").stat().st_size
    files = files_of_hub("some/model", tmp_path / "files", **{**HOW, "largest": largest})
    assert hub.fetched == ["tiny-F32.gguf", "tiny-Q4_0.gguf"]
    assert files.notes == ["Not fetched, as they do not fit: tiny-Q8_0.gguf."]


def test_without_space_for_the_next_file_it_goes_on_with_what_it_has(hub, tmp_path, monkeypatch):
    sizes = {name: (hub.folder / name).stat().st_size for name in ("tiny-F32.gguf", "tiny-Q4_0.gguf")}
    disk_with(sum(sizes.values()), monkeypatch)
    files = files_of_hub("some/model", tmp_path / "files", **HOW)
    assert names_in(tmp_path / "files") == sorted(sizes)
    assert files.notes[0].startswith("tiny-Q8_0.gguf was not fetched: it takes")


def test_without_space_for_the_reference_it_ends(hub, tmp_path, monkeypatch):
    disk_with(1000, monkeypatch)
    with pytest.raises(DiskError, match=r"(?s)tiny-F32.gguf was not fetched.*or --remove"):
        files_of_hub("some/model", tmp_path / "files", **HOW)
    assert names_in(tmp_path / "files") == []


def test_with_remove_each_file_makes_room_for_the_next_and_is_fetched_again_when_it_is_needed(
    hub, tmp_path, monkeypatch
):
    sizes = {path.name: path.stat().st_size for path in hub.folder.glob("tiny*.gguf")}
    disk_with(sizes["tiny-F32.gguf"] + sizes["tiny-Q8_0.gguf"], monkeypatch)
    folder = tmp_path / "files"
    files = files_of_hub("some/model", folder, **{**HOW, "remove": True})
    assert [c.label for c in files.found] == ["tiny-F32", "tiny-Q8_0", "tiny-Q4_0"]
    assert names_in(folder) == ["tiny-F32.gguf", "tiny-Q8_0.gguf"]
    reference, large, small = files.found
    with files.at_hand(reference):
        with files.at_hand(small):
            assert names_in(folder) == ["tiny-F32.gguf", "tiny-Q4_0.gguf"]
        with files.at_hand(large), pytest.raises(DiskError, match="tiny-Q4_0"), files.at_hand(small):
            pass
        files.leave(large)
        assert names_in(folder) == ["tiny-F32.gguf"]
    files.close()
    assert names_in(folder) == []
    fetched = len(hub.fetched)
    again = files_of_hub("some/model", folder, **{**HOW, "remove": True, "reference": "tiny-F32"})
    assert again.found == files.found
    assert len(hub.fetched) == fetched  # headers were kept


def test_the_users_own_files_are_taken_as_they_are_and_never_removed(hub, tmp_path):
    folder, elsewhere = tmp_path / "files", tmp_path / "elsewhere.gguf"
    folder.mkdir()
    (folder / "tiny-Q4_0.gguf").write_bytes((hub.folder / "tiny-Q4_0.gguf").read_bytes())
    elsewhere.write_bytes((hub.folder / "tiny-Q8_0.gguf").read_bytes())
    (folder / "tiny-Q8_0.gguf").symlink_to(elsewhere)
    (folder / "another.gguf").write_bytes(b"of another model")
    files = files_of_hub("some/model", folder, **{**HOW, "remove": True})
    assert hub.fetched == ["tiny-F32.gguf"]
    for own in files.found:
        files.leave(own)
    files.close()
    assert names_in(folder) == ["another.gguf", "tiny-Q4_0.gguf", "tiny-Q8_0.gguf"]
    assert elsewhere.exists()


def test_a_file_that_was_put_in_the_place_of_a_fetched_one_stays(hub, tmp_path):
    folder = tmp_path / "files"
    files = files_of_hub("some/model", folder, **{**HOW, "remove": True})
    (folder / "tiny-Q8_0.gguf").write_bytes(b"mine")
    files.close()
    assert names_in(folder) == ["tiny-Q8_0.gguf"]


def test_a_fetched_file_that_was_cut_off_is_fetched_again(hub, tmp_path):
    folder = tmp_path / "files"
    files = files_of_hub("some/model", folder, **HOW)
    whole = (folder / "tiny-Q4_0.gguf").read_bytes()
    (folder / "tiny-Q4_0.gguf").write_bytes(whole[:1000])
    with files.at_hand(files.found[-1]):
        assert (folder / "tiny-Q4_0.gguf").read_bytes() == whole


def test_a_repository_of_two_models_is_refused(hub, tmp_path):
    write_model(hub.folder / "draft.gguf", blocks=1)
    with pytest.raises(ModelError, match="several models"):
        files_of_hub("some/model", tmp_path / "files", **HOW)


def test_a_repository_without_such_files_and_a_hub_that_does_not_answer_are_refused(hub, tmp_path, monkeypatch):
    for file in hub.folder.glob("tiny*.gguf"):
        file.unlink()
    with pytest.raises(SourceError, match="has no GGUF file"):
        files_of_hub("some/model", tmp_path / "files", **HOW)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SourceError, match="cannot be downloaded"):
        files_of_hub("some/model", tmp_path / "files", **HOW)


def test_what_lies_here_is_no_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some" / "model").mkdir(parents=True)
    assert not is_repository("some/model")
    assert is_repository("owner/name@main")
    assert not is_repository("gguf")
