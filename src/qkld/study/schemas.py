"""The schema of every table that crosses a stage, and its reading and writing with provenance and digest.

Each table is a Parquet file. Its note carries the schema's name and what made the table, and a SHA-256 over all bytes
of the file (`qkld.study.parquet`), because Parquet does not notice every altered byte by itself. Reading checks all
three.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from qkld.errors import StageError, TableError
from qkld.study.large_tables import SpooledTable
from qkld.study.parquet import DIGEST, AlteredFile, read_parquet, write_parquet
from qkld.study.text_table import table_of_words

EXACT_TYPES = frozenset({"bool", "int8", "int16", "int32", "int64"})
"""Column types that pandas fills by wrapping round or cutting off, where a value does not fit."""

_NOTE_KEYS = {"schema", "made_by", DIGEST}


@dataclass(frozen=True)
class Column:
    """One column: its pandas type, its meaning and unit, whether it may hold missing values, or be left out whole."""

    dtype: str
    meaning: str
    missing: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Schema:
    """A table's name and columns. With ``more`` set, further columns may follow, such as one a benchmark.

    ``says`` names its file below a study's run, and what a row is; ``notebook`` is the one that makes it. Both are
    empty where no study stores the table.
    """

    name: str
    columns: dict[str, Column]
    key: tuple[str, ...]
    more: bool = False
    says: str = ""
    notebook: str = ""

    @property
    def made_in(self) -> str:
        """The notebook that makes the table, for messages that say what to run."""
        return f"notebook {self.notebook}"

    def checked(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table with its columns in order and of their types, or a TableError that says what differs."""
        self._check_columns(table)
        own = {name: column for name, column in self.columns.items() if name in table.columns}
        order = [*own, *(c for c in table.columns if c not in self.columns)]
        table = table[order].copy(deep=False)  # columns are replaced and never changed in place
        for name, column in own.items():
            if not column.missing:
                self._check_filled(table[name])
            table[name] = self._typed(table[name], column.dtype)
        self._check_key(table)
        return table.reset_index(drop=True)

    def _check_columns(self, table: pd.DataFrame) -> None:
        missing = [name for name, c in self.columns.items() if name not in table.columns and not c.optional]
        unknown = [] if self.more else [c for c in table.columns if c not in self.columns]
        if missing or unknown:
            raise TableError(
                f"Table '{self.name}' has other columns than its schema.",
                expected=list(self.columns),
                found=f"missing {missing}, unknown {unknown}",
                do="make the table again with this version of qkld",
            )
        if table.empty:
            raise TableError(
                f"Table '{self.name}' has no rows.",
                expected="at least one row",
                found="none",
                do="find the stage that measured nothing; qkld keeps no empty tables",
            )

    def _check_filled(self, values: pd.Series) -> None:
        if values.isna().any():
            raise TableError(
                f"Table '{self.name}' has missing values in '{values.name}'.",
                expected="a value in every row",
                found=f"{int(values.isna().sum())} of {len(values)} rows empty",
                do="find the stage that wrote them; qkld writes no placeholder values",
            )

    def _typed(self, values: pd.Series, dtype: str) -> pd.Series:
        """The values in this type; a TableError where a value would change, as 1.5 does in an integer column."""
        if values.dtype == dtype:
            return values
        try:
            typed = values.astype(dtype)
            changed = values[typed != values].head(3) if dtype in EXACT_TYPES else ()
            problem = f"{changed.tolist()} of type {values.dtype}" if len(changed) else None
        except (TypeError, ValueError, OverflowError) as error:
            problem = error
        if problem is not None:
            raise TableError(
                f"Table '{self.name}' has values of another type in '{values.name}'.",
                expected=dtype,
                found=problem,
                do="correct the stage that wrote them",
            )
        return typed

    def _check_key(self, table: pd.DataFrame) -> None:
        doubled = table.duplicated(list(self.key))
        if doubled.any():
            raise TableError(
                f"Table '{self.name}' has the same key twice.",
                expected=f"one row for each {self.key}",
                found=table.loc[doubled, list(self.key)].head(3).to_dict("records"),
                do="give every quant its own label and every item its own name",
            )


