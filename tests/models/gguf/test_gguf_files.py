"""What GGUF files say of themselves: parts, types that fell back, equal tensors, and another model's vocabulary."""

from __future__ import annotations

import json

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from tiny_models import make_tokenizer

from qkld.errors import ModelError, TokenizerError
from qkld.models.bits import StoredBits, Tally
from qkld.models.gguf.gguf_files import Contents, check_parts, contents, gguf_bits, part_names, read, tensor_data_sha256
from qkld.models.gguf.same_model import check_same_model, check_vocabulary
from qkld.sources.tokenizer import differences


def write(path, tensors, *, file_type=None, tokens=None, blocks=1, width=64, more=()):
    """A GGUF file of these tensors: name → (values, tensor type)."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(blocks)
    writer.add_embedding_length(width)
    if file_type is not None:
        writer.add_file_type(file_type)
    if tokens is not None:
        writer.add_token_list(tokens)
    for key, value in more:
        writer.add_uint16(key, value)
    for name, (values, kind) in tensors.items():
        stored = values if kind == Type.F32 else gguf.quants.quantize(values, kind)
        writer.add_tensor(name, stored, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def values(rng, rows=4, columns=64):
    return rng.standard_normal((rows, columns)).astype(np.float32)


def test_parts_of_a_split_file_follow_from_the_first_ones_name():
    assert part_names("m-00001-of-00003.gguf") == tuple(f"m-0000{i}-of-00003.gguf" for i in (1, 2, 3))
    assert part_names("m-Q4_K_M.gguf") == ("m-Q4_K_M.gguf",)


def test_parts_in_a_wrong_order_are_refused(tmp_path, rng):
    files = [
        write(tmp_path / f"{i}.gguf", {f"t{i}": (values(rng), Type.F32)}, more=[("split.no", i), ("split.count", 2)])
        for i in range(2)
    ]
    check_parts(files)
    with pytest.raises(ModelError, match=r"1\.gguf is out of place among the parts"):
        check_parts(files[::-1])
    with pytest.raises(ModelError, match=r"(?s)part 1 of 1.*part 1 of 2"):
        check_parts(files[:1])


def test_a_file_is_named_by_its_tensors_where_its_type_fell_back(tmp_path, rng):
    tensors = {
        "blk.0.ffn_up.weight": (values(rng, 8), Type.Q5_0),
        "blk.0.ffn_down.weight": (values(rng), Type.Q8_0),
        "output_norm.weight": (values(rng)[0], Type.F32),
        "token_embd.weight": (values(rng, 99), Type.Q8_0),
    }
    fell_back = contents([write(tmp_path / "a.gguf", tensors, file_type=gguf.LlamaFileType.MOSTLY_Q2_K)])
    honest = contents([write(tmp_path / "b.gguf", tensors, file_type=gguf.LlamaFileType.MOSTLY_Q5_0)])
    assert (fell_back.name, honest.name) == ("Q5_0 (called Q2_K)", "Q5_0")
    assert fell_back.shares == "Q5_0 66.7 %, Q8_0 33.3 %"  # the trunk's matrices alone
    assert fell_back.tensor_data_sha256 == honest.tensor_data_sha256
    assert fell_back.bits.trunk == Tally(8 * 64 + 4 * 64 + 64, 8 * (8 * 2 * 22 + 4 * 2 * 34 + 64 * 4), plain=64)


@pytest.mark.parametrize(
    ("file_type", "main", "fell_back"),
    [
        ("Q4_K_M", "Q4_K", False),
        ("IQ3_M", "IQ3_S", False),
        ("IQ2_M", "IQ2_XS", False),
        ("BF16", "BF16", False),
        ("F16", "BF16", True),
        ("Q2_K", "Q3_K", True),
        ("Q3_K_S", "IQ4_NL", True),
        ("IQ4_XS", "IQ4_NL", False),
        ("Q4_0", "Q4_1", True),
        ("TQ1_0", "TQ1_0", False),
        ("MXFP4_MOE", "Q8_0", True),
        ("unknown", "Q8_0", False),
    ],
)
def test_what_a_type_may_be_stored_in(file_type, main, fell_back):
    nothing = StoredBits(Tally(), Tally(), Tally())
    assert Contents(file_type, {main: Tally(1, 1)}, nothing, "").fell_back == fell_back


def test_equal_tensors_have_one_hash_and_one_changed_value_another(tmp_path, rng):
    one, more = values(rng), values(rng)
    tensors = {"a": (one, Type.F32), "b": (more, Type.Q8_0)}
    first = tensor_data_sha256([write(tmp_path / "1.gguf", tensors)])
    assert tensor_data_sha256([write(tmp_path / "2.gguf", dict(reversed(tensors.items())), blocks=7)]) == first
    changed = one.copy()
    changed[3, 7] += 1
    assert tensor_data_sha256([write(tmp_path / "3.gguf", {**tensors, "a": (changed, Type.F32)})]) != first
    assert tensor_data_sha256([write(tmp_path / "4.gguf", {"a": tensors["a"]})]) != first


def test_a_tensor_type_that_gguf_does_not_know_is_named(tmp_path, rng):
    path = write(tmp_path / "m.gguf", {"weight": (values(rng), Type.F32)})
    raw = bytearray(path.read_bytes())
    place = raw.index(b"weight") + 6 + 4 + 2 * 8  # name, number of axes, two axes, then the type
    raw[place : place + 4] = (4).to_bytes(4, "little")  # Q4_2, dropped in 2023
    path.write_bytes(raw)
    with pytest.raises(ModelError, match=r"(?s)tensor types that gguf knows.*\(4\) is not a valid"):
        read(path)


def test_the_vocabulary_is_held_token_by_token_against_the_references(tmp_path, rng):
    tokenizer = make_tokenizer()
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    weight = {"w": (values(rng), Type.F32)}
    size = len(tokens)
    check_vocabulary(write(tmp_path / "1.gguf", weight, tokens=tokens), tokenizer, size=size, label="q")
    padded = [*tokens, f"[PAD{size}]", "<added>"]
    check_vocabulary(write(tmp_path / "2.gguf", weight, tokens=padded), tokenizer, size=size, label="q")
    tokenizer.add_tokens(["<without a row>"])
    check_vocabulary(tmp_path / "1.gguf", tokenizer, size=size, label="q")
    swapped = [*tokens[:10], tokens[11], tokens[10], *tokens[12:]]
    with pytest.raises(TokenizerError, match=rf"differs in 2 of {len(tokens)}"):
        check_vocabulary(write(tmp_path / "3.gguf", weight, tokens=swapped), tokenizer, size=size, label="q")
    with pytest.raises(TokenizerError, match=r"(?s)differs in 1 of.*None"):
        check_vocabulary(write(tmp_path / "4.gguf", weight, tokens=tokens[:-1]), tokenizer, size=size, label="q")


def test_ids_that_the_reference_leaves_free_may_hold_anything():
    assert differences(["a", None, "c"], ["a", "x", "c", "d"]) == {}
    assert differences(["a", None, "c"], ["b", "x"]) == {0: "b", 2: None}


def test_ids_without_a_name_and_spaces_of_sentencepiece_are_no_difference():
    """llama.cpp's converter names free ids [PADn], which `header_tokens` gives as None, and respells added spaces."""
    assert differences(["a", "<added>", "\u2581\u2581"], ["a", None, "  "]) == {}


