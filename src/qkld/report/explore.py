"""What the exploration notebook shows: the zone at any cut, and one item under two models."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from qkld.analysis.headline import shown_score
from qkld.analysis.study import LoadedStudy
from qkld.errors import TableError
from qkld.report.figures.figure_files import column_figure
from qkld.report.figures.score_figure import draw_kld_score
from qkld.report.figures.styles import cohort_styles
from qkld.report.numbers import p_value, significant, with_interval
from qkld.statistics.correlation.single import correlate
from qkld.statistics.zone.zone import zone_members

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