TOKENS = Schema(
    "tokens",
    {
        "corpus": Column("str", "corpus of the study"),
        "context": Column("int32", "context length: tokens of the window; 0 where every window has its own"),
        "window": Column("int32", "window within the corpus"),
        "cluster": Column("int32", "what shares context: document or window; intervals are clustered by it"),
        "position": Column("int32", "position of the scored token in its window, counted from 0"),
        "token": Column("int32", "id of the scored token"),
        "kl": Column("float64", "KL(reference ‖ quant) of the next-token distribution, nats", missing=True),
        "kl_reverse": Column("float64", "KL(quant ‖ reference), nats", missing=True),
        "nll_reference": Column("float64", "−ln p(token) under the reference, nats", missing=True),
        "nll_quant": Column("float64", "−ln p(token) under the quant, nats", missing=True),
        "same_top1": Column("bool", "reference and quant have the same most probable token"),
        "top5_shared": Column(
            "float64", "share of the reference's five most probable tokens among the quant's five", missing=True
        ),
        "entropy_reference": Column("float64", "entropy of the reference's distribution, nats", missing=True),
        "p_reference": Column("float64", "p(token) under the reference", missing=True),
        "p_quant": Column("float64", "p(token) under the quant", missing=True),
        "total_variation": Column(
            "float64", "½ Σ |p_reference − p_quant| over the vocabulary", missing=True, optional=True
        ),
        "jensen_shannon": Column(
            "float64", "Jensen–Shannon divergence of reference and quant, nats", missing=True, optional=True
        ),
    },
    key=("corpus", "context", "window", "position"),
    says="`kld/<quant>.parquet`: one row per scored token",
    notebook="02_quant_kld",
)
"""One scored token a row. A value is missing (NaN) where either model's logits were not finite,
and in every row of a floor that could not be computed."""

KEPT_TOKENS = Schema(
    "tokens kept",
    {
        name: TOKENS.columns[name]
        for name in (
            *("corpus", "context", "window", "cluster", "position"),
            *("kl", "nll_reference", "nll_quant", "same_top1", "entropy_reference"),
        )
    },
    key=TOKENS.key,
)
"""What the repository keeps of a token table: all that notebook 04 reads, without the ids that are the text."""

FIDELITY = Schema(
    "fidelity",
    {
        "quant": Column("str", "label of the quant, or of a floor row"),
        "corpus": Column("str", "corpus of the study"),
        "context": Column("int32", "context length in tokens; 0 where every window has its own"),
        "metric": Column("str", "name of the metric, such as kl_mean, kl_p99 or top1_agreement"),
        "estimate": Column(
            "float64", "value of the metric; missing if it cannot be computed, as `note` explains", missing=True
        ),
        "low": Column(
            "float64", "lower end of the clustered interval: CR1 for a mean, bootstrap for a quantile", missing=True
        ),
        "high": Column("float64", "upper end of this interval", missing=True),
        "bootstrap_low": Column("float64", "lower end of the cluster bootstrap's percentile interval", missing=True),
        "bootstrap_high": Column("float64", "upper end of this interval", missing=True),
        "tokens": Column("int64", "scored tokens used for the estimate"),
        "clusters": Column("int64", "clusters used for the interval"),
        "nonfinite": Column("int64", "scored tokens left out because a model's logits were not finite"),
        "note": Column(
            "str",
            "says where clusters are too few for the intervals to be trusted, or why there is no estimate; else empty",
        ),
    },
    key=("quant", "corpus", "context", "metric"),
    says="`fidelity/<quant>.parquet`: one row per metric",
    notebook="02_quant_kld",
)

