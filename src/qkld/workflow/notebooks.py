"""Run a stage's notebook through papermill, with its parameters checked first.

Papermill only warns of a parameter that the notebook does not have; here it is an error, before anything runs.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qkld.errors import ParameterError, StageError
from qkld.study.paths import project_root
from qkld.study.provenance import written_whole
from qkld.study.sealing import DIGEST, altered
from qkld.workflow.processes import KERNEL_START, without_address_grammar

PARAMETERS_TAG = "parameters"
_ASSIGNMENT = re.compile(r"^([A-Za-z_]\w*)\s*(?::[^=]+)?=", re.MULTILINE)
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def notebook_file(stage: str) -> Path:
    """The notebook of a stage."""
    return project_root() / "notebooks" / f"{stage}.ipynb"


def _cells(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        raise StageError(
            f"There is no notebook '{path.stem}'.",
            expected=path,
            found="no such file",
            do="take it from the repository",
        )
    return [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]


def _is_parameters(cell: Mapping[str, Any]) -> bool:
    return PARAMETERS_TAG in cell.get("metadata", {}).get("tags", [])


def parameter_names(path: Path) -> tuple[str, ...]:
    """Names that the notebook's parameters cell assigns, in its order."""
    cells = [c for c in _cells(path) if _is_parameters(c)]
    if len(cells) != 1:
        raise ParameterError(
            f"{path} must say its parameters in one place.",
            expected=f"one cell tagged '{PARAMETERS_TAG}'",
            found=f"{len(cells)} such cells",
            do="tag the cell of literals, and only that one",
        )
    return tuple(_ASSIGNMENT.findall("".join(cells[0]["source"])))


def parameter_comments(path: Path) -> dict[str, str]:
    """Name → what the comment behind its line in the parameters cell says."""
    source = "".join("".join(cell["source"]) + "\n" for cell in _cells(path) if _is_parameters(cell))
    return dict(re.findall(r"^([A-Za-z_]\w*)[^#\n]*#\s*(.+)$", source, flags=re.MULTILINE))


def check_parameters(path: Path, parameters: Mapping[str, Any]) -> None:
    """Refuse a parameter that the notebook does not have.

    Raises
    ------
    ParameterError
        Naming the parameters that are unknown, and those that the notebook has.
    """
    known = parameter_names(path)
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise ParameterError(
            f"{path.stem} has no parameter {', '.join(unknown)}.",
            expected=list(known),
            found=unknown,
            do="correct the name, or give the parameters cell a line for it",
        )


def code_digest(stage: str) -> str:
    """16 hex digits over a notebook's code without its parameters cell: outputs, prose and defaults do not count."""
    sources = ["".join(c["source"]).strip() for c in _cells(notebook_file(stage)) if not _is_parameters(c)]
    return hashlib.sha256("\x00".join(sources).encode()).hexdigest()[:16]


def kernel_environment(threads: int | None = None) -> dict[str, str]:
    """Environment variables that make ``python3`` this environment's own kernel, and hold it to ``threads``.

    Jupyter looks into the user's home before the environment where ``VIRTUAL_ENV`` is not set, and would take a kernel
    of that name from there. A kernel of one thread shares the cores with others: what it does on a second one, as the
    floor of another number of threads, waits asleep and not spinning on a core that somebody else works on. Of several
    threads, torch's (GNU's OpenMP) spin for a thirtieth of their usual time before they sleep: between two products
    the walk's own threads need their cores.
    """
    own = os.pathsep.join(p for p in (f"{sys.prefix}/share/jupyter", os.environ.get("JUPYTER_PATH", "")) if p)
    variables = {"JUPYTER_PREFER_ENV_PATH": "1", "JUPYTER_PATH": own, "TOKENIZERS_PARALLELISM": "false"}
    variables |= {"OMP_WAIT_POLICY": "PASSIVE"} if threads == 1 else {"GOMP_SPINCOUNT": "10000"}
    return variables | dict.fromkeys(THREAD_VARIABLES, str(threads)) if threads else variables


