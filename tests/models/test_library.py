"""transformers without HQQ's import, and HQQ afterwards; in a process of its own, since imports last."""

from __future__ import annotations

import subprocess
import sys

LATER = """
import sys
from qkld.models.library import transformers_library
transformers = transformers_library()
transformers.DynamicCache, transformers.AutoModelForCausalLM
assert not [name for name in sys.modules if name.split(".")[0] == "hqq"]
from transformers.utils import is_hqq_available
assert is_hqq_available()
from hqq.core.quantize import HQQLinear
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING
assert "hqq" in AUTO_QUANTIZER_MAPPING
assert transformers_library() is transformers
"""

EARLIER = """
from hqq.core.quantize import HQQLinear
from qkld.models.library import transformers_library
import hqq
assert transformers_library().utils.is_hqq_available()
assert hqq.core.quantize.HQQLinear is HQQLinear
"""


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_models_come_without_hqq_which_is_there_when_it_is_asked_for():
    run(LATER)


def test_hqq_that_is_loaded_already_stays():
    run(EARLIER)
