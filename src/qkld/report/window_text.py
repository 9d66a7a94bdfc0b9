"""One window of a text token by token, coloured by how far a quant's distributions are from the reference's."""

from __future__ import annotations

import html
import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from qkld.analysis.study import LoadedStudy
from qkld.errors import TableError
from qkld.report.numbers import NOT_AVAILABLE, significant

FAINTEST, STRONGEST = -4.0, 1.0
"""log10 of the KL, in nats, at which a token has no colour and full colour."""


def decoder(study: LoadedStudy) -> Callable[[int], str]:
    """Token id → text by the reference's own tokenizer."""
    from qkld.models.opening import stored_tokenizer

    tokenizer = stored_tokenizer(study.params.reference)
    return lambda token: tokenizer.decode([int(token)], skip_special_tokens=False)


def window_of(study: LoadedStudy, quant: str, corpus: str, context: int, window: int) -> pd.DataFrame:
    """`window_tokens` of a quant with the ids of the tokens; where the table has none, cut from the text once more.

    Raises
    ------
    TableError
        If there is no such window, or its text is neither in the table nor in the corpus: a chat's answers.
    """
    rows = window_tokens(study.tokens(quant), corpus, context, window)
    return rows if "token" in rows else rows.assign(token=_cut_again(study, corpus, window)[rows["position"]])


def _cut_again(study: LoadedStudy, corpus: str, window: int) -> np.ndarray:
    """Ids of all tokens of a window, as notebook 01 cut it from the corpus by the reference's tokenizer."""
    from qkld.models.opening import stored_tokenizer
    from qkld.sources.corpora import corpus_documents, text_windows

    entry = next(c for c in study.params.corpora if c.name == corpus)
    if entry.kind == "chat":
        raise TableError(
            f"The answers of '{corpus}' cannot be shown as text.",
            expected="a token table with the ids of its tokens",
            found="a table without token ids, as kept in the repository",
            do=f"choose another text, or run the study: `qkld run {study.params.study}`",
        )
    score_from = study.params.reference_logits.score_from
    cut = text_windows(entry, corpus_documents(entry), stored_tokenizer(study.params.reference), score_from)
    return np.asarray(cut.windows[window].tokens)


def window_tokens(tokens: pd.DataFrame, corpus: str, context: int, window: int) -> pd.DataFrame:
    """The scored tokens of one window of a token table, by position.

    Raises
    ------
    TableError
        If the table has no such window.
    """
    part = tokens[(tokens["corpus"] == corpus) & (tokens["context"] == context)]
    rows = part[part["window"] == window].sort_values("position")
    if rows.empty:
        places = sorted(set(zip(tokens["corpus"], tokens["context"].astype(int), strict=True)))
        raise TableError(
            "This window does not exist.",
            expected=f"corpus and context among {places}; windows {sorted(part['window'].unique())[:8]}",
            found=(corpus, context, window),
            do="take one of these",
        )
    return rows


def strength(kl: float) -> float:
    """How strongly a token is coloured, 0 to 1, by the logarithm of its KL; 0 for a KL that is missing."""
    if not kl > 0:
        return 0.0
    return float(np.clip((math.log10(kl) - FAINTEST) / (STRONGEST - FAINTEST), 0, 1))


def coloured_text(rows: pd.DataFrame, decode: Callable[[int], str]) -> str:
    """Tokens as HTML text, coloured by KL(reference ‖ quant); its value and both probabilities show on hovering."""
    spans = []
    for row in rows.to_dict("records"):
        kl = NOT_AVAILABLE if math.isnan(row["kl"]) else f"{significant(row['kl'])} nats"
        reference, quant = (math.exp(-row[f"nll_{model}"]) for model in ("reference", "quant"))
        hover = f"KL {kl}; p reference {reference:.3g}, p quant {quant:.3g}"
        style = f"background:rgba(213,94,0,{0.85 * strength(row['kl']):.2f})"
        spans.append(f'<span style="{style}" title="{hover}">{html.escape(decode(row["token"]))}</span>')
    mean = rows["kl"].mean()
    scale = f"mean KL {significant(mean)} nats over {len(rows)} tokens; colour from {10**FAINTEST:g}"
    scale += f" to {10**STRONGEST:g} nats"
    return f"<p><small>{scale}</small></p><div style='white-space:pre-wrap;line-height:1.7'>{''.join(spans)}</div>"
