"""open_model on plain stored models, and every way in which one is refused."""

from __future__ import annotations

import json

import pytest
import torch
from tiny_models import make_module, make_tokenizer, save, stored

from qkld.errors import ModelError, SourceError, TokenizerError
from qkld.models import open_model
from qkld.models.devices import choose_device, choose_dtype, multiplies_bfloat16
from qkld.models.head_discovery import find_head

IDS = torch.tensor([[0, 40, 41, 42, 43], [5, 9, 77, 120, 3]])


def test_hidden_and_head_give_the_models_own_logits(tiny, compute):
    opened = open_model(tiny, reference=tiny, compute=compute)
    with torch.inference_mode():
        own = opened.module(IDS).logits
    hidden = opened.hidden(IDS)
    assert torch.equal(find_head(opened.module).logits(hidden), own)
    ours = opened.head.logits(
        hidden.flatten(0, 1)
    )  # fewer rows: a product of another shape, so the last bit may differ
    torch.testing.assert_close(ours, own.flatten(0, 1)[:, : opened.vocabulary], rtol=1e-6, atol=1e-7)


def test_rows_beyond_the_tokenizer_are_cut_and_counted(tiny, compute):
    opened = open_model(tiny, reference=tiny, compute=compute)
    assert (opened.vocabulary, opened.padded_rows) == (len(make_tokenizer()), 320 - len(make_tokenizer()))
    assert opened.head.vocabulary == opened.vocabulary
    assert opened.context_length == 128
    assert opened.label == "reference"


def test_plain_weights_count_in_the_dtype_of_the_file(tmp_path, tiny, compute):
    folder = save(tmp_path, make_module().to(torch.bfloat16))
    opened = open_model(stored(folder), reference=stored(folder), compute=compute)
    assert opened.bits.bits_per_weight == opened.bits.bits_per_trunk_weight == 16
    assert opened.bits.embedding.weights == opened.bits.head.weights == 320 * 64
    assert open_model(tiny, reference=tiny, compute=compute).bits.bits_per_weight == 32


def test_tied_heads_are_counted_once(tmp_path, compute):
    module = make_module(tie_word_embeddings=True)
    entry = stored(save(tmp_path, module))
    bits = open_model(entry, reference=entry, compute=compute).bits
    assert bits.head.weights == 0
    assert bits.bits_per_head_weight == bits.bits_per_embedding_weight == 32
    assert bits.trunk.weights + bits.embedding.weights == sum(p.numel() for p in module.parameters())


def test_a_float32_head_over_a_bfloat16_trunk(tiny, compute):
    settings = compute.model_copy(update={"compute_dtype": "bfloat16", "head_dtype": "float32"})
    opened = open_model(tiny, reference=tiny, compute=settings)
    assert opened.hidden(IDS).dtype == opened.compute_dtype == torch.bfloat16
    assert opened.head.weight.dtype == torch.float32


def test_packed_texts_do_not_see_each_other(tiny, compute):
    from qkld.models.shared_rows import block_mask

    opened = open_model(tiny, reference=tiny, compute=compute)
    assert opened.supports_packing
    first, second = IDS[:1, :3], IDS[1:]
    together = opened.hidden(
        torch.cat([first, second], 1),
        position_ids=torch.tensor([[0, 1, 2, 0, 1, 2, 3, 4]]),
        attention_mask=block_mask([3, 5])[None, None],
    )
    alone = torch.cat([opened.hidden(first), opened.hidden(second)], 1)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_sliding_windows_are_not_packed(tmp_path, compute):
    entry = stored(save(tmp_path, make_module("Mistral", sliding_window=8)))
    assert not open_model(entry, reference=entry, compute=compute).supports_packing


