"""What made a result, and how a file comes into being: keys, versions, and writing through a temporary name."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from qkld.errors import DiskError, ParameterError
from qkld.study.paths import project_root
from qkld.study.processors import processor
from qkld.study.storage import Place, in_object_storage

METRICS_VERSION = 6
"""Raised when a change alters numbers; the reasons are in METRICS_HISTORY."""

METRICS_HISTORY = {
    1: "first definition: float64 accumulators in one walk over the vocabulary",
    2: "token tables have top5_shared, fidelity has top5_agreement; no other number changes",
    3: "the bootstrap takes a quantile by the definition of its estimate, linear between order statistics; only the "
    "intervals of quantiles change",
    4: "attention on CPUs is computed by qkld.models.attention: what is measured changes by rounding, in bfloat16 by "
    "as much as another kernel's would",
    5: "heads in float32 multiply through oneDNN on CPUs, and numba's machine code takes the walk's sums; what is "
    "measured changes by the rounding of float32 where the head is in float32, and of float64 elsewhere",
    6: "ids of GGUF references are those of llama.cpp; quants are made from each tensor's stored dtype and keep the "
    "reference's plain tensors; GGUF files run by their header's frequencies and scales; bits count what was loaded; "
    "a text begins with nothing that stands behind one; tasks are judged by the metric they are published by; scores "
    "of clustered items have the error of clusters, their differences Student's t; tests between quants, decisions and "
    "intervals of few quants are as CHANGELOG.md says. Later, and no earlier number changes: item tables hold "
    "probability_right and choice_scores, cohorts the former's means, studies the tables of both scores and of builds",
}

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system reports when a file cannot grow: disk full, quota used up, size limit reached."""

RECORDED_PACKAGES = (
    *("torch", "transformers", "bitsandbytes", "torchao", "hqq"),
    *("lm_eval", "numpy", "numba", "scipy", "pandas"),
)


def canonical_json(value: Any) -> str:
    """The one spelling of a JSON value: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def key_of(value: Any) -> str:
    """A 16-hex-digit name for whatever changes the numbers; ``value`` must be JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def sha256_of_file(path: Place, chunk: int = 1 << 20) -> str:
    """SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(chunk):
            digest.update(block)
    return digest.hexdigest()


def commit() -> str | None:
    """The commit of the project, with ``+changes`` where the tree differs from it; None outside git."""
    try:
        root = project_root()
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True).stdout
        dirty = subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, check=True)
    except Exception:  # no git, no repository, no project: a result may still be made there
        return None
    return head.strip() + ("+changes" if dirty.stdout.strip() else "")


@cache
def _versions() -> Mapping[str, str]:
    """Versions of the `RECORDED_PACKAGES` that are installed; read once a process, as each reading takes a while."""
    versions = {}
    for name in RECORDED_PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def made_by(**facts: Any) -> dict[str, Any]:
    """Provenance of a result: metrics version, commit, package versions, machine, processor, and the caller's facts."""
    return {
        "metrics_version": METRICS_VERSION,
        "commit": commit(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": dict(processor()),
        "packages": dict(_versions()),
        **facts,
    }


@contextmanager
def written_whole(path: Place) -> Iterator[Path]:
    """A temporary name beside ``path`` to write to; renamed to ``path`` on success, removed on any error.

    In object storage, which has no renaming but writes objects whole, the temporary file is this machine's and is put
    to ``path`` on success.

    Raises
    ------
    DiskError
        If no space is left; ``path`` is then as it was before.
    ParameterError
        If no file can lie there.
    """
    if in_object_storage(path):
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder) / path.name
            yield temporary
            path.fs.put_file(str(temporary), path.path)
        return
    check_place(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        temporary = Path(name)
        os.close(handle)
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise _no_space(path, error) from error
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def check_place(path: Path, *, named: str | None = None, folder: bool = False) -> None:
    """Refuse a place where no file, or with ``folder`` no folder, can be written; ``named`` is the option that asks.

    Raises
    ------
    ParameterError
        Saying what lies there.
    """
    kind = "folder" if folder else "file"
    nearest = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    problem = None
    if nearest == path.absolute() and nearest.is_dir() != folder:
        problem = f"{path} is a {'file' if folder else 'folder'}"
    elif nearest == path.absolute() and not folder and not nearest.is_file():
        problem = f"{path} is no regular file"
    elif nearest != path.absolute() and not nearest.is_dir():
        problem = f"{nearest} is a file"
    elif not os.access(nearest if nearest.is_dir() else nearest.parent, os.W_OK):
        problem = f"no permission to write into {nearest}"
    if problem is not None:
        what = f"{named} needs a {kind}." if named else f"{path} cannot be written."
        raise ParameterError(
            what, expected=f"a {kind} in a folder that may be written", found=problem, do="give another place"
        )


def _no_space(path: Path, error: OSError) -> DiskError:
    folder = next(p for p in path.absolute().parents if p.exists())
    return DiskError(
        f"{path} cannot be written.",
        expected="space for the whole file",
        found=f"{os.strerror(error.errno)}; {shutil.disk_usage(folder).free} bytes free",
        do="free some space, or set QKLD_RUNS and QKLD_DATA to a larger disk, and run the same command again",
    )


def write_json(path: Place, value: Any) -> None:
    """Write a JSON file whole, as `json_text` spells it."""
    with written_whole(path) as temporary:
        temporary.write_text(json_text(value))


def json_text(value: Any) -> str:
    """The text of a JSON file: sorted keys, a value a line, so that equal content is equal bytes."""
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n"
