"""The first walk as one Triton kernel on CUDA: two heads, two hidden states → running sums; logits never reach memory.

Importing this module needs Triton. The torch walk of `qkld.divergence.walk` is its fallback and its oracle. A program
takes a block of tokens along a share of the vocabulary; what the shares give is merged in torch.

Products accumulate in float32 (no TF32) and are rounded to the head's dtype, as `Head.logits` does; everything after
the logits is float64, because the error of a float32 exponential, 1e-7, is all that a small KLD may err by. That is
cheap where a GPU computes float64 at half the rate of float32 and dear on consumer cards, which have 1/64 of it.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton import TritonError

from qkld.divergence.leaders import LEADERS, Leaders
from qkld.divergence.logit_sources import HeadLogits
from qkld.divergence.sums import MASKED, RunningSums

BLOCK_TOKENS, BLOCK_VOCABULARY, BLOCK_WIDTH, WARPS = 64, 32, 32, 8
"""By registers, not by trial: the largest block whose bfloat16 kernel for compute capability 9.0 spills none."""

PROGRAMS_PER_PROCESSOR = 4
"""The vocabulary is shared out until a GPU has about this many programs for each of its multiprocessors."""

SLOTS = 8
"""Leaders of a program lie in the first `LEADERS` of a power of two, which Triton asks of a shape."""

__all__ = ["TritonError", "fused_sums"]

_MASKED = tl.constexpr(MASKED)
_LEADERS = tl.constexpr(LEADERS)
_SLOTS = tl.constexpr(SLOTS)
_LOWEST = tl.constexpr(-(2**63))
_HIGHEST = tl.constexpr(2**63 - 1)
_SUMS = ("maximum", "weight", "weighted_logit", "weighted_gap", "target")


def fused_sums(
    reference: HeadLogits, quant: HeadLogits, targets: Tensor, *, shares: int | None = None
) -> tuple[RunningSums, RunningSums]:
    """As `qkld.divergence.walk.running_sums`, for heads without soft cap in float32, bfloat16 or float16.

    ``shares`` is the number of programs that share out the vocabulary; by default enough to fill the GPU.
    """
    tokens, vocabulary = reference.shape
    blocks = triton.cdiv(tokens, BLOCK_TOKENS)
    shares = shares or _shares(blocks, vocabulary, targets.device)
    per_share = triton.cdiv(triton.cdiv(vocabulary, shares), BLOCK_VOCABULARY) * BLOCK_VOCABULARY
    sums = torch.empty((2, len(_SUMS), shares, tokens), dtype=torch.float64, device=targets.device)
    keys = torch.empty((2, shares, tokens, SLOTS), dtype=torch.int64, device=targets.device)
    sides = [_arguments(source) for source in (reference, quant)]
    with torch.cuda.device_of(targets):
        _walk[(blocks, shares)](
            *sides[0], *sides[1], targets, sums, keys, tokens, vocabulary, per_share,
            REFERENCE_BIAS=reference.head.bias is not None, QUANT_BIAS=quant.head.bias is not None,
            WIDEN=not targets.is_cuda,  # Triton's interpreter takes bfloat16 for integers; widened, products are equal
            BLOCK_T=BLOCK_TOKENS, BLOCK_V=BLOCK_VOCABULARY, BLOCK_W=BLOCK_WIDTH, num_warps=WARPS,
        )  # fmt: skip
    return _merged(sums[0], keys[0]), _merged(sums[1], keys[1])


def _shares(blocks: int, vocabulary: int, device: torch.device) -> int:
    if device.type != "cuda":  # Triton's interpreter takes one program after the other
        return 1
    processors = torch.cuda.get_device_properties(device).multi_processor_count
    wanted = triton.cdiv(PROGRAMS_PER_PROCESSOR * processors, max(blocks, 1))
    return max(1, min(wanted, triton.cdiv(vocabulary, 8 * BLOCK_VOCABULARY)))


def _arguments(source: HeadLogits) -> tuple[Tensor, Tensor, Tensor, float, int]:
    head = source.head
    weight = head.weight.contiguous()
    bias = weight if head.bias is None else head.bias.contiguous()  # never read where there is none
    return source.hidden.to(weight.dtype).contiguous(), weight, bias, head.scale, head.width


def _merged(sums: Tensor, keys: Tensor) -> RunningSums:
    """One side's sums over all shares: sums (5, shares, tokens), keys (shares, tokens, slots)."""
    maximum, *weighted, target = sums
    highest = maximum.amax(dim=0)
    fade = torch.exp(maximum - highest)
    leaders = keys[..., :LEADERS].movedim(0, 1).flatten(1).topk(LEADERS, dim=1).values  # keys are unique
    weighted = [(values * fade).sum(dim=0) for values in weighted]
    return RunningSums(highest, *weighted, target.sum(dim=0), _unpacked(leaders))


