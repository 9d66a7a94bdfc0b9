"""An opened model: what the rest of the package knows of a reference or a quant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from qkld.errors import TokenizerError
from qkld.models.bits import StoredBits
from qkld.models.head import Head
from qkld.models.head_input import head_input
from qkld.models.spreading import running_device
from qkld.study.entries import ModelEntry


@dataclass(frozen=True)
class OpenedModel:
    """A causal language model ready to run.

    Attributes
    ----------
    entry : ModelEntry
        What the study says about it.
    module, tokenizer
        The transformers model, in eval mode, and the reference's tokenizer, which gives the ids of every model.
    head : Head
        Output head without padding rows, in the head dtype of the study.
    device, compute_dtype
        Where the hidden states come out and the head lies (the trunk's first device, where it is spread over several),
        and the dtype of the hidden states.
    vocabulary, padded_rows : int
        Rows of the head up to the tokenizer's last token, and rows beyond, which are ignored.
    bits : StoredBits
        Bits per weight as stored.
    left_out : Mapping
        What its files hold and the model does not, by the beginning of its name → number of tensors.
    weights_sha256, tokenizer_sha256 : str
        Over the weights as computed with, and over what turns text into ids.
    context_length : float
        Longest input that the model was made for, in tokens; infinite where there is no limit.
    supports_packing : bool
        Whether a block mask and position ids let several texts share one row without seeing each other.
    """

    entry: ModelEntry
    module: nn.Module
    tokenizer: Any
    head: Head
    device: torch.device
    compute_dtype: torch.dtype
    vocabulary: int
    padded_rows: int
    bits: StoredBits
    weights_sha256: str
    tokenizer_sha256: str
    context_length: float
    supports_packing: bool
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The entry's label."""
        return self.entry.label

    def facts(self) -> dict[str, Any]:
        """What a result records about the model, as JSON; bits per weight as stored, embeddings and head apart."""
        return {
            "label": self.label,
            "bits_per_weight": self.bits.bits_per_weight,
            "bits_per_trunk_weight": self.bits.bits_per_trunk_weight,
            "bits_per_embedding_weight": self.bits.bits_per_embedding_weight,
            "bits_per_head_weight": self.bits.bits_per_head_weight,
            "plain_trunk_share": self.bits.plain_trunk_share,
            "stored_and_left_out": dict(self.left_out),
            "weights_sha256": self.weights_sha256,
            "tokenizer_sha256": self.tokenizer_sha256,
            "compute_dtype": str(self.compute_dtype).removeprefix("torch."),
            "device": self.device.type,
            "vocabulary": self.vocabulary,
            "padded_rows": self.padded_rows,
        }

    def check_tokens(self, texts: Iterable[Sequence[int]]) -> None:
        """Refuse texts that hold a token without a row, such as a tokenizer's added token beyond the model's head.

        Raises
        ------
        TokenizerError
            Naming the tokens, before anything is run.
        """
        beyond = sorted({token for text in texts for token in text if token >= self.vocabulary})
        if beyond:
            named = ", ".join(f"{i}: {self.tokenizer.convert_ids_to_tokens(i)!r}" for i in beyond[:5])
            raise TokenizerError(
                f"The text contains tokens that are not in the vocabulary of '{self.label}'.",
                expected=f"ids below {self.vocabulary}, the rows of its head",
                found=named,
                do="remove these tokens from the text, or use the model's own tokenizer",
            )

    def hidden(
        self, input_ids: Tensor, *, position_ids: Tensor | None = None, attention_mask: Tensor | None = None
    ) -> Tensor:
        """Hidden states after the last norm; ids (batch, tokens) → (batch, tokens, width), in the compute dtype.

        They lie on `device`, where the head is, whichever device the last layer runs on.

        ``attention_mask`` is (batch, tokens) with 1 for tokens, or (batch, 1, tokens, tokens), true where a row may
        look or additive in the compute dtype.
        """
        states = trunk_states(self.module, input_ids, position_ids=position_ids, attention_mask=attention_mask)
        return states.to(self.device)


def trunk_states(
    module: nn.Module,
    input_ids: Tensor,
    *,
    position_ids: Tensor | None = None,
    attention_mask: Tensor | None = None,
) -> Tensor:
    """What the model hands to its head; ids (batch, tokens) → (batch, tokens, width)."""
    device = running_device(module.get_input_embeddings())
    if attention_mask is not None and attention_mask.ndim == 2:
        attention_mask = attention_mask.long()  # some classes take 1 minus it
    inputs = {"input_ids": input_ids, "position_ids": position_ids, "attention_mask": attention_mask}
    inputs = {name: value.to(device) for name, value in inputs.items() if value is not None}
    return head_input(module, **inputs, use_cache=False)
