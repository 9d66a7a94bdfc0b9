"""Commands on results of any tool, which need no torch: `analyse`, `import`, `gate`, `card`, `share`, `published`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from qkld.workflow.commands.arguments import names, parameter, positive_number, whole_number
from qkld.workflow.commands.command import Command

STDOUT = Path("-")
"""What stands for the standard output in the place of a file."""

STATUSES = (
    "Exit status: 0 passed; 2 error; 3 failed; 4 not measured; 5 not resolved, as the interval contains the threshold."
)
"""What `qkld gate` returns, for `qkld gate --help`."""


def _write_json_to(path: Path, value: object) -> None:
    """Write JSON values to a file, or to the standard output."""
    if path == STDOUT:
        print(json.dumps(value, indent=1, ensure_ascii=False))
    else:
        from qkld.study.provenance import write_json

        write_json(path, value)


def _samples_options(parser: argparse.ArgumentParser) -> None:
    """What of lm-evaluation-harness's samples counts, and which parts are one benchmark."""
    parser.add_argument(
        "--filter",
        help="which filter of lm-evaluation-harness to use, if the samples have several: NAME, or TASK=NAME,…",
    )
    parser.add_argument(
        "--metric", help="metric that is 1 for a right answer, if the samples have several: NAME, or TASK=NAME,…"
    )
    parser.add_argument(
        "--group",
        action="append",
        default=[],
        metavar="NAME=PATTERN",
        help="combine subtasks to one benchmark: 'mmlu=mmlu_*'",
    )


def _table_options(parser: argparse.ArgumentParser) -> None:
    """How a table of quants is read."""
    parser.add_argument(
        "--label", type=names, default=(), help="columns that make up a quant's label, separated by commas"
    )
    parser.add_argument(
        "--unit",
        choices=("nats", "bits", "mnats", "mbits"),
        help="unit of the KL divergence, if its column name states none",
    )


def _analyse_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "table", type=Path, nargs="?", help="CSV, TSV, Markdown, Parquet, JSON or folder of JSON; optional with --items"
    )
    parser.add_argument("--fidelity", help="column of the fidelity metric (default: the mean KLD, by its name)")
    parser.add_argument("--scores", type=names, help="columns of the scores, separated by commas")
    parser.add_argument(
        "--items",
        type=Path,
        help="item results: Parquet, CSV or JSON lines with model, benchmark, item, correct; or a folder of such files",
    )
    _samples_options(parser)
    _table_options(parser)
    parser.add_argument(
        "--divergence", action="store_true", help="treat the --fidelity column as a KL divergence, whatever its name"
    )
    parser.add_argument(
        "--item-kld", metavar="COLUMN", help="column of the items' KLD, if there are several, such as kl_prompt"
    )
    parser.add_argument("--choices", help='number of choices per item, for the chance level: "my_benchmark=4"')
    parser.add_argument("--reference", help="label of the reference's row, which is left out of correlations")
    parser.add_argument("--n-items", help='number of items of each score, without --items: "mmlu=400,sciq=1000"')
    parser.add_argument("--zone", help='cut of the silent zone, chosen in advance, for example "kl_mean<=0.02"')
    parser.add_argument(
        "--missing",
        choices=("refuse", "drop"),
        default="refuse",
        help="quants with missing values: stop with an error (default), or drop them",
    )
    parser.add_argument(
        "--margin", type=positive_number, default=0.01, help="equivalence margin of accuracy, a fraction (default 0.01)"
    )
    parser.add_argument(
        "--probability-margin",
        type=positive_number,
        help="equivalence margin of the probability of the right choice (default 0.01)",
    )
    parser.add_argument(
        "--primary-score", choices=("accuracy", "probability"), help="the score that decides, if the items have both"
    )
    parser.add_argument("--size", help="column of file sizes, to find the smallest equivalent quant")
    parser.add_argument(
        "--out", type=Path, help="folder for report.html, summary.json, tables and figures (default runs/analyse/TABLE)"
    )
    parser.add_argument(
        "--json", type=Path, nargs="?", const=STDOUT, help="file for all numbers; without a name they are printed"
    )


def _analyse(options: argparse.Namespace) -> None:
    from qkld.analysis.importing.groups import parse_groups
    from qkld.report import Columns, Reading, analyse_table, lines_of, parse_item_counts

    scores = options.scores
    named = options.table or options.items
    out = options.out or Path("runs", "analyse", named.stem if named else "")
    summary = analyse_table(
        options.table,
        options.fidelity,
        scores,
        options.reference,
        options.zone,
        out,
        items=options.items,
        n_items=parse_item_counts(options.n_items, scores or ()) if options.n_items else None,
        missing=options.missing,
        margin=options.margin,
        size=options.size,
        reading=Reading(options.filter, options.metric, parse_groups(options.group), options.item_kld),
        columns=Columns(options.label, options.unit, options.divergence),
        choices=parse_item_counts(options.choices, scores or (), of="choices") if options.choices else None,
        primary_score=options.primary_score,
        probability_margin=options.probability_margin,
    )
    if options.json is not None:
        _write_json_to(options.json, summary)
    if options.json != STDOUT:
        print("\n".join(lines_of(summary, report=str(out / "report.html"))))


