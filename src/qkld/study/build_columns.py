"""What the columns of the tables of replicate builds mean that no other table has."""

from __future__ import annotations

from collections.abc import Mapping

from qkld.study.column import WORDS, Column, columns_of

OF_BUILDS: Mapping[str, Column] = (
    columns_of(
        WORDS,
        {
            "basis_kind": "what was drawn anew for each build: `rotate`, a random orthogonal basis, or `permute`, "
            "signed permutations; two kinds of draws, never put together",
            "by_score": "score of the builds: `accuracy`, or `probability` of the right choice",
            "component": "`within`: between builds of one recipe; `between`: between recipes",
            "component_test": "how its p was found: as `cochran_test`, within recipes; `satterthwaite` between them",
            "level": "`recipes`: of their means; `builds`: of single builds",
            "slope_name": "`beta`: of recipes' mean √KLD; `gamma`: of what a build's √KLD lies off its recipe's",
        },
        empty="",
    )
    | columns_of("yes or no", {"at_zero": "whether the fitted variance was cut off at 0"})
    | columns_of(
        "",
        {
            "builds": "builds that enter",
            "contrasts": "differences that the component alone makes: degrees of freedom of its test",
            "moment": "unbiased estimate of the variance, a squared fraction, and of either sign where there is none",
            "p_zero": "p of no such differences beyond the items' noise",
            "proportional_gain": "log-likelihood of a variance between builds in proportion to KLD less that of a "
            "constant one: above 0 the former fits better",
            "rearrangements": "arrangements of whole recipes that p counts, the observed one among them",
            "recipes": "recipes that these builds are of",
            "slope": "change of the score by √KLD, a fraction of 1 a √nat",
            "slope_df": "degrees of freedom of its t interval",
            "slope_p": "two-sided p of a slope of 0, Student's t",
            "slope_se": "its standard error",
        },
        intervals={"slope": "its t interval"},
    )
    | columns_of("nats", {"largest_kld": "mean KLD up to which recipes lie, evenly by √KLD"})
    | columns_of(
        "fraction of 1",
        {
            "r2_design": "share of the variance of true scores that lies along √KLD by design; depends on the recipes",
            "sd": "standard deviation of scores at equal displacement, restricted maximum likelihood, not below 0",
            "sd_between": "the same between recipes",
            "sd_kld": "standard deviation of scores that √KLD makes among such recipes",
            "sd_within": "the same between builds of one recipe",
        },
        intervals={
            "r2_design": "its interval, of scores simulated from the fit",
            "sd": "its Q-profile interval: every one that the contrasts of this component alone do not reject",
        },
    )
)
"""Name → column."""
