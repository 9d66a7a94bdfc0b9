"""The Triton kernel in Triton's interpreter, which has to be chosen before Triton is imported: in its own process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from given_logits import peaked

from qkld.divergence import FullLogits, HeadLogits
from qkld.divergence.per_token import first_walk, kernel_fits
from qkld.divergence.quantities import quantities
from qkld.models.head import Head

pytestmark = [pytest.mark.kernel, pytest.mark.long]
CHECKS = Path(__file__).with_name("fused_checks.py")


def test_the_kernel_passes_its_checks_in_the_interpreter() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CHECKS)],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert re.search(r"^\d+ passed in ", done.stdout, re.MULTILINE), done.stdout[-500:]


@pytest.mark.parametrize(
    ("dtype", "capability", "product"), [("fp16", 80, "mma.sync"), ("bf16", 90, "wgmma"), ("fp32", 80, "fma.rn.f32")]
)
def test_the_kernel_compiles_for_gpus(
    dtype: str, capability: int, product: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from qkld.divergence import fused

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    types = {name: f"*{dtype}" for name in fused._walk.arg_names if name.startswith(("hidden_", "weight_", "bias_"))}
    types |= dict.fromkeys(("scale_r", "scale_q"), "fp32") | {"targets": "*i64", "sums": "*fp64", "keys": "*i64"}
    types |= dict.fromkeys(("width_r", "width_q", "tokens", "vocabulary", "per_share"), "i32")
    fixed = {"REFERENCE_BIAS": False, "QUANT_BIAS": True, "WIDEN": False}
    fixed |= {"BLOCK_T": fused.BLOCK_TOKENS, "BLOCK_V": fused.BLOCK_VOCABULARY, "BLOCK_W": fused.BLOCK_WIDTH}
    source = ASTSource(fused._walk, types | dict.fromkeys(fixed, "constexpr"), constexprs=fixed)
    made = triton.compile(source, GPUTarget("cuda", capability, 32), options={"num_warps": fused.WARPS})
    assert product in made.asm["ptx"]
    assert len(made.asm["cubin"]) > 0


def heads(tokens: int = 5, vocabulary: int = 80) -> tuple[HeadLogits, HeadLogits, torch.Tensor]:
    reference, quant, targets = peaked(tokens, vocabulary, 0.3)
    head = Head(torch.eye(vocabulary))
    return HeadLogits(reference, head), HeadLogits(quant, head), targets


def test_where_triton_can_not_run_torch_takes_over_with_a_warning() -> None:
    reference, quant, targets = heads()
    expected = quantities(*first_walk(reference, quant, targets, tile=64, kernel=False), targets)
    with pytest.warns(RuntimeWarning, match="Triton cannot run the walk here, so torch does"):
        sums = first_walk(reference, quant, targets, tile=64, kernel=True)
    assert torch.equal(quantities(*sums, targets).kl, expected.kl)


def test_the_kernel_is_not_chosen_without_cuda_or_for_full_logits() -> None:
    reference, quant, _ = heads()
    assert not kernel_fits(reference, quant)
    assert not kernel_fits(FullLogits(reference.hidden), quant)
