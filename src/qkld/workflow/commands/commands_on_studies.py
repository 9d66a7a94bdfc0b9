"""Commands on a study: from ``plan`` and ``run`` to ``export``, and ``readme`` of what the committed ones found."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from qkld.workflow.commands.arguments import parameter, positive_number, whole_number
from qkld.workflow.commands.command import Command

DECLARED = "used by Snakemake: the files that this job has to write"
"""What ``--declared`` names."""


def _run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", help="name of the study, a file in params/")
    parser.add_argument("--cores", type=whole_number, default=2, help="processor cores to use in all (default 2)")
    parser.add_argument(
        "--profile", default="local", help="a folder in workflow/profiles: local, slurm, … (default local)"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would run, and why")
    parser.add_argument(
        "--kept",
        choices=("fitting", "all", "none"),
        default="fitting",
        help="reuse tables in studies/STUDY instead of running their models. fitting: those made by the same metrics "
        "version with the same parameters and reference (default); all: the same, but stop if one does not fit; none",
    )
    cluster = parser.add_argument_group("with --profile slurm")
    cluster.add_argument(
        "--site", type=Path, help="file of the cluster's settings (default workflow/profiles/slurm/site.yaml)"
    )
    cluster.add_argument("--partition", help="partition for the jobs (default: that of the file, else of the cluster)")
    cluster.add_argument("--account", help="account to charge, if the cluster has accounts")
    cluster.add_argument("--gpus", type=int, help="GPUs for each job that runs a model")


def _run(options: argparse.Namespace) -> int:
    from qkld.workflow.runner import run_study

    site = {"file": options.site} | {name: getattr(options, name) for name in ("partition", "account", "gpus")}
    return run_study(
        options.study,
        cores=options.cores,
        profile=options.profile,
        site=site,
        dry_run=options.dry_run,
        kept=options.kept,
        more=options.more,
    )


def _plan_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", help="name of a study, or path of its YAML file")
    parser.add_argument(
        "--cores", type=whole_number, default=2, help="jobs that run in parallel; 1 with a GPU (default 2)"
    )
    parser.add_argument(
        "--tokens-per-second", type=positive_number, help="speed of the reference in one job, if you know it"
    )
    parser.add_argument(
        "--hours", type=positive_number, help="also propose how to divide this time between texts and items"
    )
    parser.add_argument(
        "--measure",
        action="store_true",
        help="first run the reference on a few items of each benchmark; takes about a minute",
    )
    parser.add_argument(
        "--estimate", action="store_true", help="also estimate the time of notebooks 01 and 02 on one H100"
    )


def _plan(options: argparse.Namespace) -> None:
    from qkld.study.params import load_params
    from qkld.study.paths import some_project
    from qkld.workflow.benchmark_signal import measure_samples, sampled_speed, signal_lines
    from qkld.workflow.estimate import estimate_lines
    from qkld.workflow.plan import flop_rate, known_shape, model_flop_per_second
    from qkld.workflow.plan_report import plan_text
    from qkld.workflow.planned_builds import builds_lines, builds_split_lines
    from qkld.workflow.resolution import resolution_lines
    from qkld.workflow.splitting import split_lines

    file = Path(options.study) if options.study.endswith((".yaml", ".yml")) else None
    study = load_params(options.study) if file is None else load_params(file.stem, file)
    given = flop_rate(known_shape(study), options.tokens_per_second)
    with some_project():
        if options.measure:
            measure_samples(study)
        speed = given if options.tokens_per_second else sampled_speed(study) or model_flop_per_second(study)
        pace = {"cores": options.cores, "flop_per_second": speed}
        print(plan_text(study, **pace))
        print("\n".join([*signal_lines(study, **pace), *resolution_lines(study, **pace), *builds_lines(study)]))
        if options.hours:
            proposal = split_lines(study, options.hours, **pace)
            print("\n".join([*proposal, *builds_split_lines(study, options.hours, **pace)]))
    if options.estimate:
        print("\n".join(estimate_lines(study)))


def _notebook_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stage", help="name of the notebook, for example 02_quant_kld")
    parser.add_argument("--study", required=True, help="name of the study")
    parser.add_argument(
        "--quant", help="for notebook 02: label of a quant, or floor-batch or floor-dtype for a noise floor"
    )
    parser.add_argument("--model", help="for notebook 03: label of the reference or of a quant")
    parser.add_argument("--part", choices=("corpora", "benchmarks"), help="for notebook 01: run only this part")
    parser.add_argument(
        "--basis", help="for notebook 00: one basis (rotation of the weights) of the study's builds, such as rotate-3"
    )
    parser.add_argument("--threads", type=whole_number, help="CPU threads of the notebook's kernel")
    parser.add_argument("--output", type=Path, help="path of the executed notebook")
    parser.add_argument(
        "-p",
        dest="parameter",
        action="append",
        default=[],
        type=parameter,
        metavar="NAME=VALUE",
        help="set a parameter; results with values other than the study's are written to runs/STUDY/by-hand/",
    )
    parser.add_argument("--declared", nargs="*", default=[], help=DECLARED)


def _notebook(options: argparse.Namespace) -> None:
    from qkld.workflow.commands.work.notebook import run_stage

    run_stage(options)


def _study_alone(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", help="name of the study, a file in params/")


def _fetch(options: argparse.Namespace) -> None:
    from qkld.study.params import load_params
    from qkld.workflow.runner import fetch_sources

    for name, path in fetch_sources(load_params(options.study)).items():
        print(f"{name}: {path}")


def _collect(options: argparse.Namespace) -> None:
    from qkld.analysis.measured import collect

    collect(options.study)


def _forget_options(parser: argparse.ArgumentParser) -> None:
    _study_alone(parser)
    parser.add_argument("--basis", required=True, help="name of the basis (rotation of the weights), such as rotate-3")
    parser.add_argument("--declared", nargs="*", default=[], help=DECLARED)


def _forget(options: argparse.Namespace) -> None:
    from qkld.workflow.commands.work.forget import run_forget

    print(run_forget(options), end="")


def _export_options(parser: argparse.ArgumentParser) -> None:
    _study_alone(parser)
    parser.add_argument("--out", type=Path, help="output folder, which is replaced (default studies/STUDY)")
    parser.add_argument("--without-tokens", action="store_true", help="leave out the token tables")


def _export(options: argparse.Namespace) -> None:
    from qkld.analysis.committing import export_study

    kept = export_study(options.study, options.out, tokens=not options.without_tokens)
    tables = sum(path.suffix in (".parquet", ".xz") for path in kept.folder.rglob("*"))
    print(f"{kept.folder}: {tables} tables and {kept.page.name}")


def _keep_options(parser: argparse.ArgumentParser) -> None:
    _study_alone(parser)
    parser.add_argument("--runs", type=Path, help="folder of the runs, for example of another clone (default runs/)")
    parser.add_argument("--out", type=Path, help="output folder (default studies/STUDY)")


def _keep(options: argparse.Namespace) -> None:
    from qkld.workflow.kept_study import keep_study

    if options.runs:
        os.environ["QKLD_RUNS"] = str(options.runs.resolve())
    print(*keep_study(options.study, options.out), sep="\n")


def _withdraw_options(parser: argparse.ArgumentParser) -> None:
    _study_alone(parser)
    parser.add_argument("--table", action="append", required=True, help="a result table, such as verdict; repeatable")
    parser.add_argument(
        "--why", required=True, help="one sentence that is shown in its place until the study is run again"
    )


def _withdraw(options: argparse.Namespace) -> None:
    from qkld.report.withdrawing import withdraw

    print(*withdraw(options.study, options.table, options.why), sep="\n")


def _no_options(parser: argparse.ArgumentParser) -> None:
    """Take nothing."""


def _readme(options: argparse.Namespace) -> None:
    from qkld.workflow.docs import update_readme

    print(update_readme())


COMMANDS = (
    Command("run", "run a study, or resume one that was stopped or killed", _run_options, _run, takes_more=True),
    Command("plan", "estimate what a study will cost and what it can resolve", _plan_options, _plan),
    Command("notebook", "run one notebook of a study", _notebook_options, _notebook),
    Command("fetch", "download a study's model, texts and items, and check their hashes", _study_alone, _fetch),
    Command(
        "collect",
        "collect a study's results into its cohort and item tables, as notebook 03b does",
        _study_alone,
        _collect,
    ),
    Command("forget", "delete the model files that a study's builds made in one basis", _forget_options, _forget),
    Command("export", "copy the tables of a finished study to studies/, without texts", _export_options, _export),
    Command(
        "keep",
        "copy the tables of a study's finished models to studies/, without texts",
        _keep_options,
        _keep,
        out="folder",
    ),
    Command("withdraw", "replace wrong tables of a study's results by the reason", _withdraw_options, _withdraw),
    Command("readme", "update the generated findings in README.md", _no_options, _readme),
)
