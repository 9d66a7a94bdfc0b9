"""Attention in blocks of rows against its definition in float64, and where models take it."""

from __future__ import annotations

import itertools

import pytest
import torch
import transformers
from tiny_models import make_module, save, stored

from qkld.models import attention, open_model
from qkld.models.attention import NAME, ROWS, attend_in_blocks, blockwise_attention, torchs_attention
from validation import small_configurations

CPU = torch.device("cpu")
ROUNDING = {torch.float32: 2e-6, torch.bfloat16: 2**-7}
"""Largest share of the largest value that the error of a mean of values may be."""


def drawn(rows, *, batch=1, heads=6, key_heads=2, width=16, value_width=16, dtype=torch.float32, seed=0):
    """Query, key and value of one layer, scores of a few units."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (heads, width), (key_heads, width), (key_heads, value_width)
    return [(2 * torch.randn(batch, h, rows, w, generator=generator)).to(dtype) for h, w in shapes]


def by_definition(query, key, value, seen, scale):
    """Softmax of the scaled products over the keys seen, in float64."""
    served = query.shape[1] // key.shape[1]
    keys, values = (x.double().repeat_interleave(served, dim=1) for x in (key, value))
    scores = scale * query.double() @ keys.transpose(-1, -2)
    return torch.softmax(scores.masked_fill(~seen, -torch.inf), dim=-1) @ values


def causal(rows):
    return torch.ones(rows, rows, dtype=torch.bool).tril()


def texts(rows, length):
    """The mask of texts of one length in one row of a batch, each seen by itself alone."""
    text = torch.arange(rows) // length
    return ((text[:, None] == text) & causal(rows))[None, None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 5, ROWS - 1, ROWS, ROWS + 1, 3 * ROWS + 7])
def test_without_a_mask_each_row_sees_itself_and_what_stands_before_it(rows, dtype):
    given = drawn(rows, batch=2, dtype=dtype)
    found = blockwise_attention(*given)
    wanted = by_definition(*given, causal(rows), 16**-0.5)
    assert found.dtype == dtype
    assert (found - wanted).abs().max() <= ROUNDING[dtype] * given[2].abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("rows", "length"), [(7, 3), (150, 40), (2 * ROWS, ROWS), (200, 200), (300, 11)])
def test_a_mask_is_followed(rows, length, dtype):
    given, seen = drawn(rows, dtype=dtype), texts(rows, length)
    wanted = by_definition(*given, seen, 16**-0.5)
    assert (blockwise_attention(*given, seen=seen) - wanted).abs().max() <= ROUNDING[dtype] * given[2].abs().max()


def test_masks_may_differ_within_a_batch_and_look_ahead():
    given = drawn(130, batch=3)
    seen = torch.rand(3, 1, 130, 130, generator=torch.Generator().manual_seed(1)) < 0.1
    seen |= torch.eye(130, dtype=torch.bool)
    torch.testing.assert_close(
        blockwise_attention(*given, seen=seen).double(), by_definition(*given, seen, 0.25), rtol=1e-5, atol=1e-5
    )


def test_heads_values_and_scale_may_be_of_any_kind():
    for heads, key_heads, value_width, scale in itertools.product([4, 12], [1, 4], [8, 32], [None, 0.1]):
        given = drawn(70, heads=heads, key_heads=key_heads, value_width=value_width)
        found = blockwise_attention(*given, scale=scale)
        assert found.shape == (1, heads, 70, value_width)
        wanted = by_definition(*given, causal(70), 0.25 if scale is None else scale)
        torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)


def test_a_row_that_sees_nothing_gets_numbers_and_leaves_the_others_alone():
    given, seen = drawn(2 * ROWS), texts(2 * ROWS, 50)
    cut = seen.clone()
    cut[..., :3, :] = cut[..., ROWS:, :] = False
    found, whole = (blockwise_attention(*given, seen=mask) for mask in (cut, seen))
    assert found.isfinite().all()
    assert torch.equal(found[:, :, 3:ROWS], whole[:, :, 3:ROWS])


def test_what_is_handed_in_stays_as_it_was():
    given = drawn(80)
    copies = [x.clone() for x in given]
    blockwise_attention(*given)
    assert all(torch.equal(x, copy) for x, copy in zip(given, copies, strict=True))


@pytest.fixture(params=["Llama", "Mistral", "Qwen3", "Gemma3"])
def opened(request, tmp_path, compute):
    """A random model of an architecture as it is opened."""
    more = {
        "Mistral": {"sliding_window": 24},
        "Gemma3": {"sliding_window": 24, "layer_types": ["sliding_attention", "full_attention"]},
    }.get(request.param, {})
    kind = "Gemma3Text" if request.param == "Gemma3" else request.param
    entry = stored(save(tmp_path, make_module(kind, **more)))
    return open_model(entry, reference=entry, compute=compute)


def test_models_give_what_they_give_with_torchs_attention(opened):
    assert opened.module.config._attn_implementation == NAME
    ids = torch.randint(2, 300, (2, 100), generator=torch.Generator().manual_seed(3))
    kept = torch.ones_like(ids)
    kept[1, :30] = 0
    for mask in (None, kept):
        found = opened.hidden(ids, attention_mask=mask)
        with torchs_attention(opened.module):
            wanted = opened.hidden(ids, attention_mask=mask)
        rows = slice(None) if mask is None else slice(30, None)
        assert not torch.equal(found, wanted), "both were computed by the same kernel"
        torch.testing.assert_close(found[:, rows], wanted[:, rows], rtol=1e-4, atol=1e-5)
    assert opened.module.config._attn_implementation == NAME


@pytest.mark.parametrize("model_type", ["deepseek_v32", "glm_moe_dsa", "dots3_note_text"])
def test_models_that_select_keys_for_torchs_attention_alone_keep_it(model_type):
    configuration = small_configurations.small_configuration(model_type)
    module = transformers.AutoModelForCausalLM.from_config(configuration).eval()
    ids = torch.randint(2, 300, (1, 60), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        wanted = module(ids).logits
        attend_in_blocks(module, CPU, torch.float32)
        torch.testing.assert_close(module(ids).logits, wanted)
    assert module.config._attn_implementation == "sdpa"


def test_rows_come_before_heads_in_memory_as_classes_that_take_a_view_need():
    for key_heads in (1, 2, 6):
        found = blockwise_attention(*drawn(70, batch=2, key_heads=key_heads)).transpose(1, 2)
        assert found.is_contiguous()


def test_answers_are_written_token_by_token_as_with_torchs_attention(opened):
    ids = torch.randint(2, 300, (1, 40), generator=torch.Generator().manual_seed(4))
    own = opened.module.generate(ids, do_sample=False, max_new_tokens=8)
    with torchs_attention(opened.module):
        assert torch.equal(own, opened.module.generate(ids, do_sample=False, max_new_tokens=8))


def test_what_it_does_not_take_goes_to_torchs_attention(monkeypatch):
    asked = []
    monkeypatch.setattr(attention, "blockwise_attention", lambda *given, **more: asked.append(more) or given[0])
    query, key, value = drawn(6)
    module = torch.nn.Module()
    module.num_key_value_groups = 3
    additive = torch.zeros(1, 1, 6, 6).masked_fill(~causal(6), -torch.inf)
    by_head = causal(6).expand(1, 6, 6, 6)
    wanted = by_definition(query, key, value, causal(6), 0.25).transpose(1, 2)
    for mask in (additive, by_head):
        found, _ = attention._attention(module, query, key, value, mask)
        torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
    last, _ = attention._attention(module, query[:, :, -1:], key, value, None)
    torch.testing.assert_close(last.double(), wanted[:, -1:], rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="softcap"):
        attention._attention(module, query, key, value, None, softcap=30.0)
    assert not asked
    attention._attention(module, query, key, value, None)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("dtype", "capabilities", "taken"),
    [
        (torch.float32, {}, True),
        (torch.bfloat16, {}, False),
        (torch.bfloat16, {"avx512_bf16": True}, True),
        (torch.bfloat16, {"avx512_bf16": True, "amx_bf16": True}, False),
        (torch.float16, {"avx512_bf16": True}, False),
    ],
)
def test_it_is_taken_where_it_is_faster(dtype, capabilities, taken, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    module = make_module()
    attend_in_blocks(module, CPU, dtype)
    assert (module.config._attn_implementation == NAME) is taken


def test_a_gpu_and_another_attention_that_was_chosen_are_left_alone():
    module = make_module()
    attend_in_blocks(module, torch.device("cuda"), torch.float32)
    assert module.config._attn_implementation == "sdpa"
    module.set_attn_implementation("eager")
    attend_in_blocks(module, CPU, torch.float32)
    assert module.config._attn_implementation == "eager"
