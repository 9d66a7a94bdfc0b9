"""bubblewrap out of Debian's package: by hash, or not at all."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from qkld.benchmarks.judging.sandbox import bubblewrap, debian
from qkld.errors import SandboxError


def package(path: Path, content: bytes) -> Path:
    """A Debian package with one program, as deb(5) describes it; an odd member first, so that padding counts."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        member = tarfile.TarInfo("./usr/bin/bwrap")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    members = (("debian-binary", b"2.0\n\n"), ("data.tar.xz", data.getvalue()))
    packed = b"!<arch>\n"
    for name, body in members:
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(body):<10}`\n"
        packed += header.encode() + body + b"\n" * (len(body) % 2)
    path.write_bytes(packed)
    return path


def test_a_program_is_taken_out_of_a_package(tmp_path):
    made = package(tmp_path / "x.deb", b"a program")
    assert debian.member_of_package(made, "./usr/bin/bwrap") == b"a program"


def test_another_package_is_refused_with_both_hashes(tmp_path, monkeypatch):
    other = package(tmp_path / "x.deb", b"another program")
    monkeypatch.setenv("QKLD_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(debian, "MIRRORS", (other.as_uri(), (tmp_path / "none").as_uri()))
    monkeypatch.setattr(debian.shutil, "which", lambda name: None)
    with pytest.raises(SandboxError) as caught:
        debian.fetch_bubblewrap()
    assert debian.SHA256 in str(caught.value)
    assert debian.sha256_of_file(other) in str(caught.value)
    assert "no apt-get" in str(caught.value)
    assert not bubblewrap.fetched_bubblewrap().exists()


@pytest.mark.network
def test_debians_package_gives_a_bubblewrap_that_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("QKLD_DATA", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    program = debian.fetch_bubblewrap()
    assert bubblewrap.find_bubblewrap() == program
    changed = program.stat().st_mtime_ns
    assert debian.fetch_bubblewrap() == program
    assert program.stat().st_mtime_ns == changed
