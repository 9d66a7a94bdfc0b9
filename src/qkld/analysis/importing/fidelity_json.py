"""JSON files that other tools write of a quant's fidelity: one a quant, or one with several.

Forms looked up in the tools' public repositories: apex-quant's benchmark results, reports and comparisons of
mlx-quant-fidelity, comparison receipts of quant-fidelity-suite, results of exllamav3's qbench.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from qkld.analysis.importing.imported import QUANTS, Imported
from qkld.analysis.importing.reading import json_file, unreadable
from qkld.errors import TableError

Row = Mapping[str, Any]
"""A quant's JSON with nested names joined: ``kl.mean``."""


@dataclass(frozen=True)
class Form:
    """How one tool names what.

    Attributes
    ----------
    tool : its name
    needs : names that only its files have together
    columns : our column → the tool's name, or a function of the row
    same : names whose values all quants of a table must share: text, tokenizer, reference
    wanted : name → the value that it must have for the figure to be KL(reference ‖ quant) in nats
    """

    tool: str
    needs: frozenset[str]
    columns: Mapping[str, str | Callable[[Row], Any]]
    same: tuple[str, ...] = ()
    wanted: Mapping[str, Any] = field(default_factory=dict)


def _bytes_of_gb(row: Row) -> float | None:
    return None if row.get("size_gb") is None else row["size_gb"] * 1e9


def _agreement(row: Row) -> float | None:
    return None if row.get("flip_rate") is None else 1 - row["flip_rate"]


FORMS = (
    Form(
        "apex-quant",
        frozenset({"model", "kl_mean", "perplexity", "size_gb"}),
        {
            **{"label": "model", "size_bytes": _bytes_of_gb, "ppl": "perplexity", "ppl_se": "ppl_error"},
            **{"kl_mean": "kl_mean", "kl_max": "kl_max", "kl_p99_9": "kl_99_9", "kl_median": "kl_median"},
            **{s: s for s in ("hellaswag", "winogrande", "mmlu", "arc_challenge", "truthfulqa")},
        },
    ),
    Form(
        "mlx-quant-fidelity",
        frozenset({"quant_model_id", "reference_model_id", "kl.mean", "n_positions"}),
        {
            **{"label": "quant_model_id", "size_bytes": "quant_model_bytes"},
            **{"bits_per_weight": "quant_bits_per_weight", "top1_agreement": _agreement},
            **{"kl_mean": "kl.mean", "kl_median": "kl.median", "kl_p99": "kl.p99", "kl_max": "kl.max"},
            **{"ppl": "perplexity_quant", "ppl_reference": "perplexity_ref", "tokens": "n_positions"},
            **{"context": "corpus.chunk_length", "windows": "n_chunks"},
        },
        same=(
            *("corpus.name", "corpus.split", "corpus.chunk_length", "corpus.stride", "corpus.n_tokens"),
            *("corpus.normalization", "corpus.bos_policy", "reference_model_id", "reference_revision", "n_positions"),
        ),
    ),
    Form(
        "quant-fidelity-suite",
        frozenset({"schema", "candidate.label", "kl.mean", "metric.direction", "panel.panel_id"}),
        {
            **{"label": "candidate.label", "bits_per_weight": "candidate.weights.declared_bits"},
            **{"kl_mean": "kl.mean", "kl_median": "kl.median", "kl_max": "kl.max", "top1_agreement": "top1_agreement"},
            **{"kl_p95": "kl.p95", "kl_p99": "kl.p99", "kl_p99_9": "kl.p99_9"},
            **{"kl_mean_low": "uncertainty.ci95_low", "kl_mean_high": "uncertainty.ci95_high"},
            **{"context": "panel.context_length", "windows": "measurement_scope.contexts"},
            "tokens": "measurement_scope.scored_positions",
        },
        same=(
            *("panel.suite_token_hash_sha256", "reference.capture_content_digest", "measurement_scope.contexts"),
            *("measurement_scope.scored_positions", "estimator.head_policy"),
        ),
        wanted={"metric.direction": "reference_to_candidate", "metric.units": "nats"},
    ),
    Form(
        "exllamav3's qbench",
        frozenset({"label", "group", "bpw_layer", "bpw_head"}),
        {
            **{"label": "label", "role": lambda row: _QBENCH_ROLES.get(row.get("group"), "quant"), "family": "group"},
            **{"kl_mean": "kld", "kl_median": "kld_median", "kl_p90": "kld_p90", "ppl": "ppl"},
            **{"bits_per_trunk_weight": "bpw_layer", "head_bits": "bpw_head", "vram_gb": "vram_gb"},
        },
    ),
)

