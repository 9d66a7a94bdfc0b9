"""Items without a table: their own shares of right answers are the scores, their own mean KLD the fidelity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from qkld.analysis.importing.imported_items import item_divergence
from qkld.analysis.own_table.answers_by_item import Loaded
from qkld.analysis.own_table.checked_table import OwnTable
from qkld.analysis.own_table.labels import looks_like_reference, with_roles
from qkld.errors import TableError
from qkld.statistics.core.checks import composite_score, score_column

MEAN_KLD = "mean KLD of the items"
"""The fidelity column that items with a KLD give."""

EXACT = 1e-9
"""What shares of right answers are rounded to."""


def table_of_items(loaded: Loaded, scores: Sequence[str] | None, *, reference: str | None) -> OwnTable:
    """A table with a row a model of the items; ``scores`` are the benchmarks that are analysed, else all of them.

    Raises
    ------
    TableError
        If a named benchmark has no items, there is no such reference, or there is no quant.
    """
    items, path = loaded.items, loaded.path
    present = sorted(items["benchmark"].unique())
    wanted = list(dict.fromkeys(scores)) if scores else present
    if not set(wanted) <= set(present):
        lacking = [s for s in wanted if s not in present]
        raise TableError(
            f"{path} has no items of some scores.",
            expected=wanted,
            found=f"none of {lacking}; benchmarks {present[:8]}",
            do="name benchmarks that have items, or combine subtasks with --group",
        )
    labels = pd.Series(sorted(items["model"].unique()))
    cohort = with_roles(labels, None, reference)
    if not (cohort["role"] == "quant").any():
        raise TableError(
            f"{path} has no items of a quant.",
            expected="items of at least one model besides the reference",
            found=list(labels),
            do="add the items of the quants",
        )
    return _own(items[items["benchmark"].isin(wanted)], cohort, wanted, loaded.item_kld)


def _own(items: pd.DataFrame, cohort: pd.DataFrame, scores: Sequence[str], item_kld: str | None) -> OwnTable:
    shares = items.astype({"correct": float}).groupby(["model", "benchmark"])["correct"].mean().unstack()
    columns = {score_column(s): cohort["label"].map(shares[s]) for s in scores}
    fidelity = _mean_kld(items, cohort, item_kld)
    known = {} if fidelity is None else {MEAN_KLD: fidelity}
    cohort = cohort.assign(**columns, **known)
    cohort = cohort.assign(composite=composite_score(cohort[list(columns)]))
    name = None if fidelity is None else MEAN_KLD
    near = looks_like_reference(cohort, name)
    of_metric = f"'{MEAN_KLD}' in nats is the fidelity" if name else "the items have no KLD, and no table was given"
    return OwnTable(
        cohort=cohort,
        fidelity=name,
        scores=tuple(scores),
        unit="fraction",
        falling=False,
        rounding=EXACT,
        members=pd.Series(False, index=cohort.index),
        read=("scores are the shares of right answers among the items", of_metric),
        notes=(f"'{near}' looks like the reference: if it is, say --reference '{near}'",) if near else (),
    )


def _mean_kld(items: pd.DataFrame, cohort: pd.DataFrame, named: str | None) -> pd.Series | None:
    """Each model's mean KLD over its items; None where some quant has none, or all have the same."""
    column = item_divergence(items, named)
    if column is None:
        return None
    means = cohort["label"].map(items.groupby("model")[column].mean())
    quants = means[cohort["role"] == "quant"]
    if quants.isna().any() or len(quants) < 2 or np.ptp(quants) == 0:
        return None
    return means
