"""bubblewrap from Debian's package, by pinned hash, without root: taken apart into the data folder.

Its program needs glibc 2.34, libcap and libselinux, which Debian 12, Ubuntu 22.04 and all later ones bring.
"""

from __future__ import annotations

import io
import platform
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

from qkld.benchmarks.judging.sandbox.bubblewrap import fetched_bubblewrap, find_bubblewrap
from qkld.errors import SandboxError
from qkld.study.locks import locked
from qkld.study.provenance import sha256_of_file

VERSION = "0.8.0-2+deb12u1"
PACKAGE = f"bubblewrap_{VERSION}_amd64.deb"
SHA256 = "3cc9134a3286ad01a323dcd924ba123eb634cefaeec82d774257e06308aeaadb"
PROGRAM_SHA256 = "85580dd52ed366ece8844e90fa75ac7c4de8802963071344e123221fb9f6f11e"
POOL = "pool/main/b/bubblewrap"
MIRRORS = (
    f"http://deb.debian.org/debian/{POOL}/{PACKAGE}",
    f"http://snapshot.debian.org/archive/debian/20250601T000000Z/{POOL}/{PACKAGE}",
)
"""The package's places; what they send counts by its hash alone."""

PATIENCE = 60.0  # seconds for each place


def fetch_bubblewrap() -> Path:
    """The fetched bubblewrap, its hash checked; fetched where it is missing or another.

    Raises
    ------
    SandboxError
        If this is no x86_64 Linux, or no place has the package with the pinned hash.
    """
    program = fetched_bubblewrap()
    with locked(program.parent.parent / ".bubblewrap.lock"):
        if not (program.is_file() and sha256_of_file(program) == PROGRAM_SHA256):
            _fetch(program)
    return program


def ready_bubblewrap() -> Path:
    """The machine's own bubblewrap where it is new enough, else Debian's, fetched if need be; errors as there."""
    try:
        return find_bubblewrap()
    except SandboxError:
        return fetch_bubblewrap()


def _fetch(program: Path) -> None:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise _not_to_be_had(f"{platform.system()} on {platform.machine()}, for which no package is pinned")
    with tempfile.TemporaryDirectory(dir=program.parent.parent) as temporary:
        package, said = Path(temporary) / PACKAGE, []
        for get in (*(_from(url) for url in MIRRORS), _by_apt):
            try:
                get(package)
            except OSError as error:
                said.append(f"{error}")
                continue
            if sha256_of_file(package) == SHA256:
                unpacked = Path(temporary) / "bwrap"
                unpacked.write_bytes(member_of_package(package, "./usr/bin/bwrap"))
                unpacked.chmod(0o755)
                program.parent.mkdir(exist_ok=True)
                unpacked.replace(program)
                return
            said.append(f"another file with hash {sha256_of_file(package)}")
        raise _not_to_be_had("; ".join(said))


def _from(url: str) -> Callable[[Path], None]:
    def get(target: Path) -> None:
        with urllib.request.urlopen(url, timeout=PATIENCE) as response:
            target.write_bytes(response.read(1 << 22))

    return get


def _by_apt(target: Path) -> None:
    """Through apt's own settings, such as a proxy; needs the lists of ``apt-get update``."""
    if not shutil.which("apt-get"):
        raise OSError("no apt-get here")
    command = ["apt-get", "--quiet", "download", f"bubblewrap={VERSION}"]
    done = subprocess.run(command, cwd=target.parent, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode or not target.exists():
        raise OSError(f"apt-get: {done.stderr.strip()[-300:]}")


def member_of_package(package: Path, name: str) -> bytes:
    """One file of a Debian package: a tar archive inside an ``ar`` archive (deb(5))."""
    with tarfile.open(fileobj=io.BytesIO(_data_of(package.read_bytes()))) as archive:
        member = archive.extractfile(name)
        assert member is not None, f"{name} is no file"
        return member.read()


def _data_of(archive: bytes) -> bytes:
    """The member ``data.tar.*`` of an ``ar`` archive: headers of 60 bytes, contents padded to even length."""
    place = len(b"!<arch>\n")
    while place < len(archive):
        header = archive[place : place + 60]
        size = int(header[48:58])
        if header.startswith(b"data.tar"):
            return archive[place + 60 : place + 60 + size]
        place += 60 + size + size % 2
    raise OSError("the package has no data")


def _not_to_be_had(found: str) -> SandboxError:
    return SandboxError(
        "bubblewrap can not be fetched.",
        expected=f"{PACKAGE} with hash {SHA256}",
        found=found,
        do="install bubblewrap 0.8 or newer with the system's package manager, for example "
        "`apt-get install bubblewrap`, or use another level (see `python -m qkld.benchmarks.judging.sandbox`)",
    )
