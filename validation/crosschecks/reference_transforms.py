"""Measure how little padding and rotating SmolLM2-135M-Instruct changes its logits, and record the result.

    .venv/bin/python -m validation.crosschecks.reference_transforms --out tests/data/reference_transforms.json

  float64    the largest difference of any logit, everything computed in float64: of the padded, the rotated, and the
             padded and rotated model.
  float32    KL(plain ‖ padded and rotated) per token, over 16 windows of 512 tokens of Wikipedia passages, with the
             weights cast to float32 as a study runs them.

The record is what tests/validation/test_reference_transforms.py holds to its limits. Four minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from qkld.divergence import FullLogits, TokenDivergence, token_divergence
from qkld.models.gguf.open_in_torch import converted_folder
from qkld.models.opening import stored_tokenizer
from qkld.models.transformers import load_module
from qkld.models.transforms.transforms import transform
from qkld.sources import fetch
from qkld.sources.corpora import read_documents, text_windows
from qkld.study.params import Corpus
from qkld.study.provenance import made_by, write_json
from validation.crosschecks.exact import largest_logit_difference
from validation.crosschecks.llama_perplexity import reference_entry

CORPUS = Corpus(name="prose", asset="boolq-passages", context_lengths=(512,), windows=16)
EXACT_TOKENS = 64
PAD, SEED = 256, 2606

CHANGES = {
    "padded": {"multiple": PAD, "seed": None},
    "rotated": {"multiple": None, "seed": SEED},
    "padded and rotated": {"multiple": PAD, "seed": SEED},
}


def windows() -> Tensor:
    """Token ids of the corpus, shape (windows, tokens)."""
    cut = text_windows(CORPUS, read_documents(fetch(CORPUS.asset)), stored_tokenizer(reference_entry()), 0.0)
    return torch.tensor([window.tokens for window in cut.windows])


@torch.inference_mode()
def divergence(plain: nn.Module, changed: nn.Module, ids: Tensor) -> TokenDivergence:
    """KL(plain ‖ changed) of every position that has a next token, in the modules' own dtype."""
    parts = []
    for row in ids:
        logits = (FullLogits(module(input_ids=row[None]).logits[0, :-1]) for module in (plain, changed))
        parts.append(token_divergence(*logits, row[1:]))
    return TokenDivergence.cat(parts)


def summary(found: TokenDivergence) -> dict[str, float]:
    """What the record keeps of a divergence."""
    return {
        "tokens": len(found.kl),
        "mean_kl": found.kl.mean().item(),
        "largest_kl": found.kl.max().item(),
        "same_top1": found.same_top1.double().mean().item(),
        "perplexity_plain": found.nll_reference.mean().exp().item(),
        "perplexity_changed": found.nll_quant.mean().exp().item(),
    }


def measured() -> dict[str, Any]:
    """Both measurements; two models in float64 are in memory at a time."""
    folder = converted_folder(reference_entry())
    plain = load_module(folder, label="plain", dtype=torch.float32)
    ids = windows()
    exact = {}
    for name, change in CHANGES.items():
        changed = transform(plain.double(), **change)
        exact[name] = largest_logit_difference(plain, changed, ids[:1, :EXACT_TOKENS])
    single = load_module(folder, label="plain", dtype=torch.float32)
    found = divergence(single, changed.float(), ids)
    return {"float64": {"tokens": EXACT_TOKENS, "largest_logit_difference": exact}, "float32": summary(found)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="CPU threads (default %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    facts = {"pad": PAD, "seed": SEED, "corpus": CORPUS.model_dump(mode="json")}
    record = {"made_by": made_by(**facts), **measured()}
    write_json(arguments.out, record)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