def test_a_file_without_a_vocabulary_is_refused(tmp_path, rng):
    file = write(tmp_path / "1.gguf", {"w": (values(rng), Type.F32)})
    with pytest.raises(TokenizerError, match=r"(?s)'q' has no tokenizer.*tokenizer\.ggml\.tokens.*architecture llama"):
        check_vocabulary(file, make_tokenizer(), size=300, label="q")


def test_a_file_of_another_model_is_refused(tmp_path, rng):
    (tmp_path / "config.json").write_text(json.dumps({"num_hidden_layers": 2, "hidden_size": 64}))
    weight = {"w": (values(rng), Type.F32)}
    check_same_model(write(tmp_path / "1.gguf", weight, blocks=2), tmp_path, label="q")
    extra = write(tmp_path / "2.gguf", weight, blocks=3, more=[("llama.nextn_predict_layers", 1)])
    check_same_model(extra, tmp_path, label="q")
    with pytest.raises(ModelError, match=r"(?s)different model.*'layers': 2.*'layers': 3"):
        check_same_model(write(tmp_path / "3.gguf", weight, blocks=3), tmp_path, label="q")
    wider = write(tmp_path / "4.gguf", weight, blocks=2, width=256)
    check_same_model(wider, tmp_path, label="q", reshaped=True)
    with pytest.raises(ModelError, match="different model"):
        check_same_model(wider, tmp_path, label="q")


def test_layers_that_predict_further_tokens_do_not_count_and_plain_types_do(tmp_path, rng):
    tensors = {
        "token_embd.weight": (values(rng, 9), Type.Q8_0),
        "blk.0.ffn_up.weight": (values(rng, 8), Type.Q8_0),
        "blk.0.ffn_gate_inp.weight": (values(rng, 2), Type.F32),
        "blk.1.nextn.eh_proj.weight": (values(rng, 16), Type.Q8_0),
        "blk.10.ffn_up.weight": (values(rng, 8), Type.Q8_0),
    }
    file = write(tmp_path / "a.gguf", tensors, blocks=2, more=[("llama.nextn_predict_layers", 1)])
    trunk = gguf_bits([file]).trunk
    assert trunk == Tally(18 * 64, 16 * 2 * 34 * 8 + 2 * 64 * 32, plain=2 * 64)
    assert trunk.plain_share == 2 / 18
