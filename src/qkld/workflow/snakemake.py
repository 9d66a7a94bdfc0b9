"""Snakemake as runs start it, ``python -m qkld.workflow.snakemake ARGUMENTS``: sooner ready than by its own name."""

from __future__ import annotations

from qkld.workflow.processes import look_for_garbage_rarely, without_address_grammar


def main() -> None:
    """Run Snakemake's command line on this process's arguments."""
    look_for_garbage_rarely()
    with without_address_grammar():
        from snakemake.cli import main as command_line
    command_line()


if __name__ == "__main__":
    main()
