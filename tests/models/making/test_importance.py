"""Importance matrices: the mean squared inputs against their definition, and text that is measured too."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_gguf_files import write_model
from tiny_models import FACTS

from qkld.errors import CorpusError, ModelError
from qkld.models import open_model
from qkld.models.making.importance import check_disjoint, gguf_names, importance_of, measured_documents
from qkld.models.making.study_files import IN_TORCH
from qkld.study.entries import GgufModel
from qkld.study.params import load_params

WINDOWS = ((5, 9, 33, 7, 250), (8, 8, 41))


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """The tiny model, run in torch."""
    folder = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QKLD_DATA", str(folder / "data"))
        file = write_model(folder / "tiny.gguf")
        entry = GgufModel(
            label="tiny", family="g", path=str(folder), file=file.name, to_be_checked=("sha256",), **FACTS
        )
        return open_model(entry, reference=entry, compute=IN_TORCH)


def test_the_first_layers_inputs_are_the_normed_embeddings(opened):
    found = importance_of(opened, WINDOWS)
    model = opened.module.model
    with torch.inference_mode():
        embedded = torch.cat([model.embed_tokens(torch.tensor(w)) for w in WINDOWS])
        inputs = model.layers[0].input_layernorm(embedded).double()
    expected = inputs.square().mean(dim=0).numpy()  # over all tokens of all windows alike
    for name in ("attn_q", "attn_k", "attn_v"):
        np.testing.assert_allclose(found[f"blk.0.{name}.weight"], expected, rtol=1e-5)
    assert found["blk.1.ffn_down.weight"].shape == (512,)
    assert len(found) == 7 * 2  # no head, no embedding
    assert all((mean > 0).all() for mean in found.values())


def test_windows_in_another_order_give_the_same_and_hooks_are_gone(opened):
    one, other = importance_of(opened, WINDOWS), importance_of(opened, WINDOWS[::-1])
    for name, mean in one.items():
        np.testing.assert_allclose(other[name], mean, rtol=1e-6)
    assert not any(m._forward_pre_hooks for m in opened.module.modules())


def test_an_architecture_that_gguf_does_not_know_is_refused(opened):
    with pytest.raises(ModelError, match="no known GGUF name"):
        gguf_names(opened.module, ["model.layers.0.self_attn.q_proj"], "unheard-of")
    with pytest.raises(ModelError, match="strange_proj"):
        gguf_names(opened.module, ["model.layers.0.strange_proj"], "llama")


def test_text_that_is_measured_too_is_refused():
    check_disjoint(["one text", "another"], {"prose": ["a third"]})
    with pytest.raises(CorpusError, match=r"(?s)corpus 'code'.*found:    1, the first: 'another'"):
        check_disjoint(["one text", "another"], {"prose": ["a third"], "code": ["x", "another\n"]})


class Words:
    """A tokenizer that makes a token of every word."""

    chat_template = "any"

    def __call__(self, text, **_):
        return {"input_ids": list(range(len(text.split())))}

    def apply_chat_template(self, *_, **__):
        return {"input_ids": [1, 2]}


def test_documents_that_windows_take_are_the_measured_ones(tmp_path):
    (tmp_path / "texts.jsonl").write_text("".join(f'{{"text": "{"w " * 20}{i}"}}\n' for i in range(9)))
    smoke = load_params("smoke").model_dump(mode="json")
    place = {"path": str(tmp_path / "texts.jsonl")}
    smoke["corpora"] = [
        {"name": "prose", **place, "context_lengths": [16], "windows": 2},  # 32 tokens: two documents of 21
        {"name": "chat", "kind": "chat", **place, "windows": 3},
    ]
    smoke["headline"] = {"corpus": "prose", "context": 16}
    from qkld.study.params import Study

    found = measured_documents(Study(**smoke), Words())
    assert [document.split()[-1] for document in found["prose"]] == ["0", "1"]
    assert [document.split()[-1] for document in found["chat"]][:3] == ["0", "1", "2"]
