"""The command line ``qkld``: ``run``, ``plan``, ``notebook``, ``analyse``, ``import``, ``compare`` and smaller ones.

Nothing here imports torch; a subcommand imports what it needs when it is called.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from qkld.errors import FORBIDDEN, ParameterError, QkldError, forbidden_place, missing_models
from qkld.workflow.arguments import names, parameter, positive_number, whole_number
from qkld.workflow.processes import look_for_garbage_rarely
from qkld.workflow.result_commands import OF_RESULTS, STDOUT, add_of_samples, add_result_commands, write_json_to

DESCRIPTION = (
    "Measure how far quantized language models move from their reference (per-token KL divergence), score them on "
    "benchmarks item by item, and test whether the first says anything about the second."
)
"""What `qkld --help` begins with."""

PIPE_CLOSED, INTERRUPTED = 128 + signal.SIGPIPE, 128 + signal.SIGINT
"""Exit status where the reader of a pipe ends first, as of programs that the signal kills."""


def _run(options: argparse.Namespace) -> int:
    from qkld.workflow.runner import run_study

    site = {"file": options.site} | {name: getattr(options, name) for name in ("partition", "account", "gpus")}
    return run_study(
        options.study,
        cores=options.cores,
        profile=options.profile,
        site=site,
        dry_run=options.dry_run,
        more=options.more,
    )


def _plan(options: argparse.Namespace) -> int:
    from qkld.study.params import load_params
    from qkld.study.paths import some_project
    from qkld.workflow.estimate import estimate_lines
    from qkld.workflow.plan import flop_rate, known_shape, model_flop_per_second
    from qkld.workflow.plan_report import plan_text
    from qkld.workflow.planned_builds import builds_lines, builds_split_lines
    from qkld.workflow.resolution import resolution_lines
    from qkld.workflow.splitting import split_lines

    file = Path(options.study) if options.study.endswith((".yaml", ".yml")) else None
    study = load_params(options.study) if file is None else load_params(file.stem, file)
    given = flop_rate(known_shape(study), options.tokens_per_second)
    speed = given if options.tokens_per_second else model_flop_per_second(study)
    pace = {"cores": options.cores, "flop_per_second": speed}
    with some_project():
        print(plan_text(study, **pace))
        print("\n".join([*resolution_lines(study, **pace), *builds_lines(study)]))
        if options.hours:
            proposal = split_lines(study, options.hours, **pace)
            print("\n".join([*proposal, *builds_split_lines(study, options.hours, **pace)]))
    if options.estimate:
        print("\n".join(estimate_lines(study)))
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from qkld.study.params import load_params
    from qkld.workflow.runner import fetch_sources

    for name, path in fetch_sources(load_params(options.study)).items():
        print(f"{name}: {path}")
    return 0


def _collect(options: argparse.Namespace) -> int:
    from qkld.analysis.measured import collect

    collect(options.study)
    return 0


def _forget(options: argparse.Namespace) -> int:
    from qkld.workflow.commands.forget import run_forget

    print(run_forget(options), end="")
    return 0


def _export(options: argparse.Namespace) -> int:
    from qkld.analysis.committing import export_study

    kept = export_study(options.study, options.out, tokens=not options.without_tokens)
    print(f"{kept.folder}: {sum(1 for _ in kept.folder.rglob('*.parquet'))} tables and {kept.page.name}")
    return 0


def _withdraw(options: argparse.Namespace) -> int:
    from qkld.report.withdrawing import withdraw

    print(*withdraw(options.study, options.table, options.why), sep="\n")
    return 0


def _notebook(options: argparse.Namespace) -> int:
    from qkld.workflow.commands.stages import run_stage

    run_stage(options)
    return 0


def _analyse(options: argparse.Namespace) -> int:
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
        reading=Reading(options.filter, options.metric, parse_groups(options.group)),
        columns=Columns(options.label, options.unit, options.divergence),
        choices=parse_item_counts(options.choices, scores or (), of="choices") if options.choices else None,
        primary_score=options.primary_score,
        probability_margin=options.probability_margin,
    )
    if options.json is not None:
        write_json_to(options.json, summary)
    if options.json != STDOUT:
        print("\n".join(lines_of(summary, report=str(out / "report.html"))))
    return 0


def _served(options: argparse.Namespace) -> int:
    try:
        from qkld.workflow.commands.served import run_served
    except ModuleNotFoundError as error:
        raise missing_models(error) from error
    print(run_served(options), end="")
    return 0


def _published(options: argparse.Namespace) -> int:
    from qkld.report import analyse_published

    for name, summary in analyse_published(options.out).items():
        print(f"{name}: {options.out / name / 'report.html'} ({summary['quants']} quants)")
    return 0


def _compare(options: argparse.Namespace) -> int:
    from qkld.workflow.commands.compare import run_compare

    print(run_compare(options), end="")
    return 0


def _quantize(options: argparse.Namespace) -> int:
    from qkld.workflow.commands.quantize import run_quantize

    print(run_quantize(options), end="")
    return 0


def _readme(options: argparse.Namespace) -> int:
    from qkld.workflow.docs import update_readme

    print(update_readme())
    return 0


def _add_run(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("run", help="run a study, or resume one that was stopped or killed")
    parser.add_argument("study")
    parser.add_argument("--cores", type=whole_number, default=2, help="processor cores to use in all (default 2)")
    parser.add_argument("--profile", default="local", help="a folder of workflow/profiles: local, slurm, …")
    parser.add_argument("--dry-run", action="store_true", help="show what would run, and why")
    cluster = parser.add_argument_group("with --profile slurm")
    cluster.add_argument("--site", type=Path, help="the cluster's settings (workflow/profiles/slurm/site.yaml)")
    cluster.add_argument("--partition", help="partition of the jobs (default: the file's, else the cluster's)")
    cluster.add_argument("--account", help="account to charge, if the cluster has accounts")
    cluster.add_argument("--gpus", type=int, help="GPUs for each job that runs a model")
    parser.set_defaults(act=_run)


def _add_plan(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("plan", help="estimate what a study will cost and what it can resolve")
    parser.add_argument("study", help="name of a study, or path of its YAML file")
    parser.add_argument(
        "--cores", type=whole_number, default=2, help="jobs that run in parallel; 1 with a GPU (default 2)"
    )
    parser.add_argument("--tokens-per-second", type=positive_number, help="speed of the reference in one job, if known")
    parser.add_argument(
        "--hours", type=positive_number, help="also propose how to split this time between texts and items"
    )
    parser.add_argument("--estimate", action="store_true", help="also estimate notebooks 01 and 02 on one H100")
    parser.set_defaults(act=_plan)


def _add_notebook(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("notebook", help="run one notebook of a study, with its parameters checked")
    parser.add_argument("stage", help="name of the notebook, for example 02_quant_kld")
    parser.add_argument("--study", required=True, help="name of the study")
    parser.add_argument("--quant", help="for 02: label of a quant, floor-batch or floor-dtype")
    parser.add_argument("--model", help="for 03: label of the reference or of a quant")
    parser.add_argument("--part", choices=("corpora", "benchmarks"), help="for 01: run only this part")
    parser.add_argument("--basis", help="for 00: a basis of the study's builds, such as rotate-3")
    parser.add_argument("--threads", type=whole_number, help="CPU threads of the notebook's kernel")
    parser.add_argument("--output", type=Path, help="path of the executed notebook")
    parser.add_argument(
        "-p",
        dest="parameter",
        action="append",
        default=[],
        type=parameter,
        metavar="NAME=VALUE",
        help="set a parameter; values other than the study's write their results to runs/STUDY/by-hand/",
    )
    parser.add_argument("--declared", nargs="*", default=[], help="for Snakemake: the files that this job has to write")
    parser.set_defaults(act=_notebook)


def _add_small(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("fetch", help="download a study's model, texts and items, checked by hash")
    parser.add_argument("study")
    parser.set_defaults(act=_fetch)
    parser = commands.add_parser("collect", help="write the cohort and item tables of a study, as notebook 03b does")
    parser.add_argument("study")
    parser.set_defaults(act=_collect)
    parser = commands.add_parser("forget", help="remove the files that were made in one basis of a study's builds")
    parser.add_argument("study")
    parser.add_argument("--basis", required=True, help="name of the basis, such as rotate-3")
    parser.add_argument("--declared", nargs="*", default=[], help="for Snakemake: the files that this job has to write")
    parser.set_defaults(act=_forget)
    parser = commands.add_parser("export", help="copy the tables of a finished study, without texts, to studies/")
    parser.add_argument("study")
    parser.add_argument("--out", type=Path, help="another folder; it is replaced")
    parser.add_argument("--without-tokens", action="store_true", help="leave out the token tables")
    parser.set_defaults(act=_export)
    parser = commands.add_parser("withdraw", help="remove wrong tables from a study's figures and report")
    parser.add_argument("study")
    parser.add_argument("--table", action="append", required=True, help="a result table, such as verdict; repeatable")
    parser.add_argument("--why", required=True, help="one sentence, shown instead until the study is run again")
    parser.set_defaults(act=_withdraw)
    parser = commands.add_parser("readme", help="update the generated findings in README.md")
    parser.set_defaults(act=_readme)


def _add_analyse(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("analyse", help="analyse a table of quants from any tool; needs no torch")
    parser.add_argument(
        "table", type=Path, nargs="?", help="CSV, TSV, Markdown, Parquet, JSON or folder of JSON; optional with --items"
    )
    parser.add_argument("--fidelity", help="column of the fidelity metric (default: the column named as a mean KLD)")
    parser.add_argument("--scores", type=names, help="columns of the scores, separated by commas")
    parser.add_argument(
        "--items",
        type=Path,
        help="item results: Parquet, CSV or JSON lines with model, benchmark, item, correct; or a folder of such files",
    )
    add_of_samples(parser)
    parser.add_argument(
        "--label", type=names, default=(), help="columns that make up a quant's label, separated by commas"
    )
    parser.add_argument(
        "--unit", choices=("nats", "bits", "mnats", "mbits"), help="unit of a KL divergence whose header names none"
    )
    parser.add_argument("--divergence", action="store_true", help="--fidelity is a KL divergence, whatever its name")
    parser.add_argument("--choices", help='number of choices per item, for the chance level: "my_benchmark=4"')
    parser.add_argument("--reference", help="label of the reference's row, which is left out of correlations")
    parser.add_argument("--n-items", help='number of items of each score, without --items: "mmlu=400,sciq=1000"')
    parser.add_argument("--zone", help='cut of the silent zone, chosen in advance, for example "kl_mean<=0.02"')
    parser.add_argument(
        "--missing", choices=("refuse", "drop"), default="refuse", help="what to do if a quant lacks values (refuse)"
    )
    parser.add_argument(
        "--margin", type=positive_number, default=0.01, help="equivalence margin of scores, a fraction (0.01)"
    )
    parser.add_argument(
        "--probability-margin", type=positive_number, help="the same for the probability of the right choice (0.01)"
    )
    parser.add_argument(
        "--primary-score", choices=("accuracy", "probability"), help="the score that decides if the items have both"
    )
    parser.add_argument("--size", help="column of sizes, for the smallest equivalent quant")
    parser.add_argument(
        "--out", type=Path, help="folder for report.html, summary.json, tables and figures (default runs/analyse/TABLE)"
    )
    parser.add_argument(
        "--json", type=Path, nargs="?", const=STDOUT, help="file for all numbers; without a name they are printed"
    )
    parser.set_defaults(act=_analyse)
    add_result_commands(commands)
    _add_served(commands)
    parser = commands.add_parser("published", help="analyse the published cohorts that come with the package")
    parser.add_argument("--out", type=Path, default=Path("runs/published"), help="output folder (runs/published)")
    parser.set_defaults(act=_published)


def _add_served(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("served", help="score a model behind a server on a study's multiple-choice items")
    parser.add_argument("--study", required=True, help="study whose items and tokenizer are used")
    parser.add_argument("--quant", required=True, help="http://host:port#model[,top_k=N][,api=vllm]")
    parser.add_argument("--label", help="label of the model (default: its name)")
    parser.add_argument("--out", type=Path, required=True, help="Parquet file to write; `import csv` merges several")
    parser.set_defaults(act=_served)


def _add_compare(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "compare",
        help="measure quants against a reference, without a study; paired tests for several",
        description="A model is a folder, a .gguf file, owner/name[@revision] or owner/name/file.gguf[@revision] on a "
        "model hub, or a label of --study. A quant can also be a quantizer that is applied to the reference "
        "(torchao:int8,group=32, bitsandbytes:nf4, hqq:4,group=64), or a model behind a server "
        "(http://host:port#model), for which KLD has bounds only.",
    )
    parser.add_argument(
        "--reference", help="a model, a store of notebook 01, or (for bounds) a llama.cpp base file or a top-k store"
    )
    parser.add_argument("--quant", action="append", required=True, help="a model; repeat it for paired tests")
    parser.add_argument("--study", help="study whose labels can be used")
    parser.add_argument("--text", type=Path, help="plain text, or .jsonl of texts (default: English prose)")
    parser.add_argument("--windows", type=whole_number, help="windows to measure (default 40, fewer of a short text)")
    parser.add_argument("--context", type=whole_number, help="tokens per window, the second half scored (default 512)")
    parser.add_argument("--packing", choices=("packed", "documents"), default="packed", help="how texts fill windows")
    parser.add_argument(
        "--engine", choices=("torch", "llamacpp"), help="how GGUF quants run: dequantized in torch, or in llama.cpp"
    )
    parser.add_argument("--device", choices=("auto", "cuda", "mps", "cpu"), default="auto")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16", "float16"), default="auto")
    parser.add_argument("--device-map", choices=("none", "auto"), default="none", help="auto: for large models")
    parser.add_argument("--weights", choices=("native", "dequantized"), default="dequantized")
    parser.add_argument("--no-floor", dest="floor", action="store_false", help="skip the noise floor of the dtype")
    parser.add_argument("--second-walk", action="store_true", help="add acceptance rate and Jensen–Shannon divergence")
    parser.add_argument("--floor-k", type=whole_number, help="top tokens of the floored estimate (default 64)")
    parser.add_argument(
        "--floor-log-p", type=float, default=-16.0, help="log-probability of a missing token (default -16)"
    )
    parser.add_argument("--breakdown", action="store_true", help="also print mean KLD by entropy and position")
    parser.add_argument("--confidence", type=float, default=0.95, help="confidence of every interval (default 0.95)")
    parser.add_argument("--bootstrap", type=whole_number, default=1000, help="resamples of windows (default 1000)")
    parser.add_argument("--power", type=float, default=0.8, help="power for the number of windows needed (default 0.8)")
    parser.add_argument("--seed", type=int, default=2606, help="seed of the resampling (default 2606)")
    parser.add_argument("--json", type=Path, help="file for all results")
    parser.set_defaults(act=_compare)


def _add_quantize(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("quantize", help="quantize a GGUF file to several types, with llama.cpp")
    parser.add_argument("model", help="a .gguf file, owner/name/file.gguf[@revision], or a label of --study")
    parser.add_argument("--types", required=True, help="llama.cpp's type names, separated by commas: Q8_0,Q4_K_M,IQ3_S")
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    parser.add_argument("--imatrix", help="a file written by llama-imatrix, or `compute` to compute one from --text")
    parser.add_argument("--text", type=Path, help="plain text, or .jsonl with one text per line")
    parser.add_argument("--windows", type=whole_number, default=32, help="windows of --text to use (default 32)")
    parser.add_argument("--context", type=whole_number, default=512, help="tokens per window (default 512)")
    parser.add_argument("--study", help="study whose labels can be used and whose corpora --text must not share")
    parser.add_argument("--threads", type=whole_number, default=1, help="CPU threads of the quantizer (default 1)")
    parser.set_defaults(act=_quantize)


def parser() -> argparse.ArgumentParser:
    """The parser of all subcommands."""
    whole = argparse.ArgumentParser(prog="qkld", description=DESCRIPTION)
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_run, _add_plan, _add_notebook, _add_small, _add_analyse, _add_compare, _add_quantize):
        add(commands)
    return whole


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Own arguments, and those after ``--``, which go to Snakemake."""
    own = list(arguments)
    return (own[: own.index("--")], own[own.index("--") + 1 :]) if "--" in own else (own, [])


