"""What the benchmarks report: figures beside their limits and targets, as JSON and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from qkld.study.text_table import TextTable
from validation.bench.machine import Machine

ROWS = {
    1: "Notebook 02's measuring of one quant over the bare forward pass with its head on the scored positions",
    2: "The same windows measured here over llama-perplexity --kl-divergence",
    3: "The walk over log_softmax on full logits, 512 × 151,936 × 896, from hidden states, float32",
    4: "Bytes of the reference a scored token, against llama.cpp's base file",
    5: "Time against tokens, and memory",
    6: "Everything that notebooks 04 to 06 compute from cohort and items: 41 quants × 20,000 items, 10,000 resamples",
    7: "From the start of a process to the first window or pack, over commit 6b8000d; processor time",
    8: "Notebook 03's scoring of one quant over the bare forward pass of the same packs and over lm-evaluation-harness",
}


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes
    ----------
    row : int
        A key of `ROWS`.
    what, unit : str
        What was measured, with its circumstances; a ratio has the unit ``×``.
    value : float or None
        None where it could not be measured; ``note`` then says why.
    limit : float or None
        What this machine, or the data, would allow at best.
    limit_formula : str
        What the limit counts.
    target : float or None
        What is asked for: at most this.
    note : str
        What has to be known to read it.
    applies : bool
        Whether the target is meant for a machine like this one.
    """

    row: int
    what: str
    value: float | None
    unit: str = "×"
    limit: float | None = None
    limit_formula: str = ""
    target: float | None = None
    note: str = ""
    applies: bool = True

    @property
    def gap(self) -> float | None:
        """How many times the limit the figure is."""
        return None if self.value is None or not self.limit else self.value / self.limit

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None where there is none, or it cannot be judged here."""
        if self.target is None or self.value is None or not self.applies:
            return None
        return bool(self.value <= self.target)

    @property
    def is_reachable(self) -> bool:
        """Whether the limit, where one is known, leaves room for the target."""
        return self.target is None or self.limit is None or self.limit <= self.target

    def as_json(self) -> dict[str, Any]:
        """Every field, with gap and verdict."""
        return {**asdict(self), "gap": self.gap, "is_met": self.is_met}


def figure_row(figure: Figure) -> tuple[str, ...]:
    """One line of the table: what, measured, limit, gap, target, verdict."""
    if figure.target is None:
        met = ""
    elif figure.is_met is None:
        met = "not measured" if figure.value is None else "not judged here"
    elif figure.is_met:
        met = "met"
    else:
        met = "**missed**" if figure.is_reachable else "**missed**, beyond the limit here"
    return (
        figure.what,
        with_unit(figure.value, figure.unit),
        with_unit(figure.limit, figure.unit),
        with_unit(figure.gap, "×"),
        "" if figure.target is None else f"≤ {with_unit(figure.target, figure.unit)}",
        met,
    )


def with_unit(value: float | None, unit: str) -> str:
    """A number for people; empty where there is none."""
    if value is None:
        return ""
    size = abs(value)
    short = ".3g" if size and (size < 0.01 or size >= 10) else ".2f"
    digits = f"{value:{',.0f' if size >= 100 else short}}"
    return f"{digits}{'' if unit in ('', '×') else ' '}{unit}"


def bench_tables(machine: Machine, figures: Sequence[Figure]) -> str:
    """The whole result as Markdown: the machine, then one table a row with its notes."""
    parts = [machine_text(machine)]
    for row, title in ROWS.items():
        own = [figure for figure in figures if figure.row == row]
        if own:
            columns = ("measured", "value", "limit", "gap", "target", "")
            rows = tuple(map(figure_row, own))
            parts.append(TextTable(f"{row}. {title}", _notes(own), columns, rows).markdown())
    return "\n\n".join(parts) + "\n"


def _notes(figures: Sequence[Figure]) -> str:
    formulas = dict.fromkeys(f"Limit: {f.limit_formula}." for f in figures if f.limit_formula)
    return " ".join([*formulas, *dict.fromkeys(f.note for f in figures if f.note)])


def machine_text(machine: Machine) -> str:
    """The machine and its measured rates in two sentences."""
    bf16 = "multiplies bfloat16" if machine.has_native_bf16 else "has no bfloat16 units and emulates it"
    return (
        f"On {machine.threads} of {machine.cores} cores of {machine.processor}, which {bf16}. Measured in the same "
        f"run: {machine.bytes_per_second / 1e9:.1f} GB/s of memory, {machine.float32_flop_per_second / 1e9:.0f} "
        f"GFLOP/s in float32 and {machine.bfloat16_flop_per_second / 1e9:.1f} in bfloat16 products, "
        f"{machine.exps_per_second / 1e9:.2f} billion float32 exponentials a second. The gap is value over limit."
    )
