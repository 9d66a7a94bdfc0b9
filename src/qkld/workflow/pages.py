"""Pages of the documentation that the package writes of itself: tables, parameters, command line, rooms, studies."""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import os
import shutil
import tomllib
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from qkld.analysis.study import load_study
from qkld.errors import StageError
from qkld.report.results_section import results_section
from qkld.study import entries, params
from qkld.study.entries import Strict
from qkld.study.knobs import STAGES
from qkld.study.params import ToBeChecked, load_params
from qkld.study.paths import StudyPaths, committed_studies, known_studies, project_root
from qkld.study.provenance import written_whole
from qkld.study.registry import describe_results
from qkld.study.schemas import SCHEMAS, describe
from qkld.study.text_table import table_of_words
from qkld.workflow.commands import COMMANDS
from qkld.workflow.commands.command import Command
from qkld.workflow.docs import SHOWN_STUDY, estimates, published
from qkld.workflow.notebooks import notebook_file, parameter_comments, read_executed
from qkld.workflow.planned_and_found import other_sizes, planned_and_found
from qkld.workflow.room_picture import write_rooms

GENERATED = "generated"
"""Folder of pages written here; git leaves it out."""


def write_pages(docs: Path) -> None:
    """Write every generated page below ``docs/generated``, anew."""
    folder = docs / GENERATED
    shutil.rmtree(folder, ignore_errors=True)
    texts = {
        "tables.md": tables_page(),
        "parameters.md": parameters_page(),
        "command_line.md": command_line_page(),
        "rooms.md": rooms_page(),
        "published.md": published(),
        "estimates.md": estimates(),
        "pick.md": pick_page(),
        "evening.md": evening_page(),
        **{f"results/{study}.md": text for study, text in results_pages(folder / "results").items()},
    }
    for name, text in texts.items():
        write_page(folder / name, text)
    write_rooms(folder / "rooms.svg", room_imports())
    write_studies(folder / "studies")


