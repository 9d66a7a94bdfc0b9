"""Real figures of llama-perplexity in the forms in which its earlier versions print them.

The forms are those of `examples/perplexity/perplexity.cpp` (since 2025 `tools/perplexity`) in the sdists of
llama-cpp-python:

0.2.32, January 2024
    No KL divergence. Items on the standard output: HellaSwag without percent sign and interval, under `acc_norm`;
    ` Final result: …` of a multiple choice with a space before it.
0.2.38, end of January 2024
    Running table: PPL without an error, and `Same top` as a fraction of five decimals. Closing figures under
    `===== KL-divergence statistics`: Average with no space behind ±, Median, Maximum, KLD_99, _95, _90, Minimum,
    KLD_01, _05, _10; none of perplexity and top token, and none at all below 100 tokens. Table on the standard output,
    load and `seconds per pass` on the standard error, which is not buffered: in one file they fall into each other.
0.2.76, May 2024
    Running table and closing figures as today, all by `printf`; the 99 % of KLD stands there twice, and 95, 90 and
    0.1 % do not.
0.3.16, August 2025
    The same text through the program's log, which puts time and level before lines with a level (`--log-prefix`,
    `--log-timestamps`), and none before the running table.
0.3.36, 2026
    The 95, 90 and 0.1 % are there; the program names neither model nor build.
"""

from __future__ import annotations

import re
from pathlib import Path

LOAD = """main: build = 1998 (2f1a8c3)
main: built with cc (Debian 12.2.0-14) 12.2.0 for x86_64-linux-gnu
llama_model_loader: loaded meta data with 24 key-value pairs and 9 tensors from models/{name}.gguf (version GGUF V3)
system_info: n_threads = 2 / 2 | AVX = 1 | AVX2 = 1 | FMA = 1 |
kl_divergence: computing over 24 chunks
"""

HEAD_OF_2024 = "chunk        PPL          ln(PPL(Q)/PPL(base))          KL-Divergence           Same top"

_NOT_OF_MAY = re.compile(r"^(?:95\.0|90\.0| 0\.1)%   KLD")


def rows_of(text: str) -> list[list[str]]:
    """Numbers of each row of a running table of today: window, then value and error of five columns."""
    rows = [line for line in text.splitlines() if line.count("±") == 5]
    return [re.findall(r"-?\d+(?:\.\d+)?|-?nan", row) for row in rows]


def closing_of(text: str) -> dict[str, list[str]]:
    """Label → numbers of each closing line."""
    closing = text.split("====== Perplexity statistics ======")[1]
    pairs = (line.rsplit(":", 1) for line in closing.splitlines() if ":" in line)
    return {" ".join(label.split()): re.findall(r"-?\d+\.\d+", numbers) for label, numbers in pairs}


def of_january(path: Path, name: str) -> tuple[list[str], list[str]]:
    """(standard error, standard output) of 0.2.38, each by lines, from a log of today."""
    text = path.read_text(encoding="utf-8")
    table = [_row_of_january(row) for row in rows_of(text)]
    figures = closing_of(text)
    mean, error = figures["Mean KLD"]
    of_label = {"Median": "Median KLD", "Maximum": "Maximum KLD", "KLD_99": "99.0% KLD", "KLD_95": "95.0% KLD"}
    of_label |= {"KLD_90": "90.0% KLD", "Minimum": "Minimum KLD", "KLD_01": "1.0% KLD", "KLD_05": "5.0% KLD"}
    of_label |= {"KLD_10": "10.0% KLD"}
    rest = [f"{label:<7}: {float(figures[own][0]):10.6f}" for label, own in of_label.items()]
    closing = ["===== KL-divergence statistics", f"Average: {float(mean):10.6f} ±{float(error):10.6f}", *rest]
    said = [*LOAD.format(name=name).splitlines(), "kl_divergence: 23.74 seconds per pass - ETA 9.48 minutes"]
    return said, ["", HEAD_OF_2024, *table, "", *closing]


def _row_of_january(row: list[str]) -> str:
    window, ppl, _, ratio, ratio_se, kl, kl_se, _, _, same, same_se = (float(n) for n in row)
    return (
        f"{int(window):4d}    {ppl:10.4f}    {ratio:10.5f} ± {ratio_se:10.5f}    {kl:10.5f} ± {kl_se:10.5f}"
        f"    {same / 100:.5f} ± {same_se / 100:.5f}"
    )


def of_may(path: Path, name: str) -> str:
    """The log of 0.2.76, from a log of today."""
    text = path.read_text(encoding="utf-8")
    kept = [line for line in text[text.index("chunk  ") :].splitlines() if not _NOT_OF_MAY.match(line)]
    place = next(i for i, line in enumerate(kept) if line.startswith("99.0%   KLD"))
    return LOAD.format(name=name) + "\n" + "\n".join([*kept[:place], kept[place], *kept[place:]]) + "\n"
