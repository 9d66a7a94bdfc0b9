"""Quants behind a server: bounds of KLD from the top log-probabilities that they give."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from qkld.compare.bounded import BoundedComparison, bounds_pairs, bounds_summary
from qkld.compare.compare_request import Request
from qkld.compare.preparing import AnyStore, opened_session
from qkld.compare.served import ServedModel, is_served, open_asker, record_served, sendable, served_header, served_model
from qkld.compare.stores import HiddenStates, Rows, TopKStore, compare_stores
from qkld.errors import ParameterError
from qkld.models.opening import stored_tokenizer
from qkld.sources.tokenizer import tokenizer_sha256
from qkld.sources.windows import Window
from qkld.study.entries import StoredModel
from qkld.study.params import Study
from qkld.study.paths import data_folder
from qkld.study.provenance import made_by


@dataclass(frozen=True)
class SomeWindows:
    """Some windows of a store of hidden states."""

    store: HiddenStates
    indices: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.store.name

    @property
    def windows(self) -> Sequence[Window]:
        return [self.store.windows[index] for index in self.indices]

    @property
    def vocabulary(self) -> int:
        return self.store.vocabulary

    def rows(self, index: int) -> Rows:
        """One of these windows' rows."""
        return self.store.rows(self.indices[index])


def served_quants(request: Request) -> list[ServedModel]:
    """The served models among a request's quants, each with a label of its own; none where all others run here.

    Raises
    ------
    ParameterError
        If some quants are served and some are not, one is given twice, or figures are asked for that need all logits.
    """
    given = [text for text in request.quants if is_served(text)]
    of_all_logits = ("second_walk", "breakdown", "positions", "figure", "cache_k", "cache_v", "score_from")
    for option, asked in ((f"--{name.replace('_', '-')}", getattr(request, name)) for name in of_all_logits):
        if given and asked:
            raise ParameterError(
                f"{option} cannot be given with a served quant.",
                expected="figures that can be computed from top log-probabilities",
                found=option,
                do=f"drop {option}",
            )
    if given and (len(given) < len(request.quants) or len(set(given)) < len(given)):
        raise ParameterError(
            "These quants cannot be compared together.",
            expected="only served models, each once: for these the KLD has bounds, for others an exact value",
            found=", ".join(request.quants),
            do="use two commands for served and other quants",
        )
    models = [served_model(text) for text in given]
    labels = [m.label for m in models]
    numbered = [f"{label}-{i}" if labels.count(label) > 1 else label for i, label in enumerate(labels, start=1)]
    return [m.model_copy(update={"label": label}) for m, label in zip(models, numbered, strict=True)]


def compare_served(
    request: Request, folder: Path, reference: StoredModel | AnyStore, study: Study | None, quants: list[ServedModel]
) -> BoundedComparison:
    """Bounds of every served quant's KLD from an exact reference, with Eq. 5's form beside them.

    The lower bound is finite everywhere. There is an upper one only where a server gives the whole vocabulary: a token
    that it leaves out may have any probability, however small.

    Raises
    ------
    ParameterError
        If the reference is not exact, or its tokenizer is not known.
    ServerError
        If a server does not answer, or returns too few log-probabilities; windows that are finished are kept, and the
        same command goes on after them.
    TokenizerError
        If a server reads other tokens.
    """
    tokenizer = _tokenizer(reference, study)
    session = opened_session(request, folder, reference, study)
    store, facts, tokens = HiddenStates(session.store), {}, {}
    with _kept() as made:
        for quant in quants:
            with open_asker(quant, tokenizer, store.vocabulary) as asker:
                indices = sendable(asker, store.windows[: request.windows])
                own = SomeWindows(store, tuple(indices))
                header = served_header(asker, own.windows, reference={"tokenizer_sha256": tokenizer_sha256(tokenizer)})
                made.append(record_served(data_folder() / "served", header, asker))
                facts[quant.label] = {"given_as": quant.recipe, "server": asker.facts, "windows": len(indices)}
            tokens[quant.label] = _tokens(request, own, made[-1], quant.top_k)
    shared = _on_shared_windows(tokens)
    return BoundedComparison(
        made=made_by(**_record(request, session.facts["reference"], session.text, store, facts, quants)),
        bounds=pd.concat([bounds_summary(t, label, request) for label, t in tokens.items()], ignore_index=True),
        paired=bounds_pairs(shared, request) if len(shared) > 1 else None,
    )


def _tokenizer(reference: StoredModel | AnyStore, study: Study | None) -> Any:
    model = reference if isinstance(reference, StoredModel) else study and study.reference
    if model is None or not isinstance(reference, StoredModel | HiddenStates):
        raise ParameterError(
            "A served quant cannot be compared with this reference.",
            expected="a model, or a store of notebook 01 with the --study that made it: exact, with its tokenizer",
            found=getattr(reference, "name", reference),
            do="give one of the two as --reference",
        )
    return stored_tokenizer(model)


@contextmanager
def _kept() -> Iterator[list[TopKStore]]:
    """Stores of finished answers, forgotten once the whole comparison is made and kept where it breaks off."""
    made: list[TopKStore] = []
    yield made
    for store in made:
        shutil.rmtree(store.folder)


def _tokens(request: Request, reference: SomeWindows, store: TopKStore, top_k: int) -> pd.DataFrame:
    """What `compare_stores` says of every scored token, windows numbered as in the reference's store."""
    k = min(request.floor_k or top_k, store.k)
    tables = compare_stores(reference, store, k=k, floor=request.floor_log_p)
    return pd.concat(
        [table.assign(window=index) for index, table in zip(reference.indices, tables, strict=True)], ignore_index=True
    )


def _on_shared_windows(tokens: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables cut to windows that all have; none where there is no such window."""
    common = set.intersection(*(set(table["window"]) for table in tokens.values()))
    cut = {label: t[t["window"].isin(common)].reset_index(drop=True) for label, t in tokens.items()}
    return cut if common else {}


def _record(
    request: Request,
    reference: dict[str, Any],
    text: str,
    store: HiddenStates,
    facts: dict[str, dict[str, Any]],
    quants: list[ServedModel],
) -> dict[str, Any]:
    """What the figures depend on."""
    header, ks = store.store.header, sorted({request.floor_k or quant.top_k for quant in quants})
    return {
        "models": {"reference": reference, **facts},
        "served": list(facts),
        "reference": reference["given_as"],
        "text": text,
        "windows": len(store.windows[: request.windows]),
        "store_key": header.key,
        "compute_dtype": header.compute_dtype,
        "device": header.device,
        "floor_form": {"k": " or ".join(map(str, ks)), "log_probability": request.floor_log_p},
        "statistics": {name: getattr(request, name) for name in ("confidence", "bootstrap", "seed")},
    }