def _unpacked(keys: Tensor) -> Leaders:
    """Values and ids from the keys that `_packed` made."""
    ordered = (keys >> 32).to(torch.int32)
    bits = torch.where(ordered < 0, ordered ^ 0x7FFFFFFF, ordered)
    return Leaders(bits.view(torch.float32).double(), 0xFFFFFFFF - (keys & 0xFFFFFFFF))


@triton.jit
def _packed(logits, columns):
    """One int64 for each logit that orders as (logit, lower token id first); logits float32 (tokens, vocab)."""
    bits = tl.where(logits == 0.0, 0.0, logits).to(tl.int32, bitcast=True)  # −0 is no lower than 0
    ordered = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(tl.int64)
    return (ordered << 32) | (0xFFFFFFFF - columns.to(tl.int64))[None, :]


@triton.jit
def _rounded(values, dtype: tl.constexpr):
    """float32 values rounded to the nearest of a dtype, ties to even, and back; NaN stays."""
    if dtype == tl.float16:
        return values.to(tl.float16).to(tl.float32)
    if dtype == tl.bfloat16:  # by its bits, because Triton's interpreter cuts them off
        bits = values.to(tl.int32, bitcast=True)
        nearest = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) << 16
        return tl.where(values == values, nearest.to(tl.float32, bitcast=True), values)
    return values


@triton.jit
def _logits(hidden, weight, bias, scale, width, rows, columns, tokens, vocabulary,
            BIAS: tl.constexpr, WIDEN: tl.constexpr,
            BLOCK_T: tl.constexpr, BLOCK_V: tl.constexpr, BLOCK_W: tl.constexpr):  # fmt: skip
    """Logits of a block of tokens and vocabulary, rounded to the head's dtype; −inf beyond the vocabulary."""
    total = tl.zeros((BLOCK_T, BLOCK_V), tl.float32)
    for first in range(0, width, BLOCK_W):
        inner = first + tl.arange(0, BLOCK_W)
        left = tl.load(
            hidden + rows.to(tl.int64)[:, None] * width + inner[None, :],
            mask=(rows < tokens)[:, None] & (inner < width)[None, :],
            other=0.0,
        )
        right = tl.load(
            weight + columns.to(tl.int64)[None, :] * width + inner[:, None],
            mask=(columns < vocabulary)[None, :] & (inner < width)[:, None],
            other=0.0,
        )
        if WIDEN:
            left, right = left.to(tl.float32), right.to(tl.float32)
        total = tl.dot(left, right, total, input_precision="ieee")
    if BIAS:
        total += tl.load(bias + columns, mask=columns < vocabulary, other=0.0).to(tl.float32)[None, :]
    dtype = weight.dtype.element_ty
    total = _rounded(_rounded(total, dtype) * scale, dtype)
    return tl.where((columns < vocabulary)[None, :], total, -float("inf"))


@triton.jit
def _add(maximum, weight, weighted_logit, weighted_gap, logits, gap):
    """`RunningSums.add` for one block; logits and gap float64 (tokens, vocab)."""
    new = tl.maximum(maximum, tl.max(logits, 1))
    weights = tl.exp(logits - new[:, None])
    fade = tl.exp(maximum - new)
    weight = weight * fade + tl.sum(weights, 1)
    weighted_logit = weighted_logit * fade + tl.sum(weights * logits, 1)
    weighted_gap = weighted_gap * fade + tl.sum(weights * gap, 1)
    return new, weight, weighted_logit, weighted_gap


@triton.jit
def _lead(leaders, keys):
    """The leaders after a block's keys: the least one gives way as long as a row of the block has a greater key."""
    best, least = tl.max(keys, 1), tl.min(leaders, 1)
    while tl.max((best > least).to(tl.int32), 0) > 0:
        replaced = (leaders == least[:, None]) & (best > least)[:, None]
        leaders = tl.where(replaced, best[:, None], leaders)
        keys = tl.where(keys == best[:, None], _LOWEST, keys)
        best, least = tl.max(keys, 1), tl.min(leaders, 1)
    return leaders


