"""Importance matrices in files: what is written comes back, the older form is read, and damage is refused."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from qkld.errors import ModelError, SourceError
from qkld.models.making.importance_files import read_importance, write_importance

NAMES = ("blk.0.attn_q.weight", "blk.0.ffn_down.weight")


@pytest.fixture
def means(rng):
    return {name: rng.gamma(2.0, size=48 + 16 * i).astype(np.float32) for i, name in enumerate(NAMES)}


def dat(entries, end=b""):
    """A file of the older form: entries of (name, calls, sums)."""
    parts = [struct.pack("<i", len(entries))]
    for name, calls, sums in entries:
        parts += [struct.pack("<i", len(name)), name.encode(), struct.pack("<ii", calls, len(sums))]
        parts.append(np.asarray(sums, "<f4").tobytes())
    return b"".join(parts) + end


def test_what_is_written_comes_back(tmp_path, means):
    path = tmp_path / "imatrix.gguf"
    write_importance(path, means, tokens=1000, chunk=512, texts=["prose"])
    found = read_importance(path)
    assert set(found) == set(means)
    for name, mean in means.items():
        np.testing.assert_allclose(found[name], mean, rtol=1e-6)


def test_the_older_form_holds_sums_over_calls(tmp_path):
    path = tmp_path / "imatrix.dat"
    path.write_bytes(dat([("a", 4, [4.0, 8.0]), ("b", 0, [3.0])], end=struct.pack("<i", 4)))
    found = read_importance(path)
    assert found["a"].tolist() == [1.0, 2.0]
    assert found["b"].tolist() == [3.0]


def test_experts_have_counts_of_their_own_and_one_that_was_never_reached_weighs_all_columns_alike(tmp_path):
    import gguf

    path = tmp_path / "imatrix.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("x.in_sum2", np.array([[2, 4], [0, 0], [9, 3]], np.float32))
    writer.add_tensor("x.counts", np.array([[2], [0], [3]], np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert read_importance(path)["x"].tolist() == [1, 2, 1, 1, 3, 1]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an importance matrix at all",
        dat([("a", 1, [1.0, 2.0])])[:-1],
        dat([("a", 1, [1.0, -2.0])]),
        dat([("a", 1, [np.nan])]),
        dat([]),
        struct.pack("<i", -5),
    ],
)
def test_what_is_none_is_refused(tmp_path, content):
    path = tmp_path / "imatrix.dat"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"imatrix\.dat is not an importance matrix"):
        read_importance(path)


def test_a_truncated_file_is_refused(tmp_path, means):
    path = tmp_path / "imatrix.gguf"
    write_importance(path, means, tokens=10, chunk=5, texts=["prose"])
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ModelError, match="cannot be read"):
        read_importance(path)


def test_a_model_is_no_importance_matrix(tmp_path):
    from tiny_gguf_files import write_model

    with pytest.raises(SourceError, match="no entry"):
        read_importance(write_model(tmp_path / "model.gguf"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"nowhere\.dat"):
        read_importance(tmp_path / "nowhere.dat")
