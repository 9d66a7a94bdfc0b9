"""Commands on results: ``import`` reads what other tools wrote, ``gate`` judges a quant, ``card`` publishes figures."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from qkld.workflow.arguments import names, parameter, whole_number

STDOUT = Path("-")
"""What stands for the standard output in the place of a file."""


def add_result_commands(commands: argparse._SubParsersAction) -> None:
    """Add the parsers of these commands."""
    _add_import(commands)
    _add_gate(commands)
    _add_card(commands)


def write_json_to(path: Path, value: object) -> None:
    """Write JSON values to a file, or to the standard output."""
    if path == STDOUT:
        print(json.dumps(value, indent=1, ensure_ascii=False))
    else:
        from qkld.study.provenance import write_json

        write_json(path, value)


def add_of_samples(parser: argparse.ArgumentParser) -> None:
    """What of lm-evaluation-harness's samples counts, and which parts are one benchmark."""
    parser.add_argument("--filter", help="filter to use if the harness's samples have several: NAME, or TASK=NAME,…")
    parser.add_argument("--metric", help="metric of the samples that is 1 for a right answer: NAME, or TASK=NAME,…")
    parser.add_argument(
        "--group",
        action="append",
        default=[],
        metavar="NAME=PATTERN",
        help="combine the parts of a benchmark: 'mmlu=mmlu_*'",
    )


def _import(options: argparse.Namespace) -> int:
    from qkld.workflow.commands.importing import run_import

    print(run_import(options), end="")
    return 0


def _add_import(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "import", help="import logs and results of other tools as tables for `qkld analyse`; needs no torch"
    )
    parser.add_argument(
        "format", help="llama-perplexity, lm-eval, inspect, quants, evalplus, livecodebench, bfcl or csv; or any folder"
    )
    parser.add_argument("files", nargs="*", type=Path, help="files or folders of that format")
    parser.add_argument(
        "--label", action="append", default=[], help="model of each file, in order, if the files do not name it"
    )
    add_of_samples(parser)
    parser.add_argument(
        "--windows", type=whole_number, help="compare only the first windows of each llama-perplexity log", metavar="N"
    )
    parser.add_argument("--benchmark", help="task of llama-perplexity logs that do not name it")
    parser.add_argument("--out", type=Path, required=True, help="output folder, or a .parquet file")
    parser.set_defaults(act=_import)


def _gate(options: argparse.Namespace) -> int:
    from qkld.workflow.commands.gate import run_gate

    status, line, summary = run_gate(options)
    if options.json is not None:
        write_json_to(options.json, summary)
    if options.json != STDOUT:
        print(line)
    return status


def _add_gate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "gate",
        help="check a quant against thresholds, for continuous integration",
        description="Exit status 0: passed; 3: failed; 4: not measured; 5: not resolved, the interval contains the "
        "threshold; 2: error.",
    )
    parser.add_argument("source", type=Path, nargs="?", help="a table of quants, or the JSON of `qkld compare`")
    parser.add_argument("--study", help="check a quant of this study")
    parser.add_argument("--quant", required=True, help="label of the quant; without a source, the model to measure")
    parser.add_argument("--reference", help="label of the reference; without a source, the model to measure against")
    parser.add_argument("--items", type=Path, help="item results of both models, for losses; as of `qkld analyse`")
    parser.add_argument("--max-kld", metavar="NATS", help="largest mean KLD")
    parser.add_argument("--min-top1", metavar="SHARE", help="smallest share of tokens with the same top-1 token")
    parser.add_argument(
        "--max-loss", action="append", default=[], metavar="SCORE=LOSS", help="largest loss of a score; repeatable"
    )
    parser.add_argument(
        "--require", action="append", default=[], metavar="METRIC<=NUMBER", help="any other metric, <= or >="
    )
    parser.add_argument("--text", type=Path, help="text to measure on: plain text, or .jsonl (default: English prose)")
    parser.add_argument("--windows", type=whole_number, help="number of windows to measure on")
    parser.add_argument("--context", type=whole_number, help="tokens per window to measure on")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16", "float16"), default="auto")
    parser.add_argument(
        "--json", type=Path, nargs="?", const=STDOUT, help="file for the result (without a name: print)"
    )
    parser.set_defaults(act=_gate)


def _card(options: argparse.Namespace) -> int:
    from qkld.workflow.commands.card import run_card

    print(run_card(options), end="")
    return 0


def _add_card(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("card", help="write a model card's table, figure and measurement details")
    parser.add_argument("source", type=Path, nargs="?", help="a table of quants, or the JSON of `qkld compare`")
    parser.add_argument("--study", help="make the card from this study")
    parser.add_argument("--size", help="size column of the table, by which quants are ordered and plotted")
    parser.add_argument("--scores", type=names, help="score columns of the table, separated by commas")
    parser.add_argument("--reference", help="label of the reference's row in the table, which is left out")
    parser.add_argument(
        "--say", action="append", default=[], type=parameter, metavar="PART=TEXT",
        help="a part of the panel that the source does not state: reference, engine, dtype or floor",
    )  # fmt: skip
    parser.add_argument("--against", type=Path, help="another card.md: report whether the two are comparable")
    parser.add_argument("--out", type=Path, required=True, help="folder for card.md, card.png and the hub's drafts")
    parser.set_defaults(act=_card)


OF_RESULTS = (_import, _card)
"""Commands whose ``--out`` is a folder where it has no ending."""
