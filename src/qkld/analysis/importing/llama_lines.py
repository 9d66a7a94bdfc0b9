"""Lines that llama-perplexity prints, of every version: rows of its running tables, closing figures, facts of the run.

A line is searched, not matched as a whole, so that time stamps, log levels, indentation and quoting before it do not
matter. Between a value and its error stand ± or +/-, or whatever a terminal, an editor or another encoding has made of
the sign.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qkld.errors import TableError
from qkld.study.texts import file_bytes, lines, read_text

NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|nan|inf)(?:\(ind\))?"
PLUS_MINUS = r"\s*(?:\+/?-|[^\x00-\x7f]{1,4}|[?_])\s*"
BEFORE = r"(?:^|[\s|>])"
NO_NUMBER = r"[-+]?(?:nan|inf)(?:\(ind\))?"

CHUNK = re.compile(
    rf"{BEFORE}(?P<window>\d+)\s+(?P<ppl>{NUMBER})(?:{PLUS_MINUS}{NUMBER})?"
    rf"\s+(?P<ratio>{NUMBER}){PLUS_MINUS}{NUMBER}"
    rf"\s+(?P<kl>{NUMBER}){PLUS_MINUS}(?P<kl_se>\d+\.\d{{5}}(?!\d)|{NO_NUMBER})"
    rf"(?:\s+(?P<rms>{NUMBER}){PLUS_MINUS}(?P<rms_se>{NUMBER})\s*%)?"
    rf"(?:\s+(?P<same>{NUMBER}){PLUS_MINUS}(?P<same_se>\d+\.\d{{3}}(?=\s*%)|\d+\.\d{{5}}|{NO_NUMBER})\s*(?P<percent>%)?)?"
    r"\s*\|?\s*$"
)
"""Window, PPL, ln(PPL(Q)/PPL(base)), KLD; since May 2024 RMS Δp, and since January 2024 the same top token.

What a row ends with has all its decimals: a row that was cut off is none.
"""

ITEM_OF_TWO = re.compile(
    rf"{BEFORE}(?P<item>\d+)\s+(?P<share>\d+\.\d{{4}})\s+(?P<first>{NUMBER})\s+(?P<second>{NUMBER})"
    r"\s+(?P<taken>[12])\s+(?P<right>[12])\s*$"
)
"""Winogrande: item, running score, both options' scores, the option taken and the right one."""

ITEM = re.compile(rf"{BEFORE}(?P<item>\d+)\s+(?P<share>\d+\.\d{{8}})\s*%?\s*(?:\[[^\]]*\])?\s*$")
"""HellaSwag and multiple choice: item and running score; HellaSwag's interval since 2025."""

_OF_PPL = {
    r"Mean\s+PPL\(Q\)(?!\s*[-/])": "ppl",
    r"Mean\s+PPL\(base\)": "ppl_reference",
    r"Cor\(ln\(PPL\(Q\)\),\s*ln\(PPL\(base\)\)\)": "log_ppl_correlation",
    r"Mean\s+ln\(PPL\(Q\)\s*/\s*PPL\(base\)\)": "log_ppl_ratio",
    r"Mean\s+PPL\(Q\)\s*/\s*PPL\(base\)": "ppl_ratio",
    r"Mean\s+PPL\(Q\)\s*-\s*PPL\(base\)": "ppl_difference",
    r"Final estimate: PPL(?: over .*?)?(?=\s*=\s*[\d.]+\s*\+)": "ppl",
    r"Same top(?: p)?": "top1_agreement",
}
_OF_2024 = {"Average": "kl_mean", "Median": "kl_median", "Maximum": "kl_max", "Minimum": "kl_min"}
_FIGURE_OF_2024 = re.compile(
    rf"(?P<label>{'|'.join(_OF_2024)})\s*:\s*(?P<value>{NUMBER})(?:{PLUS_MINUS}(?P<error>{NUMBER}))?"
)
"""Closing figures of January to April 2024, below a line that says that they are of the KL divergence."""

SECTION = re.compile(r"={3,}\s*(?P<of>Perplexity|KL.divergence|Token probability) statistics", re.IGNORECASE)
_RANK = r"(?P<rank>Mean|Median|Maximum|Minimum|RMS|\d{1,2}\.\d%)\s+(?P<of>KLD|[^\s\w]p|\S{1,3}p)|KLD_(?P<old>\d\d)"
_FIGURE = re.compile(
    rf"(?P<label>{'|'.join(_OF_PPL)}|{_RANK})\s*\|?\s*[:=|]?\s*(?P<value>{NUMBER})\s*(?P<percent>%)?"
    rf"(?:{PLUS_MINUS}(?P<error>{NUMBER})\s*(?P<later>%)?)?"
)
_RANKS = {"Mean": "mean", "Median": "median", "Maximum": "max", "Minimum": "min", "RMS": "rms"}
_SHARES = ("dp_", "top1_agreement", "log_ppl_correlation")
"""Figures that the tool prints in percent, kept as shares."""