ITEMS = Schema(
    "items",
    {
        "model": Column("str", "label of the reference or quant"),
        "benchmark": Column("str", "task name"),
        "item": Column("str", "name of the item: its number in the benchmark's file"),
        "request": Column("str", "hash of the item's token ids and of where each choice begins"),
        "correct": Column("int8", "1 where the model's answer is right, else 0"),
        "metric": Column(
            "str",
            "metric by which it is right: acc, acc_norm, exact_match, pass@1, …; see qkld.study.task_metrics",
            optional=True,
        ),
        "answer": Column(
            "int16",
            "choice that the model takes, counted from 0; −1 where a choice has no finite log-probability, or where "
            "the model writes its answer",
        ),
        "right": Column("int16", "the right choice, counted from 0; −1 where the model writes its answer"),
        "margin": Column(
            "float64",
            "log-probability of the right choice minus the best wrong one, nats; nats per character where the metric "
            "is acc_norm, so that it is above 0 where the answer is right",
            missing=True,
        ),
        "kl_prompt": Column("float64", "mean KL(reference ‖ model) over the prompt's tokens, nats", missing=True),
        "kl_choice_right": Column(
            "float64", "mean KL(reference ‖ model) over the right choice's tokens, nats", missing=True
        ),
        "kl_choice_mean": Column(
            "float64", "mean over choices of the mean KL over a choice's tokens, nats", missing=True
        ),
        "prompt_tokens": Column("int32", "tokens of the prompt"),
        "choice_tokens": Column("int32", "tokens of all choices together"),
        "nll_reference": Column(
            "float64", "−ln p of the right choice under the reference, per token, nats", missing=True
        ),
        "entropy_reference": Column(
            "float64", "mean entropy of the reference over the right choice's tokens, nats", missing=True
        ),
        "nll_prompt": Column(
            "float64", "mean −ln p under the reference over the prompt's tokens, nats", missing=True, optional=True
        ),
        "entropy_prompt": Column(
            "float64", "mean entropy of the reference over the prompt's tokens, nats", missing=True, optional=True
        ),
        "kl_answer": Column(
            "float64",
            "mean KL(reference ‖ model) over the tokens of the reference's own answer, written or chosen, nats",
            missing=True,
            optional=True,
        ),
        "written": Column("str", "answer that the model wrote, as it was judged", missing=True, optional=True),
        "answer_tokens": Column("Int32", "tokens of the written answer", missing=True, optional=True),
        "truncated": Column(
            "boolean", "the written answer reached the maximum length before it ended", missing=True, optional=True
        ),
        "cluster": Column(
            "str",
            "items that are resampled together, such as several answers to one item; intervals are clustered by it",
            optional=True,
        ),
        "logp_right": Column("float64", "ln p of the right choice under the model, nats", missing=True, optional=True),
        "logp_reference_answer": Column(
            "float64",
            "mean ln p under the model over the tokens of the reference's own answer, nats",
            True,
            optional=True,
        ),
        "choice_entropy": Column(
            "float64",
            "entropy of the model's probabilities of the choices, renormalised to them, nats; by log-probabilities per "
            "character where the metric is acc_norm",
            True,
            True,
        ),
        "kl_options": Column(
            "float64", "KL(reference ‖ model) of the same probabilities of the choices, nats", True, True
        ),
        "probability_right": Column(
            "float64",
            "probability of the right choice among the choices: softmax of `choice_scores`; 0 where one of "
            "these is not finite; 1 or 0 of a written answer, whose mean over repeats is the share right",
            True,
            True,
        ),
        "choice_scores": Column(
            "object",
            "list of the values by which the choices are compared, nats per answer, in single precision: ln p, or "
            "mean length · ln p / length where the metric is acc_norm",
            True,
            True,
        ),
        "base": Column(
            "str", "reference of the model's KLDs, if items of several references are combined", optional=True
        ),
    },
    key=("model", "benchmark", "item"),
    says="`items/<model>.parquet` and `items.parquet`: one row per benchmark item",
    notebook="03_benchmark_scores",
)

