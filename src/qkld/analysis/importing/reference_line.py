"""Whether runs are of one text and one reference: the reference's own perplexity, window by window, says it.

PPL(base) belongs to the base file alone, that is to the reference, the text, the windows and the context. A running
table has it as PPL(Q) and ln(PPL(Q)/PPL(base)), to the printed rounding; newer closing figures have it as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from qkld.analysis.importing.llama_logs import HALF, KLD_STEP, PPL_STEP, Run
from qkld.errors import TableError

CLOSING_STEP = 1e-6
"""Unit of the last printed decimal of closing figures; sums of other thread counts may differ in it."""

NAMED = 4
TELLING = ("name", "reference_file", "context", "windows", "data")
"""Facts by which a reader knows runs apart."""


def check_one_reference(runs: Mapping[str, Run]) -> None:
    """Refuse runs against several references, or on several texts.

    Raises
    ------
    TableError
        Naming the groups of runs, and what their logs say of them.
    """
    groups: list[list[str]] = []
    for label, run in runs.items():
        own = next((g for g in groups if all(_same(runs[other], run) for other in g)), None)
        if own is None:
            groups.append([label])
        else:
            own.append(label)
    if len(groups) > 1:
        raise TableError(
            "The logs are from different references or texts.",
            expected="the same perplexity of the reference, PPL(base), at every window",
            found="\n            ".join(_described(group, runs) for group in groups[:NAMED]),
            do="import each group separately",
        )


def _same(a: Run, b: Run) -> bool:
    """Whether nothing that both print of the reference differs."""
    closing = [run.figures["ppl_reference"].value for run in (a, b) if "ppl_reference" in run.figures]
    if len(closing) == 2 and (a.last_window or 0) == (b.last_window or 0):
        return abs(closing[0] - closing[1]) <= max(3 * CLOSING_STEP, 1e-6 * abs(closing[0]))
    curves = [{row.window: row for row in run.windows} for run in (a, b)]
    shared = sorted(curves[0].keys() & curves[1].keys())
    rows = [(curves[0][w], curves[1][w]) for w in shared]
    apart = [abs(_log_base(one) - _log_base(two)) for one, two in rows]
    allowed = [2 * HALF * (PPL_STEP / min(one.ppl, two.ppl) + KLD_STEP) for one, two in rows]
    return all(not difference > bound for difference, bound in zip(apart, allowed, strict=True))


def _log_base(row: object) -> float:
    """ln PPL(base) of a row of the running table; NaN where the row has none."""
    return float(np.log(row.ppl) - row.log_ppl_ratio)


def _described(group: Sequence[str], runs: Mapping[str, Run]) -> str:
    run = runs[group[0]]
    more = f" and {len(group) - NAMED} more" if len(group) > NAMED else ""
    facts = [f"{name.replace('_', ' ')} {run.facts[name]}" for name in TELLING if name in run.facts]
    return "; ".join([", ".join(group[:NAMED]) + more, _base(run), *facts])


def _base(run: Run) -> str:
    if "ppl_reference" in run.figures:
        return f"PPL(base) {run.figures['ppl_reference'].value:.6g}"
    row = run.windows[-1] if run.windows else None
    return "no PPL(base)" if row is None else f"PPL(base) {np.exp(_log_base(row)):.5g} after window {row.window}"
