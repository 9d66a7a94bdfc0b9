"""Six figures of a study with what each answers: notebook 08's paragraphs, generated from the result tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from qkld.analysis.headline import shown_score
from qkld.analysis.study import LoadedStudy
from qkld.report import sentences as say
from qkld.report.figures.figure_files import saved_figure
from qkld.report.telling import tell
from qkld.statistics.prompts.prompt_rows import ALL_PAIRS, ALL_QUANTS

CAPTIONS: Mapping[str, str] = {
    "kld_score": "Mean KLD of each quant against its score. Shaded, and filled markers: the zone. Dotted: the floor, "
    "the reference against itself in another dtype. Grey band: the reference's score and one standard error of it over "
    "items.",
    "zone_curve": "ρ of mean KLD with the score for every cut of the zone, with pointwise intervals, and the number of "
    "quants inside. Dashed blue: where ρ would lie (5 to 95 %) if the true scores were monotone in KLD. Dashed grey: "
    "the study's own cut.",
    "reliability": "Reliability of the score over all quants, for random subsets of the items and, by Spearman–Brown, "
    "for more of them. Dashed: this study's items.",
    "volume_direction": "Mean KLD against how many answers change, in which direction they change (Wilson intervals; "
    "at one half as many became right as wrong), and the score's difference to the reference.",
    "decision": "Score − reference score of every quant, by falling size. Thin: interval of the difference; thick: the "
    "one that equivalence rests on; grey: the margin.",
    "directional": "Metrics taken on one half of the items, by their ρ with the net score on the other half (mean over "
    "halves, bootstrap interval over quants). Dashed: KLD. Grey: where the largest |ρ| of all these metrics lies by "
    "chance. A ring: the gain over KLD holds among all of them.",
}
"""The six figures, in the order of notebook 08 → how each is read."""

BUILDS = (
    "Mean KLD of each quant against its score, builds of one recipe joined by a line: they have nearly the same KLD, "
    "so what lies between them is direction, and noise."
)
"""How the figure of replicate builds is read."""


def _ranks(study: LoadedStudy, score: str) -> list[str]:
    return [
        say.correlation_sentence(study.analysis("correlation"), score),
        say.partial_sentence(study.analysis("partial"), score),
        say.zone_sentence(study.analysis("zone"), score),
    ]


def _cut(study: LoadedStudy, score: str) -> list[str]:
    curve, variants = study.analysis("zone_curve"), study.analysis("variants")
    return [say.curve_sentence(curve), say.variants_sentence(variants)]


def _items(study: LoadedStudy, score: str) -> list[str]:
    verdict = study.analysis("verdict")
    return [
        say.noise_sentence(study.analysis("noise"), score),
        say.verdict_sentence(verdict, score, study.params.primary_score),
        say.two_scores_sentence(study.analysis("two_scores"), score),
        say.left_out_sentence(study.analysis("leave_one_out"), verdict, score),
    ]


def _volume(study: LoadedStudy, score: str) -> list[str]:
    return [say.volume_sentence(study.analysis("volume_direction"), score)]


def _decision(study: LoadedStudy, score: str) -> list[str]:
    return [
        say.decision_sentence(study.analysis("decision"), score, study.params.primary_score),
        say.scale_sentence(study.analysis("probability"), score),
        say.pairs_sentence(study.analysis("pairs")),
        say.neighbours_sentence(_headline_pairs(study)),
    ]


def _headline_pairs(study: LoadedStudy) -> pd.DataFrame:
    pairs, where = study.analysis("paired_fidelity"), study.params.headline
    return pairs[(pairs["corpus"] == where.corpus) & (pairs["context"] == where.context)]


def _directional(study: LoadedStudy, score: str) -> list[str]:
    return [
        say.directional_sentence(study.analysis("directional")),
        say.prompts_sentence(study.analysis("prompts"), ALL_QUANTS),
        say.router_sentence(study.analysis("router"), ALL_PAIRS),
    ]


SENTENCES: Mapping[str, Callable[[LoadedStudy, str], list[str]]] = {
    "kld_score": _ranks,
    "zone_curve": _cut,
    "reliability": _items,
    "volume_direction": _volume,
    "decision": _decision,
    "directional": _directional,
}
"""The same figures → the sentences that answer."""


def paragraph(study: LoadedStudy, figure: str) -> str:
    """What a study says to the question of one of the six figures."""
    return " ".join(SENTENCES[figure](study, shown_score(study).benchmark))


def show(study: LoadedStudy, figure: str) -> None:
    """In a notebook: what one of the six figures answers, the figure as its notebook saved it, and how it is read.

    Raises
    ------
    StageError
        If the figure or a result table is not there; the message names the notebook that makes it.
    """
    _show(study, figure, paragraph(study, figure), CAPTIONS[figure])


def has_builds(study: LoadedStudy) -> bool:
    """Whether a recipe of the study has more than one build."""
    return bool(study.analysis("builds")["basis_kind"].ne("").any())


def builds_paragraph(study: LoadedStudy) -> str:
    """What a study says of builds of one recipe."""
    if has_builds(study):
        of_means = say.recipe_means_sentence(study.analysis("build_correlations"), study.params.primary_score)
        return f"{say.builds_sentence(study.analysis('builds'))} {of_means}".rstrip()
    return "Every recipe has one build, so how far builds of a recipe lie apart is not known."


def show_builds(study: LoadedStudy) -> None:
    """As `show`, of replicate builds; the paragraph alone where every recipe has one build."""
    if has_builds(study):
        _show(study, "builds", builds_paragraph(study), BUILDS)
    else:
        tell(builds_paragraph(study))


def _show(study: LoadedStudy, figure: str, answer: str, caption: str) -> None:
    from IPython.display import Image, Markdown, display

    display(Markdown(answer))
    display(Image(saved_figure(study, figure).read_bytes(), alt=caption))
    display(Markdown(f"*{caption}*"))
