"""Builds of recipes with their scores, displacements and item noise: what every statistic of this chapter starts from.

A build b of a recipe r has the score difference d_rb to the reference and the mean KLD k_rb. KLD enters as √k: m_r is
the mean of √k_rb over a recipe's builds, and √k_rb − m_r what a build lies off it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from qkld.errors import StatisticsError
from qkld.statistics.items.covariance import NetNoise
from qkld.statistics.items.units import Floats
from qkld.statistics.noise.heterogeneity import Contrasts, known_kld

LEAST_RECIPES = 4
"""Recipes that a line in √KLD and a variance about it need."""

SMALLEST_SPREAD = 1e-9
"""Share of the largest √KLD below which builds of one recipe lie at one displacement."""


@dataclass(frozen=True, eq=False)
class Builds:
    """Builds of at least `LEAST_RECIPES` recipes.

    Attributes
    ----------
    noise : NetNoise
        Score differences to the reference, fractions of 1, with the covariance V that their shared items give.
    recipes : shape (builds,)
        Which recipe each is a build of.
    kld : shape (builds,)
        Mean KLD, nats.
    """

    noise: NetNoise
    recipes: tuple[str, ...]
    kld: Floats

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The recipes, in order of their first build."""
        return tuple(dict.fromkeys(self.recipes))

    @cached_property
    def members(self) -> Floats:
        """Z: 1 where a build is of a recipe, (builds, recipes)."""
        return (np.array(self.recipes)[:, None] == np.array(self.names)).astype(float)

    @cached_property
    def averaging(self) -> Floats:
        """The matrix that takes means over a recipe's builds, (recipes, builds)."""
        return (self.members / self.members.sum(axis=0)).T

    @cached_property
    def sizes(self) -> np.ndarray:
        """Builds of each recipe."""
        return self.members.sum(axis=0).astype(int)

    @cached_property
    def root_of_recipe(self) -> Floats:
        """m_r: the mean of √KLD over a recipe's builds, (recipes,)."""
        return self.averaging @ np.sqrt(self.kld)

    @cached_property
    def off_recipe(self) -> Floats:
        """√k_rb − m_r, (builds,); 0 where builds lie at one displacement but for rounding."""
        off = np.sqrt(self.kld) - self.members @ self.root_of_recipe
        return np.where(np.abs(off) > SMALLEST_SPREAD * np.sqrt(self.kld).max(), off, 0.0)

    @property
    def has_spread(self) -> bool:
        """Whether builds of a recipe differ in displacement, so that γ can be estimated."""
        return bool(self.off_recipe.any())

    @cached_property
    def design(self) -> Floats:
        """X: intercept, m_r, and where there is any spread √k_rb − m_r, (builds, 2 or 3)."""
        columns = [np.ones(self.kld.size), self.members @ self.root_of_recipe]
        return np.stack([*columns, self.off_recipe] if self.has_spread else columns, axis=1)

    @cached_property
    def within(self) -> Contrasts:
        """Contrasts within recipes, orthogonal to √k_rb − m_r: neither α, β, γ nor u enters them.

        Raises
        ------
        StatisticsError
            If no recipe has builds enough for one.
        """
        columns = np.column_stack([self.members, self.off_recipe]) if self.has_spread else self.members
        basis = np.linalg.qr(columns, mode="complete")[0][:, columns.shape[1] :]
        if not basis.shape[1]:
            raise StatisticsError(
                "No recipe has builds to compare.",
                expected="at least 2 builds of a recipe, besides those that the slope within recipes uses",
                found=f"{self.kld.size} builds of {len(self.names)} recipes",
                do="make two or three builds of each recipe",
            )
        return Contrasts(self.noise, basis)

    def without(self, recipe: str) -> Builds:
        """The same without one recipe."""
        kept = [i for i, name in enumerate(self.recipes) if name != recipe]
        noise = self.noise.of([self.noise.labels[i] for i in kept])
        return Builds(noise, tuple(self.recipes[i] for i in kept), self.kld[kept])


def builds_of(noise: NetNoise, recipes: Sequence[str], kld: ArrayLike, kinds: Sequence[str]) -> Builds:
    """Builds from their noise, the recipe and the mean KLD (nats) of each, and which kind of draw tells them apart.

    ``kinds`` names what was drawn anew for each build: rotations, signed permutations, texts of a calibration. They are
    components of their own and are never put together. A build in the given basis is no draw: leave it out.

    Raises
    ------
    StatisticsError
        If lengths differ, kinds are mixed, a KLD is missing, or there are too few recipes.
    """
    values = known_kld(kld)
    lengths = {"net scores": len(noise.labels), "recipes": len(recipes), "KLDs": values.size, "kinds": len(kinds)}
    if len(set(lengths.values())) > 1:
        raise StatisticsError(
            "Scores, recipes, KLDs and kinds of the builds differ in number.",
            expected="one of each per build",
            found=lengths,
            do="give all in the same order",
        )
    if len(set(kinds)) != 1:
        raise StatisticsError(
            "Builds of different kinds are not replicates of each other.",
            expected="one kind of build: rotations, signed permutations or calibration texts",
            found=", ".join(sorted(set(kinds))) or "none",
            do="analyse each kind separately, and leave out builds in the original basis",
        )
    if len(set(recipes)) < LEAST_RECIPES:
        raise StatisticsError(
            "Too few recipes for variance components.",
            expected=f"at least {LEAST_RECIPES} recipes; ten in the zone decide more than many builds of few",
            found=f"{len(set(recipes))} recipes, {len(recipes)} builds",
            do="add recipes",
        )
    found = Builds(noise, tuple(recipes), values)
    if np.ptp(found.root_of_recipe) == 0:
        raise StatisticsError(
            "All recipes have the same mean KLD.",
            expected="recipes with different KLD",
            found=f"{values[0]:g} nats for each",
            do="add recipes with other numbers of bits",
        )
    return found
