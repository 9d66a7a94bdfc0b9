"""What a command of `qkld` is."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Command:
    """A command: ``options`` adds what it takes to its parser, ``run`` does it with what was given.

    ``run`` prints its result and returns its exit status; None is 0. ``out`` says what its option ``--out`` names, for
    a place that cannot be written to be refused before anything is computed: a file, a folder, or a folder where the
    name has no ending. ``takes_more``: whether arguments after ``--`` are its own, to pass on.
    """

    name: str
    help: str
    options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int | None]
    description: str | None = None
    out: Literal["file", "folder", "folder_without_ending"] = "file"
    takes_more: bool = False

    @property
    def about(self) -> str:
        """What its own ``--help`` begins with: what it does, in a sentence, and its description."""
        return " ".join(filter(None, (f"{self.help[0].upper()}{self.help[1:]}.", self.description)))

    def add_to(self, commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
        """Add this command to the commands of a parser; what is parsed names it as ``command``. Gives its parser."""
        parser = commands.add_parser(self.name, help=self.help, description=self.about)
        self.options(parser)
        parser.set_defaults(command=self)
        return parser

    def writes_folder(self, out: Path) -> bool:
        """Whether what ``--out`` names is a folder."""
        return self.out == "folder" or (self.out == "folder_without_ending" and not out.suffix)
