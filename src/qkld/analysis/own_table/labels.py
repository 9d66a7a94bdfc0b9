"""What the rows of a table are: labels, roles, and which one looks like the reference."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from qkld.analysis.own_table.cells import INVISIBLE, MISSING
from qkld.analysis.own_table.table_files import FILE, plain_name
from qkld.errors import TableError
from qkld.statistics.core.checks import is_divergence

LABELS = (
    *("label", "quant", "model", "name", "quants", "quantization", "quantisation", "quant type", "quant_type"),
    *("quantization type", "quantization method", "scheme", "variant", "filename", "file name", "type", "method", FILE),
)
"""Names of a label column, the first that tells all rows apart; without one, the first column of text that does."""

ROLES = ("reference", "quant", "floor")

UNQUANTIZED = re.compile(
    r"(bf|fp|f|float|bfloat)[ _-]?(16|32|64)|full( precision)?|half( precision)?|(original|unquantized|unquantised|base"
    r"|baseline|reference|ref)( model)?|no quant(ization)?",
    re.IGNORECASE,
)
"""Labels that references have."""

_WRAPPED = re.compile(r"^(\*\*|__|`|\*|_)(.+)\1$")
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_TAGS = re.compile(r"<sup>.*?</sup>|</?[a-z]+\b[^>]*>", re.IGNORECASE)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_PICTURES = "★☆\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff"
_MARKS = re.compile(rf"\s*[*†‡§¶¹²³⁴⁵⁶⁷⁸⁹⁰{_PICTURES}]+$|^[{_PICTURES}]+\s*")
_ENDS = re.compile(rf"[ _./:-](?:{UNQUANTIZED.pattern})$", re.IGNORECASE)
_NAMED = 8


def plain_label(text: object) -> str:
    """A label without links, emphasis, tags and footnote marks, white space single."""
    bare = _LINK.sub(r"\1", _TAGS.sub("", _BREAK.sub(" ", INVISIBLE.sub("", html.unescape(str(text))))))
    shorter = " ".join(bare.split())
    while (found := _unwrapped(shorter)) != shorter:
        shorter = found
    return shorter or " ".join(bare.split())


def _unwrapped(text: str) -> str:
    """Less of what stands around a label: emphasis, else marks behind it or pictures before it."""
    inner = _WRAPPED.sub(r"\2", text)
    return (_MARKS.sub("", text) if inner == text else inner).strip()


def folded(label: str) -> str:
    """A label as it is compared with others: without case and white space."""
    return "".join(label.split()).casefold()


def labels_of(table: pd.DataFrame, named: Sequence[str], source: str | Path) -> tuple[pd.Series, tuple[str, ...]]:
    """Each row's label, and what a reader should know of it.

    Parameters
    ----------
    named : columns that make up the label, joined by a space; none where the table is to say it

    Raises
    ------
    TableError
        If a row has no label, two have the same, or two differ in case or white space only.
    """
    columns = list(named) or [_label_column(table)]
    raw = table[columns].map(lambda v: "" if pd.isna(v) else str(v).strip())
    empty = raw.map(lambda v: v.lower() in MISSING).all(axis=1)
    whole, plain = (raw.map(f).agg(" ".join, axis=1).str.strip() for f in (str, plain_label))
    labels = plain if plain.map(folded).is_unique or not whole.map(folded).is_unique else whole
    _check_labels(labels, empty, ", ".join(map(str, columns)), table, source)
    names = " and ".join(repr(c) if str(c).strip() else "the column without a name" for c in columns)
    said = [f"the label is {names}"] if columns[0] not in LABELS[:4] or len(columns) > 1 else []
    changed = list(labels[labels != whole])
    if changed:
        said.append(f"labels without their marks and links: {_some(changed)}")
    return labels, tuple(said)


def _label_column(table: pd.DataFrame) -> str:
    """The column of labels, where none was named."""
    known = [c for name in LABELS for c in table if plain_name(c) == name]
    texts = [c for c in table if not _is_numbers(table[c])]
    for column in known or texts:
        if table[column].notna().all() and table[column].is_unique and not _is_rank(table[column]):
            return column
    return (known or texts or list(table))[0]


def _is_numbers(column: pd.Series) -> bool:
    filled = column[column.map(lambda v: not pd.isna(v) and str(v).strip().lower() not in MISSING)]
    return bool(pd.to_numeric(filled, errors="coerce").notna().all())


def _is_rank(column: pd.Series) -> bool:
    """Whether the cells are 1 to n in some order, as places in a list are."""
    places = pd.to_numeric(column.map(lambda v: str(v).strip(" .#")), errors="coerce")
    return len(column) > 1 and sorted(places.dropna()) == list(range(1, len(column) + 1))


def _check_labels(labels: pd.Series, empty: pd.Series, column: str, table: pd.DataFrame, source: str | Path) -> None:
    doubled = labels[labels.duplicated()]
    alike = labels[labels.map(folded).duplicated(keep=False) & ~labels.duplicated(keep=False)]
    found = {
        "a row without a label": empty.any(),
        f"{_some(list(doubled.unique()))} twice": len(doubled) > 0,
        f"{_some([repr(v) for v in alike])}, which differ in case or white space only": len(alike) > 0,
    }
    if any(found.values()):
        others = [c for c in table if c != column and not _is_numbers(table[c])]
        more = f", or tell rows apart by several columns: --label '{column},{others[0]}'" if others else ""
        raise TableError(
            f"{source} has duplicate or missing labels.",
            expected=f"each value of '{column}' once",
            found="; ".join(what for what, holds in found.items() if holds),
            do=f"give every quant its own label{more}",
        )


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(map(str, names[:_NAMED])) + (f" and {more} more" if more > 0 else "")


# --- roles ------------------------------------------------------------------------------------------------------------


def with_roles(labels: pd.Series, roles: pd.Series | None, reference: str | None) -> pd.DataFrame:
    """``label, role`` of every row; without a column of roles every row but ``reference`` is a quant.

    Raises
    ------
    TableError
        If there is no such reference, a role is unknown, or there are two references.
    """
    cohort = pd.DataFrame({"label": labels})
    cohort["role"] = "quant" if roles is None else roles.map(lambda v: str(v).strip().lower())
    if reference is not None:
        row = _row_of(labels, reference)
        cohort.loc[cohort["role"] == "reference", "role"] = "floor"
        cohort.loc[row, "role"] = "reference"
    unknown = sorted(set(cohort["role"]) - set(ROLES))
    references = cohort.loc[cohort["role"] == "reference", "label"]
    if unknown or len(references) > 1:
        raise TableError(
            "The roles of the rows are ambiguous.",
            expected=f"each role one of {ROLES}, at most one reference",
            found=f"unknown {unknown}, references {list(references)}",
            do="correct the column 'role', or name the reference with --reference",
        )
    return cohort


def _row_of(labels: pd.Series, reference: str) -> object:
    exact = labels.index[labels == reference]
    rows = exact if len(exact) else labels.index[labels.map(folded) == folded(plain_label(reference))]
    if not len(rows):
        raise TableError(
            f"There is no row '{reference}'.",
            expected=list(labels),
            found=reference,
            do="name the reference as it is in the table, or leave --reference out",
        )
    return rows[0]


def looks_like_reference(cohort: pd.DataFrame, fidelity: str | None) -> str | None:
    """The label of the one quant that looks like the reference, by its name or a KLD of exactly 0, else None.

    Only of a table that names no reference.
    """
    quants = cohort[cohort["role"] == "quant"]
    if (cohort["role"] == "reference").any():
        return None
    labels = [re.sub(r"\.(gguf|safetensors)$", "", label) for label in quants["label"]]
    whole = [own for own, label in zip(quants["label"], labels, strict=True) if UNQUANTIZED.fullmatch(label)]
    ends = [own for own, label in zip(quants["label"], labels, strict=True) if _ENDS.search(label)]
    zero = list(quants.loc[quants[fidelity] == 0, "label"]) if fidelity and is_divergence(fidelity) else []
    return next((found[0] for found in (zero, whole, ends) if len(found) == 1), None)
