"""Tool calling: the Berkeley Function Calling Leaderboard's items and AST checker, from its package ``bfcl-eval``.

The package wants older numpy and some thirty clients of model services, so it has an environment of its own: its wheel,
unpacked, and the five packages that its checker imports. It is asked by subprocess
(`qkld.benchmarks.judging.bfcl_worker`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from qkld.benchmarks.judging import bfcl_worker
from qkld.errors import BenchmarkError, SourceError
from qkld.sources.catalogue import BFCL
from qkld.sources.wheels import kept_wheel
from qkld.study.locks import locked
from qkld.study.paths import data_folder
from qkld.study.provenance import key_of
from qkld.study.texts import lines

REQUIREMENTS = (
    "filelock==3.20.0",
    "tenacity==9.1.2",
    "tree_sitter==0.21.3",
    "tree-sitter-java==0.21.0",
    "tree-sitter-javascript==0.21.4",
)
"""What the checker imports, in the versions that bfcl-eval pins where it pins one."""

PATIENCE_SECONDS = 600
"""After which a worker that has not answered is given up; it takes milliseconds an item."""


def with_prompts(lines: Sequence[str]) -> list[str]:
    """The items of lines of JSON, each with the package's system prompt and its user message, as lines again.

    The prompt is the one that models without tool-calling tokens get there: functions as JSON, calls as Python.
    """
    items = [json.loads(line) for line in lines]
    prompts = ask(
        "prompts", [{k: item[k] for k in ("id", "category", "question")} | _functions(item) for item in items]
    )
    keep = ("id", "category", "function", "ground_truth")
    rows = [{k: item[k] for k in keep} | prompt for item, prompt in zip(items, prompts, strict=True)]
    return [json.dumps(row) for row in rows]


def check(documents: Sequence[dict[str, Any]], answers: Sequence[str]) -> list[bool]:
    """Whether each answer is right by the package's AST checker; ``documents`` are those of `with_prompts`.

    Of an item whose functions do not help ("irrelevance"), an answer without a call is right.
    """
    asked = [
        {"category": d["category"], "ground_truth": json.loads(d["ground_truth"]), "answer": a} | _functions(d)
        for d, a in zip(documents, answers, strict=True)
    ]
    return [bool(valid) for valid in ask("check", asked)]


def ask(command: str, items: Sequence[dict[str, Any]]) -> list[Any]:
    """What the package's own code says of these items, one answer each, from a process in its environment.

    Raises
    ------
    BenchmarkError
        If the process fails, or answers otherwise; the message ends with what it printed.
    """
    folder = environment()
    with tempfile.TemporaryDirectory(prefix="qkld-bfcl-") as home:
        own = {"PYTHONPATH": str(folder / "package"), "BFCL_PROJECT_ROOT": home, "HOME": home, "PATH": os.defpath}
        done = subprocess.run(
            [str(folder / "bin" / "python"), "-P", bfcl_worker.__file__, command],
            input=json.dumps(list(items)),
            env=own,
            cwd=home,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    try:
        found = json.loads(lines(done.stdout)[-1]) if done.returncode == 0 else None
    except (ValueError, IndexError):
        found = None
    if not isinstance(found, list) or len(found) != len(items):
        raise BenchmarkError(
            f"bfcl-eval gave no answer to '{command}'.",
            expected=f"{len(items)} answers",
            found=(done.stderr or done.stdout)[-600:],
            do=f"remove {folder} and run the same command again",
        )
    return found


def environment() -> Path:
    """The checker's environment below the data folder; made from the package index on first use."""
    folder = data_folder() / "environments" / f"bfcl-{key_of([BFCL.sha256, REQUIREMENTS, sys.version])}"
    with locked(folder.parent / f".{folder.name}.lock"):
        if not folder.exists():
            _make(folder)
    return folder


def _make(folder: Path) -> None:
    """Build the environment under a temporary name, and rename it into place."""
    wheel = kept_wheel(BFCL, data_folder() / "wheels")
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    install = [sys.executable, "-m", "pip", "--python", str(temporary), "install", "--quiet", "--no-deps"]
    try:
        for command in (
            [sys.executable, "-m", "venv", "--without-pip", str(temporary)],
            [*install, "--disable-pip-version-check", "--only-binary", ":all:", *REQUIREMENTS],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SourceError(
                    "The environment of bfcl-eval could not be created.",
                    expected=", ".join(REQUIREMENTS),
                    found=(done.stderr or done.stdout).strip()[-600:],
                    do="check the network and pip's index settings, then run the same command again",
                )
        with ZipFile(wheel) as members:
            members.extractall(temporary / "package")
        temporary.chmod(0o755)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _functions(item: dict[str, Any]) -> dict[str, Any]:
    """The functions of an item, which its line holds as text: their parameters have no common form for a table."""
    return {"id": item["id"], "function": json.loads(item["function"])}
