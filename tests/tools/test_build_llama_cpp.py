"""The build of llama-perplexity: from the engine's own source and options, and from nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import build_llama_cpp, build_llama_cpp_python

PROGRAM = "#!/bin/sh\necho 'version: 7 (abcdef0)'\necho 'built with GNU 12.2.0 for Linux x86_64' >&2\n"


@pytest.fixture(scope="module")
def script():
    return build_llama_cpp


@pytest.fixture
def compiled(script, monkeypatch):
    """Calls of the compiler, which takes twelve minutes and is replaced; the programs then only name themselves."""
    calls = []

    def compile_(source, build, options, jobs):
        calls.append((source, options, jobs))
        (build / "bin").mkdir(parents=True)
        for name in script.TARGETS:
            (build / "bin" / name).write_text(PROGRAM)
            (build / "bin" / name).chmod(0o755)

    monkeypatch.delenv("CMAKE_ARGS", raising=False)
    monkeypatch.setattr(script, "_compile", compile_)
    return calls


def source_in(script, folder):
    """A folder that looks like the unpacked sdist."""
    (pin,) = script.pins()[0]
    version = pin.split()[0].partition("==")[2]
    source = folder / f"llama_cpp_python-{version}" / "vendor" / "llama.cpp"
    source.mkdir(parents=True)
    return source


def test_program_and_engine_have_the_same_pin_and_the_same_options_of_ggml(script):
    engine = build_llama_cpp_python
    (pin,) = script.pins()[0]
    assert pin in engine.LOCK.read_text().splitlines()
    assert [o for o in script.OPTIONS if "GGML" in o] == [o for o in engine.FLAGS if "GGML" in o] != []


def test_files_that_cmake_includes_are_there(script):
    paths = [Path(o.partition("_INCLUDE=")[2]) for o in build_llama_cpp_python.FLAGS if "_INCLUDE=" in o]
    assert len(paths) == 1
    assert all(path.is_file() for path in (*paths, script.WHOLE_LOG))


def test_it_is_built_once_and_says_of_what(script, compiled, tmp_path):
    source = source_in(script, tmp_path)
    programs = [script.built(tmp_path, 3) for _ in range(2)]
    assert compiled == [(source, script.OPTIONS, 3)]
    assert programs[0] == programs[1]
    facts = programs[0].facts
    assert facts["version"] == "7 (abcdef0)"
    assert facts["compiler"] == "GNU 12.2.0 for Linux x86_64"
    assert facts["source_sha256"] in script.pins()[0][0]


def test_it_is_built_anew_with_other_options_and_over_another_build(script, compiled, tmp_path, monkeypatch):
    source_in(script, tmp_path)
    (tmp_path / "build" / "bin").mkdir(parents=True)
    (tmp_path / "build" / "bin" / "llama-perplexity").write_text("of another source")
    script.built(tmp_path, 1)
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_CUDA=on -DFIRST='a b'")
    facts = script.built(tmp_path, 1).facts
    assert [options for _, options, _ in compiled] == [
        script.OPTIONS,
        (*script.OPTIONS, "-DGGML_CUDA=on", "-DFIRST=a b"),
    ]
    assert facts["cmake_options"] == list(compiled[1][1])


def test_another_sdist_is_refused(script, tmp_path):
    (pin,) = script.pins()[0]
    version = pin.split()[0].partition("==")[2]
    (tmp_path / f"llama_cpp_python-{version}.tar.gz").write_bytes(b"something else")
    with pytest.raises(SystemExit, match="is not the pinned file: remove it"):
        script.built(tmp_path, 1)
