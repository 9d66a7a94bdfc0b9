"""What builds resolve, against drawn builds and the known width of a variance's interval."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from conftest import REPOSITORY
from scipy import stats

from qkld.study.params import Study, load_params, parse_study
from qkld.workflow import cli
from qkld.workflow.planned_builds import (
    LEVEL,
    Design,
    builds_lines,
    builds_split_lines,
    designs_of,
    deviation_seen,
    recipes_of,
    variance_factors,
    with_builds,
)

PACE = {"cores": 2, "flop_per_second": 8e10}


def demo_with(seeds: dict[str, list[int]], **reference: int) -> dict:
    """The demo's quants, each in these bases, beside one of the reference's own basis."""
    values = yaml.safe_load((REPOSITORY / "params" / "demo.yaml").read_text())
    made = values["quants"]
    builds = [q | {"builds": seeds} for q in made[:-1]]
    return values | {"quants": [*builds, made[-1]], "reference": values["reference"] | reference}


def study_with(seeds: dict[str, list[int]], **reference: int) -> Study:
    return parse_study(demo_with(seeds, **reference), source="demo.yaml")


def test_a_variance_is_known_as_its_degrees_of_freedom_say():
    assert variance_factors(2, 0.95) == pytest.approx((0.271, 39.5), rel=0.01)
    assert variance_factors(8, 0.95) == pytest.approx((0.456, 3.67), rel=0.01)


@pytest.mark.parametrize(("recipes", "builds"), [(12, 2), (10, 3)])
def test_the_deviation_seen_is_found_with_the_power_stated(rng, recipes, builds):
    error, freedom = 0.004, Design(recipes, recipes * builds).within + 1  # drawn without a slope within recipes
    deviation = deviation_seen(error, freedom)
    found = []
    for true in (0.0, deviation):
        drawn = rng.normal(0, np.hypot(true, error), (6000, recipes, builds))
        square = drawn.var(axis=-1, ddof=1).mean(axis=-1)
        found.append((square * freedom / error**2 > stats.chi2.ppf(1 - LEVEL, freedom)).mean())
    assert found == pytest.approx([LEVEL, 0.8], abs=0.02)


@pytest.mark.parametrize("kind", ["rotate", "permute"])
def test_builds_are_added_in_bases_that_recipes_share(kind):
    study = study_with({kind: [2, 7]}, **{kind: 1})
    for builds in (1, 2, 4):
        changed = with_builds(study, builds)
        assert all(len(own) == builds for own in recipes_of(changed).values())
        assert len(changed.bases) == builds
        assert len({q.label for q in changed.quants}) == len(changed.quants) == 1 + builds * len(recipes_of(study))
    seeds = [getattr(basis, kind) for basis in with_builds(study, 4).bases]
    assert seeds == [2, 7, 3, 4]  # 1 is the reference's own


def test_one_build_a_recipe_leaves_nothing_to_estimate():
    lines = builds_lines(study_with({"rotate": [1]}))
    assert "between builds of a recipe cannot be estimated" in "\n".join(lines)


def test_two_kinds_of_bases_are_two_designs():
    """They are analysed apart, so that neither lends the other degrees of freedom."""
    values = demo_with({"rotate": [1, 2]})
    asking = [q for q in values["quants"] if "builds" in q]
    for quant in asking[:4]:
        quant["builds"] = {"permute": [1, 2, 3]}
    study = parse_study(values, source="demo.yaml")
    rotated = len(asking) - 4
    assert designs_of(study) == {"rotate": Design(rotated, 2 * rotated), "permute": Design(4, 12)}
    said = "\n".join(builds_lines(study))
    assert "Builds: 12 of 4 recipes, by permute." in said
    assert f"Builds: {2 * rotated} of {rotated} recipes, by rotate." in said
    assert f"has {rotated - 1} degrees of freedom" in said
    assert [len(own) for own in recipes_of(with_builds(study, 2)).values()] == [2] * len(asking)
    assert designs_of(with_builds(study, 2))["permute"].within == 3


@pytest.mark.parametrize("recipes", [1, 3])
def test_recipes_too_few_for_the_analysis_resolve_nothing(recipes):
    values = demo_with({"rotate": [1, 2, 3]})
    asking = [q for q in values["quants"] if "builds" in q]
    study = parse_study(values | {"quants": asking[:recipes]}, source="demo.yaml")
    design = designs_of(study)["rotate"]
    assert (design.within, design.between) == (0, 0)
    assert builds_lines(study)[1:] == [
        f"Builds: {3 * recipes} of {recipes} recipes, by rotate.",
        "  - variances cannot be estimated: this needs 4 recipes of one kind of basis",
    ]


def test_a_study_without_builds_says_nothing_of_them():
    demo = load_params("demo")
    assert designs_of(demo) == {}
    assert builds_lines(demo) == builds_split_lines(demo, 6, **PACE) == []


def test_too_many_builds_for_the_time_are_said_to_be():
    study = study_with({"rotate": [1, 2]})
    short, long = (builds_split_lines(study, hours, **PACE)[3:] for hours in (0.5, 6))
    assert "time too short" in short[-1]
    assert "too short" not in "".join(long)
    seen = [float(line.split()[4]) for line in long]
    assert [line.endswith("smallest") for line in long] == [value == min(seen) for value in seen]


def test_the_command_prints_what_builds_resolve(tmp_path, capsys):
    values = demo_with({"rotate": [1, 2]}) | {"study": "mine"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
    assert cli.main(["plan", str(tmp_path / "mine.yaml"), "--tokens-per-second=320", "--hours=8"]) == 0
    said = capsys.readouterr().out
    assert "Builds: 18 of 9 recipes" in said
    assert "other numbers of builds" in said
