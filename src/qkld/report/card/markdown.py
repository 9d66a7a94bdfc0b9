"""A card as Markdown: one sentence, the table by size with intervals, and the panel."""

from __future__ import annotations

import math
from collections.abc import Sequence

from qkld.analysis.gate.judging import Estimate
from qkld.report.card.panel import Panel
from qkld.report.card.sources import CardData, CardRow


def card_text(data: CardData, *, figure: str, differences: Sequence[str] | None = None) -> str:
    """The Markdown of a card; ``figure`` is the picture's file, ``differences`` those from another card."""
    parts = [
        "## Fidelity to the reference",
        sentence(data),
        f"![Mean KLD by size]({figure})",
        _table(data),
        "Mean KLD is KL(reference ‖ quant) of the next token, in nats per token; brackets are 95 % intervals.",
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
    told = nearest.kld.high < min(row.kld.low for row in data.rows if row is not nearest)
    word = "nearest" if told or math.isnan(nearest.kld.high) else "nearest by its estimate, not told from the next,"
    return (
        f"Of {len(data.rows)} quants **{nearest.label}** is {word} to the reference with {_nats(nearest.kld)} nats per "
        f"token{floor}, and {farthest.label} farthest with {_nats(farthest.kld)}."
    )


def _nats(estimate: Estimate) -> str:
    if not estimate.has_interval:
        return f"{estimate.value:.4g}"
    return f"{estimate.value:.4g} [{estimate.low:.4g}, {estimate.high:.4g}]"


def _share(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return ""
    ends = f" [{100 * estimate.low:.2f}, {100 * estimate.high:.2f}]" if estimate.has_interval else ""
    return f"{100 * estimate.value:.2f} %{ends}"


def _table(data: CardData) -> str:
    scores = list(dict.fromkeys(name for row in data.rows for name in row.scores))
    with_top1 = any(not math.isnan(row.top1.value) for row in data.rows)
    header = [
        "quant",
        *([data.size] if data.size else []),
        "mean KLD",
        *(["same top token"] if with_top1 else []),
        *scores,
    ]
    rows = [header, ["---", *["---:"] * (len(header) - 1)]]
    rows += [_cells(data, row, scores, with_top1=with_top1) for row in data.rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)


def _cells(data: CardData, row: CardRow, scores: Sequence[str], *, with_top1: bool) -> list[str]:
    size = [] if not data.size else ["" if math.isnan(row.size) else f"{row.size:.4g}"]
    own = [_score(row.scores.get(name, math.nan)) for name in scores]
    return [row.label, *size, _nats(row.kld), *([_share(row.top1)] if with_top1 else []), *own]


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
    return f"| | |\n|---|---|\n{said}\n\nCards of one panel are like for like; others are not comparable."


def _against(differences: Sequence[str]) -> str:
    if not differences:
        return "Like for like with the card it was held against: the same panel."
    return "Not like for like with the card it was held against:\n\n" + "\n".join(f"- {line}" for line in differences)
