"""transformers without what it imports beforehand, and that afterwards; in processes of their own: imports last."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.long

LEFT = """
import sys
from qkld.models.transformers_library import transformers_library
transformers = transformers_library()
from transformers.models.llama.modeling_llama import LlamaForCausalLM
import torch
with torch.device("meta"):
    module = LlamaForCausalLM(transformers.LlamaConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=8))
module(torch.ones(1, 3, dtype=torch.long, device="meta"))
left = {"accelerate", "hqq", "torchao", "scipy.optimize", "sympy.core", "torch._dynamo.utils", "torch._inductor"}
found = {name for name in sys.modules if name in left | {"torch.distributed.tensor"} or name.split(".")[0] in left}
assert not found, found
assert transformers_library() is transformers
"""

COMPILED = """
import os, pytest, torch
import transformers.integrations.deepgemm as deepgemm
@torch._dynamo.disable
def plain(x):
    assert not torch.compiler.is_compiling()
    return x
@torch._dynamo.allow_in_graph
def opaque(x):
    return x + len(open(os.devnull).read())
plain(opaque(torch.ones(1)))
assert not left & set(sys.modules)  # marked and called, and no compiler yet
compiled = torch.compile(lambda x: torch.sin(x) + 1, backend="eager", fullgraph=True)
assert torch.equal(compiled(torch.ones(3)), torch.sin(torch.ones(3)) + 1)
import torch._dynamo.utils
assert sys.modules["torch._dynamo"] is torch._dynamo and torch._dynamo.utils.counters is not None
assert torch.arange(3, device="meta").add(1).shape == (3,)  # of the functions that torch marks
def whole(function):
    return torch.compile(function, backend="eager", fullgraph=True)(torch.zeros(1))
asked = []
def capability(device=None):  # nothing that a compiler can look through
    asked.append(open(os.devnull).read())
    return 10, 0
torch.cuda.get_device_capability = capability
assert deepgemm.is_sm100() and asked == [""]
assert whole(lambda x: x + 1 if deepgemm.is_sm100() else x - 1) == 1 and asked == ["", ""]
assert whole(lambda x: opaque(x) + 1) == 1
assert torch.compile(lambda x: plain(x) + 1, backend="eager")(torch.ones(1)) == 2
with pytest.raises(torch._dynamo.exc.Unsupported, match="capability|open"):
    whole(lambda x: x + torch.cuda.get_device_capability()[0])
with pytest.raises(torch._dynamo.exc.Unsupported, match="disable"):
    whole(lambda x: plain(x) + 1)
"""

BY_ITS_MODULE = """
import torch._dynamo.utils as utils
from torch._dynamo import convert_frame
assert utils is sys.modules["torch._dynamo.utils"] is torch._dynamo.utils and convert_frame.counters is utils.counters
assert utils.__spec__.origin == utils.__file__ and utils.__spec__ is sys.modules["torch._dynamo.utils"].__spec__
"""

SYMBOLS = """
import importlib.util
assert importlib.util.find_spec("sympy").origin.endswith("__init__.py")
from torch.fx.experimental.symbolic_shapes import expect_true, guard_or_false, is_nested_int, sym_and, sym_eq, sym_or
asked = [expect_true(True), guard_or_false(False), is_nested_int(3), sym_and(True, False), sym_or(True, False)]
assert asked == [True, False, False, False, True] and sym_eq((2, 3), (2, 3)) is True and sym_eq((2, 3), (2,)) is False
assert "sympy.core" not in sys.modules
from torch.fx.experimental.symbolic_shapes import ShapeEnv
import sympy, torch.fx.experimental.symbolic_shapes as shapes
size = ShapeEnv().create_unbacked_symint()
assert guard_or_false(size > 3) is False and not is_nested_int(size) and isinstance(sym_eq(size, 3), torch.SymBool)
assert shapes is torch.fx.experimental.symbolic_shapes and isinstance(size.node.expr, sympy.Basic)
assert sympy.__version__ and sympy.expand((sympy.Symbol("x") + 1) ** 2).subs("x", 2) == 9
try:
    expect_true(3)
except AssertionError as error:
    assert "Expected bool" in str(error)
else:
    raise RuntimeError("a size is no truth")
"""

ALGEBRA_BY_ITS_MODULE = """
import sympy.core.numbers as numbers
import sympy
assert numbers is sympy.core.numbers and sympy.Integer is numbers.Integer
assert isinstance(numbers.Integer(3), sympy.Basic)
"""

RENAMED = """
import re
from transformers import conversion_mapping
def patterns(transforms):
    return [(type(one), one.source_patterns, one.target_patterns, one.compiled_sources) for one in transforms]
plain = conversion_mapping._build_checkpoint_conversion_mapping()
assert len(plain) > 100
for name, transforms in plain.items():
    ours = patterns(conversion_mapping.get_checkpoint_conversion_mapping(name))
    assert ours == patterns(transforms) and all(type(one[-1]) is re.Pattern for one in ours), name
"""

NAMED = """
import numpy, torch
from transformers.integrations import accelerate
accelerate.dispatch_model(module.to_empty(device="cpu"), {"": "cpu"})
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
from qkld.models.transformers_library import transformers_library
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


@pytest.mark.parametrize("used", [COMPILED, BY_ITS_MODULE, SYMBOLS, ALGEBRA_BY_ITS_MODULE, NAMED, RENAMED])
def test_what_was_left_for_later_is_there_when_it_is_used(used):
    run(LEFT + used)


def test_what_is_loaded_already_stays():
    run(EARLIER)
