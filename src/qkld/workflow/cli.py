"""The command line ``qkld``: one parser of `qkld.workflow.commands`, and how each command ends."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from qkld.errors import FORBIDDEN, ParameterError, QkldError, forbidden_place, missing_models
from qkld.workflow.commands import COMMANDS
from qkld.workflow.processes import look_for_garbage_rarely

DESCRIPTION = (
    "Measure how far quantized language models move from their reference (per-token KL divergence), score them on "
    "benchmarks item by item, and test whether the first says anything about the second."
)
"""What `qkld --help` begins with."""

PIPE_CLOSED, INTERRUPTED = 128 + signal.SIGPIPE, 128 + signal.SIGINT
"""Exit status where the reader of a pipe ends first, as of programs that the signal kills."""

OUTPUTS = ("json", "out", "output")
"""Options that name what is written."""


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    whole = argparse.ArgumentParser(prog="qkld", description=DESCRIPTION)
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(commands)
    return whole


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Own arguments, and those after ``--``, which go to Snakemake."""
    own = list(arguments)
    return (own[: own.index("--")], own[own.index("--") + 1 :]) if "--" in own else (own, [])


def _check_more(options: argparse.Namespace) -> None:
    """Refuse arguments after ``--`` of a command that passes none on."""
    if options.more and not options.command.takes_more:
        passing = " and ".join(f"`qkld {command.name}`" for command in COMMANDS if command.takes_more)
        raise ParameterError(
            f"Only {passing} passes arguments on.", expected="nothing after --", found=options.more, do="drop them"
        )


def _check_places(options: argparse.Namespace) -> None:
    """Refuse outputs that cannot be written, before anything is computed for them."""
    from qkld.study.provenance import check_place

    for name in OUTPUTS:
        path = getattr(options, name, None)
        if path is not None:
            check_place(path, named=f"--{name}", folder=name == "out" and options.command.writes_folder(path))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status, 2 for an error that names expected, found and what to do."""
    look_for_garbage_rarely()
    own, more = _split(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(own)
    options.more = more
    try:
        _check_more(options)
        _check_places(options)
        status = options.command.run(options)
        sys.stdout.flush()
        return status or 0
    except QkldError as error:
        print(f"qkld: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("qkld: interrupted; what it had finished and keeps, such as fetched files, is kept", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read the output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left to be flushed at the end
        return PIPE_CLOSED
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("", "qkld"):  # a fault of ours, no package of an extra
            raise
        missing = missing_models(error)
        print(f"qkld: {type(missing).__name__}: {missing}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in FORBIDDEN:
            raise
        print(f"qkld: SourceError: {forbidden_place(error)}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
