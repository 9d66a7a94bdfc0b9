"""Engine llamacpp: its logits beside torch's from the same weights, sequences, caches, split files, and bad files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_gguf_files import write_model
from tiny_models import FACTS

from qkld.benchmarks.items import item_from_pairs
from qkld.benchmarks.packing import hidden_states
from qkld.divergence import HeadLogits, token_divergence
from qkld.divergence.measuring import measure
from qkld.errors import ModelError, TokenizerError
from qkld.models import open_model
from qkld.models.gguf import llamacpp_library
from qkld.models.making import quantize_file
from qkld.reference.recording import corpus_header, record_windows
from qkld.reference.store import ReferenceStore
from qkld.sources.corpora import CorpusWindows
from qkld.sources.windows import Window
from qkld.study.entries import GgufModel

pytestmark = [pytest.mark.model, pytest.mark.long]

TOKENS = torch.tensor([[0, 17, 101, 9, 260, 33, 33, 7, 191, 84, 12, 5], [0, 3, 4, 250, 6, 7, 8, 99, 10, 11, 12, 13]])


def entry(file, engine="llamacpp", **more):
    return GgufModel(
        **{"label": f"{file.stem}-{engine}", "family": "g", "path": str(file.parent), "file": file.name, **FACTS},
        to_be_checked=("sha256",),
        engine=engine,
        **more,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of files, with a data folder of its own."""
    folder = tmp_path_factory.mktemp("llamacpp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QKLD_DATA", str(folder / "data"))
        yield folder


@pytest.fixture(scope="module")
def whole(folder):
    """The tiny model in float32."""
    return write_model(folder / "whole.gguf")


@pytest.fixture(scope="module")
def reference(whole):
    return entry(whole, "torch")


@pytest.fixture(scope="module")
def opened(reference, compute):
    """Open an entry against the tiny reference."""
    return lambda wanted: open_model(wanted, reference=reference, compute=compute)


@pytest.fixture(scope="module")
def in_torch(opened, reference):
    return opened(reference)


@pytest.fixture(scope="module")
def in_llamacpp(opened, whole):
    return opened(entry(whole, cache_k="f32", cache_v="f32", flash_attention=False))


def logits(model, tokens=TOKENS, **more):
    return torch.stack([model.head.logits(states) for states in model.hidden(tokens, **more)])


def kl(reference, quant):
    """Mean KL(reference ‖ quant) over all tokens, in nats."""
    sources = [HeadLogits(m.hidden(TOKENS).flatten(0, 1), m.head) for m in (reference, quant)]
    return token_divergence(*sources, TOKENS.flatten()).kl.mean().item()


def test_float32_weights_give_torchs_logits(in_torch, in_llamacpp):
    expected, found = logits(in_torch), logits(in_llamacpp)
    assert found.shape == (2, 12, in_torch.vocabulary)
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=0)
    assert 0 <= kl(in_torch, in_llamacpp) < 1e-9


def test_a_row_is_the_same_alone_and_beside_others(in_llamacpp):
    together = logits(in_llamacpp)
    for row, expected in zip(TOKENS, together, strict=True):
        torch.testing.assert_close(logits(in_llamacpp, row[None])[0], expected, atol=1e-4, rtol=0)
    assert torch.equal(logits(in_llamacpp), together)  # nothing of an earlier batch is left in the cache


def test_packed_items_share_their_prompts_and_see_no_other_choice(in_torch, in_llamacpp):
    items = [
        item_from_pairs("a", [([0, 5, 61, 7], [8, 9]), ([0, 5, 61, 7], [44, 9, 10]), ([0, 5, 61, 7], [3, 2])]),
        item_from_pairs("b", [([0, 91], [14, 15]), ([0, 91], [4, 5, 6])]),
    ]
    assert in_torch.supports_packing
    assert in_llamacpp.supports_packing
    for expected, found in zip(hidden_states(in_torch, items), hidden_states(in_llamacpp, items), strict=True):
        torch.testing.assert_close(found, in_torch.head.logits(expected), atol=2e-4, rtol=0)