def write_page(path: Path, text: str) -> None:
    """Write one page, its folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        temporary.write_text(text.rstrip() + "\n", encoding="utf-8")


# --- tables and parameters --------------------------------------------------------------------------------------------


def tables_page() -> str:
    """Every stored table and every result table, with what each column means."""
    stored = [f"## {schema.says}\n\n{describe(schema)}" for schema in SCHEMAS.values()]
    results = f"## `analysis/*.csv`: results of notebooks 04 to 07\n\n{describe_results()}"
    return "\n\n".join([*stored, results])


def parameters_page() -> str:
    """Every key of a study's YAML file: type, default, meaning where a notebook's parameters cell says it."""
    meanings = {name: text for stage in STAGES for name, text in parameter_comments(notebook_file(stage)).items()}
    found = (vars(entries) | vars(params)).values()
    models = [m for m in found if isinstance(m, type) and issubclass(m, Strict) and m is not Strict]
    return "\n\n".join(_section(model, meanings) for model in models)


def _section(model: type[BaseModel], meanings: Mapping[str, str]) -> str:
    schema = model.model_json_schema()
    required = set(schema.get("required", ()))
    rows = tuple(
        (f"`{key}`", _values(of), "" if key in required else _default(of), meanings.get(key, of.get("description", "")))
        for key, of in schema["properties"].items()
    )
    table = table_of_words(("key", "values", "default", "meaning"), rows)
    return "\n\n".join([f"## `{model.__name__}`", str(inspect.getdoc(model)), table.markdown()])


def _values(of: Mapping[str, Any]) -> str:
    """The values a key takes, from its JSON schema."""
    if "enum" in of:
        return ", ".join(f"`{value}`" for value in of["enum"])
    if "const" in of:
        return f"`{of['const']}`"
    if "$ref" in of:
        return f"`{of['$ref'].rsplit('/', 1)[-1]}`"
    several = of.get("anyOf", of.get("oneOf"))
    if several:
        return " or ".join(_values(one) for one in several if one.get("type") != "null")
    if of.get("type") == "array":
        return f"list of {_values(of['items'])}" if of.get("items") else "list"
    return " ".join(
        [WORDS.get(str(of.get("type")), "anything"), *(f"{sign} {of[k]:g}" for k, sign in BOUNDS if k in of)]
    )


WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "mapping",
}

BOUNDS = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))


def _default(of: Mapping[str, Any]) -> str:
    default = of.get("default")
    return "none" if default is None else f"`{json.dumps(default)}`"


# --- command line -----------------------------------------------------------------------------------------------------


def command_line_page() -> str:
    """``qkld --help`` and the help of every command, as a terminal of 90 columns shows them."""
    return "\n\n".join(f"## `qkld {one.name}`\n\n```text\n{_help(one)}\n```" for one in COMMANDS)


def _help(command: Command) -> str:
    parser = command.add_to(argparse.ArgumentParser(prog="qkld").add_subparsers())
    parser.formatter_class = lambda prog: argparse.HelpFormatter(prog, width=90)
    return parser.format_help().strip()


def pick_page() -> str:
    """What ``qkld pick`` prints of the study whose tables the repository keeps."""
    from qkld.pick.answer_from_results import answer_of_study
    from qkld.pick.pick_request import PickRequest

    answer = answer_of_study(PickRequest(SHOWN_STUDY, Path()))
    return answer.page(f"qkld pick {SHOWN_STUDY}")


def evening_page() -> str:
    """What ``qkld pick`` printed of a folder of GGUF files, as `validation.evening` keeps it; or how to make that."""
    kept = StudyPaths("evening").figures / "pick.md"
    return kept.read_text(encoding="utf-8") if kept.exists() else "`make evening` has not been run here."


# --- rooms ------------------------------------------------------------------------------------------------------------


def rooms_page() -> str:
    """The rooms of the package, top floor first, and what each imports, read from the code."""
    arrows = room_imports()
    rows = tuple((f"`{room}`", says, _named(arrows[room])) for room, says in rooms().items())
    return table_of_words(("layer", "contents", "imports from"), rows).markdown()


def rooms() -> dict[str, str]:
    """Room → the sentence that its docstring begins with; top floor first, as pyproject.toml has them."""
    layers = tomllib.loads((project_root() / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    return {room: _first_sentence(_room_file(room)) for room in layers["contracts"][0]["layers"]}


def _room_file(room: str) -> Path:
    package = Path(params.__file__).parents[1]
    return package / room / "__init__.py" if (package / room).is_dir() else package / f"{room}.py"


def _first_sentence(file: Path) -> str:
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.split("\n\n")[0].split())


def room_imports() -> dict[str, dict[str, int]]:
    """Room → the other rooms that its files import from, anywhere in them → how many files do."""
    return {room: _files_importing(room) for room in rooms()}


def _files_importing(room: str) -> dict[str, int]:
    file = _room_file(room)
    files = [file] if file.name != "__init__.py" else sorted(file.parent.rglob("*.py"))
    return dict(Counter(other for path in files for other in set(_imported_rooms(path)) - {room}))


def _imported_rooms(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("qkld"):
            parts = str(node.module).split(".")
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]


def _named(names: Collection[str]) -> str:
    return ", ".join(f"`{name}`" for name in rooms() if name in names)


# --- studies ----------------------------------------------------------------------------------------------------------


def results_pages(folder: Path) -> dict[str, str]:
    """Study → its results as a page of this folder: its tables, below what it asked and found where those are kept."""
    found = {}
    for study in known_studies():
        tables = StudyPaths(study).figures / "tables.md"
        if tables.exists():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ToBeChecked)
                says = load_params(study).description
            figures = os.path.relpath(tables.parent, folder)
            parts = [
                f"# {study}: results",
                says,
                *_results(study, figures),
                "## Tables",
                tables.read_text(encoding="utf-8"),
            ]
            found[study] = "\n\n".join(parts)
    return found


def _results(study: str, figures: str) -> list[str]:
    """The results section of a study whose tables the repository keeps; nothing of another."""
    if study not in committed_studies():
        return []
    data = load_study(study)
    planned = f"## Planned and found\n\n{planned_and_found(data).markdown()}"
    sizes = [f"## What other sizes would find\n\n{table.markdown()}" for table in other_sizes(data)]
    return [results_section(data, figures), planned, *sizes]


def write_studies(folder: Path) -> None:
    """Copy the executed notebooks of every study that was run, and a page that lists them.

    Raises
    ------
    StageError
        If no study was run: there would be no page of results.
    """
    ran = {study: executed for study in known_studies() if (executed := executed_notebooks(study))}
    if not ran:
        raise StageError(
            "There is no executed notebook for the documentation.",
            expected="runs/<study>/notebooks/*.ipynb of at least one study",
            found="none",
            do="run a study first, for example `qkld run smoke`, or `make docs`, which does",
        )
    for study, notebooks in ran.items():
        for stage, notebook in notebooks.items():
            write_page(folder / study / f"{stage}.ipynb", read_executed(notebook))
        listed = "\n".join(notebooks)
        scatter = _copied_scatter(study, folder / study)
        write_page(
            folder / study / "index.md",
            f"# {study}: executed notebooks\n\n{EXAMPLES}\n\n{scatter}```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```",
        )


def _copied_scatter(study: str, folder: Path) -> str:
    """Copy a study's interactive scatter plot beside its notebooks; the paragraph that links to it, or nothing."""
    page = StudyPaths(study).scatter
    if not page.exists():
        return ""
    shutil.copy(page, folder / page.name)
    return f"[Interactive scatter plot of KLD and score]({page.name}): one file, no network needed.\n\n"


EXAMPLES = "Notebooks 02 and 03 run once for each model; one run of each is shown."


def executed_notebooks(study: str) -> dict[str, Path]:
    """Stage → its executed notebook of a study; of those of single quants or models the first, as an example."""
    files = sorted((StudyPaths(study).run / "notebooks").glob("*.ipynb"), reverse=True)
    return dict(sorted({path.stem.split(".")[0]: path for path in files}.items()))
