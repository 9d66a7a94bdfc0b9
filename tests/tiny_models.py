"""Small random models with a real tokenizer, saved as the folders that a study names."""

from __future__ import annotations

import torch

from qkld.study.entries import TransformersModel
from qkld.study.params import Compute

FACTS = {"maker": "test", "recipe": "random", "nominal_bits": 16.0}
"""What every entry states and no test here depends on."""

GGUF = {
    "asset": "smollm2-135m-instruct",
    "file": "SmolLM2-135M-Instruct.Q4_1.gguf",
    "sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
}

SMALL = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
"""A decoder small enough to open in a second; 20 rows of its head have no token."""


COMPUTE = Compute(
    device="cpu",
    compute_dtype="float32",
    head_dtype="compute_dtype",
    device_map="none",
    weights="dequantized",
    vocabulary_tile=64,
)
"""In float32 on a CPU; these models' vocabularies are some tiles long."""


def make_tokenizer(size=300, text=("def f(x): return x + 1\n", "The quick brown fox, 12345 times.")):
    """A byte-level BPE tokenizer of at most ``size`` tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(text * 10, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>")


def make_module(kind="Llama", **changes):
    """A random causal language model of an architecture that transformers knows, float32, eval mode."""
    import transformers

    torch.manual_seed(7)
    config = getattr(transformers, f"{kind}Config")(**{**SMALL, **changes})
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def save(folder, module, tokenizer=None):
    """Save a module and a tokenizer as one folder."""
    module.save_pretrained(folder)
    (tokenizer or make_tokenizer()).save_pretrained(folder)
    return folder


def stored(folder=None, label="reference", **changes):
    """The entry of a folder, or of what ``changes`` name instead."""
    place = {} if folder is None else {"path": str(folder)}
    return TransformersModel(label=label, family="tiny", **{**FACTS, **place, **changes})
