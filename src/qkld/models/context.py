"""The longest input that a model was made for, from its configuration and its table of positions."""

from __future__ import annotations

import math

from torch import nn

LIMITS = ("max_position_embeddings", "max_target_positions", "max_seq_len")
"""Names of the limit: that of most, a decoder's own (Whisper), MPT's."""


def context_length(module: nn.Module) -> float:
    """Tokens of the longest input; infinite where the configuration sets no limit, as that of state-space models.

    A learned table of positions that begins behind the padding token's number (RoBERTa) has as many rows fewer to give.
    """
    config = module.config.get_text_config(decoder=True)
    limits = [value for name in LIMITS if (value := getattr(config, name, None) or -1) > 0]  # XLNet says −1
    return min(limits[:1] + _rows_behind_padding(module), default=math.inf)


def _rows_behind_padding(module: nn.Module) -> list[int]:
    return [
        table.num_embeddings - table.padding_idx - 1
        for name, table in module.named_modules()
        if isinstance(table, nn.Embedding) and "position" in name and table.padding_idx is not None
    ]