COHORT = Schema(
    "cohort",
    {
        "label": Column("str", "label of the model"),
        "role": Column("str", "reference, quant or floor; only quants enter a correlation"),
        "family": Column("str", "quantizer family: colour and marker in figures, stratum of permutations"),
        "method": Column("str", "how the model is opened: transformers, bitsandbytes, torchao, hqq, gguf"),
        "maker": Column("str", "who made the file"),
        "recipe": Column("str", "how it was quantized"),
        "recipe_id": Column("str", "id shared by all builds of a recipe; otherwise the label", optional=True),
        "basis": Column(
            "str",
            "basis of the given weights that it was made in, such as rotate-3; empty: the reference's",
            optional=True,
        ),
        "nominal_bits": Column("float64", "bits per weight by the recipe's name"),
        "bits_per_weight": Column("float64", "bits per weight as stored, embeddings and head included", missing=True),
        "bits_per_trunk_weight": Column(
            "float64", "bits per weight as stored, without embeddings and head", missing=True
        ),
        "plain_trunk_share": Column(
            "float64", "share of the trunk's weights that is not quantized", missing=True, optional=True
        ),
        "weights_sha256": Column("str", "hash of the weights as computed with", missing=True),
        "at_floor": Column("bool", "mean KL below three times the floor of the compute dtype"),
        "changed_answers": Column(
            "float64",
            "items that the reference answers otherwise in this basis, unquantized; only in rows of such floors",
            missing=True,
            optional=True,
        ),
        "note": Column("str", "why a floor has no fidelity or is not a floor; otherwise empty", optional=True),
    },
    key=("label",),
    more=True,
    says="`cohort.parquet`: one row per model",
    notebook="03b_cohort",
)
"""Further columns: every fidelity variant, ``kl_mean_low`` and ``kl_mean_high`` (the clustered interval of kl_mean),
``score_<benchmark>`` as a fraction and ``composite``; mean probabilities of the right choice, where items have them, as
``probability_<benchmark>`` and ``composite_probability``."""


SCHEMAS = {schema.name: schema for schema in (TOKENS, FIDELITY, ITEMS, COHORT)}


def describe(schema: Schema) -> str:
    """A Markdown table of a schema's columns: name (key columns bold), type, meaning, and what may be absent."""
    rows = []
    for name, column in schema.columns.items():
        shown = f"**`{name}`**" if name in schema.key else f"`{name}`"
        meaning = column.meaning + ("; may be missing" if column.missing else "")
        meaning += "; optional" if column.optional else ""
        rows.append((shown, column.dtype, meaning))
    return table_of_words(("column", "type", "meaning"), tuple(rows)).markdown()


def write_table(
    path: Path,
    table: pd.DataFrame | SpooledTable,
    schema: Schema,
    made: dict[str, Any],
    base: Path | None = None,
) -> None:
    """Write a table whole: checked against its schema, with provenance and digest in its metadata.

    A spooled table's blocks were checked when they were spooled; it is not taken into memory. ``base`` is as in
    `qkld.study.parquet.write_parquet`.
    """
    if isinstance(table, SpooledTable):
        arrow = table.arrow
    else:
        arrow = pa.Table.from_pandas(schema.checked(table), preserve_index=False)
    write_parquet(path, arrow, {"schema": schema.name, "made_by": made}, base, schema.key)


def read_table(path: Path, schema: Schema, *, made_in: str) -> pd.DataFrame:
    """Read a table back, checked against its schema and digest.

    ``made_in`` names the notebook that writes it, for the message when it is missing.
    """
    table, _ = read_table_and_provenance(path, schema, made_in=made_in)
    return table


def read_table_and_provenance(path: Path, schema: Schema, *, made_in: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """As `read_table`, with what made the table."""
    if not path.exists():
        raise StageError(
            f"Table '{schema.name}' does not exist yet.", expected=path, found="no such file", do=f"run {made_in} first"
        )
    again = f"delete it and run {made_in}"
    try:
        arrow, note = read_parquet(path)
    except AlteredFile as error:
        raise TableError(
            f"{path} was altered after it was written.", expected="every byte as written", found=error, do=again
        ) from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise TableError(
            f"{path} cannot be read.", expected="a whole Parquet file with its digest", found=error, do=again
        ) from error
    _check_note(path, note, schema, do=again)
    return schema.checked(arrow.to_pandas()), note["made_by"]


def _check_note(path: Path, note: Any, schema: Schema, *, do: str) -> None:
    """Refuse a table of another schema or program."""
    if not isinstance(note, dict) or set(note) != _NOTE_KEYS or note["schema"] != schema.name:
        raise TableError(
            f"{path} is no '{schema.name}' table of qkld.",
            expected=f"metadata of schema '{schema.name}'",
            found=note.get("schema") if isinstance(note, dict) else "no qkld metadata",
            do=do,
        )
