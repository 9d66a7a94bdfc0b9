"""Answers item by item as records of every_eval_ever, an interchange format of evaluations; its schema 0.3.0."""

from __future__ import annotations

import hashlib
import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qkld.analysis.gate.estimates import LEVEL
from qkld.analysis.gate.judging import Estimate
from qkld.analysis.importing.every_eval_ever import ACCURACY, KLD, NUMBERS
from qkld.errors import ParameterError, StatisticsError, TableError
from qkld.statistics.core.clustered import clustered_error
from qkld.study.provenance import key_of, written_whole

SCHEMA = "0.3.0"

RELATIONSHIPS = ("first_party", "third_party", "collaborative", "other")
"""Of who evaluated to who made the model, as the format has them."""

UNSAFE = re.compile(r'[<>:"\\|?*\x00-\x1f]|[. ]+$')
"""What no part of a path of the format may hold."""

NO_TEXT = "the text of the question is not shared; sample_hash tells whether two models were asked the same"


@dataclass(frozen=True)
class Origin:
    """Who shares an evaluation, and what made it.

    Attributes
    ----------
    collection : name of the evaluation, the folder that the files go to
    developer : who made the models, for labels that do not begin with ``developer/``
    organization : who evaluated
    relationship : of `RELATIONSHIPS`
    library, version : what asked the questions
    """

    collection: str
    developer: str | None
    organization: str
    relationship: str = "other"
    library: str = "unknown"
    version: str = "unknown"


def share_items(
    items: pd.DataFrame, out: Path, origin: Origin, *, divergences: Mapping[str, Estimate] | None = None
) -> list[Path]:
    """Write two files a model below ``out/data``: its scores, and its answers item by item; returns the first ones.

    Equal items give equal names, so that a second export replaces the first. The texts of the questions stay out.

    Parameters
    ----------
    items : of schema `qkld.analysis.importing.imported_items.IMPORTED`
    divergences : model → its mean KLD in nats, to be shared too

    Raises
    ------
    ParameterError
        If a model's label names no developer and none is given, or two labels give one path.
    TableError
        If the divergences are of none of the models.
    """
    made_at = str(int(time.time()))
    models = list(dict.fromkeys(items["model"]))
    places = _places(models, origin)
    _check_divergences(models, divergences)
    written = []
    for model in models:
        own = items[items["model"] == model]
        record = _scores(own, places[model], made_at, origin, (divergences or {}).get(model))
        written.append(_write(out, places[model], record, list(_rows(own, record))))
    return written


# --- names ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A model's label, its identifier ``developer/name``, and its folder below ``data``."""

    label: str
    identifier: str
    folder: str


def _places(models: Sequence[str], origin: Origin) -> dict[str, Place]:
    places = {model: _place(model, origin) for model in models}
    folders = [place.folder for place in places.values()]
    alike = [place.label for place in places.values() if folders.count(place.folder) > 1]
    if alike:
        raise ParameterError(
            "Two models would be written to the same folder.",
            expected="labels that differ in letters and digits",
            found=alike,
            do="rename one of the models",
        )
    return places


def _place(model: str, origin: Origin) -> Place:
    developer, slash, name = model.partition("/")
    if not slash:
        developer, name = origin.developer or "", model
    if not developer or not name:
        raise ParameterError(
            f"Model '{model}' does not name its developer.",
            expected="a label DEVELOPER/NAME, or --developer NAME",
            found=model,
            do="name the developer with --developer",
        )
    parts = [_safe(part) for part in (origin.collection, developer, name)]
    return Place(model, f"{developer}/{name}", "/".join(("data", *parts)))


def _safe(part: str) -> str:
    return UNSAFE.sub("_", part.replace("/", "_"))


# --- scores -----------------------------------------------------------------------------------------------------------


def _scores(
    items: pd.DataFrame, place: Place, made_at: str, origin: Origin, divergence: Estimate | None
) -> dict[str, Any]:
    """The record of a model's scores, without the pointer to its samples."""
    results = [_accuracy(str(name), own) for name, own in items.groupby("benchmark", sort=False)]
    return {
        "schema_version": SCHEMA,
        "evaluation_id": f"{origin.collection}/{place.identifier}/{made_at}",
        "retrieved_timestamp": made_at,
        "source_metadata": {
            "source_type": "evaluation_run",
            "source_organization_name": origin.organization,
            "evaluator_relationship": origin.relationship,
        },
        "eval_library": {"name": origin.library, "version": origin.version},
        "model_info": {
            "name": place.label,
            "id": place.identifier,
            "developer": place.identifier.partition("/")[0],
            "additional_details": {"deployment_type": "unknown", "model_availability": "unknown"},
        },
        "evaluation_results": [*results, *([] if divergence is None else [_divergence(divergence)])],
    }