def test_equal_weights_have_equal_hashes_and_others_not(tmp_path, tiny, compute):
    same = stored(save(tmp_path / "same", make_module()))
    other_module = make_module()
    with torch.no_grad():
        other_module.model.layers[1].mlp.up_proj.weight[3, 5] += 1e-3
    other = stored(save(tmp_path / "other", other_module))
    hashes = [open_model(e, reference=tiny, compute=compute).weights_sha256 for e in (tiny, same, other)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_weights_spread_by_accelerate_give_the_same_states(tiny, compute):
    spread = open_model(tiny, reference=tiny, compute=compute.model_copy(update={"device_map": "auto"}))
    plain = open_model(tiny, reference=tiny, compute=compute)
    torch.testing.assert_close(spread.hidden(IDS), plain.hidden(IDS), rtol=0, atol=0)


def test_a_repository_is_opened_at_its_pinned_revision(tmp_path, tiny_folder, tiny, compute, monkeypatch):
    revision = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "models--some--model" / "snapshots" / revision
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(tiny_folder)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    entry = stored(repository="some/model", revision=revision)
    assert open_model(entry, reference=entry, compute=compute).padded_rows > 0
    with pytest.raises(SourceError, match="could not be downloaded"):
        open_model(entry.model_copy(update={"revision": "f" * 40}), reference=tiny, compute=compute)


def test_a_repository_without_a_revision_is_refused(tiny, compute):
    entry = stored(repository="some/model", to_be_checked=("revision",))
    with pytest.raises(SourceError, match="no pinned revision"):
        open_model(entry, reference=tiny, compute=compute)


def test_pickled_weights_are_refused(tmp_path, tiny, tiny_folder, compute):
    for file in tiny_folder.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save(make_module().state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled weights are refused"):
        open_model(stored(tmp_path), reference=tiny, compute=compute)


def test_code_in_a_folder_is_not_run(tmp_path, tiny, tiny_folder, compute):
    for file in tiny_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "unheard_of", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    marker = tmp_path / "was_run"
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass C: pass\nclass M: pass\n")
    with pytest.raises(ModelError, match="cannot be loaded"):
        open_model(stored(tmp_path), reference=tiny, compute=compute)
    assert not marker.exists()


def test_a_missing_folder_is_named(tmp_path, tiny, compute):
    with pytest.raises(SourceError, match="was not found"):
        open_model(stored(tmp_path / "nothing"), reference=tiny, compute=compute)


def test_a_truncated_file_is_refused(tmp_path, tiny, tiny_folder, compute):
    for file in tiny_folder.iterdir():
        content = file.read_bytes()
        (tmp_path / file.name).write_bytes(content[: len(content) // 2] if file.suffix == ".safetensors" else content)
    with pytest.raises(ModelError, match="cannot be loaded"):
        open_model(stored(tmp_path), reference=tiny, compute=compute)


def test_missing_tensors_are_refused(tmp_path, tiny, compute):
    from safetensors.torch import load_file, save_file

    folder = save(tmp_path, make_module())
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.up_proj\.weight"):
        open_model(stored(folder), reference=tiny, compute=compute)


def test_a_stated_hash_is_held(tiny_folder, tiny, compute):
    from qkld.study.provenance import sha256_of_file

    right = sha256_of_file(tiny_folder / "model.safetensors")
    assert open_model(stored(tiny_folder, sha256=right), reference=tiny, compute=compute).vocabulary
    with pytest.raises(SourceError, match="wrong hash"):
        open_model(stored(tiny_folder, sha256="0" * 64), reference=tiny, compute=compute)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, tiny, compute, value):
    module = make_module()
    with torch.no_grad():
        module.model.layers[0].self_attn.k_proj.weight[1, 2] = value
    with pytest.raises(ModelError, match="k_proj"):
        open_model(stored(save(tmp_path, module)), reference=tiny, compute=compute)


def test_tokens_beyond_the_head_are_refused_only_where_a_text_holds_one(tmp_path, compute):
    rows = len(make_tokenizer()) - 2
    entry = stored(save(tmp_path, make_module(vocab_size=rows)))
    opened = open_model(entry, reference=entry, compute=compute)
    assert (opened.vocabulary, opened.padded_rows) == (rows, 0)
    opened.check_tokens([[0, 5, rows - 1], [3]])
    with pytest.raises(TokenizerError, match=rf"(?s)not in the vocabulary.*ids below {rows}.*{rows}: "):
        opened.check_tokens([[0, 5], [rows]])


def test_auto_takes_the_first_device_there_is_and_an_absent_one_is_refused():
    absent = [
        d for d, there in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())) if not there
    ]
    assert choose_device("cpu").type == "cpu"
    if absent == ["cuda", "mps"]:
        assert choose_device("auto").type == "cpu"
    for device in absent:
        with pytest.raises(ModelError, match=device):
            choose_device(device)


def test_auto_dtype_follows_the_device(compute):
    cpu = torch.device("cpu")
    expected = torch.bfloat16 if multiplies_bfloat16(cpu) else torch.float32
    assert choose_dtype(compute.model_copy(update={"compute_dtype": "auto"}), cpu) == expected
    assert choose_dtype(compute.model_copy(update={"compute_dtype": "float16"}), cpu) == torch.float16
