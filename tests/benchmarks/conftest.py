"""A model of a few thousand weights with a tokenizer of bytes, and files of benchmark items, all made here."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from qkld.models import OpenedModel
from qkld.models.bits import StoredBits, Tally
from qkld.models.head_discovery import find_head
from qkld.models.tokenizer import tokenizer_sha256
from qkld.models.weights import weights_sha256
from qkld.params import TransformersModel


@pytest.fixture(scope="session")
def tokenizer():
    letters = {character: number for number, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    bytes_alone = Tokenizer(models.BPE(vocab={**letters, "<end>": len(letters)}, merges=[]))
    bytes_alone.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bytes_alone.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=bytes_alone, eos_token="<end>", bos_token="<end>")


@pytest.fixture(scope="session")
def make_model(tokenizer):
    """Seed → an opened model with random weights, float32, on the CPU."""

    def made(seed: int, **changes) -> OpenedModel:
        sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
        config = LlamaConfig(vocab_size=257, num_attention_heads=4, num_key_value_heads=2, **sizes)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            module = LlamaForCausalLM(config).eval()
            for weight in module.parameters():
                weight.data.mul_(4.0)  # so that the next-token distributions are far from uniform
        entry = TransformersModel(
            label=f"tiny-{seed}", family="tiny", maker="tests", recipe="random", nominal_bits=32, path="none"
        )
        opened = OpenedModel(
            entry=entry,
            module=module,
            tokenizer=tokenizer,
            head=find_head(module),
            device=torch.device("cpu"),
            compute_dtype=torch.float32,
            vocabulary=257,
            padded_rows=0,
            bits=StoredBits(Tally(1, 32), Tally(1, 32), Tally(1, 32)),
            weights_sha256=weights_sha256(module),
            tokenizer_sha256=tokenizer_sha256(tokenizer),
            context_length=2048,
            supports_packing=True,
        )
        return replace(opened, **changes)

    return made


@pytest.fixture(scope="session")
def tiny(make_model):
    """Two models of one architecture: a reference and a quant that is far from it."""
    return SimpleNamespace(reference=make_model(1), quant=make_model(2))


@pytest.fixture
def write_lines(tmp_path):
    """Rows → a file of JSON lines."""

    def written(rows, name="items.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return path

    return written


@pytest.fixture(scope="session")
def arc_rows():
    """Nine questions of ARC's form; the third is asked twice."""
    things = ["sun", "ice", "lead", "salt", "frog", "wheat", "river", "moon"]
    rows = [
        {
            "id": f"q{number}",
            "question": f"Which of these {'really ' * (number % 3)}is like {thing}?",
            "choices": {"text": things[number:] + things[:number], "label": list("ABCDEFGH")},
            "answerKey": "ABCDEFGH"[(3 * number) % 8],
        }
        for number, thing in enumerate(things)
    ]
    return [*rows, {**rows[2], "id": "again"}]
