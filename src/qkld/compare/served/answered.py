"""A served model's top-k store: asked for window by window, kept as it comes, gone on with after a break."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tqdm.auto import tqdm

from qkld.compare.served.asking import Asker
from qkld.compare.served.forms import ALIGNED, round_trip, survives
from qkld.compare.served.listed import as_top_k
from qkld.compare.stores.topk_store import TopKHeader, TopKStore, write_top_k_store
from qkld.errors import ServerError
from qkld.sources.windows import Window
from qkld.study.provenance import write_json
from qkld.study.storage import Place, place

FINGERPRINT = "first_answer.json"
"""What the model said of the first position: a server that says otherwise later runs another one."""


def served_header(asker: Asker, windows: Sequence[Window], *, reference: dict[str, Any]) -> TopKHeader:
    """The header of the store that a served model's answers go to; ``reference`` is what its windows were made for.

    A server that is started again elsewhere goes on with its store; `record_served` sees whether its model is the same.
    """
    source = {
        "kind": "served",
        "model": asker.model.model_dump(mode="json", exclude={"base_url", "timeout", "attempts"}),
        "server": asker.facts,
        "reference": reference,
    }
    width = min(asker.model.top_k + 1, asker.vocabulary)
    return TopKHeader(asker.model.label, json.loads(json.dumps(source)), asker.vocabulary, width, tuple(windows))


def record_served(root: str | Place, header: TopKHeader, asker: Asker) -> TopKStore:
    """Ask for every window that the store has not yet; a server that dies leaves the finished ones.

    Raises
    ------
    ServerError
        If the server does not answer, returns too few log-probabilities, or runs another model than it did when the
        finished windows were asked for.
    """
    folder = header.folder(place(root))
    folder.mkdir(parents=True, exist_ok=True)
    check_same_model(folder / FINGERPRINT, asker, header.windows[0].tokens, header.windows[0].positions[0])
    progress = tqdm(total=len(header.windows), desc=f"{header.name}, served", unit="window")

    def asked(index: int) -> Any:
        window = header.windows[index]
        progress.update()
        return as_top_k(asker.lists(window.tokens, window.positions), asker.model.top_k, asker.vocabulary)

    try:
        return write_top_k_store(root, header, asked)
    finally:
        progress.close()


def sendable(asker: Asker, windows: Sequence[Window]) -> list[int]:
    """Which windows become the same tokens again as text: all, unless the server takes text only.

    Raises
    ------
    TokenizerError
        If none does.
    """
    if not getattr(asker.form, "as_text", False):
        return list(range(len(windows)))
    kept = [index for index, window in enumerate(windows) if survives(asker.tokenizer, window.tokens)]
    if not kept:
        round_trip(asker.tokenizer, windows[0].tokens)
    return kept


def check_same_model(path: Place, asker: Asker, tokens: Sequence[int], position: int) -> None:
    """Keep what a model says of one position, or refuse a model that says otherwise than the one kept.

    Raises
    ------
    ServerError
        If any of the five tokens most likely then differs.
    """
    (listed,) = asker.lists(tokens, [position])
    found = {str(token): value for token, value in listed.values.items()}
    if not path.exists():
        write_json(path, found)
        return
    before = json.loads(path.read_text())
    likely = sorted(before, key=before.get, reverse=True)[:5]
    gap = max((abs(before[t] - found[t]) if t in found else float("inf")) for t in likely)
    if gap > ALIGNED:
        raise ServerError(
            f"'{asker.model.label}' is not the model that gave the first answers.",
            expected=f"the earlier log-probabilities, to {ALIGNED} nats",
            found=f"one that differs by {gap:.3g}",
            do=f"serve the same model, or delete {path.parent}",
        )