def run_notebook(stage: str, output: Path, parameters: Mapping[str, Any], *, threads: int | None = None) -> None:
    """Execute a stage's notebook from the project's root and keep the executed copy, also when a cell fails.

    Parameters
    ----------
    output : Path
        The executed notebook; after a failure it ends with the traceback.
    threads : int or None
        Threads a library may use in the kernel; None leaves them as they are.

    Raises
    ------
    ParameterError
        If the notebook has no parameter of such a name; nothing is written then.
    StageError
        If a cell fails; the message holds the cell's error and where the executed notebook lies.
    """
    with without_address_grammar():
        import papermill
    from nbclient.exceptions import DeadKernelError
    from traitlets.config import Config

    encrypted = Config({"KernelManager": {"transport_encryption": "auto"}})
    source = notebook_file(stage)
    check_parameters(source, parameters)
    output.parent.mkdir(parents=True, exist_ok=True)
    os.environ.update(kernel_environment(threads))
    try:
        papermill.execute_notebook(
            source,
            output,
            dict(parameters),
            kernel_name="python3",
            cwd=project_root(),
            progress_bar=False,
            config=encrypted,
            extra_arguments=[f"--IPKernelApp.exec_lines={KERNEL_START}"],
        )
        _seal_executed(output)
    except papermill.PapermillExecutionError as error:
        raise _stopped(stage, output, f"{error.ename}: {error.evalue}", "correct the cause") from error
    except DeadKernelError as error:
        cause = "see whether memory ran out (give fewer cores, or a smaller model)"
        raise _stopped(stage, output, "its kernel was killed", cause) from error


def _seal_executed(path: Path) -> None:
    """Write the digest of an executed notebook's cells into its metadata: pages of the documentation are made of it."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook["metadata"]["qkld"] = {DIGEST: _digest_of_cells(notebook)}
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _digest_of_cells(notebook: Mapping[str, Any]) -> str:
    """SHA-256 of what every cell says and shows; JupyterLab may change the metadata when it saves a notebook."""
    told = [(c["cell_type"], "".join(c["source"]), c.get("outputs", [])) for c in notebook["cells"]]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def read_executed(path: Path) -> str:
    """The text of an executed notebook, whose cells and outputs are as they were when it ended.

    Of one without a digest, which failed or which an earlier version ran, nothing is checked.

    Raises
    ------
    StoreError
        If a cell or output was changed since.
    """
    do = f"delete it and run notebook {path.stem} again"
    try:
        text = path.read_text(encoding="utf-8")
        notebook = json.loads(text)
        stated = notebook.get("metadata", {}).get("qkld", {}).get(DIGEST)
        found = _digest_of_cells(notebook) if stated else stated
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise altered(path, f"{type(error).__name__}: {error}", do=do) from error
    if stated != found:
        raise altered(path, f"cells of digest {found} instead of {stated}", do=do)
    return text


NOT_IN_REPORT = "not-in-report"
"""Tag of cells that serve those who run a notebook, not those who read its report."""


def export_report(executed: Path, report: Path, title: str) -> None:
    """Write an executed notebook without its code as one HTML file that fetches nothing, whole.

    Text that could be run as a program, such as a script in a study's description, is escaped.
    """
    from nbconvert import HTMLExporter
    from nbconvert.preprocessors import TagRemovePreprocessor
    from nbconvert.preprocessors.sanitize import SanitizeHTML
    from traitlets.config import Config

    from qkld.report.page import render_page

    config = Config()
    config.TagRemovePreprocessor.remove_cell_tags = [NOT_IN_REPORT, PARAMETERS_TAG]
    exporter = HTMLExporter(
        template_name="basic",
        exclude_input=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
        config=config,
    )
    for preprocessor in (TagRemovePreprocessor, SanitizeHTML):
        exporter.register_preprocessor(preprocessor, enabled=True)
    body, _ = exporter.from_file(io.StringIO(read_executed(executed)))
    with written_whole(report) as temporary:
        temporary.write_text(render_page("notebook.html", title=title, body=body), encoding="utf-8")


def _stopped(stage: str, output: Path, found: str, do: str) -> StageError:
    do = f"open {output} for how far it came, {do}, and give the same command again: finished windows are kept"
    return StageError(f"{stage} stopped in a cell.", expected="a notebook that runs to its end", found=found, do=do)
