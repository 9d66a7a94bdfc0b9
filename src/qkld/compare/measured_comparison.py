"""``qkld compare``: measure, then give every figure with its intervals."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qkld.compare.behind_server import compare_served, served_quants
from qkld.compare.bounded import BoundedComparison, compare_bounded
from qkld.compare.compare_request import Comparison, Request
from qkld.compare.preparing import opened_session, quants_of, reference_of
from qkld.compare.session import Session, let_go
from qkld.compare.stores import HiddenStates
from qkld.divergence.floors import NOT_COMPUTED, WIDER, reason_of
from qkld.models import open_model
from qkld.statistics.tokens.breakdown import POSITION_BUCKETS, breakdown_table
from qkld.statistics.tokens.differences import floor_means, paired_table
from qkld.statistics.tokens.fidelity import summarise
from qkld.study.entries import StoredModel
from qkld.study.params import FLOOR_DTYPE, load_params
from qkld.study.paths import some_project
from qkld.study.provenance import made_by


def compare(request: Request) -> Comparison | BoundedComparison:
    """Measure every quant of a request against its reference, and the floor; nothing is left on disk.

    Against a base file or a top-k store, and of quants behind a server, bounds.

    Raises
    ------
    QkldError
        If a model, text or store cannot be used; each message says what was expected and what to do.
    """
    with some_project(), tempfile.TemporaryDirectory(prefix="qkld-compare-") as folder:
        study = load_params(request.study) if request.study else None
        reference = reference_of(request, study)
        if served := served_quants(request):
            return compare_served(request, Path(folder), reference, study, served)
        quants = quants_of(request, study, reference)
        if not isinstance(reference, StoredModel | HiddenStates):
            return compare_bounded(request, reference, quants, study)
        session = opened_session(request, Path(folder), reference, study)
        base = reference if isinstance(reference, StoredModel) else (study.reference if study else None)
        if base is not None:
            _measure_floor(session, base)
        for quant in quants:
            own = base or quant
            session.measured(quant.label, lambda q=quant, r=own: open_model(q, reference=r, compute=session.compute))
        return _summed_up(session, [q.label for q in quants])


def _measure_floor(session: Session, base: StoredModel) -> None:
    """The reference in the next wider dtype; where it cannot be run in that, the session keeps the reason."""
    if not session.request.floor:
        return
    header = session.store.header
    wider = session.compute.model_copy(update={"compute_dtype": WIDER[header.dtype]})
    if header.device == "mps" and wider.compute_dtype == "float64":
        session.without_floor = "not measured: MPS has no float64"
        return
    try:
        session.measured(FLOOR_DTYPE, lambda: open_model(base, reference=base, compute=wider), same_dtype=False)
    except NOT_COMPUTED as error:
        session.without_floor = reason_of(error)
        let_go()


def _summed_up(session: Session, quants: list[str]) -> Comparison:
    request = session.request
    how = {"confidence": request.confidence, "bootstrap": request.bootstrap}
    floor = [FLOOR_DTYPE] if FLOOR_DTYPE in session.facts else []
    parts = [
        summarise(session.tokens(label), label, **how, rng=np.random.default_rng(request.seed))
        for label in (*floor, *quants)
    ]
    fidelity = pd.concat(parts, ignore_index=True)
    means = fidelity[fidelity["metric"] == "kl_mean"].set_index("quant")["estimate"]
    neighbours = list(pairwise(sorted(quants, key=lambda label: means[label])))
    floors = floor_means(fidelity, FLOOR_DTYPE)
    paired = None
    if neighbours:
        paired = paired_table(session.tokens, neighbours, **how, power=request.power, seed=request.seed, floor=floors)
    return Comparison(
        made=made_by(**_record(session)),
        fidelity=fidelity,
        breakdown=breakdown_table(
            session.tokens,
            [*floor, *quants],
            position_edges=request.positions or POSITION_BUCKETS,
            **how,
            seed=request.seed,
        ),
        paired=paired,
    )


def _record(session: Session) -> dict[str, Any]:
    """What the figures depend on."""
    request, header = session.request, session.store.header
    return {
        "models": session.facts,
        "text": session.text,
        "text_key": header.text_key,
        "windows": len(header.windows),
        "store_key": header.key,
        "compute_dtype": header.compute_dtype,
        "device": header.device,
        "weights": request.weights,
        "floor_dtype": session.facts.get(FLOOR_DTYPE, {}).get("compute_dtype"),
        "without_floor": None if FLOOR_DTYPE in session.facts else session.without_floor,
        "statistics": {name: getattr(request, name) for name in ("confidence", "bootstrap", "power", "seed")},
    }
