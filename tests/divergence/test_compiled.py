"""The walk's machine code against torch's operations, and its exponential against the definition."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from given_logits import peaked
from numba.core import caching

from qkld.divergence import FullLogits
from qkld.divergence.compiled import CHUNK, CompiledSums, exponential
from qkld.divergence.walk import Blocks, running_sums

pytestmark = pytest.mark.long

SUMS = ("maximum", "weight", "weighted_logit", "weighted_gap", "target")


@pytest.fixture
def threads() -> Iterator[None]:
    """Puts torch's number of threads back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def given(tokens: int, vocabulary: int, dtype: torch.dtype) -> tuple[FullLogits, FullLogits, torch.Tensor]:
    """Logits with ties and with tokens that both models exclude: some at the start of a row, some a whole chunk."""
    reference, quant, targets = peaked(tokens, vocabulary, 0.7)
    for logits in (reference, quant):
        logits[::2, : vocabulary // 3] = -math.inf
        logits[:, vocabulary // 2 :] = logits[:, vocabulary // 2 :].round()
    return FullLogits(reference.to(dtype)), FullLogits(quant.to(dtype)), targets


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("tokens", "vocabulary", "tile"), [(1, 2, 1), (3, 401, 7), (5, 1271, 300), (7, 4 * CHUNK, CHUNK), (2, 5000, 5000)]
)
def test_sums_and_leaders_are_those_of_torch_s_operations(
    tokens: int, vocabulary: int, tile: int, dtype: torch.dtype
) -> None:
    sources = given(tokens, vocabulary, dtype)
    sides = zip(*(running_sums(*sources, tile=tile, adder=adder) for adder in (CompiledSums, Blocks)), strict=True)
    for found, expected in sides:
        for name in SUMS:
            torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-12, atol=1e-12)
        assert torch.equal(found.leaders.values, expected.leaders.values)
        seen = expected.leaders.values > -math.inf
        assert torch.equal(found.leaders.ids[seen], expected.leaders.ids[seen])


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("tokens", [0, 1, 2, 5, 9])
def test_threads_change_no_bit(tokens: int) -> None:
    sources = given(tokens, 700, torch.float32)
    torch.set_num_threads(1)
    alone = running_sums(*sources, tile=256, adder=CompiledSums)
    torch.set_num_threads(4)
    shared = running_sums(*sources, tile=256, adder=CompiledSums)
    for one, other in zip(alone, shared, strict=True):
        assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in SUMS)
        assert torch.equal(one.leaders.ids, other.leaders.ids)


def test_the_exponential_errs_by_a_rounding_of_its_argument(rng: np.random.Generator) -> None:
    arguments = [0.0, -1e-300, -1e-17, -700.0, *-rng.uniform(0.0, 40.0, 3000), *-rng.uniform(0.0, 708.0, 1000)]
    with localcontext(prec=40):
        for x in map(float, arguments):
            exact = Decimal(x).exp()
            assert abs(Decimal(exponential(x)) - exact) <= Decimal(2.3e-16 * (1 - x)) * exact


def test_the_exponential_of_what_is_no_number_or_of_what_is_nothing_beside_one() -> None:
    assert [exponential(x) for x in (0.0, -709.0, -1e300, -math.inf)] == [1.0, 0.0, 0.0, 0.0]
    assert math.isnan(exponential(math.nan))


def run(code: str, **variables: str) -> str:
    """What a process of its own prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", code],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-1000:]
    return done.stdout


CHOSEN = """
import sys, torch, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    {before}
    from qkld.divergence.walk import fastest_adder
    chosen = [fastest_adder(torch.device(d)).__name__ for d in ("cpu", "cuda", "cpu")]
print(*chosen, sum("numba cannot compile" in str(w.message) for w in caught))
"""


@pytest.mark.parametrize(
    ("before", "variables", "expected"),
    [
        ("", {}, "CompiledSums Blocks CompiledSums 0"),
        ("sys.modules['numba'] = None", {}, "Blocks Blocks Blocks 0"),  # as where it is not installed
        ("sys.modules['llvmlite'] = None", {}, "Blocks Blocks Blocks 1"),  # an installation that is broken
        ("", {"NUMBA_DISABLE_JIT": "1"}, "Blocks Blocks Blocks 1"),
    ],
)
def test_machine_code_is_for_cpus_where_numba_can_make_it(
    before: str, variables: dict[str, str], expected: str
) -> None:
    assert run(CHOSEN.format(before=before or "pass"), **variables).strip() == expected


def test_a_damaged_cache_leaves_the_walk_to_torch_with_a_warning(tmp_path: Path) -> None:
    code = CHOSEN.format(before="pass")
    assert run(code, NUMBA_CACHE_DIR=str(tmp_path)).startswith("CompiledSums")
    kept = [path for path in tmp_path.rglob("*") if path.suffix in (".nbi", ".nbc")]
    assert kept
    for path in kept:
        path.write_bytes(path.read_bytes()[:20])
    assert run(code, NUMBA_CACHE_DIR=str(tmp_path)).split() == ["Blocks", "Blocks", "Blocks", "1"]


def test_where_nothing_can_be_kept_it_is_compiled_for_the_process() -> None:
    code = (
        "from qkld.divergence import compiled\n"
        "assert compiled.exponential(-1.0) == 0.36787944117144233\n"
        "print(type(compiled.exponential._cache).__name__)\n"
    )
    places = {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator", "NUMBA_CACHE_DIR": ""}
    assert hasattr(caching, places["NUMBA_CACHE_LOCATOR_CLASSES"])
    assert run(code, **places) == "NullCache\n"


def test_both_models_tiles_are_taken_in_the_wider_dtype() -> None:
    reference, quant, targets = given(3, 300, torch.float64)
    narrow = FullLogits(quant.logits.float())
    found = running_sums(reference, narrow, targets, tile=100, adder=CompiledSums)
    expected = running_sums(reference, narrow, targets, tile=100, adder=Blocks)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.weighted_gap, other.weighted_gap, rtol=1e-12, atol=1e-12)
