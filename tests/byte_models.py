"""Models of a few thousand random weights over a vocabulary of single bytes, for what depends on no model's quality."""

from __future__ import annotations

from dataclasses import replace

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from qkld.models import OpenedModel
from qkld.models.bits import StoredBits, Tally
from qkld.models.head_discovery import find_head
from qkld.models.weights import weights_sha256
from qkld.sources.tokenizer import tokenizer_sha256
from qkld.study.entries import TransformersModel

VOCABULARY = 257
"""The bytes and an end token."""

END = VOCABULARY - 1

CHAT_TEMPLATE = (
    "{% for m in messages %}<end>{{ m['role'] }}:{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<end>assistant:{% endif %}"
)
"""A template whose control token is the tokenizer's only one."""


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, and ``<end>``; no chat template."""
    letters = {character: number for number, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    bytes_alone = Tokenizer(models.BPE(vocab={**letters, "<end>": len(letters)}, merges=[]))
    bytes_alone.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bytes_alone.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=bytes_alone, eos_token="<end>", bos_token="<end>")


def byte_model(tokenizer: PreTrainedTokenizerFast, seed: int, **changes) -> OpenedModel:
    """An opened Llama with random weights, float32, on the CPU."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": VOCABULARY}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(**sizes, **heads, bos_token_id=END, eos_token_id=END)
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
        vocabulary=VOCABULARY,
        padded_rows=0,
        bits=StoredBits(Tally(1, 32), Tally(1, 32), Tally(1, 32)),
        weights_sha256=weights_sha256(module),
        tokenizer_sha256=tokenizer_sha256(tokenizer),
        context_length=2048,
        supports_packing=True,
    )
    return replace(opened, **changes)