FACTS = {
    "build": re.compile(r"\bbuild(?:_info)?\s*[:=]\s*(b?\d+(?:-[0-9a-f]{6,}| \([0-9a-f]{6,}\)))"),
    "model": re.compile(r"loaded meta data with .* from (.+?) \(version|(?:^|\s)(?:-m|--model)[= ]+(\S+)"),
    "name": re.compile(r"general\.name\s+str\s+=\s+(.+?)\s*$"),
    "file_type": re.compile(r"(?:print_info|llm_load_print_meta): (?:file type|model ftype)\s*=\s*(.+?)\s*$"),
    "size": re.compile(r"(?:file size|model size)\s*=\s*([\d.]+ [KMG]iB) \([\d.]+ BPW\)"),
    "bits_per_weight": re.compile(r"(?:file size|model size)\s*=\s*[\d.]+ [KMG]iB \(([\d.]+) BPW\)"),
    "machine": re.compile(r"\bsystem_info: (.+?)\s*$"),
    "reference_file": re.compile(r"(?:--kl-divergence-base|--save-all-logits|saving all logits to)[= ]+(\S+)"),
    "data": re.compile(r"(?:^|\s)(?:-f|--file|-bf|--binary-file)[= ]+(\S+)"),
    "context": re.compile(r"(?:computing|calculating perplexity) over \d+ chunks, n_ctx=(\d+)"),
    "windows": re.compile(r"(?:computing|calculating perplexity) over (\d+) chunks"),
    "loaded": re.compile(r"(?:loaded (\d+) tasks from prompt|there are (\d+) tasks in prompt)"),
    "selected": re.compile(r"selecting (\d+) (?:randomized|random|the first) tasks|score over (\d+) tasks"),
    "benchmark": re.compile(r"\b(hellaswag|winogrande|multiple_choice)_score\b"),
}
"""What a log says of its run, each by the line that says it; since 2026 a log names neither model nor build."""

BEGINS = ("build", "machine")
"""Facts that the program prints before any result."""

WHOLE = re.compile(rf"(?:\.\d{{6}}|PPL.*\.\d{{5}}|%|{NO_NUMBER}|\|)\s*$")
"""How a closing line ends that was not cut off."""

_DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d)")

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Figure:
    """One closing figure.

    Attributes
    ----------
    name : its column here
    value, error : in the unit here; the error is None where none is printed
    label, printed : as the program has them, white space single
    """

    name: str
    value: float
    error: float | None
    label: str
    printed: tuple[float, float | None]


def log_lines(path: Path) -> list[str]:
    """The lines of a log without colours; one that Windows' shell wrote in UTF-16 or that gzip packed is read too.

    Bytes that are no UTF-8 become a replacement sign: they stand in names and in ±, never in numbers.

    Raises
    ------
    TableError
        If there is no such file, or it is no text.
    """
    content = file_bytes(path, error=TableError, packed=True)
    if content.startswith(_MARKS):
        text = content.decode("utf-16", errors="replace")
    elif content.count(b"\0") > len(content) // 4:
        text = read_text(path, error=TableError)  # says which kind of file it is
    else:
        text = content.decode("utf-8-sig", errors="replace")
    return lines(_COLOUR.sub("", text).replace("\r\n", "\n").replace("\r", "\n"))


def with_points(line: str) -> str:
    """A line with points for the decimal commas that some systems' C libraries print."""
    return _DECIMAL_COMMA.sub(".", line)


def figures_of(line: str, *, section: str | None = None) -> Iterator[Figure]:
    """The closing figures of a line, in nats and as shares; a pasted line may hold several.

    ``section`` is that of the last heading, see `SECTION`.
    """
    if (section or "").startswith("KL") and (old := _FIGURE_OF_2024.search(line)):
        yield _figure(_OF_2024[old["label"]], old, 1.0)
    for found in _FIGURE.finditer(line):
        name = _column(found)
        percent = found["percent"] or found["later"]
        yield _figure(name, found, 0.01 if name.startswith(_SHARES) and percent else 1.0)


def _figure(name: str, found: re.Match[str], scale: float) -> Figure:
    value, error = number(found["value"]), None if found["error"] is None else number(found["error"])
    scaled = None if error is None else error * scale
    return Figure(name, value * scale, scaled, " ".join(found["label"].split()), (value, error))


def _column(found: re.Match[str]) -> str:
    if found["old"]:
        return f"kl_p{int(found['old'])}"
    if not found["rank"]:
        place = found.start("label")
        return next(name for label, name in _OF_PPL.items() if re.compile(label).match(found.string, place))
    what = "kl" if found["of"] == "KLD" else "dp"
    rank = found["rank"]
    return f"{what}_{_RANKS[rank]}" if rank in _RANKS else f"{what}_p{percentile_name(float(rank[:-1]))}"


def percentile_name(percent: float) -> str:
    """99.9 → ``99_9``, 99.0 → ``99``, as in qkld's own columns."""
    return f"{percent:g}".replace(".", "_")


def number(text: str) -> float:
    """A printed number; ``-nan(ind)`` is one too."""
    return float(text.replace("(ind)", ""))


def facts_of(line: str) -> Iterator[tuple[str, str]]:
    """(fact, its text) of everything that a line says of its run."""
    for name, form in FACTS.items():
        if found := form.search(line):
            yield name, next(group for group in found.groups() if group is not None)
