"""Divergence of two sources of logits, token by token: the checks, the walks, and who takes the first one."""

from __future__ import annotations

import warnings
from importlib.util import find_spec

import torch
from torch import Tensor

from qkld.divergence.logit_sources import HeadLogits, LogitSource
from qkld.divergence.quantities import TokenDivergence, quantities
from qkld.divergence.sums import RunningSums
from qkld.divergence.walk import overlap_of, running_sums
from qkld.errors import ModelError
from qkld.models.head import Head

TILE = 4096
"""Vocabulary rows taken at a time where none are asked for: with 512 tokens 8 MB of float32 logits a side, which stay
in a CPU's last cache between the head's product and the sums; fewer rows save no time."""

KERNEL_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def token_divergence(
    reference: LogitSource, quant: LogitSource, targets: Tensor, *, tile: int = TILE, second_walk: bool = False
) -> TokenDivergence:
    """Divergence of the quant's next-token distribution from the reference's, per token, in nats.

    Parameters
    ----------
    reference, quant : LogitSource, shape (tokens, vocab)
        The same tokens, vocabulary and device.
    targets : Tensor, shape (tokens,), int64
        The true next token of each row.
    tile : int
        Vocabulary rows taken at a time; it need not divide the vocabulary. Changes speed and memory only.
    second_walk : bool
        Also total variation and Jensen–Shannon divergence, which need the normalisers first: the logits are made a
        second time.

    Returns
    -------
    TokenDivergence
        With float64 accumulators its error against a float64 computation from the same logits is below
        1e-12 · (1 + largest absolute logit). Rows with a non-finite logit are NaN; callers count them.

    Raises
    ------
    ModelError
        If the shapes differ, or a target lies outside the vocabulary.
    """
    check_shapes(reference, quant, targets)
    device = torch.device("cpu") if targets.device.type == "mps" else targets.device  # MPS has no float64
    targets = targets.to(device)
    kernel = kernel_fits(reference, quant) and targets.is_cuda and not second_walk  # both walks see the same bits
    sums = first_walk(reference, quant, targets, tile=tile, kernel=kernel)
    overlap = overlap_of(reference, quant, sums, tile=tile) if second_walk else None
    return quantities(*sums, targets, overlap)


def check_shapes(reference: LogitSource, quant: LogitSource, targets: Tensor) -> None:
    """Refuse sources of different shapes and targets that do not fit them."""
    if reference.shape != quant.shape or (reference.shape[0],) != tuple(targets.shape):
        raise ModelError(
            "Reference and quant give logits of different shapes.",
            expected=f"(tokens, vocabulary) = {reference.shape} and as many targets",
            found=f"{quant.shape} and targets {tuple(targets.shape)}",
            do="give both models the same tokens and cut both heads to the tokenizer's rows",
        )
    tokens, vocabulary = reference.shape
    if tokens and not (int(targets.min()) >= 0 and int(targets.max()) < vocabulary):
        raise ModelError(
            "A scored token lies outside the vocabulary.",
            expected=f"token ids in [0, {vocabulary})",
            found=f"[{int(targets.min())}, {int(targets.max())}]",
            do="tokenize the corpus with the reference's own tokenizer",
        )


def kernel_fits(*sources: LogitSource) -> bool:
    """Whether the Triton kernel takes them: heads on CUDA, scaled in a dtype it knows, not capped; Triton is there."""
    heads = [s.head for s in sources if isinstance(s, HeadLogits) and isinstance(s.head, Head)]
    return (
        len(heads) == len(sources)
        and all(source.shape[0] > 0 for source in sources)
        and all(h.weight.is_cuda and h.weight.dtype in KERNEL_DTYPES for h in heads)
        and all(h.softcap is None and not h.wide for h in heads)
        and find_spec("triton") is not None
    )


def first_walk(
    reference: LogitSource, quant: LogitSource, targets: Tensor, *, tile: int, kernel: bool
) -> tuple[RunningSums, RunningSums]:
    """Both sides' sums, by the Triton kernel or by torch; by torch, with a warning, where Triton cannot run here."""
    if not kernel:
        return running_sums(reference, quant, targets, tile=tile)
    from qkld.divergence.fused import TritonError, fused_sums  # imports Triton

    try:
        return fused_sums(reference, quant, targets)
    except (TritonError, RuntimeError) as error:  # no C compiler, no driver, a GPU too old or small for the kernel
        warnings.warn(f"Triton cannot run the walk here, so torch does: {error}", RuntimeWarning, stacklevel=3)
        return running_sums(reference, quant, targets, tile=tile)
