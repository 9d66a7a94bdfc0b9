"""What lies in a folder: real GGUF files and checkpoints, and folders that no question can be asked of."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from tiny_gguf_files import SIZES, add_sizes, add_tokenizer, vocabulary, write_model
from tiny_models import make_module, save

from qkld.errors import ModelError, ParameterError, SourceError, TokenizerError
from qkld.models.making import quantize_file
from qkld.pick.candidates import candidates_in, reference_of
from qkld.pick.files_to_pick import files_of_folder

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A full-precision file, two quantized ones, and what else lies in such folders."""
    folder = tmp_path_factory.mktemp("files")
    source = write_model(folder / "tiny-F32.gguf")
    for kind in ("Q8_0", "Q4_0"):
        quantize_file(source, folder / f"tiny-{kind}.gguf", kind)
    writer = gguf.GGUFWriter(folder / "mmproj-tiny.gguf", "clip")
    writer.add_tensor("v.patch", np.ones((4, 4), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (folder / "README.md").write_text("no model")
    return folder


def test_files_are_found_largest_first_and_named_as_what_they_are(files):
    found = candidates_in(files)
    assert [(c.label, c.kind, c.full) for c in found] == [
        ("tiny-F32", "F32", True),
        ("tiny-Q8_0", "Q8_0", False),
        ("tiny-Q4_0", "Q4_0", False),
    ]
    assert [c.size for c in found] == [(files / f"{c.label}.gguf").stat().st_size for c in found]
    assert reference_of(found, None).label == "tiny-F32"
    assert reference_of(found, "tiny-Q8_0.gguf").label == "tiny-Q8_0"


def test_the_cache_is_counted_from_the_header(files):
    """Two layers, keys and values of four heads of 32 in two bytes each."""
    (first, *_) = candidates_in(files)
    assert first.memory(1000) == first.size + 1000 * (2 * 2 * (4 * 32) * 2)


def test_a_split_file_is_one(tmp_path):
    write_model(tmp_path / "tiny.gguf", tensors_a_part=8)
    (found,) = candidates_in(tmp_path)
    assert found.size == sum(p.stat().st_size for p in tmp_path.iterdir())


def test_checkpoints_are_folders(tmp_path):
    save(tmp_path / "plain", make_module())
    (found,) = candidates_in(tmp_path)
    assert (found.label, found.full, found.entry.method) == ("plain", True, "transformers")


def test_without_a_full_precision_file_the_largest_is_named_and_not_taken(files, tmp_path):
    for kind in ("Q8_0", "Q4_0"):
        (tmp_path / f"tiny-{kind}.gguf").symlink_to(files / f"tiny-{kind}.gguf")
    with pytest.raises(ParameterError, match="no reference") as caught:
        reference_of(candidates_in(tmp_path), None)
    assert "tiny-Q8_0, the largest, is Q8_0" in caught.value.found
    assert "--reference" in caught.value.do


def test_two_models_are_refused(files, tmp_path):
    (tmp_path / "tiny.gguf").symlink_to(files / "tiny-Q8_0.gguf")
    write_model(tmp_path / "deeper.gguf", blocks=3)
    with pytest.raises(ModelError, match="several models") as caught:
        candidates_in(tmp_path)
    assert "3 layers of width 256: deeper" in caught.value.found


def test_another_tokenizer_is_refused(files, tmp_path, monkeypatch):
    (tmp_path / "tiny.gguf").symlink_to(files / "tiny-F32.gguf")
    tokens = vocabulary()
    monkeypatch.setattr("tiny_gguf_files.vocabulary", lambda: [*tokens[:-1], "another"])
    write_model(tmp_path / "other.gguf")
    with pytest.raises(TokenizerError, match="no common tokenizer") as caught:
        candidates_in(tmp_path)
    assert "'another'" in caught.value.expected + caught.value.found


def test_another_file_of_the_same_name_and_size_is_told_from_the_first(tmp_path):
    """A quantizer's next version of a file: as large, and other weights."""
    (first,) = candidates_in(write_model(tmp_path / "tiny.gguf", seed=1).parent)
    (again,) = candidates_in(tmp_path)
    (second,) = candidates_in(write_model(tmp_path / "tiny.gguf", seed=2).parent)
    assert first == again
    assert (first.size, first.label) == (second.size, second.label)
    assert first.kept_name != second.kept_name


def test_a_file_that_was_cut_off_is_named(files, tmp_path):
    whole = (files / "tiny-Q8_0.gguf").read_bytes()
    (tmp_path / "tiny-F32.gguf").symlink_to(files / "tiny-F32.gguf")
    (tmp_path / "tiny-Q8_0.gguf").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"(?s)tiny-Q8_0.gguf cannot be read.*download the file again"):
        candidates_in(tmp_path)


def test_a_split_file_that_lacks_a_part_is_refused(tmp_path):
    write_model(tmp_path / "tiny.gguf", tensors_a_part=8)
    sorted(tmp_path.iterdir())[-1].unlink()
    with pytest.raises(SourceError, match=r"-of-"):
        candidates_in(tmp_path)


def test_parts_of_a_split_file_without_the_first_one_are_refused(files, tmp_path):
    """What a stopped download leaves: the other parts would else be left out without a word."""
    (tmp_path / "tiny-F32.gguf").symlink_to(files / "tiny-F32.gguf")
    write_model(tmp_path / "big.gguf", tensors_a_part=8)
    first, *others = sorted(tmp_path.glob("big-*"))
    first.unlink()
    with pytest.raises(SourceError, match=rf"first part of a split file is missing: {first.name}") as caught:
        candidates_in(tmp_path)
    assert caught.value.found == ", ".join(p.name for p in others)


def test_names_are_taken_as_people_give_them(files, tmp_path):
    """Blanks, brackets, umlauts; links to the blobs of a hub's cache; and another system's hidden files."""
    folder, blobs = tmp_path / "Modelle [neu]", tmp_path / "blobs"
    folder.mkdir()
    blobs.mkdir()
    (blobs / "b179c9").write_bytes((files / "tiny-F32.gguf").read_bytes())
    (folder / "tiny (1) größer [F32].gguf").symlink_to(blobs / "b179c9")
    (folder / "tiny Q4_0.gguf").write_bytes((files / "tiny-Q4_0.gguf").read_bytes())
    (folder / "._tiny Q4_0.gguf").write_bytes(b"\x00\x05\x16\x07")
    found = candidates_in(folder)
    assert [c.label for c in found] == ["tiny-1-gr-er-F32", "tiny-Q4_0"]
    assert reference_of(found, "tiny Q4_0.gguf").label == "tiny-Q4_0"
    given = reference_of(found[1:], str(folder / "tiny (1) größer [F32].gguf"))
    assert (given.label, given.full, given.size) == (found[0].label, True, found[0].size)


def test_an_ending_in_capitals_is_refused_and_not_overlooked(files, tmp_path):
    (tmp_path / "tiny-F32.gguf").symlink_to(files / "tiny-F32.gguf")
    (tmp_path / "tiny-Q8_0.GGUF").symlink_to(files / "tiny-Q8_0.gguf")
    with pytest.raises(SourceError, match=r"tiny-Q8_0.GGUF has an ending") as caught:
        candidates_in(tmp_path)
    assert caught.value.do.startswith("rename it to tiny-Q8_0.gguf")


def test_a_link_to_a_blob_that_is_gone_is_refused(files, tmp_path):
    (tmp_path / "tiny-F32.gguf").symlink_to(files / "tiny-F32.gguf")
    (tmp_path / "tiny-Q8_0.gguf").symlink_to(tmp_path / "gone")
    with pytest.raises(SourceError, match=r"tiny-Q8_0") as caught:
        candidates_in(tmp_path)
    assert "tiny-Q8_0" in caught.value.expected
    assert "tiny-Q8_0" not in caught.value.found


def test_an_adapter_beside_a_model_is_no_candidate(files, tmp_path):
    (tmp_path / "tiny-F32.gguf").symlink_to(files / "tiny-F32.gguf")
    writer = gguf.GGUFWriter(tmp_path / "lora.gguf", "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_tensor("blk.0.attn_q.weight.lora_a", np.ones((4, 4), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert [c.label for c in candidates_in(tmp_path)] == ["tiny-F32"]


def test_downloads_that_are_not_complete_are_named(files, tmp_path):
    (tmp_path / "tiny-F32.gguf").symlink_to(files / "tiny-F32.gguf")
    (tmp_path / "tiny-Q8_0.gguf.part").write_bytes(b"GGUF")
    (tmp_path / "tiny-F32.gguf.sha256").write_text("a hash")
    assert files_of_folder(str(tmp_path)).notes == ["By its name a download is not complete: tiny-Q8_0.gguf.part."]


def test_a_file_in_the_place_of_a_folder_is_refused_with_its_folder(files):
    with pytest.raises(SourceError, match="no model files to choose from") as caught:
        files_of_folder(str(files / "tiny-F32.gguf"))
    assert (caught.value.found, caught.value.do) == ("a file", f"give its folder, {files}")


def test_a_vocabulary_alone_is_refused(files, tmp_path):
    """What llama.cpp keeps for tests: a header with tokens and no weights."""
    (tmp_path / "tiny-F32.gguf").symlink_to(files / "tiny-F32.gguf")
    writer = gguf.GGUFWriter(tmp_path / "vocab.gguf", "llama")
    add_sizes(writer, SIZES)
    add_tokenizer(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ModelError, match="contains no weights"):
        candidates_in(tmp_path)


def test_a_folder_without_models_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(SourceError, match="contains no model"):
        candidates_in(tmp_path)
