"""A preregistration is a commit: what was changed since, or scored before it, is said in every table that follows."""

import json
import subprocess

import pandas as pd
import pytest
import yaml
from conftest import REPOSITORY

from qkld.analysis.study import load_study
from qkld.errors import ParameterError
from qkld.study.params import load_params
from qkld.study.preregistration import preregistration
from qkld.study.registry import registered


def git(*arguments):
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *who, *arguments], capture_output=True, text=True, check=True).stdout.strip()


def written(root, **changes):
    """Write the study's file with these changes and commit it; returns the commit."""
    path = root / "params" / "smoke.yaml"
    values = yaml.safe_load(path.read_text())
    for key, value in changes.items():
        values[key] = values.get(key, {}) | value if isinstance(value, dict) else value
    path.write_text(yaml.safe_dump(values))
    git("add", "params")
    git("commit", "-q", "--allow-empty", "-m", "The study")
    return git("rev-parse", "HEAD")


@pytest.fixture
def root(tmp_path, monkeypatch):
    for folder in ("params", "notebooks"):
        (tmp_path / folder).mkdir()
    (tmp_path / "params" / "smoke.yaml").write_text((REPOSITORY / "params" / "smoke.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QKLD_ROOT", str(tmp_path))
    monkeypatch.setenv("QKLD_RUNS", str(tmp_path / "runs"))
    git("init", "-q")
    return tmp_path


WORDS = {
    "questions": ["Do quants of higher mean KLD score lower?"],
    "zone": "mean KLD of at most 1 nat",
    "primary_score": "probability",
    "rules": ["The verdict is that of the composite."],
}


@pytest.fixture
def commits(root):
    """Before the rules stood, when they stood, and after their commit was named in the file."""
    before = written(root, description="A draft.", preregistered=WORDS | {"primary_score": "accuracy"})
    rules = written(root, primary_score="probability", preregistered={"primary_score": "probability"})
    return before, rules, written(root, preregistered={"commit": rules})


def said(scored_at):
    return preregistration(load_params("smoke"), scored_at)


def test_a_study_that_names_none_has_none(root):
    assert said({}) is None


def test_rules_that_stand_as_they_were_are_said_to(root, commits):
    _, rules, named = commits
    written(root, description="Told at more length.", notes=["A note."], figures={"column_width": 5.0})
    found = said({"reference": named, "bnb-nf4": f"{named}+changes", "torchao-int4-g64": None})
    assert (found.broken, found.said) == (False, f"preregistered at {rules[:10]}; the rules are as they were then")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"silent_zone": {"zone_cut": 0.5}}, "silent_zone.zone_cut"),
        ({"primary_score": "accuracy", "preregistered": {"primary_score": "accuracy"}}, "primary_score"),
        ({"preregistered": {"zone": "mean KLD of at most 2 nats"}}, "preregistered.zone"),
        ({"preregistered": {"questions": ["Another?"], "rules": ["Another."]}}, "preregistered.questions"),
        ({"probability_margin": 0.02}, "probability_margin"),
        ({"benchmarks": [{"task": "arc_easy", "chance": 0.25, "limit": 13}]}, "benchmarks"),
    ],
)
def test_a_rule_changed_after_scores_exist_is_named(root, commits, changes, key):
    named = written(root, **changes)
    found = said({"reference": named})
    assert found.broken
    assert f", but changed after scores existed: {key}" in found.said
    assert "changed before any score" in said({}).said


def test_words_without_their_commit_are_said_to_be_unchecked(root, commits):
    written(root, preregistered={"commit": None})
    assert "nothing was compared" in said({"reference": commits[2]}).said


def test_words_that_name_another_score_than_decides_are_refused(root):
    written(root, preregistered=WORDS, primary_score="accuracy")
    with pytest.raises(ParameterError, match=r"preregistered\.primary_score is probability"):
        load_params("smoke")


def test_scores_older_than_the_rules_are_named(root, commits):
    before, _, named = commits
    found = said({"reference": named, "bnb-nf4": before, "torchao-int8-g32": f"{before}+changes"})
    assert found.broken
    assert found.said.endswith("but scores existed before it: of bnb-nf4, torchao-int8-g32")


def test_a_commit_that_git_does_not_have_is_said_to_be_unchecked(root, commits):
    written(root, preregistered={"commit": "ab" * 20})
    found = said({"reference": commits[2]})
    assert not found.broken
    assert "nothing was compared" in found.said


def test_a_broken_one_stands_in_every_row_of_a_table_and_beside_it(root, commits):
    written(root, silent_zone={"zone_cut": 0.5})
    study = load_study("smoke")
    table = registered("flips").frame([{"label": label, "benchmark": "sciq", "items": 8} for label in study.quants])
    study.save_analysis("flips", table)
    path = study.paths.analysis("flips")
    raw = pd.read_csv(path)
    assert list(raw) == [*registered("flips").columns, "preregistration"]
    assert set(raw["preregistration"]) == {study.preregistration.said}
    assert "silent_zone.zone_cut" in study.preregistration.said
    assert list(study.analysis("flips")) == list(registered("flips").columns)
    assert json.loads(path.with_suffix(".json").read_text())["preregistration"] == study.preregistration.said
    assert study.preregistration.said in study.origin


def test_one_that_holds_adds_no_column(root, commits):
    study = load_study("smoke")
    study.save_analysis("flips", registered("flips").frame([{"label": "bnb-nf4", "benchmark": "sciq", "items": 8}]))
    assert "preregistration" not in pd.read_csv(study.paths.analysis("flips"))
    assert "the rules are as they were then" in study.origin