def test_padding_at_the_end_changes_nothing(in_llamacpp):
    mask = torch.ones(2, 12, dtype=torch.bool)
    mask[1, 5:] = False
    found = logits(in_llamacpp, attention_mask=mask)
    torch.testing.assert_close(found[1, :5], logits(in_llamacpp)[1, :5], atol=1e-4, rtol=0)
    assert (found[1, 5:] == 0).all()


def test_a_quantized_file_differs_from_its_dequantized_weights_by_its_activations(opened, in_torch, folder, whole):
    file = quantize_file(whole, folder / "q8.gguf", "Q8_0").file
    weights_alone, deployed = opened(entry(file, "torch")), opened(entry(file))
    assert weights_alone.bits == deployed.bits
    assert weights_alone.bits.bits_per_trunk_weight == pytest.approx(8.5, abs=0.1)
    by_weights, by_both = kl(in_torch, weights_alone), kl(in_torch, deployed)
    assert 1e-6 < by_weights < by_both < 1e-2  # llama.cpp multiplies with activations of 8 bits
    assert kl(weights_alone, deployed) > 1e-6
    facts = deployed.facts()
    assert (facts["gguf"]["name"], facts["engine"]["cache_k"], facts["engine"]["flash_attention"]) == (
        *("Q8_0", "f16"),
        "auto",
    )


def test_the_cache_types_are_what_the_entry_says(opened, in_torch, whole):
    found = {}
    for kind in ("f32", "f16", "q8_0", "q4_0"):
        model = opened(entry(whole, cache_k=kind, cache_v=kind))
        found[kind] = (kl(in_torch, model), model.weights_sha256)
    distances = [distance for distance, _ in found.values()]
    assert distances == sorted(distances)
    assert distances[3] > 10 * distances[2] > 100 * distances[0]
    assert len({digest for _, digest in found.values()}) == 4  # rows of their own in a cohort


def test_a_split_file_is_one_model_in_both_engines(opened, in_torch, folder):
    first = write_model(folder / "split.gguf", tensors_a_part=8)
    assert first.name == "split-00001-of-00003.gguf"
    torch_model = opened(entry(first, "torch"))
    assert torch_model.weights_sha256 == in_torch.weights_sha256
    assert torch_model.bits == in_torch.bits
    by_llamacpp = opened(entry(first, cache_k="f32", cache_v="f32", flash_attention=False))
    assert kl(in_torch, by_llamacpp) < 1e-9


def test_a_file_of_another_vocabulary_or_model_is_refused(opened, folder, whole):
    raw = whole.read_bytes()
    other = folder / "other.gguf"
    other.write_bytes(raw.replace("Ġquick".encode(), "Ġquack".encode()))
    assert other.read_bytes() != raw
    with pytest.raises(TokenizerError, match=r"(?s)vocabulary of 'other-llamacpp' differs.*Ġquick.*Ġquack"):
        opened(entry(other))
    with pytest.raises(ModelError, match="different model"):
        opened(entry(write_model(folder / "deeper.gguf", blocks=3)))


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.6, 0.99])
def test_what_is_no_whole_file_is_refused_before_llamacpp_sees_it(opened, folder, whole, kept):
    raw = whole.read_bytes()
    (folder / "cut.gguf").write_bytes(raw[: int(kept * len(raw))])
    with pytest.raises(ModelError, match=r"cut\.gguf cannot be read"):
        opened(entry(folder / "cut.gguf"))


def test_an_architecture_that_llamacpp_does_not_know_is_refused_in_its_own_words(opened, folder, whole):
    file = folder / "unheard.gguf"
    file.write_bytes(whole.read_bytes().replace(b"llama", b"lloma"))
    with pytest.raises(ModelError, match=r"(?s)cannot load.*unknown model architecture: 'lloma'"):
        opened(entry(file))


