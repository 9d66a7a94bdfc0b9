"""Every command of `qkld`: one file a group, with its options.

To add a command, add a `Command` to the group it belongs to: `qkld --help`, the documentation's page of commands and
the tests that walk over every command take it from there. Nothing here imports torch or pandas, so that help is quick
and needs no more than the base installation; a command imports what it needs when it runs.
"""

from __future__ import annotations

from qkld.workflow.commands import commands_on_models, commands_on_results, commands_on_studies
from qkld.workflow.commands.command import Command

COMMANDS: tuple[Command, ...] = (
    *commands_on_studies.COMMANDS,
    *commands_on_results.COMMANDS,
    *commands_on_models.COMMANDS,
)
"""In the order of `qkld --help`."""
