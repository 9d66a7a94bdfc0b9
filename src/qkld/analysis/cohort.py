"""The cohort of a study: one row a model with what it is, its fidelity and its scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from qkld.errors import BenchmarkError, ModelError, StageError
from qkld.statistics.items.scores import benchmark_scores, composite, composite_tasks, mean_probabilities
from qkld.study.params import FLOOR_BATCH, FLOOR_DTYPE, Corpus, Study
from qkld.study.schemas import COHORT, FIDELITY, ITEMS

BASE_VARIANTS = (
    "kl_mean",
    "kl_median",
    "kl_p90",
    "kl_p99",
    "kl_p99_9",
    "kl_max",
    "ppl_ratio",
    "abs_log_ppl_ratio",
    "dp_rms",
    "top1_agreement",
)
"""Ten variants of the headline corpus and context; two corpora and two contexts of ``kl_mean`` are added a study."""

FLOOR_RECIPES = {
    FLOOR_BATCH: "the reference again, in another batch shape and thread count",
    FLOOR_DTYPE: "the reference in the next wider dtype: float32 for 16 bits, float64 for float32",
}

FLOOR_OF_BASIS = 1e-7
"""Nats: in float32, the reference in another basis keeps its distributions to this mean KLD or is another function."""

FLOOR_FACTOR = 3.0
"""A quant whose mean KLD is below this many times that of `FLOOR_DTYPE` is at the floor."""

LARGEST_PLAIN_SHARE = 0.05
"""Share of a quant's trunk that may be left unquantized without a word; norms, biases and routers are far below it."""


def contexts_of(corpus: Corpus) -> tuple[int, ...]:
    """Context lengths of a corpus in tokens; (0,) where every window has its own."""
    return corpus.context_lengths or (0,)


def further_variants(study: Study) -> dict[str, tuple[str, int]]:
    """Cohort columns of mean KLD on the other corpora and at the headline corpus's other contexts.

    Each is named with its place (corpus, context): another corpus is taken at the headline context where it has that,
    else at its longest.
    """
    head, context = study.headline.corpus, study.headline.context
    places = {}
    for corpus in study.corpora:
        lengths = contexts_of(corpus)
        if corpus.name == head:
            places |= {f"kl_mean_{c}": (head, c) for c in lengths if c != context}
        else:
            places[f"kl_mean_{corpus.name}"] = (corpus.name, context if context in lengths else max(lengths))
    return places


def variants_of(study: Study) -> tuple[str, ...]:
    """The study's fidelity variants as cohort columns; 14 with two more corpora and two more contexts."""
    return (*BASE_VARIANTS, *further_variants(study))


def plain_warning(label: str, share: float | None) -> str | None:
    """What is to be said of a quant that leaves more than `LARGEST_PLAIN_SHARE` of its trunk's weights unquantized."""
    if share is None or not share > LARGEST_PLAIN_SHARE:
        return None
    return f"'{label}' leaves {100 * share:.1f} % of its trunk's weights unquantized, such as fused experts"


def chance_levels(study: Study) -> dict[str, float]:
    """Chance level of each benchmark, in the study's order."""
    return {b.task: b.chance for b in study.benchmarks}


def control_tasks(study: Study) -> tuple[str, ...]:
    """Benchmarks that never enter the composite."""
    return tuple(b.task for b in study.benchmarks if b.role == "control")


def composite_of(study: Study, items: pd.DataFrame) -> pd.DataFrame:
    """Which of the study's benchmarks enter its composite, from the reference's items: see `composite_tasks`."""
    scores = benchmark_scores(items[items["model"] == study.reference.label])
    return composite_tasks(
        scores,
        reference=study.reference.label,
        chance=chance_levels(study),
        control=control_tasks(study),
        families={b.task: b.family for b in study.benchmarks if b.family is not None},
    )


# --- checks -----------------------------------------------------------------------------------------------------------


