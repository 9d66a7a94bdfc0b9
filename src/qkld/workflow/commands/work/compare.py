"""The command: options → what is printed, and the JSON file. Options are checked before torch is imported."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from qkld.compare.compare_request import Comparison, Request
from qkld.compare.text import as_json, bounded_json, bounded_text, shown
from qkld.study.provenance import write_json

WIDTH, ASPECT = 6.5, 0.5
"""Of a figure: inches, and height to width."""


def run_compare(options: argparse.Namespace) -> str:
    """Measure what the options of ``qkld compare`` ask for; returns the text to print.

    Raises
    ------
    QkldError
        If an option, model, text or store cannot be used.
    """
    given = {f.name: getattr(options, f.name) for f in fields(Request) if f.name != "quants"}
    request = Request(quants=tuple(options.quant), **given)
    from qkld.compare.measured_comparison import compare

    made = compare(request)
    exact = isinstance(made, Comparison)
    if request.figure is not None:
        _write_figure(request.figure, made)
    if options.json is not None:
        write_json(options.json, as_json(made) if exact else bounded_json(made))
    return shown(made, breakdown=request.breakdown) if exact else bounded_text(made)


def _write_figure(path: Path, made: Comparison) -> None:
    """Mean KLD by position, of every quant and the floor."""
    from qkld.report.figures.figure_files import column_figure, save_figure, use_style
    from qkld.report.figures.positions_figure import draw_kld_by_position

    use_style()
    figure, (ax,) = column_figure(WIDTH, ASPECT)
    draw_kld_by_position(ax, made.breakdown)
    save_figure(figure, path.parent, path.stem, [path.suffix[1:]])
