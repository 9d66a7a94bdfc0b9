"""Quants against a base file of llama.cpp or a top-k store: bounds of KLD, because such a reference is not exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pandas as pd

from qkld.compare.compare_request import Request
from qkld.compare.live import live_model
from qkld.compare.session import compute_of, let_go
from qkld.compare.stores import BaseFile, TopKStore, compare_stores
from qkld.errors import ParameterError, StoreError
from qkld.models import OpenedModel, open_model
from qkld.statistics.tokens.clusters import ClusterBootstrap, Interval, few_clusters_note
from qkld.study.entries import ModelEntry
from qkld.study.params import Study
from qkld.study.provenance import made_by

BOUNDED = {
    "kl_low": "lower bound of mean KL(reference ‖ quant), nats per token",
    "kl_high": "upper bound of the same; infinite where none exists",
    "kl_floor": "Eq. 5 of arXiv:2606.19558 on both sides' top k, nats: a token missing from the quant's at the floor",
    "floored_share": "share of tokens at which one got the floor",
}
"""Metric → meaning."""

DEFAULT_K = 64
"""Top tokens of Eq. 5 where neither an option nor a top-k store says how many; the paper does not."""


@dataclass(frozen=True)
class BoundedComparison:
    """What was measured: facts for the record; metrics of `BOUNDED` a quant; pairs of neighbours, None for one quant.

    ``paired`` holds the ends of mean KLD of b − mean KLD of a, and an interval that allows for both the bounds and the
    sampling of clusters.
    """

    made: dict[str, Any]
    bounds: pd.DataFrame
    paired: pd.DataFrame | None


def compare_bounded(
    request: Request, reference: BaseFile | TopKStore, quants: Sequence[ModelEntry], study: Study | None
) -> BoundedComparison:
    """Bounds of every quant's KLD from a store that holds clamped, rounded or truncated distributions.

    Its own token windows are run. The quants' logits are exact, so an upper bound exists wherever the reference gives
    a finite one.

    Raises
    ------
    ParameterError
        If an option is given that needs exact logits of the reference.
    StoreError
        If a quant has another vocabulary than the store.
    CorpusError
        If a window is longer than a quant's context.
    """
    _check_options(request)
    compute = compute_of(request, device=request.device, dtype=request.dtype)
    tokens, facts = {}, {}
    for quant in quants:
        model = open_model(quant, reference=study.reference if study else quant, compute=compute)
        tokens[quant.label] = _tokens(request, reference, model)
        facts[quant.label] = model.facts() | {"given_as": quant.recipe}
        del model
        let_go()
    return BoundedComparison(
        made=made_by(**_record(request, reference, facts)),
        bounds=pd.concat([bounds_summary(t, label, request) for label, t in tokens.items()], ignore_index=True),
        paired=bounds_pairs(tokens, request) if len(tokens) > 1 else None,
    )


def _check_options(request: Request) -> None:
    for option, given in (
        ("--text", request.text),
        ("--context", request.context),
        ("--second-walk", request.second_walk),
        ("--breakdown", request.breakdown),
        ("--positions", request.positions),
        ("--figure", request.figure),
        ("--score-from", request.score_from),
    ):
        if given:
            raise ParameterError(
                f"{option} cannot be given with a base file or a top-k store.",
                expected="the store's own windows, and figures that can be computed from truncated distributions",
                found=given,
                do=f"drop {option}, or give a model or a store of notebook 01 as --reference",
            )


def floor_form_of(request: Request, reference: BaseFile | TopKStore) -> dict[str, float]:
    """k and the floor of Eq. 5: as asked for, else the store's own k or `DEFAULT_K`."""
    own = reference.k if isinstance(reference, TopKStore) else min(DEFAULT_K, reference.vocabulary)
    return {"k": request.floor_k or own, "floor": request.floor_log_p}


def _tokens(request: Request, reference: BaseFile | TopKStore, model: OpenedModel) -> pd.DataFrame:
    """What `compare_stores` says of every scored token of the windows asked for."""
    live = live_model(model, reference, as_llama=isinstance(reference, BaseFile))
    tables = compare_stores(reference, live, **floor_form_of(request, reference))
    return pd.concat(islice(tables, request.windows), ignore_index=True)


def bounds_summary(tokens: pd.DataFrame, label: str, request: Request) -> pd.DataFrame:
    """A row for each metric, with intervals clustered by window."""
    finite = tokens[tokens["kl_low"].notna()]
    if finite.empty:
        raise StoreError(
            f"No token of '{label}' has finite logits.",
            expected="finite logits",
            found=f"{len(tokens)} of {len(tokens)} tokens not finite",
            do="check the quant, or run it in --dtype float32",
        )
    finite = finite.assign(floored_share=finite["floored"] > 0)
    resamples = _resamples(finite, request)
    counts = {"tokens": len(finite), "clusters": resamples.groups, "nonfinite": len(tokens) - len(finite)}
    note = few_clusters_note(resamples.groups)
    return pd.DataFrame(
        [{"quant": label, "metric": m, **asdict(_mean(finite[m], resamples)), **counts, "note": note} for m in BOUNDED]
    )


def _resamples(tokens: pd.DataFrame, request: Request) -> ClusterBootstrap:
    rng = np.random.default_rng(request.seed)
    return ClusterBootstrap(tokens["cluster"].to_numpy(), request.confidence, bootstrap=request.bootstrap, rng=rng)


def _mean(values: pd.Series, resamples: ClusterBootstrap) -> Interval:
    """Mean with both intervals; a mean over infinite bounds is infinite, and has none."""
    given = values.to_numpy(float)
    return resamples.mean(given) if np.isfinite(given).all() else Interval(float(given.mean()))


def bounds_pairs(tokens: dict[str, pd.DataFrame], request: Request) -> pd.DataFrame:
    """Neighbours by lower bound: between which ends the difference of their mean KLDs lies."""
    ranked = sorted(tokens, key=lambda label: tokens[label]["kl_low"].mean())
    return pd.DataFrame([_pair(a, b, tokens, request) for a, b in pairwise(ranked)])


def _pair(label_a: str, label_b: str, tokens: dict[str, pd.DataFrame], request: Request) -> dict[str, Any]:
    a, b = tokens[label_a], tokens[label_b]
    both = (a["kl_low"].notna() & b["kl_low"].notna()).to_numpy()
    a, b = a[both], b[both]
    resamples = _resamples(a, request)
    least = _mean(b["kl_low"] - a["kl_high"], resamples)
    most = _mean(b["kl_high"] - a["kl_low"], resamples)
    return {
        "label_a": label_a,
        "label_b": label_b,
        "difference_low": least.estimate,
        "difference_high": most.estimate,
        "low": least.low,
        "high": most.high,
        "tokens": len(a),
        "clusters": resamples.groups,
        "nonfinite": int((~both).sum()),
        "note": few_clusters_note(resamples.groups),
    }


def _record(request: Request, reference: BaseFile | TopKStore, facts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What the figures depend on."""
    first = next(iter(facts.values()))
    kind = "top-k store" if isinstance(reference, TopKStore) else "base file"
    form = floor_form_of(request, reference)
    return {
        "models": facts,
        "reference": f"{kind} {reference.name}",
        "windows": min(len(reference.windows), request.windows or len(reference.windows)),
        "compute_dtype": first["compute_dtype"],
        "device": first["device"],
        "weights": request.weights,
        "floor_form": {"k": form["k"], "log_probability": form["floor"]},
        "statistics": {name: getattr(request, name) for name in ("confidence", "bootstrap", "seed")},
    }