def check_distinct_weights(weights: Mapping[str, str]) -> None:
    """Refuse two quants with the same weights; ``weights`` maps label → SHA-256 of the weights as computed with."""
    seen: dict[str, str] = {}
    for label, digest in weights.items():
        if digest in seen:
            raise ModelError(
                f"Quants '{seen[digest]}' and '{label}' have the same weights.",
                expected="distinct weights for each quant",
                found=f"weights_sha256 {digest} for both",
                do=f"take '{label}' out of the study, or correct its entry",
            )
        seen[digest] = label


def check_same_requests(items: pd.DataFrame) -> None:
    """Refuse models that were asked different things: an item's request hash is the same for each, and each has it.

    What says that an answer is right has to be the same for all as well.

    Raises
    ------
    BenchmarkError
        Naming the benchmark, its items and the models.
    """
    models = items["model"].nunique()
    for benchmark, rows in items.groupby("benchmark"):
        judged = rows if "metric" in rows else rows.assign(metric="")
        columns = {"requests": ("request", "nunique"), "models": ("model", "nunique"), "metrics": ("metric", _distinct)}
        by_item = judged.groupby("item").agg(**columns)
        for problem, bad in (
            ("was asked differently of different models", by_item.index[by_item["requests"] > 1]),
            ("has items that not every model answered", by_item.index[by_item["models"] < models]),
            ("was judged by another metric for some models", by_item.index[by_item["metrics"] > 1]),
        ):
            if len(bad):
                raise BenchmarkError(
                    f"Benchmark '{benchmark}' {problem}.",
                    expected=f"one request hash and one metric per item, and {models} models for each item",
                    found=f"items {', '.join(map(str, bad[:5]))}{' …' if len(bad) > 5 else ''} ({len(bad)} in all)",
                    do=f"delete the item tables of this study and run {ITEMS.made_in} again",
                )


def _distinct(values: pd.Series) -> int:
    return values.nunique(dropna=False)


# --- building ---------------------------------------------------------------------------------------------------------


def _metric(fidelity: pd.DataFrame, corpus: str, context: int, label: str) -> pd.DataFrame:
    rows = fidelity[(fidelity["corpus"] == corpus) & (fidelity["context"] == context)].set_index("metric")
    if rows.empty:
        raise StageError(
            f"The fidelity table of '{label}' lacks a corpus and context length of the study.",
            expected=f"corpus {corpus}, context {context}",
            found=sorted(set(zip(fidelity["corpus"], fidelity["context"], strict=True))),
            do=f"run {FIDELITY.made_in} for '{label}' again",
        )
    return rows


def _fidelity_columns(study: Study, fidelity: pd.DataFrame, label: str) -> dict[str, float]:
    """Every metric of the headline corpus and context, the interval of its mean KLD, and the further variants."""
    head = _metric(fidelity, study.headline.corpus, study.headline.context, label)
    columns = head["estimate"].to_dict()
    columns |= {"kl_mean_low": head.loc["kl_mean", "low"], "kl_mean_high": head.loc["kl_mean", "high"]}
    for name, place in further_variants(study).items():
        columns[name] = _metric(fidelity, *place, label).loc["kl_mean", "estimate"]
    return columns