@triton.jit
def _store(sums, keys, side, share, rows, tokens, maximum, weight, weighted_logit, weighted_gap, target, leaders):
    at = sums + (side * 5 * tl.num_programs(1) + share) * tokens + rows
    step = tl.num_programs(1) * tokens
    tl.store(at, maximum, mask=rows < tokens)
    tl.store(at + step, weight, mask=rows < tokens)
    tl.store(at + 2 * step, weighted_logit, mask=rows < tokens)
    tl.store(at + 3 * step, weighted_gap, mask=rows < tokens)
    tl.store(at + 4 * step, target, mask=rows < tokens)
    row = (side * tl.num_programs(1) + share) * tokens + rows
    tl.store(keys + row[:, None] * _SLOTS + tl.arange(0, _SLOTS)[None, :], leaders, mask=(rows < tokens)[:, None])


@triton.jit
def _walk(hidden_r, weight_r, bias_r, scale_r, width_r, hidden_q, weight_q, bias_q, scale_q, width_q,
          targets, sums, keys, tokens, vocabulary, per_share,
          REFERENCE_BIAS: tl.constexpr, QUANT_BIAS: tl.constexpr, WIDEN: tl.constexpr,
          BLOCK_T: tl.constexpr, BLOCK_V: tl.constexpr, BLOCK_W: tl.constexpr):  # fmt: skip
    """Sums of both sides over one share of the vocabulary; the names of the quant's end in q."""
    rows = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    share = tl.program_id(1)
    target = tl.load(targets + rows, mask=rows < tokens, other=-1)
    zero = tl.zeros((BLOCK_T,), tl.float64)
    slot = tl.arange(0, _SLOTS).to(tl.int64)
    lead_r = tl.zeros((BLOCK_T, 1), tl.int64) + tl.where(slot < _LEADERS, _LOWEST + slot, _HIGHEST)[None, :]
    lead_q = lead_r
    max_r, weight_sum_r, logit_sum_r, gap_sum_r, target_r = zero + _MASKED, zero, zero, zero, zero
    max_q, weight_sum_q, logit_sum_q, gap_sum_q, target_q = zero + _MASKED, zero, zero, zero, zero
    for start in range(share * per_share, tl.minimum((share + 1) * per_share, vocabulary), BLOCK_V):
        columns = start + tl.arange(0, BLOCK_V)
        logits_r = _logits(hidden_r, weight_r, bias_r, scale_r, width_r, rows, columns, tokens, vocabulary,
                           REFERENCE_BIAS, WIDEN, BLOCK_T, BLOCK_V, BLOCK_W)  # fmt: skip
        logits_q = _logits(hidden_q, weight_q, bias_q, scale_q, width_q, rows, columns, tokens, vocabulary,
                           QUANT_BIAS, WIDEN, BLOCK_T, BLOCK_V, BLOCK_W)  # fmt: skip
        lead_r = _lead(lead_r, _packed(logits_r, columns))
        lead_q = _lead(lead_q, _packed(logits_q, columns))
        hit = columns[None, :] == target[:, None]
        target_r += tl.sum(tl.where(hit, logits_r, 0.0), 1)
        target_q += tl.sum(tl.where(hit, logits_q, 0.0), 1)
        masked = (logits_r == -float("inf")) & (logits_q == -float("inf"))
        own = tl.where(masked, _MASKED, logits_r.to(tl.float64))
        other = tl.where(masked, _MASKED, logits_q.to(tl.float64))
        gap = own - other
        max_r, weight_sum_r, logit_sum_r, gap_sum_r = _add(max_r, weight_sum_r, logit_sum_r, gap_sum_r, own, gap)
        max_q, weight_sum_q, logit_sum_q, gap_sum_q = _add(max_q, weight_sum_q, logit_sum_q, gap_sum_q, other, -gap)
    _store(sums, keys, 0, share, rows, tokens, max_r, weight_sum_r, logit_sum_r, gap_sum_r, target_r, lead_r)
    _store(sums, keys, 1, share, rows, tokens, max_q, weight_sum_q, logit_sum_q, gap_sum_q, target_q, lead_q)
