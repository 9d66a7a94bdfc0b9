"""A card as Markdown: one sentence, the table by size with intervals, and the panel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from qkld.analysis.gate.judging import Estimate
from qkld.report.card.card_data import CardData, CardRow
from qkld.report.card.panel import Panel


def card_text(data: CardData, *, figure: str, differences: Sequence[str] | None = None) -> str:
    """The Markdown of a card; ``figure`` is the picture's file, ``differences`` those from another card."""
    parts = [
        "## Fidelity to the reference",
        sentence(data),
        f"![Mean KLD by size]({figure})",
        _table(data),
        _legend(data),
        *([_against(differences)] if differences is not None else []),
        "### How this was measured",
        _panel(data.panel),
        data.panel.comment(),
    ]
    return "\n\n".join(parts) + "\n"


def sentence(data: CardData) -> str:
    """What the card says in one sentence."""
    nearest = min(data.rows, key=lambda row: row.kld.value)
    farthest = max(data.rows, key=lambda row: row.kld.value)
    floor = f" (noise floor {data.floor:.2g})" if not math.isnan(data.floor) else ""
    if len(data.rows) == 1:
        top1 = "" if math.isnan(nearest.top1.value) else f" and keeps its preferred token in {_share(nearest.top1)}"
        return f"**{nearest.label}** lies {_nats(nearest.kld)} nats per token from its reference{floor}{top1}."
    return (
        f"Of {len(data.rows)} quants **{nearest.label}** is nearest to the reference with {_nats(nearest.kld)} nats "
        f"per token{floor}, and {farthest.label} farthest with {_nats(farthest.kld)}.{_untold(data, nearest)}"
    )


def _untold(data: CardData, nearest: CardRow) -> str:
    """Which other quants the nearest one is not told from, for their intervals overlap."""
    alike = [row.label for row in data.rows if row is not nearest and row.kld.low <= nearest.kld.high]
    if not alike:
        return ""
    names = alike[0] if len(alike) == 1 else f"{len(alike)} others"
    return f" Its interval overlaps that of {names}, so which of them is nearest is not resolved."


def _legend(data: CardData) -> str:
    """What stands in the table's columns."""
    said = "Mean KLD is KL(reference ‖ quant) of the next token, in nats per token; brackets are 95 % intervals."
    if not any(row.losses for row in data.rows):
        return said
    return (
        f"{said} Scores are in percent; a loss is the reference's score minus the quant's on the same items, in "
        "percentage points."
    )


def _nats(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return ""
    if not estimate.has_interval:
        return f"{estimate.value:.4g}"
    return f"{estimate.value:.4g} [{estimate.low:.4g}, {estimate.high:.4g}]"


def _share(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return ""
    ends = f" [{100 * estimate.low:.2f}, {100 * estimate.high:.2f}]" if estimate.has_interval else ""
    return f"{100 * estimate.value:.2f} %{ends}"


def _table(data: CardData) -> str:
    """Quants, and below them the reference where its scores are known; a column in which no cell stands is left out."""
    rows = [*data.rows, *_last_row(data.reference)]
    columns = {"quant": [row.label for row in rows]}
    columns |= {data.size: ["" if math.isnan(row.size) else f"{row.size:.4g}" for row in rows]} if data.size else {}
    columns |= {"mean KLD": [_nats(row.kld) for row in rows], "same top token": [_share(row.top1) for row in rows]}
    for name in dict.fromkeys(name for row in rows for name in row.scores):
        columns[name] = [_score(row.scores.get(name, math.nan)) for row in rows]
        columns[f"loss of {name}"] = [_points(row.losses.get(name)) for row in rows]
    shown = {name: cells for name, cells in columns.items() if any(cells)}
    lines = [list(shown), ["---", *["---:"] * (len(shown) - 1)], *zip(*shown.values(), strict=True)]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _last_row(reference: CardRow | None) -> list[CardRow]:
    """The reference's row, named as what it is."""
    if reference is None:
        return []
    named = reference.label if "reference" in reference.label.lower() else f"{reference.label} (reference)"
    return [replace(reference, label=named)]


def _points(loss: Estimate | None) -> str:
    """A loss in percentage points, with its interval."""
    if loss is None:
        return ""
    return f"{100 * loss.value:+.1f} [{100 * loss.low:+.1f}, {100 * loss.high:+.1f}]"


def _score(value: float) -> str:
    """A score in percent, whichever of the two units it has."""
    return "" if math.isnan(value) else f"{100 * value if value <= 1 else value:.1f}"


def _panel(panel: Panel) -> str:
    texts = ["; ".join(f"{name} {value}" for name, value in text.items() if value) for text in panel.texts]
    rows = {
        "panel": panel.id or f"no id: the source does not say {', '.join(panel.missing)}",
        "reference": panel.reference,
        "text": " / ".join(texts),
        "engine": panel.engine,
        "dtype": panel.dtype,
        "noise floor": panel.floor,
        "versions": ", ".join(f"{name} {value}" for name, value in panel.versions.items()),
    }
    said = "\n".join(f"| {name} | {value} |" for name, value in rows.items() if value)
    return f"| | |\n|---|---|\n{said}\n\nCards with the same panel are comparable; others are not."


def _against(differences: Sequence[str]) -> str:
    if not differences:
        return "Like for like with the card it was held against: the same panel."
    return "Not comparable with the other card, because these parts differ:\n\n" + "\n".join(
        f"- {line}" for line in differences
    )
