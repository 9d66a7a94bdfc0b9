"""Whether a study is still the one that was written down before its scores were seen.

A study's file holds its questions, primary score, zone and rules (``preregistered:``), and names the commit in which
they stood. The file of that commit is compared with today's, and the commits of which scores were made have to come
after it. Git is asked; where it does not know the commit nothing can be told, and that is said.
"""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from qkld.errors import ParameterError
from qkld.study.params import Study, parse_study
from qkld.study.paths import params_file, project_root

FREE = frozenset({"description", "notes", "figures"})
"""Keys of a study that may change: they describe and draw, and decide nothing."""

NAMED_LATER = "preregistered.commit"
"""What cannot stand in the commit that it names."""

SHOWN_DIGITS = 10


@dataclass(frozen=True)
class Preregistration:
    """What is to be said of a study's preregistration, and whether it was broken."""

    said: str
    broken: bool


def preregistration(study: Study, scored_at: Mapping[str, str | None]) -> Preregistration | None:
    """Of a study that has preregistered its rules; None where it has not.

    ``scored_at`` : label of a model whose scores exist → the commit at which they were made; None where it is not known
    """
    if study.preregistered is None:
        return None
    commit = study.preregistered.commit
    if commit is None:
        return Preregistration("preregistered without naming the commit of it, so nothing was compared", False)
    where = f"preregistered at {commit[:SHOWN_DIGITS]}"
    written = _file_at(commit, study.study)
    if written is None:
        return Preregistration(f"{where}; git here has no such file of that commit, so nothing was compared", False)
    problems = [*_changes(study, written, bool(scored_at)), *_too_early(commit, scored_at)]
    if problems:
        return Preregistration(f"{where}, but {'; '.join(problems)}", True)
    return Preregistration(f"{where}; the rules are as they were then", False)


def _changes(study: Study, written: str, scores_exist: bool) -> list[str]:
    when = "after scores existed" if scores_exist else "before any score"
    try:
        keys = changed_keys(study, _parsed(written, study.study))
    except (ParameterError, yaml.YAMLError):
        return [f"the file of that commit is no study, and was changed {when}"]
    return [f"changed {when}: {', '.join(keys)}"] if keys else []


def _parsed(text: str, name: str) -> Study:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of facts that were to be checked then
        return parse_study(yaml.safe_load(text), source=f"params/{name}.yaml of the preregistration")


def changed_keys(study: Study, written: Study) -> list[str]:
    """Keys that are other than they were written, those of sections as ``silent_zone.zone_cut``."""
    now, then = (_flat(s.model_dump(mode="json", exclude=set(FREE))) for s in (study, written))
    return [key for key in now | then if key != NAMED_LATER and now.get(key) != then.get(key)]


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for key, value in values.items():
        found |= {f"{key}.{own}": v for own, v in value.items()} if isinstance(value, dict) else {key: value}
    return found


def _too_early(commit: str, scored_at: Mapping[str, str | None]) -> list[str]:
    """Models whose scores were made at commits that do not hold the preregistration."""
    commits = {at.removesuffix("+changes") for at in scored_at.values() if at}
    before = {at for at in commits if _is_ancestor(commit, at) is False}
    models = [label for label, at in scored_at.items() if at and at.removesuffix("+changes") in before]
    more = f" and {len(models) - 3} more" if len(models) > 3 else ""
    return [f"scores existed before it: of {', '.join(models[:3])}{more}"] if models else []


# --- git --------------------------------------------------------------------------------------------------------------


def _git(arguments: Iterable[str]) -> subprocess.CompletedProcess[str] | None:
    """What git answers in the project's folder; None where there is no git."""
    try:
        return subprocess.run(["git", *arguments], cwd=project_root(), capture_output=True, text=True, check=False)
    except OSError:
        return None


def _file_at(commit: str, study: str) -> str | None:
    """A study's file as it stood at a commit; None where git does not have it."""
    place = params_file(study).relative_to(project_root()).as_posix()
    found = _git(["show", f"{commit}:./{place}"])
    return found.stdout if found and found.returncode == 0 else None


def _is_ancestor(first: str, second: str) -> bool | None:
    """Whether a commit is the other, or comes before it; None where git does not know one of them."""
    found = _git(["merge-base", "--is-ancestor", first, second])
    return {0: True, 1: False}.get(found.returncode) if found else None
