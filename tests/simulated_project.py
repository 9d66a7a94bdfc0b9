"""A project on disk with a study whose fidelity and item tables are drawn, as notebooks 02 and 03 would leave them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from simulated_study import BENCHMARKS, VARIANTS, simulated_study
from simulated_tokens import tokens_of_quant

from qkld.study.params import FLOOR_BATCH, Study, parse_study
from qkld.study.provenance import made_by
from qkld.study.schemas import FIDELITY, ITEMS, TOKENS, write_table

NAME = "simulated"
PLACES = {"kl_mean_128": ("prose", 128), "kl_mean_1024": ("prose", 1024), "kl_mean_code": ("code", 512),
          "kl_mean_chat": ("chat", 0)}  # fmt: skip


def simulated_params(repository: Path, cohort: pd.DataFrame) -> dict[str, Any]:
    """Values of a study like smoke's with the quants of a simulated cohort."""
    values = yaml.safe_load((repository / "params" / "smoke.yaml").read_text())
    rows = cohort[cohort["role"] == "quant"]
    quants = [
        {"label": q.label, "method": "torchao", "family": q.family, "maker": "nobody", "recipe": q.recipe,
         "nominal_bits": q.nominal_bits, "scheme": "intx", "bits": 8, "group_size": 8 + i}
        for i, q in enumerate(rows.itertuples())
    ]  # fmt: skip
    return values | {
        "study": NAME,
        "corpora": [
            {"name": "prose", "asset": "boolq-passages", "context_lengths": [128, 512, 1024], "windows": 4},
            {"name": "code", "asset": "python-sources", "context_lengths": [512], "windows": 4},
            {"name": "chat", "kind": "chat", "asset": "science-questions", "windows": 4},
        ],
        "benchmarks": [{"task": task, "chance": 0.25} for task in BENCHMARKS],
        "headline": {"corpus": "prose", "context": 512},
        "silent_zone": values["silent_zone"] | {"zone_cut": 0.05},
        "quants": quants,
    }


def fidelity_of(row: pd.Series) -> pd.DataFrame:
    """The fidelity table that a row of a simulated cohort would come from."""
    head = [v for v in VARIANTS if v not in PLACES]
    cells = [(v, "prose", 512, v) for v in head] + [("kl_mean", *place, v) for v, place in PLACES.items()]
    table = pd.DataFrame(
        [{"metric": m, "corpus": c, "context": k, "estimate": row[source]} for m, c, k, source in cells]
    )
    is_mean = table["metric"] == "kl_mean"
    ends = {"low": table["estimate"].where(is_mean) * 0.93, "high": table["estimate"].where(is_mean) * 1.08}
    resampled = {f"bootstrap_{name}": values for name, values in ends.items()}
    return table.assign(quant=row["label"], **ends, **resampled, tokens=1000, clusters=40, nonfinite=0, note="")


def tokens_of(row: pd.Series) -> pd.DataFrame:
    """A token table with the mean KLs of a row of a simulated cohort."""
    return tokens_of_quant(
        row["label"], {("prose", 512): row["kl_mean"], **{place: row[v] for v, place in PLACES.items()}}
    )


def simulated_tables() -> tuple[pd.DataFrame, dict[str, pd.DataFrame], dict[str, pd.DataFrame], dict[str, dict]]:
    """The cohort as drawn, and fidelity tables, item tables and model facts, each by label."""
    cohort, items = simulated_study()
    measured = cohort[cohort["role"] != "reference"]
    fidelity = {row["label"]: FIDELITY.checked(fidelity_of(row)) for _, row in measured.iterrows()}
    by_model = {label: rows.reset_index(drop=True) for label, rows in items.groupby("model", sort=False)}
    facts = {
        row.label: {"label": row.label, "bits_per_weight": row.bits_per_weight, "weights_sha256": row.weights_sha256,
                    "bits_per_trunk_weight": row.bits_per_trunk_weight}
        for row in cohort.itertuples()
    }  # fmt: skip
    return cohort, fidelity, by_model, facts


def second_run(reference: pd.DataFrame) -> pd.DataFrame:
    """The reference's items once more, one answer in fifty changed, as another batch shape in 16 bits would do."""
    changed = reference["item"].astype(int) % 50 == 7
    correct = reference["correct"].where(~changed, 1 - reference["correct"]).astype("int8")
    return reference.assign(model=FLOOR_BATCH, correct=correct)


def simulated_parsed(repository: Path) -> Study:
    """The parsed parameters of the simulated study."""
    return parse_study(simulated_params(repository, simulated_study()[0]), source="a test")


def write_simulated(repository: Path, root: Path, runs: Path, **facts_of_all: Any) -> None:
    """Write ``params/simulated.yaml`` below ``root`` and the study's token, fidelity and item tables below ``runs``.

    ``facts_of_all`` is what the tables say of how they were made, beside what is known here.
    """
    cohort, fidelity, items, facts = simulated_tables()
    (root / "params").mkdir(parents=True, exist_ok=True)
    (root / "params" / f"{NAME}.yaml").write_text(yaml.safe_dump(simulated_params(repository, cohort)))
    made = made_by(**facts_of_all)
    items = items | {FLOOR_BATCH: second_run(items["reference"])}
    tokens = {row["label"]: tokens_of(row) for _, row in cohort[cohort["role"] != "reference"].iterrows()}
    for folder, schema, tables in (("kld", TOKENS, tokens), ("fidelity", FIDELITY, fidelity), ("items", ITEMS, items)):
        for label, table in tables.items():
            write_table(runs / NAME / folder / f"{label}.parquet", table, schema, made | {"model": facts[label]})
