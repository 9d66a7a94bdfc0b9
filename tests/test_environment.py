"""One environment said three times: requirements.lock, environment.yml, and the extras of pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from itertools import chain

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ON_DEMAND = {"llama-cpp-python", "inspect-ai"}
"""The extras [llamacpp], built from source, and [inspect], which reads one tool's logs, are for who wants them and no
part of the locked environment."""


@pytest.fixture(scope="module")
def locked(repository) -> dict[str, str]:
    lines = (repository / "requirements.lock").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


@pytest.fixture(scope="module")
def project_table(repository) -> dict:
    return tomllib.loads((repository / "pyproject.toml").read_text())["project"]


def test_the_lock_pins_each_package_once_and_exactly(repository):
    lines = [x for x in (repository / "requirements.lock").read_text().splitlines() if x and not x.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][A-Za-z0-9.]*", line) for line in lines), lines
    assert len({line.split("==")[0] for line in lines}) == len(lines)


def test_conda_gives_the_same_pins(repository, locked):
    dependencies = yaml.safe_load((repository / "environment.yml").read_text())["dependencies"]
    (pip,) = [entry["pip"] for entry in dependencies if isinstance(entry, dict)]
    assert pip[-1] == "-e ."
    assert dict(line.split("==") for line in pip[:-1]) == locked
    assert "python=3.11" in dependencies


def test_every_requirement_is_met_by_the_lock(project_table, locked):
    extras = project_table["optional-dependencies"]
    requirements = [Requirement(text) for text in chain(project_table["dependencies"], *extras.values())]
    unmet = [
        str(r)
        for r in requirements
        if r.name not in ON_DEMAND and not r.specifier.contains(locked.get(canonicalize_name(r.name), "0"))
    ]
    assert unmet == []


def test_the_base_asks_for_no_torch(project_table):
    names = {canonicalize_name(Requirement(text).name) for text in project_table["dependencies"]}
    assert names.isdisjoint({"torch", "transformers", "papermill", "snakemake"})


def test_this_environment_is_the_locked_one(locked):
    installed = {name: metadata.version(name).partition("+")[0] for name in locked}
    assert installed == locked


def test_every_reviewed_skip_names_a_line_that_skips(repository):
    """.ci/run lets through what is listed word for word: an entry whose line has moved would let nothing through."""
    entries = [x for x in (repository / "tests" / "reviewed_skips.txt").read_text().splitlines() if x and x[0] != "#"]
    for entry in entries:
        file, line, reason = entry.split(":", 2)
        text = (repository / file).read_text()
        assert "pytest.skip(" in text.splitlines()[int(line) - 1], entry
        assert reason.strip() in text, entry
