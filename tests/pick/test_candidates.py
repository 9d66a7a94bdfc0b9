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


def test_a_vocabulary_alone_is_refused(files, tmp_path):
    """What llama.cpp keeps for tests: a header with tokens and no weights."""
    (tmp_path / "tiny-F32.gguf").symlink_to(files / "tiny-F32.gguf")
    writer = gguf.GGUFWriter(tmp_path / "vocab.gguf", "llama")
    add_sizes(writer, SIZES)
    add_tokenizer(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ModelError, match="holds no weights"):
        candidates_in(tmp_path)


def test_a_folder_without_models_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(SourceError, match="holds no model"):
        candidates_in(tmp_path)