def _accuracy(benchmark: str, items: pd.DataFrame) -> dict[str, Any]:
    """The share of right answers with its standard error; samples of one item are clustered."""
    correct = items["correct"].to_numpy(float)
    score = float(correct.mean())
    uncertainty: dict[str, Any] = {"num_samples": len(items)}
    if (error := _error(correct, items)) is not None:
        uncertainty["standard_error"] = {"value": error, "method": "analytic"}
    metric = items["metric"].iloc[0] if "metric" in items and items["metric"].notna().all() else ACCURACY
    return {
        "evaluation_result_id": _result_id(benchmark),
        "evaluation_name": benchmark,
        "source_data": {"dataset_name": benchmark, "source_type": "other"},
        "metric_config": {
            "metric_id": ACCURACY,
            "metric_name": str(metric),
            "metric_unit": "proportion",
            "lower_is_better": False,
            "score_type": "continuous",
            "min_score": 0,
            "max_score": 1,
        },
        "score_details": {"score": score, "uncertainty": uncertainty},
    }


def _result_id(benchmark: str) -> str:
    return f"{benchmark}:{ACCURACY}"


def _error(correct: np.ndarray, items: pd.DataFrame) -> float | None:
    """Standard error of the mean over clusters; None where there is one only."""
    clusters = items["cluster"] if "cluster" in items else items["item"]
    try:
        return clustered_error((correct - correct.mean()) / len(correct), clusters.to_numpy())[0]
    except StatisticsError:
        return None


def _check_divergences(models: Sequence[str], divergences: Mapping[str, Estimate] | None) -> None:
    if divergences is not None and not set(models) & set(divergences):
        raise TableError(
            "The table of quants has no mean KLD of these models.",
            expected=f"labels among {list(models)[:8]}, and a column of the mean KLD",
            found=f"a mean KLD of {list(divergences)[:8] or 'none'}",
            do="use the table of the same models as these items",
        )


def _divergence(estimate: Estimate) -> dict[str, Any]:
    """A mean KLD; its estimate can fall below 0 by rounding, so it has no lower bound."""
    details: dict[str, Any] = {"score": estimate.value}
    if estimate.has_interval:
        interval = {"lower": estimate.low, "upper": estimate.high, "confidence_level": LEVEL}
        details["uncertainty"] = {"confidence_interval": interval}
    return {
        "evaluation_result_id": KLD,
        "evaluation_name": "kl_divergence",
        "source_data": {"dataset_name": "text of the KL divergence", "source_type": "other"},
        "metric_config": {
            "metric_id": KLD,
            "metric_name": "mean KL(reference ‖ model)",
            "metric_unit": "nats per token",
            "lower_is_better": True,
            "score_type": "continuous",
            "min_score": "-Infinity",
            "max_score": "Infinity",
        },
        "score_details": details,
    }


# --- answers item by item ---------------------------------------------------------------------------------------------


def _rows(items: pd.DataFrame, scores: dict[str, Any]) -> Iterator[dict[str, Any]]:
    numbers = [name for name in NUMBERS if name in items]
    for row in items.to_dict("records"):
        answer = str(row["answer"]) if pd.notna(row.get("answer")) else ""
        request = row.get("request")
        yield {
            "schema_version": SCHEMA,
            "evaluation_id": scores["evaluation_id"],
            "model_id": scores["model_info"]["id"],
            "evaluation_name": row["benchmark"],
            "evaluation_result_id": _result_id(row["benchmark"]),
            "sample_id": row["cluster"] if pd.notna(row.get("cluster")) else row["item"],
            "sample_hash": str(request) if request is not None and pd.notna(request) else None,
            "interaction_type": "single_turn",
            "input": {"raw": "", "reference": []},
            "output": {"raw": [answer]},
            "answer_attribution": [_attribution(answer)],
            "evaluation": {"score": float(row["correct"]), "is_correct": bool(row["correct"])},
            "metadata": {"text": NO_TEXT} | {n: repr(float(row[n])) for n in numbers if pd.notna(row[n])},
        }


def _attribution(answer: str) -> dict[str, Any]:
    return {
        "turn_idx": 0,
        "source": "output.raw",
        "extracted_value": answer,
        "extraction_method": "unknown",
        "is_terminal": True,
    }


# --- files ------------------------------------------------------------------------------------------------------------


def _write(out: Path, place: Place, scores: dict[str, Any], rows: list[dict[str, Any]]) -> Path:
    """The two files of one model; the record points to its samples by their path, hash and number."""
    name = _name(place, rows)
    text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    samples = f"{place.folder}/{name}_samples.jsonl"
    scores["detailed_evaluation_results"] = {
        "format": "jsonl",
        "file_path": samples,
        "hash_algorithm": "sha256",
        "checksum": hashlib.sha256(text.encode()).hexdigest(),
        "total_rows": len(rows),
    }
    record = out / place.folder / f"{name}.json"
    for path, content in (
        (out / samples, text),
        (record, json.dumps(scores, indent=1, ensure_ascii=False, allow_nan=False) + "\n"),
    ):
        with written_whole(path) as temporary:
            temporary.write_bytes(content.encode())
    return record


def _name(place: Place, rows: Sequence[dict[str, Any]]) -> str:
    """A UUID of version 4, as the format wants, made of the answers: equal answers have one name."""
    answers = [(row["evaluation_name"], row["sample_id"], row["evaluation"]["is_correct"]) for row in rows]
    return str(uuid.UUID(bytes=hashlib.sha256(key_of([place.folder, answers]).encode()).digest()[:16], version=4))
