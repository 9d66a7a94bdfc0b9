"""What is timed is the model's own writing: the logits behind each token are those of the whole text."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_gguf_files import write_model
from tiny_models import COMPUTE, make_module, save

from qkld.errors import ModelError
from qkld.models import open_model
from qkld.models.names import local_entry
from qkld.models.speed import PROMPTS, WRITTEN, measured_speed, prompts_within, writer

pytestmark = pytest.mark.model

TOKENS = [0, 5, 61, 7, 8, 9, 3, 80, 44, 13, 10, 2]


@pytest.fixture(scope="module", params=["llamacpp", "torch of a GGUF file", "a checkpoint"])
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("speed")
    if request.param == "a checkpoint":
        save(folder / "plain", make_module())
        entry = local_entry(folder / "plain")
        return open_model(entry, reference=entry, compute=COMPUTE)
    entry = local_entry(write_model(folder / "tiny.gguf"))
    engine = request.param.split()[0]
    return open_model(entry.model_copy(update={"engine": engine}), reference=entry, compute=COMPUTE)


@torch.inference_mode()
def test_what_is_written_behind_a_prompt_has_the_logits_of_the_whole_text(model):
    whole = model.head.logits(model.hidden(torch.tensor([TOKENS]))[0])
    begin, go_on = writer(model, room=len(TOKENS))
    for _ in range(2):  # a second text starts anew in a writer of its own
        found = [begin(TOKENS[:8]), *(go_on(token, at) for at, token in enumerate(TOKENS[8:], start=8))]
        for expected, given in zip(whole[7:], found, strict=True):
            np.testing.assert_allclose(np.asarray(given)[: model.vocabulary], expected, atol=2e-3)
        begin, go_on = writer(model, room=len(TOKENS))


def test_speed_is_measured_at_two_lengths_and_the_model_stays_as_it_was(model):
    attention = None if not hasattr(model.module, "config") else model.module.config._attn_implementation
    short, long = measured_speed(model, TOKENS)
    assert (short.prompt, long.prompt) == prompts_within(model.context_length)
    for speed in (short, long):
        assert 0 < speed.decoding < speed.prefill < np.inf  # a prompt runs in one go, what is written token by token
    if attention is not None:
        assert model.module.config._attn_implementation == attention


def test_prompts_fit_into_the_context():
    assert prompts_within(np.inf) == prompts_within(4096) == PROMPTS
    short, long = prompts_within(128)
    assert long + WRITTEN == 128
    assert short == long // 4


def test_a_context_without_room_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tiny_gguf_files.CONTEXT", 18)
    entry = local_entry(write_model(tmp_path / "short.gguf"))
    model = open_model(entry.model_copy(update={"engine": "llamacpp"}), reference=entry, compute=COMPUTE)
    with pytest.raises(ModelError, match=r"(?s)too short.*18 tokens"):
        measured_speed(model, TOKENS)