def _import_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "format",
        help="llama-perplexity, lm-eval, inspect, every-eval-ever, quants, evalplus, livecodebench, bfcl or csv; "
        "or a folder, whose format is recognized",
    )
    parser.add_argument("files", nargs="*", type=Path, help="files or folders of that format")
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        help="name of each file's model, in the order of the files, if they do not state it",
    )
    _samples_options(parser)
    parser.add_argument(
        "--windows", type=whole_number, help="compare only the first windows of each llama-perplexity log", metavar="N"
    )
    parser.add_argument("--benchmark", help="benchmark of llama-perplexity logs, if they do not state it")
    parser.add_argument("--out", type=Path, required=True, help="output folder, or a .parquet file")


def _import(options: argparse.Namespace) -> None:
    from qkld.workflow.commands.work.importing import run_import

    print(run_import(options), end="")


def _gate_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, nargs="?", help="a table of quants, or the JSON of `qkld compare`")
    parser.add_argument("--study", help="check a quant of this study")
    parser.add_argument("--quant", required=True, help="label of the quant; without a source, the model to measure")
    parser.add_argument("--reference", help="label of the reference; without a source, the model to measure against")
    parser.add_argument(
        "--items", type=Path, help="item results of both models, for losses; formats as for `qkld analyse`"
    )
    _table_options(parser)
    parser.add_argument("--max-kld", metavar="NATS", help="largest mean KLD that passes")
    parser.add_argument("--min-top1", metavar="SHARE", help="smallest share of equal top-1 tokens that passes")
    parser.add_argument(
        "--max-loss",
        action="append",
        default=[],
        metavar="SCORE=LOSS",
        help="largest loss of a score that passes; repeatable",
    )
    parser.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="METRIC<=NUMBER",
        help="threshold for any other metric, <= or >=; repeatable",
    )
    parser.add_argument("--text", type=Path, help="text to measure on: plain text, or .jsonl (default: English prose)")
    parser.add_argument("--windows", type=whole_number, help="number of windows to measure")
    parser.add_argument("--context", type=whole_number, help="tokens per window")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16", "float16"), default="auto")
    parser.add_argument(
        "--json", type=Path, nargs="?", const=STDOUT, help="file for the result; without a name it is printed"
    )


def _gate(options: argparse.Namespace) -> int:
    from qkld.workflow.commands.work.gate import run_gate

    status, line, summary = run_gate(options)
    if options.json is not None:
        _write_json_to(options.json, summary)
    if options.json != STDOUT:
        print(line)
    return status


def _card_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, nargs="?", help="a table of quants, or the JSON of `qkld compare`")
    parser.add_argument("--study", help="make the card from this study")
    parser.add_argument("--size", help="size column of the table, by which quants are ordered and plotted")
    parser.add_argument(
        "--scores", type=names, help="score columns of the table or benchmarks of the items, separated by commas"
    )
    parser.add_argument("--reference", help="label of the reference's row in the table, which is left out")
    parser.add_argument(
        "--items", type=Path, help="item results, for losses with intervals; formats as for `qkld analyse`"
    )
    _table_options(parser)
    parser.add_argument(
        "--say", action="append", default=[], type=parameter, metavar="PART=TEXT",
        help="a measurement detail that the source does not state: reference, engine, dtype or floor; repeatable",
    )  # fmt: skip
    parser.add_argument("--against", type=Path, help="another card.md; report whether the two cards are comparable")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for card.md, card.png and draft files for a model hub"
    )


def _card(options: argparse.Namespace) -> None:
    from qkld.workflow.commands.work.card import run_card

    print(run_card(options), end="")


def _share_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "items", nargs="+", type=Path, help="item results: Parquet, CSV or JSON lines, such as `qkld import` writes"
    )
    parser.add_argument("--quants", type=Path, help="table with each model's mean KLD, to be shared too")
    parser.add_argument("--collection", default="qkld", help="name of this evaluation (default qkld)")
    parser.add_argument("--developer", help="developer of the models, if their labels are not DEVELOPER/NAME")
    parser.add_argument("--organization", required=True, help="organization that ran the evaluation")
    parser.add_argument(
        "--relationship",
        choices=("first_party", "third_party", "collaborative", "other"),
        default="other",
        help="how this organization relates to the developer of the models (default other)",
    )
    parser.add_argument("--library", default="unknown", help="library that ran the evaluation: NAME or NAME==VERSION")
    parser.add_argument(
        "--out", type=Path, required=True, help="output folder; the files are written to its subfolder data"
    )


def _share(options: argparse.Namespace) -> None:
    from qkld.workflow.commands.work.sharing import run_share

    print(run_share(options), end="")


def _published_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, default=Path("runs/published"), help="output folder (default runs/published)"
    )


def _published(options: argparse.Namespace) -> None:
    from qkld.report import analyse_published

    for name, summary in analyse_published(options.out).items():
        print(f"{name}: {options.out / name / 'report.html'} ({summary['quants']} quants)")


COMMANDS = (
    Command(
        "analyse",
        "analyse a table of quants from any tool; needs no torch",
        _analyse_options,
        _analyse,
        out="folder",
    ),
    Command(
        "import",
        "import logs and results of other tools as tables for `qkld analyse`; needs no torch",
        _import_options,
        _import,
        out="folder_without_ending",
    ),
    Command(
        "gate",
        "check a quant against thresholds, for example in continuous integration",
        _gate_options,
        _gate,
        description=STATUSES,
    ),
    Command(
        "card",
        "write a model card's table, figure and measurement details",
        _card_options,
        _card,
        out="folder_without_ending",
    ),
    Command(
        "share",
        "convert item results to the interchange format every_eval_ever; needs no torch",
        _share_options,
        _share,
        out="folder",
    ),
    Command(
        "published",
        "analyse the published tables of quants that come with the package",
        _published_options,
        _published,
        out="folder",
    ),
)
