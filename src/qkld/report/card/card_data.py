"""What a card is of: a study, a table of quants, or the JSON of a comparison → rows and their panel."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from qkld.analysis.gate.estimates import QuantsTable, of_fidelity, of_items, read_items
from qkld.analysis.gate.judging import Estimate
from qkld.analysis.gate.thresholds import KLD, LOSS, TOP1
from qkld.analysis.own_table.number_columns import read_numbers
from qkld.analysis.own_table.table_files import plain_name
from qkld.analysis.study import LoadedStudy
from qkld.errors import TableError
from qkld.report.card.panel import Panel
from qkld.sources import ASSETS
from qkld.study.params import FLOOR_DTYPE, Corpus
from qkld.study.provenance import METRICS_VERSION, key_of, sha256_of_file

SIZES = ("size_bytes", "size_gb", "size", "bits_per_weight", "bits_per_trunk_weight", "nominal_bits", "bits")
"""Columns of a quant's size, the first that is there."""

ENGINES = ("torch", "transformers", "llama_cpp_python")
"""Packages whose versions change what an engine computes."""

NOTHING = Estimate("", math.nan)

NAMED = 8
"""Labels that a message names."""


@dataclass(frozen=True)
class CardRow:
    """One quant: its size in the unit of the card, mean KLD in nats, top-token agreement as a share.

    ``losses`` are by score: the reference's less the quant's on the same items, a fraction; empty without items.
    """

    label: str
    size: float
    kld: Estimate
    top1: Estimate
    scores: Mapping[str, float]
    losses: Mapping[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class CardData:
    """Everything on a card.

    Attributes
    ----------
    name : what the card is of
    size : what the sizes are, with their unit; empty where there are none
    rows : quants, the smallest first
    floor : mean KLD of the noise floor, nats; NaN where there is none
    panel : how it was measured
    reference : the reference's own size and scores; None where the source does not have them
    """

    name: str
    size: str
    rows: tuple[CardRow, ...]
    floor: float
    panel: Panel
    reference: CardRow | None = None


def _sorted(rows: Iterable[CardRow]) -> tuple[CardRow, ...]:
    """By size, else from the farthest to the nearest."""
    return tuple(sorted(rows, key=lambda r: (math.isnan(r.size), r.size, -r.kld.value)))


def _checked(rows: Sequence[CardRow], source: object) -> tuple[CardRow, ...]:
    measured = [row for row in rows if not math.isnan(row.kld.value)]
    if not measured:
        raise TableError(
            f"{source} has no mean KLD of a quant.",
            expected="a column or rows of a mean KL divergence",
            found=f"{len(rows)} rows without one",
            do="name a table of quants, a study, or the JSON of `qkld compare`",
        )
    return _sorted(measured)


# --- a table ----------------------------------------------------------------------------------------------------------


def of_table(
    path: Path,
    *,
    size: str | None = None,
    scores: Sequence[str] = (),
    reference: str | None = None,
    items: Path | None = None,
    label: Sequence[str] = (),
    unit: str | None = None,
) -> CardData:
    """A card of a table of quants, such as `qkld import` makes; ``reference`` is left out of the quants.

    Parameters
    ----------
    size, scores : columns of the table; scores may be benchmarks of the items instead
    items : answers item by item, which give losses against the reference their intervals
    label, unit : see `QuantsTable.read`

    Raises
    ------
    TableError
        If the table cannot be read, lacks what was named, or has no mean KLD.
    """
    table = QuantsTable.read(path, label=label, unit=unit)
    klds, tops = table.estimates(KLD), table.estimates(TOP1)
    roles = _roles(table, reference)
    answers = None if items is None else _answers(items, scores, table.labels)
    sizes, measure = _sizes(table, size)
    columns = _scores(table, scores, answers)
    rows = {
        name: CardRow(
            name,
            sizes[place],
            klds.get(name, NOTHING),
            tops.get(name, NOTHING),
            {s: float(values[name]) for s, values in columns.items()},
        )
        for place, name in enumerate(table.labels)
    }
    against = next((name for name, role in roles.items() if role == "reference"), None)
    quants = [_with_losses(rows[name], answers, against) for name, role in roles.items() if role == "quant"]
    own = None if against is None else replace(rows[against], kld=NOTHING, top1=NOTHING)
    return CardData(path.stem, measure, _checked(quants, path), math.nan, _panel_of_table(table.cells), own)


def _roles(table: QuantsTable, reference: str | None) -> dict[str, str]:
    """Label → role of every row: of a column ``role``, else quants but for the reference that was named."""
    if reference is not None and reference not in table.labels:
        raise TableError(
            f"{table.path} has no row '{reference}'.", expected="the reference's label", found=list(table.labels),
            do="name one of these with --reference",
        )  # fmt: skip
    names = _names(table)
    said = table.cells[names["role"]].astype(str).tolist() if "role" in names else ["quant"] * len(table.labels)
    if reference is not None:
        said = ["floor" if role == "reference" else role for role in said]
    roles = dict(zip(table.labels, said, strict=True))
    return roles | ({} if reference is None else {reference: "reference"})


def _names(table: QuantsTable) -> dict[str, str]:
    return {plain_name(c): str(c) for c in table.cells}


def _sizes(table: QuantsTable, named: str | None) -> tuple[list[float], str]:
    """Each row's size, NaN where there is none, and what the sizes are, with their unit."""
    names = _names(table)
    _check_there([named] if named else [], names, table.path)
    column = next((names[plain_name(n)] for n in ([named] if named else SIZES) if plain_name(n) in names), None)
    if column is None:
        return [math.nan] * len(table.labels), ""
    numbers = read_numbers(table.cells, [column], source=str(table.path), form=table.form)[column]
    scale, measure = _size_unit(column, numbers.unit)
    return [float(v) * scale for v in numbers.values], measure


def _scores(table: QuantsTable, scores: Sequence[str], answers: pd.DataFrame | None) -> dict[str, pd.Series]:
    """Score → its value of each label: the table's column, else the share of right answers."""
    names, labels, shares = _names(table), list(table.labels), _shares(answers)
    wanted = scores or tuple(shares)
    _check_there([s for s in wanted if s not in shares], names, table.path)
    columns = {s: names[plain_name(s)] for s in wanted if plain_name(s) in names}
    wanted_cells = list(columns.values())
    read = read_numbers(table.cells, wanted_cells, source=str(table.path), form=table.form) if columns else {}
    return {s: read[columns[s]].values.set_axis(labels) if s in columns else shares[s].reindex(labels) for s in wanted}


def _shares(answers: pd.DataFrame | None) -> dict[str, pd.Series]:
    """Benchmark → each model's share of right answers."""
    if answers is None:
        return {}
    return {str(name): own.groupby("model")["correct"].mean() for name, own in answers.groupby("benchmark", sort=False)}


def _answers(path: Path, scores: Sequence[str], labels: Sequence[str]) -> pd.DataFrame:
    """Answers of the table's models.

    Raises
    ------
    TableError
        If there are none.
    """
    items = read_items(path, scores or None)
    own = items[items["model"].isin(labels)]
    if own.empty:
        raise TableError(
            f"{path} has no answers of the table's models.",
            expected=f"models among {', '.join(labels[:NAMED])}",
            found=", ".join(map(str, items["model"].unique()[:NAMED])),
            do="use the same model names in both",
        )
    return own


def _with_losses(row: CardRow, answers: pd.DataFrame | None, reference: str | None) -> CardRow:
    """A row with its losses against the reference on the same items."""
    if answers is None or reference is None:
        return row
    found = of_items(answers, row.label, reference, row.scores)
    return replace(row, losses={metric.removeprefix(LOSS): estimates[0] for metric, estimates in found.items()})


def _check_there(wanted: Sequence[str], names: Mapping[str, str], path: Path) -> None:
    missing = [name for name in wanted if plain_name(name) not in names]
    if missing:
        raise TableError(
            f"{path} lacks columns that you named.", expected=list(wanted), found=list(names.values()),
            do=f"name columns of the table instead of {', '.join(missing)}",
        )  # fmt: skip


def _size_unit(column: str | None, unit: str) -> tuple[float, str]:
    """What a column of sizes is multiplied with, and what it is then."""
    if column is None:
        return 1.0, ""
    if plain_name(column).endswith("bytes") or unit == "bytes":
        return 1e-9, "size (GB)"
    if plain_name(column).endswith(" gb"):
        return 1.0, "size (GB)"
    return 1.0, f"{column.replace('_', ' ')}{f' ({unit})' if unit else ''}"


def _panel_of_table(cells: pd.DataFrame) -> Panel:
    """What the rows of an imported table say alike; the text is known by the reference's perplexity on it."""
    said = {name: _alike(cells, name) for name in ("context", "windows", "build", "ppl_reference", "name")}
    text = {}
    if said["ppl_reference"]:
        text = {"hash": key_of([said[n] for n in ("ppl_reference", "context", "windows")])}
        text |= {"known by": f"perplexity {said['ppl_reference']} of the reference"}
    for name in ("windows", "context"):
        text |= {name: said[name]} if said[name] else {}
    return Panel(
        reference=f"{said['name'] or 'model'} of perplexity {said['ppl_reference']}" if said["ppl_reference"] else "",
        texts=(text,) if text else (),
        engine=f"llama-perplexity {said['build']}" if said["build"] else "",
        floor="none",
        versions={"figures": "as the table has them"},
    )


def _alike(cells: pd.DataFrame, name: str) -> str:
    """The one value of a column; empty where there is none or several. Perplexities agree to five digits."""
    if name not in cells:
        return ""
    values = {f"{v:.5g}" if isinstance(v, float) else str(v) for v in cells[name].dropna()}
    return values.pop() if len(values) == 1 else ""


# --- a comparison -----------------------------------------------------------------------------------------------------


def of_comparison(value: Mapping[str, Any], source: Path) -> CardData:
    """A card of what ``qkld compare --json`` wrote.

    Raises
    ------
    TableError
        If it holds bounds instead of figures, or no mean KLD.
    """
    made, fidelity = value.get("made_by"), value.get("fidelity")
    if not isinstance(made, dict) or not isinstance(fidelity, list) or "models" not in made:
        raise TableError(
            f"{source} is not a comparison with figures.",
            expected="the file of `qkld compare --json` of two models that ran here",
            found=f"keys {list(value)[:6]}",
            do="name that file, or a table",
        )
    labels = [label for label in dict.fromkeys(row["quant"] for row in fidelity) if label != FLOOR_DTYPE]
    rows = [_measured_row(label, fidelity, made["models"][label]["bits_per_weight"]) for label in labels]
    floor = of_fidelity(fidelity, FLOOR_DTYPE)[0].get(KLD, [NOTHING])[0].value
    context = ", ".join(str(c) for c in dict.fromkeys(row["context"] for row in fidelity))
    text = {"name": str(made["text"]), "hash": made.get("text_key", ""), "windows": str(made.get("windows", ""))}
    panel = Panel(
        reference=made["models"]["reference"]["weights_sha256"] if "reference" in made["models"] else "",
        texts=({**text, "context": context},),
        engine=_engine(made),
        dtype=f"{made['compute_dtype']} on {made['device']}",
        floor=made.get("floor_dtype") or "none",
        versions={"qkld metrics": str(made.get("metrics_version", ""))},
    )
    return CardData(source.stem, "bits per weight", _checked(rows, source), floor, panel)


def _measured_row(label: str, fidelity: Sequence[Mapping[str, Any]], bits: float) -> CardRow:
    found, _ = of_fidelity(fidelity, label)
    return CardRow(label, float(bits), found.get(KLD, [NOTHING])[0], found.get(TOP1, [NOTHING])[0], {})


def _engine(made: Mapping[str, Any]) -> str:
    packages = made.get("packages", {})
    return ", ".join(f"{name} {packages[name]}" for name in ENGINES if name in packages)


# --- a study ----------------------------------------------------------------------------------------------------------


def of_study(study: LoadedStudy) -> CardData:
    """A card of a study: the corpus and context of its headline, with the scores of its benchmarks."""
    where, params = study.params.headline, study.params
    fidelity = study.fidelity
    rows_here = fidelity[(fidelity["corpus"] == where.corpus) & (fidelity["context"] == where.context)]
    records = rows_here.to_dict("records")
    cohort = study.cohort.set_index("label")
    scores = [c for c in cohort if c.startswith("score_")]
    against = params.reference.label
    own = {
        label: {c.removeprefix("score_"): float(cohort.at[label, c]) for c in scores}
        for label in (against, *study.quants)
    }
    sizes = cohort["bits_per_weight"]
    rows = [
        _with_losses(replace(_measured_row(q, records, sizes[q]), scores=own[q]), study.items, against)
        for q in study.quants
    ]
    reference = CardRow(against, float(sizes[against]), NOTHING, NOTHING, own[against])
    floors = [of_fidelity(records, name)[0].get(KLD, [NOTHING])[0].value for name in params.floors]
    made = study.cohort_made_by
    corpus = next(c for c in params.corpora if c.name == where.corpus)
    panel = Panel(
        reference=str(cohort.at[against, "weights_sha256"]),
        texts=(_text_of(corpus, where.context, next(r for r in records if r["metric"] == KLD and r["quant"] in own)),),
        engine=_engine(made),
        dtype=_dtype_of(study),
        floor=", ".join(params.floors) or "none",
        versions={"qkld metrics": str(made.get("metrics_version", METRICS_VERSION))},
    )
    floor = max((value for value in floors if not math.isnan(value)), default=math.nan)
    return CardData(params.study, "bits per weight", _checked(rows, params.study), floor, panel, reference)


def _dtype_of(study: LoadedStudy) -> str:
    """The dtype and device of the quants as they were measured, which a study may have left to the machine."""
    compute = study.params.compute
    models = [study.measured_by(quant).get("model", {}) for quant in study.quants]
    own = [(m.get("compute_dtype", compute.compute_dtype), m.get("device", compute.device)) for m in models]
    return ", ".join(f"{dtype} on {device}" for dtype, device in dict.fromkeys(own))


def _text_of(corpus: Corpus, context: int, measured: Mapping[str, Any]) -> dict[str, str]:
    """A study's corpus: its pinned file, or its own one, how windows are cut of it, and what was scored of them.

    The extent is that of the tables: a study's file may ask for other windows since they were made.
    """
    extent = {name: str(measured[name]) for name in ("tokens", "clusters")}
    cut = corpus.model_dump(mode="json", exclude={"name", "asset", "path", "context_lengths", "windows", "windows_at"})
    if corpus.asset is not None:
        files = dict(ASSETS[corpus.asset].files)
    else:
        own = Path(str(corpus.path)).expanduser()
        files = {own.name: sha256_of_file(own)} if own.is_file() else {}
    return {
        "name": f"{corpus.name} ({corpus.asset or corpus.path})",
        "hash": key_of([files, cut, extent, context]) if files else "",
        **extent,
        "context": str(context),
    }
