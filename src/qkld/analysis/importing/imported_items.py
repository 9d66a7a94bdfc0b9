"""The table that every importer gives: a row a model, benchmark and item."""

from __future__ import annotations

import pandas as pd

from qkld.errors import TableError
from qkld.study.schemas import ITEMS, Column, Schema

COLUMNS = ("model", "benchmark", "item", "correct")
"""What every row has."""

DIVERGENCES = ("kl_choice_mean", "kl_answer", "kl_choice_right", "kl_prompt", "kl", "kld")
"""Columns of an item's KLD in nats; see `item_divergence`."""

FROM_STUDIES = (
    *("prompt_tokens", "entropy_prompt", "nll_prompt", "entropy_reference", "nll_reference"),
    *("choice_entropy", "logp_right", "logp_reference_answer", "kl_options"),
)
"""Numbers of a study's own item tables that baselines, the router and metrics with direction read."""

IMPORTED = Schema(
    "imported items",
    {
        "model": Column("str", "label of the model"),
        "benchmark": Column("str", "name of the benchmark, or of a part of it that is scored apart"),
        "item": Column("str", "name of the item; ``name#2`` is its third sample where a model answered several times"),
        "correct": Column("int8", "1 where the model's answer is right, else 0"),
        "request": Column("str", "hash of what was asked, where the file tells it", optional=True),
        "metric": Column("str", "what `correct` was taken from: acc, acc_norm, exact_match, …", optional=True),
        "metrics": Column("str", "all metrics that the file has of the item", optional=True),
        "cluster": Column("str", "the item that samples belong to; intervals are clustered by it", optional=True),
        "answer": Column("str", "what the model answered: text, or its choice counted from 0", True, True),
        "margin": Column(
            "float64", "log-probability of the right choice minus the best wrong one, nats", True, optional=True
        ),
        "probability_right": Column(
            "float64", "probability of the right choice among the choices; of a written answer 1 or 0", True, True
        ),
        "probability_by_token": Column(
            "float64", "the same by mean log-probabilities of a token, which is flatter: it is no score", True, True
        ),
        "choice_scores": Column("object", ITEMS.columns["choice_scores"].meaning, True, True),
        "tokens": Column("float64", "tokens of the answer", True, optional=True),
        "truncated": Column("bool", "the answer was cut off at its greatest length", optional=True),
        **{name: Column("float64", "KL(reference ‖ model) of the item, nats", True, True) for name in DIVERGENCES},
        **{name: Column("float64", ITEMS.columns[name].meaning, True, True) for name in FROM_STUDIES},
        "base": Column("str", ITEMS.columns["base"].meaning, optional=True),
    },
    key=("model", "benchmark", "item"),
)
"""What ``qkld import`` writes and ``qkld analyse --items`` reads; a column that no file fills is left out."""

OPTIONAL = tuple(name for name in IMPORTED.columns if name not in COLUMNS)


def item_divergence(items: pd.DataFrame, named: str | None = None) -> str | None:
    """The column of the items' KLD: the one that is named, else of `DIVERGENCES` the first that has most values.

    None where no column has any.

    Raises
    ------
    TableError
        If the named one is not there, or has no value.
    """
    values = {name: int(items[name].notna().sum()) for name in DIVERGENCES if name in items}
    there = [name for name, count in values.items() if count]
    if named is None:
        return max(there, key=values.__getitem__, default=None)
    if named not in there:
        raise TableError(
            f"The items have no KLD '{named}'.",
            expected=f"a column {named} with values",
            found=", ".join(there) or "no column of an item's KLD",
            do="name one of these with --item-kld" if there else "leave --item-kld out",
        )
    return named
