"""Row 1: what measuring a quant costs beyond running it, by compute dtype and head dtype."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from qkld.models import open_model
from qkld.models.attention import torchs_attention
from qkld.reference.store import ReferenceStore
from qkld.study.large_tables import SpooledTable
from validation.bench.figures import Figure
from validation.bench.machine import Machine, seconds_of
from validation.bench.stage import CONTEXT, QUANT, bare_pass, bench_study, measured, prose, recorded

TARGET = 1.25

LIMIT = (
    "the faster of the two bare passes, one more head product, two exponentials a logit, and each window's hidden "
    "states and both heads read once from memory, over the bare pass as transformers runs it"
)


@dataclass(frozen=True)
class Variant:
    """Dtypes, windows recorded and timed, repeats of bare pass and measuring in turn, and tokens of a window."""

    compute_dtype: str
    head_dtype: str = "compute_dtype"
    windows: int = 8
    timed_windows: int = 8
    repeats: int = 2
    context: int = CONTEXT

    @property
    def name(self) -> str:
        """For people."""
        return self.compute_dtype + (", head in float32" if self.head_dtype == "float32" else "")


def variants_for(machine: Machine) -> tuple[Variant, ...]:
    """What is timed: bfloat16 on as many windows as float32 where the processor multiplies it, on fewer elsewhere."""
    if machine.has_native_bf16:
        return Variant("float32"), Variant("bfloat16", repeats=5), Variant("bfloat16", "float32")
    emulated = Variant("bfloat16", windows=4, timed_windows=2)
    return Variant("float32"), emulated, replace(emulated, head_dtype="float32", windows=2, repeats=1)


@dataclass(frozen=True)
class Timing:
    """One variant's times in seconds, its mean KLD by window, and the store it was measured against.

    The bare pass is the model as transformers runs it; ``same_attention_seconds`` is one with the attention that the
    measuring takes, see `qkld.models.attention`.
    """

    variant: Variant
    bare_seconds: float
    same_attention_seconds: float
    measured_seconds: float
    kl_by_window: tuple[float, ...]
    store: ReferenceStore

    @property
    def scored(self) -> int:
        """Scored positions of the timed windows."""
        return sum(len(w.positions) for w in self.store.header.windows[: self.variant.timed_windows])


def time_variant(variant: Variant, folder: Path) -> Timing:
    """Record the reference, then time the bare passes and the measuring of one quant in turn; the best of each."""
    study = bench_study(variant.compute_dtype, variant.head_dtype)
    reference = open_model(study.reference, reference=study.reference, compute=study.compute)
    store, scored = recorded(study, prose(study, variant.windows, variant.context), reference, folder / "reference")
    del reference
    quant = open_model(study.entry(QUANT), reference=study.reference, compute=study.compute)
    windows = store.header.windows[: variant.timed_windows]
    tables: list[SpooledTable] = []

    def bare_once() -> None:
        with torchs_attention(quant.module):
            bare_pass(quant, windows)

    def measure_once() -> None:
        tables.append(measured(study, quant, (store, scored), folder, windows=variant.timed_windows))

    timed = (bare_once, lambda: bare_pass(quant, windows), measure_once)
    bare_pass(quant, windows[:1])
    rounds = [[seconds_of(work) for work in timed] for _ in range(variant.repeats)]
    bare, same_attention, whole = (min(times) for times in zip(*rounds, strict=True))
    kl = tables[-1]["kl"].groupby(tables[-1]["window"]).mean()
    return Timing(variant, bare, same_attention, whole, tuple(kl), store)


def limit(timing: Timing, machine: Machine) -> float:
    """See `LIMIT`."""
    head = timing.store.head
    rows, dtype = timing.scored, head.weight.dtype
    per_window = 2 * head.weight.numel() * head.weight.element_size()
    moved = timing.variant.timed_windows * per_window + rows * head.width * timing.store.header.dtype.itemsize
    more = (
        machine.product_seconds(rows, head.width, head.vocabulary, dtype)
        + machine.exp_seconds(2.0 * rows * head.vocabulary)
        + machine.copy_seconds(moved)
    )
    fastest = min(timing.bare_seconds, timing.same_attention_seconds)
    return (fastest + more) / timing.bare_seconds


def ratio_figure(timing: Timing, machine: Machine) -> Figure:
    """Measured time over bare time. Only bfloat16 on a processor that multiplies it has a target."""
    variant = timing.variant
    is_asked_for = variant.compute_dtype == "bfloat16" and variant.head_dtype == "compute_dtype"
    emulated = variant.compute_dtype == "bfloat16" and not machine.has_native_bf16
    return Figure(
        row=1,
        what=f"{variant.name}: {variant.timed_windows} windows of {variant.context} tokens, "
        f"{timing.measured_seconds:.1f} s over {timing.bare_seconds:.1f} s "
        f"({timing.same_attention_seconds:.1f} s with qkld's attention)",
        value=timing.measured_seconds / timing.bare_seconds,
        limit=limit(timing, machine),
        limit_formula=LIMIT,
        target=TARGET if is_asked_for else None,
        note="bfloat16 is emulated on this processor, which slows the model more than the measuring; the target is for "
        "AVX512-BF16 and is not judged here."
        if emulated
        else "",
        applies=machine.has_native_bf16,
    )


def change_figures(timings: list[Timing]) -> list[Figure]:
    """Mean KLD of the quant in each variant, on the windows that all have timed, with its change from float32."""
    common = min(len(t.kl_by_window) for t in timings)
    means = [sum(t.kl_by_window[:common]) / common for t in timings]
    figures = []
    for timing, mean in zip(timings, means, strict=True):
        change = f", {100 * (mean / means[0] - 1):+.1f} % from {timings[0].variant.name}"
        if timing is timings[0]:
            change = ""
        what = f"mean KLD of {QUANT} in {timing.variant.name}, {common} windows{change}"
        figures.append(Figure(1, what, 1e3 * mean, "mnat"))
    return figures


def measuring_row(
    machine: Machine, folder: Path, variants: tuple[Variant, ...] | None = None
) -> tuple[list[Figure], list[Timing]]:
    """The figures of row 1, and the timings, whose stores row 4 looks at; `variants_for` the machine by default."""
    chosen = variants or variants_for(machine)
    timings = [time_variant(v, folder / f"measuring-{i}") for i, v in enumerate(chosen)]
    return [*(ratio_figure(t, machine) for t in timings), *change_figures(timings)], timings