def _identity(study: Study, label: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    is_floor = label in study.floors
    entry = study.reference if is_floor else study.entry(label)
    basis = entry.basis or next((b for b in study.bases if b.floor_label == label), None)
    role = "floor" if is_floor else "reference" if label == study.reference.label else "quant"
    return {
        "label": label,
        "role": role,
        "family": entry.family,
        "method": entry.method,
        "maker": entry.maker,
        "recipe": _floor_recipe(label) if is_floor else entry.recipe,
        "recipe_id": entry.recipe_id or entry.label if role == "quant" else label,
        "basis": basis.name if basis else "",
        "nominal_bits": entry.nominal_bits,
        "bits_per_weight": facts.get("bits_per_weight", np.nan),
        "bits_per_trunk_weight": facts.get("bits_per_trunk_weight", np.nan),
        "plain_trunk_share": facts.get("plain_trunk_share", np.nan),
        "weights_sha256": facts.get("weights_sha256"),
    }


def _floor_recipe(label: str) -> str:
    """What a floor row is."""
    return FLOOR_RECIPES.get(label, f"the reference in basis {label.removeprefix('floor-')}, unquantized")


def changed_answers(items: pd.DataFrame, reference: pd.DataFrame) -> int:
    """Items that a model answers otherwise than the reference: another choice, or right where it was wrong."""
    pairs = items.merge(reference, on=["benchmark", "item"], suffixes=("", "_reference"), validate="one_to_one")
    other = (pairs["answer"] != pairs["answer_reference"]) | (pairs["correct"] != pairs["correct_reference"])
    return int(other.sum())


def _basis_notes(cohort: pd.DataFrame, model_facts: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Which floors of bases are not the reference's function in float32, and by how much."""
    found = {}
    for row in cohort[cohort["basis"].ne("") & cohort["role"].eq("floor")].itertuples():
        in_float32 = model_facts.get(row.label, {}).get("compute_dtype") == "float32"
        answers = getattr(row, "changed_answers", 0)
        if in_float32 and (row.kl_mean > FLOOR_OF_BASIS or answers > 0):
            found[row.label] = (
                f"not the reference's function: mean KLD {row.kl_mean:.1e} nats (at most {FLOOR_OF_BASIS:.0e}), "
                f"{answers:.0f} answers changed"
            )
    return found


def _score_columns(study: Study, items: pd.DataFrame) -> pd.DataFrame:
    """Both scores of each benchmark, their composites and all errors, one row a model; NaN where there is no composite.

    ``score_``, ``se_<benchmark>``, ``composite`` and ``composite_se`` are of answers; ``probability_``,
    ``se_probability_<benchmark>``, ``composite_probability`` and ``composite_probability_se`` of the probability of the
    right choice, where items have it.
    """
    tasks = composite_of(study, items)
    chosen = list(tasks.loc[tasks["in_composite"], "benchmark"])
    table = _wide(study, benchmark_scores(items), chosen, "score_", "se_")
    means = mean_probabilities(items)
    if means.empty:
        return table
    own = _wide(study, means, chosen, "probability_", "se_probability_")
    named = {name: name.replace("composite", "composite_probability") for name in ("composite", "composite_se")}
    return table.join(own.rename(columns=named))


def _wide(study: Study, scores: pd.DataFrame, tasks: Sequence[str], of_score: str, of_error: str) -> pd.DataFrame:
    """A row a model: score and error of each benchmark under these prefixes, and the composite of the tasks."""
    wide = {
        f"{prefix}{b}": scores[scores["benchmark"] == b].set_index("label")[column]
        for b in chance_levels(study)
        for prefix, column in ((of_score, "score"), (of_error, "se"))
    }
    table = pd.DataFrame(wide)
    if not tasks:
        return table.assign(composite=np.nan, composite_se=np.nan)
    return table.join(composite(scores, tasks).set_index("label"))


def _at_floor(cohort: pd.DataFrame, fidelity_tables: Mapping[str, pd.DataFrame]) -> pd.Series:
    """Which quants lie at the floor; none where it was tried and could not be measured."""
    if FLOOR_DTYPE not in fidelity_tables:
        raise StageError(
            "The floor of the compute dtype is not measured.",
            expected=f"a fidelity table of '{FLOOR_DTYPE}'",
            found="none",
            do=f"run {FIDELITY.made_in} with quant = '{FLOOR_DTYPE}'",
        )
    floor = cohort.loc[cohort["label"] == FLOOR_DTYPE, "kl_mean"].item()
    return (cohort["role"] == "quant") & (cohort["kl_mean"] < FLOOR_FACTOR * floor)


def check_same_stores(stores: Mapping[str, Any]) -> None:
    """Refuse rows that were measured against different stores of the reference.

    Raises
    ------
    StageError
        Naming the labels that differ from the most common.
    """
    keys = {label: str(found) for label, found in stores.items()}
    usual = max(keys.values(), key=list(keys.values()).count)
    others = [label for label, found in keys.items() if found != usual]
    if others:
        raise StageError(
            "Some rows were measured against different stores of the reference.",
            expected=usual,
            found=f"{', '.join(others)} with {keys[others[0]]}",
            do=f"run {FIDELITY.made_in} again for them",
        )


def build_cohort(
    study: Study,
    fidelity_tables: Mapping[str, pd.DataFrame],
    item_tables: Mapping[str, pd.DataFrame],
    model_facts: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    """One row a model by `COHORT`: reference, floors and quants, in this order.

    Parameters
    ----------
    study
        The study's parameters.
    fidelity_tables
        Label of a quant or floor → its table by `FIDELITY`. The reference has none: its columns stay empty.
    item_tables
        Label of the reference, a quant or a basis's floor → its table by `ITEMS`. Floor rows have no scores.
    model_facts
        Label → ``bits_per_weight``, ``bits_per_trunk_weight``, ``plain_trunk_share`` and ``weights_sha256``, as far as
        they are known.

    Raises
    ------
    ModelError
        If two quants have the same weights.
    BenchmarkError
        If models were asked different requests.
    StageError
        If a corpus, context or floor of the study is missing.
    """
    check_same_requests(pd.concat(item_tables.values(), ignore_index=True))
    quants = [q.label for q in study.quants]
    items = pd.concat([item_tables[label] for label in (study.reference.label, *quants)], ignore_index=True)
    digests = {label: model_facts.get(label, {}).get("weights_sha256") for label in quants}
    check_distinct_weights({label: digest for label, digest in digests.items() if digest})
    rows = []
    for label in (study.reference.label, *study.floors, *quants):
        row = _identity(study, label, model_facts.get(label, {}))
        if label in fidelity_tables:
            row |= _fidelity_columns(study, fidelity_tables[label], label)
        if label in study.floors and label in item_tables:
            row["changed_answers"] = changed_answers(item_tables[label], item_tables[study.reference.label])
        rows.append(row)
    cohort = pd.DataFrame(rows).join(_score_columns(study, items), on="label")
    cohort["at_floor"] = _at_floor(cohort, fidelity_tables)
    notes = {label: table.loc[table["estimate"].isna(), "note"] for label, table in fidelity_tables.items()}
    reasons = {label: note.iloc[0] for label, note in notes.items() if len(note)} | _basis_notes(cohort, model_facts)
    if reasons:
        cohort["note"] = cohort["label"].map(reasons).fillna("")
    return COHORT.checked(cohort)


# --- looking ----------------------------------------------------------------------------------------------------------


def accuracy_table(study: Study, cohort: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Scores of the reference and the quants beside chance, one row a benchmark of the study, fractions of 1.

    ``lowest``, ``median`` and ``highest`` are of the quants' scores; the other columns are `composite_of`'s.
    """
    quants = cohort[cohort["role"] == "quant"]
    table = composite_of(study, items)
    scores = quants[[f"score_{benchmark}" for benchmark in table["benchmark"]]]
    return table.assign(
        lowest=scores.min().to_numpy(), median=scores.median().to_numpy(), highest=scores.max().to_numpy()
    )


def floor_table(cohort: pd.DataFrame) -> pd.DataFrame:
    """Mean KLD of the floor rows with its interval, nats, and how many quants are below `FLOOR_FACTOR` times it.

    NaN where a floor could not be measured.
    """
    floors = cohort[cohort["role"] == "floor"].set_index("label")
    kld = cohort.loc[cohort["role"] == "quant", "kl_mean"]
    below = [(kld < FLOOR_FACTOR * floor).sum() if np.isfinite(floor) else np.nan for floor in floors["kl_mean"]]
    return floors[["recipe", "kl_mean", "kl_mean_low", "kl_mean_high"]].assign(quants_below=below)