_QBENCH_ROLES = {"reference": "reference", "noise_floor": "floor"}

EXPECTED = f"JSON of {', '.join(form.tool for form in FORMS)}"


def read_fidelity_json(paths: Sequence[Path], *, labels: Sequence[str] = ()) -> Imported:
    """A table of quants from JSON files of one tool, or folders of them.

    Raises
    ------
    TableError
        If a file is of no known form, quants are of several texts or references, or a label is there twice.
    """
    files = [file for path in paths for file in json_files(path)]
    found = [(file, form, row) for file in files for form, row in quants_of(file)]
    if not found:
        raise unreadable(paths[0], EXPECTED, "no quant's figures")
    _check_one_form(found)
    rows = [_row(file, form, row) for file, form, row in found]
    named = [{**row, "label": label} for row, label in zip(rows, labels, strict=True)] if labels else rows
    table = pd.DataFrame(named).dropna(axis=1, how="all")
    said = tuple(f"{file}: {row['label']}, {form.tool}" for (file, form, _), row in zip(found, named, strict=True))
    return Imported(quants=QUANTS.checked(table), found=said)


def json_files(path: Path) -> list[Path]:
    """The file, or all JSON files below a folder."""
    return sorted(path.rglob("*.json")) if path.is_dir() else [path]


def quants_of(path: Path) -> Iterator[tuple[Form, Row]]:
    """(form, flat row) of every quant in a file; nothing where the file is of no known form."""
    for value in _candidates(json_file(path, expected=EXPECTED)):
        row = dict(_flat(value))
        form = next((form for form in FORMS if form.needs <= row.keys()), None)
        if form is not None:
            yield form, row


def _candidates(value: Any) -> Iterator[dict[str, Any]]:
    """Objects that may be a quant's: the value, those of a list, and reports inside results of a comparison."""
    if isinstance(value, list):
        for inner in value:
            yield from _candidates(inner)
    elif isinstance(value, dict):
        yield value
        for inner in value.get("results", []) if isinstance(value.get("results"), list) else []:
            if isinstance(inner, dict) and isinstance(inner.get("report"), dict):
                yield inner["report"]


def _flat(value: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _flat(inner, f"{before}{name}.")
        else:
            yield f"{before}{name}", inner


def _check_one_form(found: Sequence[tuple[Path, Form, Row]]) -> None:
    """Refuse figures of two tools, texts or references, and those that are no KL(reference ‖ quant) in nats."""
    first_file, first, own = found[0]
    for file, form, row in found:
        if form is not first:
            raise _apart(first_file, file, "tool", first.tool, form.tool)
        for name in form.same:
            if row.get(name) != own.get(name):
                raise _apart(first_file, file, name, own.get(name), row.get(name))
        for name, value in form.wanted.items():
            if row.get(name) != value:
                raise unreadable(file, f"{name} = {value}", row.get(name))


def _apart(one: Path, two: Path, what: str, first: Any, second: Any) -> TableError:
    return TableError(
        f"The quants were measured differently: {what}.",
        expected=f"{json.dumps(first, ensure_ascii=False)} as in {one}",
        found=f"{json.dumps(second, ensure_ascii=False)} in {two}",
        do="import quants separately if they were measured differently",
    )


def _row(file: Path, form: Form, row: Row) -> dict[str, Any]:
    made = {column: name(row) if callable(name) else row.get(name) for column, name in form.columns.items()}
    if not isinstance(made["label"], str) or not made["label"]:
        raise unreadable(file, f"a name of the quant, as {form.tool} writes it", f"{made['label']!r}")
    return made
