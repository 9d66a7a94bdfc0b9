"""What the exploration notebook shows: the zone at any cut, one item under two models, one window token by token."""

from __future__ import annotations

import html
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from qkld.analysis.headline import shown_score
from qkld.analysis.study import LoadedStudy
from qkld.errors import TableError
from qkld.report.figures.figure_files import column_figure
from qkld.report.figures.score_figure import draw_kld_score
from qkld.report.figures.styles import cohort_styles
from qkld.report.numbers import NOT_AVAILABLE, p_value, significant, with_interval
from qkld.statistics.correlation.single import correlate
from qkld.statistics.zone.zone import zone_members

FAINTEST, STRONGEST = -4.0, 1.0
"""log10 of the KL, in nats, at which a token has no colour and full colour."""

# --- zone -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ZoneAt:
    """The zone at one cut: its quants and the correlation row of `statistics.correlation.correlate`."""

    cut: float
    labels: tuple[str, ...]
    correlation: dict

    def __str__(self) -> str:
        if math.isnan(self.correlation["estimate"]):
            return f"n = {len(self.labels)}: no ρ ({self.correlation['note']})"
        return f"n = {len(self.labels)}, ρ = {with_interval(self.correlation)}, p = {p_value(self.correlation['p'])}"


def zone_at(study: LoadedStudy, cut: float) -> ZoneAt:
    """Quants with a mean KLD at or below ``cut`` (nats), and ρ of KLD with the shown score among them."""
    cohort, score = study.cohort, shown_score(study).column
    inside = cohort[zone_members(cohort, rule="kld_cut", cut=cut)]
    row = correlate(
        inside["kl_mean"],
        inside[score],
        resampling=study.resampling,
        families=inside["family"],
        names=("kl_mean", score),
    )
    return ZoneAt(cut, tuple(inside["label"]), row)


def zone_figure(study: LoadedStudy, cut: float) -> Figure:
    """KLD against score with the zone shaded up to ``cut``; n, ρ, its interval and p above."""
    zone, score = zone_at(study, cut), shown_score(study)
    figure, (ax,) = column_figure(1.6 * study.params.figures.column_width, aspect=0.6)
    draw_kld_score(
        ax,
        study.cohort,
        cohort_styles(study.cohort),
        zone=zone.labels,
        cut=cut,
        reference_error=score.reference_error,
        score=score.column,
    )
    figure.suptitle(f"cut {significant(cut)} nats: {zone}")
    return figure


# --- one item ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ItemText:
    """An item as the harness asks it."""

    prompt: str
    choices: tuple[str, ...]


def item_text(study: LoadedStudy, benchmark: str, item: str) -> ItemText:
    """Prompt and choices of an item, as lm-evaluation-harness makes them from the benchmark's file.

    Raises
    ------
    TableError
        If the benchmark has no such item in this study.
    """
    from qkld.benchmarks.harness_tasks import load_task
    from qkld.sources import fetch

    entry = next(b for b in study.params.benchmarks if b.task == benchmark)
    loaded = load_task(entry, fetch(f"benchmark-{benchmark}"))
    if int(item) not in loaded.items:
        raise TableError(
            f"Benchmark '{benchmark}' has no item '{item}' in this study.",
            expected=f"one of {loaded.items[:8]} …",
            found=item,
            do="use an item of the item table",
        )
    document = loaded.task.eval_docs[loaded.items.index(int(item))]
    return ItemText(loaded.task.doc_to_text(document), tuple(map(str, loaded.task.doc_to_choice(document))))


def items_where(study: LoadedStudy, benchmark: str, quant: str, *, changed: bool) -> list[str]:
    """Names of a benchmark's items, in file order; with ``changed`` those on which quant and reference differ."""
    items = study.items
    rows = items[(items["benchmark"] == benchmark) & items["model"].isin([study.params.reference.label, quant])]
    correct = rows.pivot(index="item", columns="model", values="correct")
    if changed:
        correct = correct[correct.nunique(axis=1) > 1]
    return sorted(correct.index, key=int)


def item_rows(study: LoadedStudy, benchmark: str, item: str, quant: str) -> pd.DataFrame:
    """The item under the reference and under the quant: answer, right choice, margin, divergences; models as index.

    Raises
    ------
    TableError
        If a model did not answer this item.
    """
    wanted = [study.params.reference.label, quant]
    items = study.items
    rows = items[(items["benchmark"] == benchmark) & (items["item"] == item) & items["model"].isin(wanted)]
    if set(rows["model"]) != set(wanted):
        raise TableError(
            f"Item '{item}' of '{benchmark}' was not answered by both models.",
            expected=wanted,
            found=sorted(rows["model"]),
            do="use an item and a quant of the item table",
        )
    columns = ["answer", "right", "correct", "margin", "kl_prompt", "kl_choice_right", "kl_choice_mean"]
    columns += [c for c in ("metric",) if c in items]
    return rows.set_index("model").loc[wanted, columns]


def item_html(rows: pd.DataFrame, text: ItemText) -> str:
    """The item with each choice, who took it, and each model's margin and divergence."""
    lines = [f"<p style='white-space:pre-wrap'>{html.escape(text.prompt)}</p><ol start='0'>"]
    for number, choice in enumerate(text.choices):
        marks = ["right"] if number == rows["right"].iloc[0] else []
        marks += [f"taken by {model}" for model in rows.index[rows["answer"] == number]]
        noted = f" <b>← {html.escape(', '.join(marks))}</b>" if marks else ""
        lines.append(f"<li>{html.escape(choice)}{noted}</li>")
    lines.append("</ol>")
    for model, row in rows.iterrows():
        said = "right" if row["correct"] else "wrong"
        moved = "" if math.isnan(row["kl_choice_mean"]) else f", KL of its choices {significant(row['kl_choice_mean'])}"
        unit = "nats a character" if row.get("metric") == "acc_norm" else "nats"
        lines.append(f"<p>{html.escape(str(model))}: {said}, margin {row['margin']:.3f} {unit}{moved}</p>")
    return "".join(lines)


# --- one window, token by token ---------------------------------------------------------------------------------------


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
