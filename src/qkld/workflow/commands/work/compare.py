"""The command: options → what is printed, and the JSON file. Options are checked before torch is imported."""

from __future__ import annotations

import argparse
from dataclasses import fields

from qkld.compare.request import Comparison, Request
from qkld.compare.text import as_json, bounded_json, bounded_text, shown
from qkld.study.provenance import write_json


def run_compare(options: argparse.Namespace) -> str:
    """Measure what the options of ``qkld compare`` ask for; returns the text to print.

    Raises
    ------
    QkldError
        If an option, model, text or store cannot be used.
    """
    given = {f.name: getattr(options, f.name) for f in fields(Request) if f.name != "quants"}
    request = Request(quants=tuple(options.quant), **given)
    from qkld.compare.running import compare

    made = compare(request)
    exact = isinstance(made, Comparison)
    if options.json is not None:
        write_json(options.json, as_json(made) if exact else bounded_json(made))
    return shown(made, breakdown=request.breakdown) if exact else bounded_text(made)
