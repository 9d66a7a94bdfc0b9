"""The package's order, its independence of torch, and the size of its pieces."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from conftest import REPOSITORY
from pydantic import BaseModel

from qkld.study import entries, params
from qkld.study.knobs import STAGES

PACKAGE = REPOSITORY / "src" / "qkld"
MODULES = sorted(PACKAGE.rglob("*.py"))
NOTEBOOKS = sorted((REPOSITORY / "notebooks").rglob("*.ipynb"))

WITH_TORCH = ("models", "reference", "divergence", "benchmarks", "compare", "pick", "workflow.commands.work")
"""The rooms that may import torch. All others also serve a laptop that has only the base installation."""

TORCH_FREE = ("benchmarks.judging", "compare.compare_request", "compare.text", "pick.pick_request", "pick.answer")
"""Parts of such rooms that the command line and the plan read without torch."""

LONGEST_FUNCTION = 55
LONGEST_FILE = 450


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(("qkld", *(parts[:-1] if parts[-1] == "__init__" else parts)))


NAMES = {module_name(path): path for path in MODULES}


def lies_in(module: str, parts: Sequence[str]) -> bool:
    """Whether a module lies in one of the rooms or is one of the parts: ``qkld.models.head`` lies in ``models``."""
    return f"{module}.".startswith(tuple(f"qkld.{part}." for part in parts))


def imports_of(path: Path, *, only_at_import: bool = False) -> set[str]:
    """The modules of qkld that a file imports, also inside functions unless only those run at import are asked for."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.iter_child_nodes(tree) if only_at_import else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in NAMES else str(node.module) for name in names}
    return {name for name in found if name.split(".")[0] == "qkld"}


def test_imports_go_from_the_top_floor_down_only():
    """By the layers in pyproject.toml; they are exhaustive, so a new room without a floor fails too."""
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([str(lint), "--no-cache"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "2 kept, 0 broken" in done.stdout


def test_no_module_imports_itself_by_a_detour():
    graph = {name: imports_of(path, only_at_import=True) for name, path in NAMES.items()}
    assert len(list(TopologicalSorter(graph).static_order())) >= len(NAMES)


def test_only_the_measuring_parts_import_torch():
    names = [name for name in NAMES if lies_in(name, TORCH_FREE) or not lies_in(name, WITH_TORCH)]
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    heavy = sorted({'torch', 'transformers', 'lm_eval', 'zarr', 'papermill'} & set(sys.modules))\n"
        "    assert not heavy, f'{name} imports {heavy}'\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1000:]
    rooms = {"workflow.cli", "analysis.study", "report.figures", "statistics", "benchmarks.judging.sandbox"}
    assert {f"qkld.{part}" for part in rooms} <= set(names)


def test_every_file_has_a_name_of_its_own():
    """A traceback, a tab and a search show a file's name without its folder."""
    counted = Counter(path.name for path in MODULES if not path.name.startswith("__"))
    assert len(counted) > 200
    assert not [name for name, times in counted.items() if times > 1]


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function, its docstring left out."""
    whole = function.end_lineno - function.lineno + 1
    return whole - (len(ast.get_docstring(function, clean=False).splitlines()) if ast.get_docstring(function) else 0)


@pytest.mark.parametrize("name", NAMES)
def test_functions_and_files_stay_small(name):
    text = NAMES[name].read_text(encoding="utf-8")
    assert text.count("\n") <= LONGEST_FILE
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert not {f.name: length(f) for f in functions if length(f) > LONGEST_FUNCTION}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_call_and_the_package_computes(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [ast.parse("".join(cell["source"])) for cell in cells if cell["cell_type"] == "code"]
    defined = [n.name for tree in code for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    assert not defined
    assert not [cell for cell in cells if cell.get("outputs")], "outputs belong into runs/, not into the repository"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_what_notebooks_import_is_there(path):
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    statements = [s for cell in cells for s in ast.parse("".join(cell["source"])).body]
    imports = [s for s in statements if isinstance(s, ast.Import | ast.ImportFrom)]
    assert imports
    exec(compile(ast.Module(imports, []), path, "exec"), {})


def read_names(tree: ast.AST) -> set[str]:
    """Names that code reads, as attributes or variables; a validator and ``with_knobs`` only check them."""
    if isinstance(tree, ast.Call) and ast.unparse(tree.func).split(".")[-1] == "with_knobs":
        return set()
    if isinstance(tree, ast.FunctionDef) and any("model_validator" in ast.unparse(d) for d in tree.decorator_list):
        return set()
    own = {tree.attr} if isinstance(tree, ast.Attribute) else set()
    if isinstance(tree, ast.Name) and isinstance(tree.ctx, ast.Load):
        own = {tree.id}
    return own.union(*(read_names(child) for child in ast.iter_child_nodes(tree)))


def test_every_key_of_a_study_has_a_reader():
    code = [path.read_text(encoding="utf-8") for path in MODULES]
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code += ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    sections = {section for stage in STAGES.values() for section in stage}
    readers = sections.union(*(read_names(ast.parse(text)) for text in code))
    found = (vars(entries) | vars(params)).values()
    models = [m for m in found if isinstance(m, type) and issubclass(m, BaseModel)]
    unread = sorted({f"{model.__name__}.{field}" for model in models for field in set(model.model_fields) - readers})
    assert not unread
