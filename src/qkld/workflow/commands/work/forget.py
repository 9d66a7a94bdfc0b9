"""``qkld forget``: the job of a study's workflow that removes a basis of builds after its last use."""

from __future__ import annotations

import argparse

from qkld.models.making.builds import basis_named, forget_basis
from qkld.study.mark import check_mark
from qkld.study.params import load_params
from qkld.study.paths import StudyPaths
from qkld.workflow.rules import hand_over


def run_forget(options: argparse.Namespace) -> str:
    """Remove what was made in a basis of a study's builds, and say what that was."""
    study = load_params(options.study)
    paths = StudyPaths(study.study)
    check_mark(paths.run)
    removed = forget_basis(study, basis_named(study, options.basis))
    hand_over(study, paths, options.declared)
    others = f"; kept for {', '.join(removed['used_by_others'])}" if removed["used_by_others"] else ""
    return f"{options.basis}: {removed['removed']} folders removed, {removed['bytes'] / 1e6:.0f} MB{others}\n"
