"""Drafts for a model hub: the ``model-index`` block of a card's head, and a file of evaluation results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import yaml

from qkld.report.card.card_data import CardData, CardRow

DRAFT = "# Draft, made by `qkld card`: check the names and sources, then remove this line.\n"

TASK = {"type": "text-generation", "name": "Text generation"}

DATASETS: Mapping[str, tuple[str, str]] = {
    "arc_easy": ("allenai/ai2_arc", "ARC-Easy"),
    "arc_challenge": ("allenai/ai2_arc", "ARC-Challenge"),
    "hellaswag": ("Rowan/hellaswag", "default"),
    "winogrande": ("allenai/winogrande", "winogrande_xl"),
    "mmlu": ("cais/mmlu", "all"),
    "gsm8k": ("openai/gsm8k", "main"),
    "sciq": ("allenai/sciq", "default"),
    "openbookqa": ("allenai/openbookqa", "main"),
    "truthfulqa": ("truthfulqa/truthful_qa", "multiple_choice"),
}
"""Benchmark → its data set on the hub and the task in it; others stand under their own name."""


def model_index(data: CardData, quant: str | None = None) -> str:
    """The ``model-index`` block: fidelity and scores of one quant, or an entry for each."""
    rows = [row for row in data.rows if quant in (None, row.label)]
    return DRAFT + _dumped({"model-index": [{"name": row.label, "results": _results(data, row)} for row in rows]})


def _results(data: CardData, row: CardRow) -> list[dict[str, Any]]:
    text = data.panel.texts[0] if data.panel.texts else {}
    name = str(text.get("name") or text.get("known by") or "text")
    figures = {"mean KL(reference ‖ quant), nats per token": ("kl_divergence", row.kld.value)}
    figures |= {"share of tokens with the reference's top token": ("top_token_agreement", row.top1.value)}
    metrics = [
        {"type": kind, "name": meaning, "value": value, "verified": False}
        for meaning, (kind, value) in figures.items()
        if not math.isnan(value)
    ]
    where = {"name": name, "type": "text", **({"args": {"panel": data.panel.id}} if data.panel.id else {})}
    found = [{"task": dict(TASK), "dataset": where, "metrics": metrics}]
    for score, value in row.scores.items():
        if not math.isnan(value):
            dataset, config = DATASETS.get(score, (score, None))
            place = {"name": score, "type": dataset, **({"config": config} if config else {})}
            metric = {"type": "accuracy", "name": "accuracy", "value": value, "verified": False}
            found.append({"task": dict(TASK), "dataset": place, "metrics": [metric]})
    return found


def evaluation_results(data: CardData, quant: str | None = None) -> str:
    """Scores as a list of evaluation results: data set, task, value, and what is to be known of it."""
    notes = f"panel {data.panel.id}" if data.panel.id else "without a panel's id"
    entries = [
        {
            "dataset": {"id": DATASETS.get(score, (score, ""))[0], "task_id": DATASETS.get(score, ("", score))[1]},
            "value": value,
            "notes": f"{row.label}; {notes}",
        }
        for row in data.rows
        if quant in (None, row.label)
        for score, value in row.scores.items()
        if not math.isnan(value)
    ]
    return DRAFT + _dumped(entries)


def _dumped(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)