def test_a_tensor_type_that_llamacpp_does_not_run_is_refused(opened, folder, whole):
    raw = bytearray(whole.read_bytes())
    name = b"blk.0.attn_q.weight"
    place = raw.index(name) + len(name) + 4 + 2 * 8  # number of axes, two axes, then the type
    raw[place : place + 4] = (31).to_bytes(4, "little")  # Q4_0_4_4, dropped in 2024
    (folder / "dropped.gguf").write_bytes(raw)
    with pytest.raises(ModelError, match=r"(?s)tensor types that gguf knows.*31"):
        opened(entry(folder / "dropped.gguf"))


def test_a_gpu_that_the_library_was_built_without_is_refused(opened, reference, whole, compute, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(llamacpp_library.library(), "llama_supports_gpu_offload", lambda: False)
    on_gpu = compute.model_copy(update={"device": "cuda"})
    with pytest.raises(ModelError, match=r"(?s)built without GPU support.*GGML_CUDA=on"):
        open_model(entry(whole), reference=reference, compute=on_gpu)


def test_a_cache_that_llamacpp_can_not_make_is_refused_in_its_own_words(folder, compute):
    narrow = write_model(folder / "narrow.gguf", heads=16, key_heads=8)  # heads of 16, less than a block of 32
    cached = entry(narrow, cache_k="q8_0", cache_v="q8_0")
    model = open_model(cached, reference=entry(narrow, "torch"), compute=compute)
    with pytest.raises(ModelError, match=r"(?s)cannot run.*block size"):
        model.hidden(TOKENS)


def test_too_many_choices_at_once_are_refused(in_llamacpp):
    with pytest.raises(ModelError, match=r"(?s)at most 256.*300"):
        in_llamacpp.hidden(torch.zeros(300, 2, dtype=torch.int64))


def test_a_file_is_measured_against_the_store_of_the_torch_reference(in_torch, opened, whole, tmp_path):
    windows = tuple(
        Window(f"w-{i}", tuple(row.tolist()), tuple(range(5, 11)), cluster=i) for i, row in enumerate(TOKENS)
    )
    header = corpus_header(CorpusWindows("text", windows), in_torch)
    record_windows(tmp_path, header, in_torch, description="reference")
    store = ReferenceStore.open(header.folder(tmp_path))
    scored = [{12: tuple(range(6, 12))}] * 2
    model = opened(entry(whole, cache_k="q8_0", cache_v="q8_0"))
    table = measure(model, [(store, scored)], tmp_path / "partial", tile=100)
    direct = token_divergence(
        *(HeadLogits(m.hidden(TOKENS)[:, 5:11].flatten(0, 1), m.head) for m in (in_torch, model)),
        TOKENS[:, 6:12].flatten(),
    )
    np.testing.assert_allclose(table["kl"], direct.kl.numpy(), atol=1e-7)
    assert table["kl"].mean() > 1e-6


def test_smollm2_in_both_engines(demo, compute):
    """The shipped file: torch from its dequantized weights, and llama.cpp, which quantizes activations to 8 bits."""
    in_llamacpp = demo.model_copy(update={"label": "deployed", "engine": "llamacpp"})
    models = [open_model(e, reference=demo, compute=compute) for e in (demo, in_llamacpp)]
    text = "The tides are caused by the gravity of the Moon and, to a lesser extent, of the Sun. Twice a day the sea"
    ids = torch.tensor([models[0].tokenizer(text)["input_ids"]])
    sources = [HeadLogits(m.hidden(ids)[0], m.head) for m in models]
    found = token_divergence(*sources, ids[0].roll(-1))
    assert 1e-5 < found.kl.mean() < 0.02
    assert found.same_top1.float().mean() > 0.8
    assert models[0].bits == models[1].bits


def test_the_vocabulary_is_cut_to_the_tokenizers(in_torch, in_llamacpp):
    assert (in_llamacpp.vocabulary, in_llamacpp.padded_rows) == (in_torch.vocabulary, 0)
    assert torch.isfinite(logits(in_llamacpp)).all()
