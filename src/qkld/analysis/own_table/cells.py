"""One cell of a table as people write it: ``70.1%``, ``0.0011 ± 0.0002``, ``**8,500**``, ``8.5 GB``, ``−0.3†``.

A cell is split into its number, an error, a unit and marks. What its commas and points mean is for the whole column to
say (`qkld.analysis.own_table.number_columns`); what stays open after that is refused with both readings.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field

MISSING = frozenset(
    {"", "-", "--", "---", "n/a", "na", "nan", "none", "null", "?", "??", "tbd", "tba", "n.a.", "...", "…", "x", "<na>"}
    | {"oom", "dnf", "fail", "failed", "error", "crash", "crashed", "timeout", "pending", "wip", "todo", "skipped"}
    | {
        "missing",
        "not run",
        "not tested",
        "untested",
        "unsupported",
        "not supported",
        "/",
        "#n/a",
        "#value!",
        "#div/0!",
    }
)
"""What stands for no value, in lower case."""

BYTES = {"b": 1, "byte": 1, "bytes": 1} | {
    f"{letter}{binary}{ending}": (1024 if binary else 1000) ** (power + 1)
    for power, letter in enumerate("kmgt")
    for binary, ending in (("", ""), ("", "b"), ("i", ""), ("i", "b"))
}
"""Units of size in bytes, in lower case."""

UNITS = frozenset(
    {
        "%",
        "‰",
        "nats",
        "nat",
        "mnats",
        "mnat",
        "bits",
        "bit",
        "mbits",
        "mbit",
        "bpw",
        "bits/weight",
        "b/w",
        "pp",
        "pt",
        "pts",
        "points",
    }
    | {"ms", "s", "t/s", "tok/s", "tokens/s"}
    | set(BYTES)
)
"""Units that are known in a cell, in lower case."""

SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
INVISIBLE = re.compile("[\u200b-\u200f\u2060\ufeff\ufe0e\ufe0f]")
DASHES = re.compile("[\u2010-\u2015\u2212\ufe63\uff0d]")
_TEX = (
    (re.compile(r"\\pm(?![a-z])"), "±"),
    (re.compile(r"\\(times|cdot)(?![a-z])"), "×"),
    (re.compile(r"\\(?:text|math)[a-z]{2}\{([^{}]*)\}|\\(?:underline|text|mathbf|mathrm)\{([^{}]*)\}"), r"\1\2"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\[,; ]"), " "),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"_\{\s*±([^{}]*)\}"), r"±\1"),
    (re.compile(r"\^\{?\\?(dagger|ddagger|ast|star|\*)\}?"), "†"),
    (re.compile(r"10\^\{([^{}]*)\}"), r"10^\1"),
    (re.compile(r"\$"), ""),
)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_RAISED = re.compile(r"10(?:<sup>(.*?)</sup>|([⁻⁺⁰¹²³⁴⁵⁶⁷⁸⁹]+)|\s*\*\*\s*([+-]?\d+))")
_POWER = re.compile(r"\s*[×x·*]\s*10\s*(?:\^\s*([+-]?\d+)|([+-]\d+))")
_TAGS = re.compile(r"</?(?:b|strong|i|em|u|code|span|font|mark|br|small)\b[^>]*>", re.IGNORECASE)
_NOTE_TAG = re.compile(r"<sup>(.*?)</sup>", re.IGNORECASE)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_EMPHASIS = re.compile(r"(\*\*|__|`)(.+?)\1|^([*_])(.+)\3$")
_EXCEL = re.compile(r'^="(.*)"$|^\'(?=[\d+-])')
_MARKS = "*†‡§¶#^¹²³⁴⁵⁶⁷⁸⁹⁰ᵃᵇᶜ↑↓→↗↘▲▼✓✔✗✘★☆●○•\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff"
_MARK_AFTER = re.compile(rf"\s*(?:[{_MARKS}]|\[\^?\w{{1,2}}\]|\^[a-z]|\([a-z]\))$")
_MARK_BEFORE = re.compile(rf"^[{_MARKS}]\s*")
_ABOUT = re.compile(r"^(?:~|≈|≃|∼|ca\.?|approx\.?|about)\s*", re.IGNORECASE)
_BOUND = re.compile(r"^(?:<=|>=|<|>|≤|≥|≲|≳)\s*")

_DIGITS = r"(?:\d{1,3}(?:[ '’_.,]\d{3})+(?:[.,]\d+)?|\d+(?:[.,]\d+)*|[.,]\d+)(?![.,]?\d)\.?(?:[eE][+-]?\d+)?"
NUMBER = rf"[+-]?{_DIGITS}"
_UNIT = r"%|‰|[A-Za-zµ]+(?:/[A-Za-z]+)?"
_CELL = re.compile(rf"^(?P<value>{NUMBER})\s*(?P<unit>{_UNIT})?(?P<rest>.*)$")
_ERROR = re.compile(rf"^\s*\(?\s*±\s*(?P<error>{NUMBER})\s*(?P<unit>{_UNIT})?\s*\)?\s*(?P<after>{_UNIT})?$")
_ASIDE = re.compile(
    rf"^\s*(?:[(\[]\s*(?:[+-]{_DIGITS}\s*(?:{_UNIT})?|{NUMBER}\s*%)\s*[)\]]"
    rf"|\[\s*{NUMBER}\s*(?:,|;|to|-|–)\s*{NUMBER}\s*\]|[↑↓▲▼]\s*{NUMBER}\s*%?)$"
)
_UNEVEN = re.compile(
    rf"^\s*[(\[{{]?\s*(?:[\^_]\{{?)?\s*(?P<one>[+-]){_DIGITS}\s*%?\}}?\s*[/,;|]?\s*(?:[\^_]\{{?)?\s*"
    rf"(?!(?P=one))[+-]{_DIGITS}\s*%?\}}?\s*[)\]}}]?$"
)
_BRACKET = re.compile(rf"^\s*(?:\(\s*(?P<inside>{NUMBER})\s*\)|_\{{?(?P<below>{NUMBER})\}}?)$")
_TWO = re.compile(rf"^(?P<a>{NUMBER})\s*(?:/|-|to|;|\|)\s*(?P<b>{NUMBER})\s*%?$")
_PLAIN = re.compile(r"^\d+$")


class Unread(Exception):
    """A cell that is no number, with the readings between which it does not decide."""

    def __init__(self, readings: tuple[str, ...] = ()):
        super().__init__(*readings)
        self.readings = readings


@dataclass(frozen=True)
class Cell:
    """A number as written, without what stands around it.

    Attributes
    ----------
    value, error : digits with their commas and points; ``error`` is what stood after ±
    unit : as written, in lower case; empty where there is none
    of : the number of items of a share written ``12/30``
    said : what else was read, each a short phrase
    """

    value: str
    error: str | None = None
    unit: str = ""
    of: int | None = None
    said: tuple[str, ...] = field(default=())


def parse_cell(text: str) -> Cell | None:
    """The parts of a cell; None where it stands for no value.

    Raises
    ------
    Unread
        If it is no number, or two readings of it stay.
    """
    bare, said = _undressed(text)
    if bare.lower() in MISSING:
        return None
    about = _ABOUT.sub("", bare)
    if about != bare:
        said, bare = [*said, "'about'"], about
    if _BOUND.match(bare):
        number = _BOUND.sub("", bare)
        raise Unread((f"the number {number}", f"any number {bare}"))
    return _split(bare, said)


def evened(text: str) -> str:
    """A text with one kind of space, dash, sign and power of ten (``10^-3``), whatever it was written in."""
    bare = DASHES.sub("-", INVISIBLE.sub("", SPACES.sub(" ", html.unescape(text))))
    for pattern, plain in _TEX:
        bare = pattern.sub(plain, bare)
    return _RAISED.sub(lambda m: f"10^{(m[1] or m[2] or m[3]).translate(_SUPERSCRIPTS).strip()}", bare)


def _undressed(text: str) -> tuple[str, list[str]]:
    """A cell without emphasis, links, marks and what cannot be seen; and what of that was there."""
    said = []
    bare = _POWER.sub(lambda m: f"e{m[1] or m[2]}", evened(text).strip())
    bare = re.sub(r"\+\s*/\s*-|\+-", "±", bare)
    noted = _NOTE_TAG.sub("†", _EXCEL.sub(lambda m: m[1] or "", bare)).strip()
    plain = _unemphasised(_LINK.sub(r"\1", _TAGS.sub("", noted)))
    if plain != noted:
        said.append("bold or other emphasis")
    unmarked = _unmarked(plain)
    if unmarked and unmarked != plain:
        said.append(f"mark {plain.replace(unmarked, '', 1).strip() or plain}")
        plain = _unemphasised(unmarked)
    return plain, said


def _unemphasised(text: str) -> str:
    while (shorter := _EMPHASIS.sub(lambda m: m[2] or m[4], text).strip()) != text:
        text = shorter
    return text


def _unmarked(text: str) -> str:
    while (shorter := _MARK_BEFORE.sub("", _MARK_AFTER.sub("", text)).strip()) != text:
        text = shorter
    return text


def _split(bare: str, said: list[str]) -> Cell:
    if two := _TWO.match(bare):
        return _share(two, bare, said)
    match = _CELL.match(bare)
    unit = (match["unit"] or "").lower() if match else ""
    if match is None or (unit and unit not in UNITS):
        raise Unread
    rest = re.sub(rf"^\s*[{_MARKS}]+", "", match["rest"]) if "±" in match["rest"] else match["rest"]
    if rest != match["rest"]:
        said = [*said, f"mark {match['rest'].partition('±')[0].strip()}"]
    if not rest.strip():
        return Cell(match["value"], unit=unit, said=tuple(said))
    if error := _ERROR.match(rest):
        own = {u.lower() for u in (unit, error["unit"], error["after"]) if u}
        if len(own) > 1 or not own <= UNITS:
            raise Unread
        return Cell(match["value"], error["error"], own.pop() if own else "", said=(*said, "'± error'"))
    if _UNEVEN.match(rest):
        return Cell(match["value"], unit=unit, said=(*said, "errors that differ up and down, left out"))
    if _ASIDE.match(rest):
        return Cell(match["value"], unit=unit, said=(*said, f"a second number in brackets ({rest.strip()}), left out"))
    if bracket := _BRACKET.match(rest):
        second = bracket["inside"] or bracket["below"]
        raise Unread(
            (f"{match['value']} with an error of {second}", f"{match['value']} beside another number {second}")
        )
    raise Unread


def _share(two: re.Match, bare: str, said: list[str]) -> Cell:
    """``12/30`` as a share of items; any other pair of numbers has two readings."""
    right, of = two["a"], two["b"]
    if "/" in bare and _PLAIN.match(right) and _PLAIN.match(of) and int(right) <= int(of) > 0:
        return Cell(repr(int(right) / int(of)), of=int(of), said=(*said, "'right/items'"))
    raise Unread((right, of.lstrip("+-") if "-" in bare else of))


# --- commas and points ------------------------------------------------------------------------------------------------

GROUPS = re.compile(r"^\d{1,3}([ '’_.,]\d{3})+$")


def decimal_sign(number: str) -> str | None:
    """What a number's own form says of its decimal sign: ``.`` or ``,``; ``?`` where one sign can be either; else None.

    Raises
    ------
    Unread
        If the signs stand where neither reading has them (``1.2.3``).
    """
    digits = re.sub(r"[eE].*$", "", number).lstrip("+-")
    signs = [c for c in digits if c in ".,"]
    if not signs:
        return None
    if len(set(signs)) == 2:
        return _grouped(digits, decimal=signs[-1])
    if len(signs) > 1:
        return _grouped(digits, decimal="," if signs[0] == "." else ".")
    before, after = digits.split(signs[0])
    grouped = len(after) == 3 and 1 <= len(before) <= 3 and not before.startswith("0")
    return "?" if grouped else signs[0]


def _grouped(digits: str, *, decimal: str) -> str:
    """``decimal``, where all other signs stand between groups of three."""
    whole, _, after = digits.partition(decimal)
    if not GROUPS.match(whole) or decimal in after or (after and not after.isdigit()):
        raise Unread
    return decimal


def number_of(text: str, decimal: str) -> float:
    """The number that digits stand for with this decimal sign; the other one stands between thousands."""
    plain = re.sub(r"[ '’_]", "", text).replace("," if decimal == "." else ".", "")
    return float(plain.replace(",", "."))
