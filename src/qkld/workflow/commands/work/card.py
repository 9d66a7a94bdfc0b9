"""``qkld card``: a study, table or comparison → Markdown, a figure and drafts for a model hub."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt

from qkld.analysis.importing.reading import json_file
from qkld.analysis.own_table.labels import UNQUANTIZED
from qkld.analysis.study import load_study
from qkld.errors import ParameterError
from qkld.report.card.card_data import CardData, of_comparison, of_study, of_table
from qkld.report.card.hub_drafts import evaluation_results, model_index
from qkld.report.card.markdown import card_text, sentence
from qkld.report.card.panel import panel_of_card
from qkld.report.figures.card_figure import draw_card
from qkld.report.figures.figure_files import column_figure, save_figure, use_style
from qkld.study.provenance import written_whole

WIDTH = 6.0
"""Of the figure, inches."""


def run_card(options: argparse.Namespace) -> str:
    """Write the card that the options of ``qkld card`` ask for; returns what to print.

    Raises
    ------
    QkldError
        If the source has no figures, or the other card no panel; nothing is written then.
    """
    data, origin = _data(options)
    data = replace(data, panel=data.panel.with_said(dict(options.say)))
    differences = None if options.against is None else data.panel.differences(panel_of_card(options.against))
    texts = {
        "card.md": card_text(data, figure="card.png", differences=differences),
        "model-index.yaml": model_index(data),
        "evaluation-results.yaml": evaluation_results(data),
    }
    draw(data, options.out)
    for name, text in texts.items():
        with written_whole(options.out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    panel = data.panel.id or f"none: the source does not say {', '.join(data.panel.missing)}"
    lines = [*origin, sentence(data), f"panel: {panel}", f"card: {options.out / 'card.md'}", *_mind(data)]
    if differences is not None:
        lines += (
            ["comparable with the other card"]
            if not differences
            else ["not comparable with the other card:", *differences]
        )
    return "\n".join(lines) + "\n"


def _mind(data: CardData) -> list[str]:
    alike = [row.label for row in data.rows if UNQUANTIZED.fullmatch(row.label.strip())]
    return [f"mind: '{label}' looks like the reference: --reference '{label}' leaves it out" for label in alike]


def _data(options: argparse.Namespace) -> tuple[CardData, list[str]]:
    """What the card is of; of a study also a line on where its tables are from."""
    if (options.source is None) == (options.study is None):
        raise ParameterError(
            "A card is of one source.",
            expected="a table or the JSON of a comparison, or --study",
            found="both" if options.source is not None else "neither",
            do="name one",
        )
    if options.study is not None:
        study = load_study(options.study)
        return of_study(study), [study.origin]
    return _of_file(options), []


def _of_file(options: argparse.Namespace) -> CardData:
    if options.source.suffix.lower() == ".json" and options.source.is_file():
        value = json_file(options.source, expected="the file of `qkld compare --json`, or a table")
        if isinstance(value, dict) and "made_by" in value:
            return of_comparison(value, options.source)
    return of_table(
        options.source,
        size=options.size,
        scores=options.scores or (),
        reference=options.reference,
        items=options.items,
        label=options.label,
        unit=options.unit,
    )


def draw(data: CardData, folder: Path) -> None:
    """The card's figure, as PNG."""
    use_style()
    figure, (ax,) = column_figure(WIDTH, 0.6)
    klds = [(row.kld.value, row.kld.low, row.kld.high) for row in data.rows]
    labels, sizes = [row.label for row in data.rows], [row.size for row in data.rows]
    draw_card(ax, labels, sizes, klds, size=data.size, floor=data.floor)
    save_figure(figure, folder, "card", ("png",))
    plt.close(figure)