OUTPUTS = ("json", "out", "output")
"""Options that name what is written: a file, but where ``--out`` of one of the commands below is a folder."""

INTO_FOLDERS = (_analyse, _published, _quantize)
"""Commands whose ``--out`` is a folder; that of `OF_RESULTS` is one where it has no ending."""


def _check_places(options: argparse.Namespace) -> None:
    """Refuse outputs that can not be written, before anything is computed for them."""
    from qkld.study.provenance import check_place

    for name in OUTPUTS:
        path = getattr(options, name, None)
        if path is not None:
            folder = options.act in INTO_FOLDERS or (options.act in OF_RESULTS and not path.suffix)
            check_place(path, named=f"--{name}", folder=name == "out" and folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns its exit status, 2 for an error that names expected, found and what to do."""
    look_for_garbage_rarely()
    own, more = _split(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(own)
    try:
        if more and options.act is not _run:
            raise ParameterError(
                "Only `qkld run` passes arguments on.", expected="nothing after --", found=more, do="drop them"
            )
        options.more = more
        _check_places(options)
        status = options.act(options)
        sys.stdout.flush()
        return status
    except QkldError as error:
        print(f"qkld: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("qkld: interrupted; what it had finished and keeps, such as fetched files, is kept", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read the output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left to be flushed at the end
        return PIPE_CLOSED
    except OSError as error:
        if error.errno not in FORBIDDEN:
            raise
        print(f"qkld: SourceError: {forbidden_place(error)}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
