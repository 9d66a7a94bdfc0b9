"""transformers without what it imports beforehand, and that afterwards; in processes of their own: imports last."""

from __future__ import annotations

import subprocess
import sys

import pytest

LEFT = """
import sys
from qkld.models.library import transformers_library
transformers = transformers_library()
from transformers.models.llama.modeling_llama import LlamaForCausalLM
import torch
with torch.device("meta"):
    module = LlamaForCausalLM(transformers.LlamaConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=8))
module(torch.ones(1, 3, dtype=torch.long, device="meta"))
left = {"hqq", "torchao", "scipy.optimize", "torch._inductor", "torch.distributed.tensor"}
found = {name for name in sys.modules if name in left or name.split(".")[0] in left}
assert not found, found
assert transformers_library() is transformers
"""

COMPILED = """
import torch
import transformers.integrations.deepgemm as deepgemm
compiled = torch.compile(lambda x: torch.sin(x) + 1, backend="eager", fullgraph=True)
assert torch.equal(compiled(torch.ones(3)), torch.sin(torch.ones(3)) + 1)
import sys
import torch._dynamo.utils
assert sys.modules["torch._dynamo"] is torch._dynamo and torch._dynamo.utils.counters is not None
assert torch.arange(3, device="meta").add(1).shape == (3,)  # of the functions that torch marks
try:
    deepgemm.is_sm100()
except Exception as error:  # there may be no GPU; what is called is the function itself
    assert "marked" not in str(error)
@torch._dynamo.disable
def plain(x):
    assert not torch.compiler.is_compiling()
    return x
assert torch.compile(plain, backend="eager")(torch.ones(1)) == 1
"""

NAMED = """
import numpy, torch
from transformers.loss import loss_for_object_detection, loss_rt_detr
rows, columns = loss_rt_detr.linear_sum_assignment(numpy.array([[4, 1], [2, 9]]))
assert columns.tolist() == [1, 0]
from transformers.quantizers import quantizer_torchao
import torchao.prototype.safetensors.safetensors_support as real
assert quantizer_torchao.flatten_tensor_state_dict({})== real.flatten_tensor_state_dict({})
from transformers import cache_utils
assert cache_utils.HQQQuantizer.quantize == __import__("hqq.core.quantize", fromlist=["Quantizer"]).Quantizer.quantize
from transformers import masking_utils
from torch._dynamo._trace_wrapped_higher_order_op import TransformGetItemToIndex
assert isinstance(masking_utils.TransformGetItemToIndex(), TransformGetItemToIndex)
from transformers.utils import is_hqq_available, is_scipy_available, is_torchao_available
assert is_hqq_available() and is_scipy_available() and is_torchao_available()
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING
assert {"hqq", "torchao", "compressed-tensors", "bitsandbytes_4bit"} <= set(AUTO_QUANTIZER_MAPPING)
"""

EARLIER = """
import torch._dynamo, sys
from hqq.core.quantize import HQQLinear, Quantizer
compiler = torch._dynamo
from qkld.models.library import transformers_library
transformers_library()
import hqq, transformers.cache_utils
assert hqq.core.quantize.HQQLinear is HQQLinear and transformers.cache_utils.HQQQuantizer is Quantizer
assert sys.modules["torch._dynamo"] is compiler is torch._dynamo
"""


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_plain_model_is_built_and_run_without_what_it_does_not_use():
    run(LEFT)


@pytest.mark.parametrize("used", [COMPILED, NAMED])
def test_what_was_left_for_later_is_there_when_it_is_used(used):
    run(LEFT + used)


def test_what_is_loaded_already_stays():
    run(EARLIER)
