"""The results section of a study in Markdown: what was asked, how it was measured, and what each figure answers.

Every sentence is generated from the study's tables, so that the page says what they say.
"""

from __future__ import annotations

import pandas as pd

from qkld.analysis.cohort import floor_table
from qkld.analysis.study import LoadedStudy
from qkld.report import sentences as say
from qkld.report.numbers import printed, significant
from qkld.report.paragraphs import BUILDS, CAPTIONS, builds_paragraph, has_builds, paragraph
from qkld.report.study_report import bullets, limits_of
from qkld.statistics.noise.two_scores import NAMES

BUILDS_FIGURE = "builds"

QUESTIONS = {
    "kld_score": "Does KLD rank the quants, and does it near the baseline?",
    "zone_curve": "How much depends on the cut, and on how KLD is measured?",
    "reliability": "Noise, or missing direction?",
    "volume_direction": "How many answers change, and in which direction?",
    BUILDS_FIGURE: "Do builds of one recipe differ?",
    "decision": "Which quants are as good as the reference?",
    "directional": "Does an item's KLD, or any cheap metric, say more?",
}
"""Figure → the question of its section, in the order of notebook 08."""


def results_section(study: LoadedStudy, figures: str) -> str:
    """What a study asked and found, as Markdown with headings of the second level.

    ``figures`` : where its figures lie, as seen from the page
    """
    parts = [_asked(study), f"## How it was measured\n\n{how_measured(study)}"]
    parts += [_answered(study, figure, question, figures) for figure, question in QUESTIONS.items()]
    parts.append(f"## What this study cannot show\n\n{bullets(limits_of(study))}")
    return "\n\n".join(filter(None, parts))


def _asked(study: LoadedStudy) -> str:
    """The questions and rules of a study that preregistered them; nothing of one that did not."""
    written, kept = study.params.preregistered, study.preregistration
    if written is None or kept is None:
        return ""
    questions = "\n".join(f"{number}. {question}" for number, question in enumerate(written.questions, 1))
    return (
        f"## What was asked\n\nThe study was {kept.said}. Its questions:\n\n{questions}\n\n"
        f"The zone: {written.zone}. The primary score: {NAMES[written.primary_score]}. The rules:\n\n"
        f"{bullets(written.rules)}"
    )


def how_measured(study: LoadedStudy) -> str:
    """The cohort, its benchmarks, how precise mean KLD is, and the floors: one paragraph each."""
    return "\n\n".join([f"{_cohort(study)} {say.composite_sentence(study.analysis('composite'))}", _floors(study)])


def _cohort(study: LoadedStudy) -> str:
    quants = study.cohort[study.cohort["role"] == "quant"]
    recipes = len({quant.recipe_id or quant.label for quant in study.params.quants})
    made = f"{say.count(len(quants))} of {say.count(recipes, 'recipe')}, {quants['family'].nunique()} families"
    items = study.items[study.items["model"] == study.params.reference.label]
    asked = f"{say.count(len(items), 'item')} of {say.count(items['benchmark'].nunique(), 'benchmark')}"
    kld, half = quants["kl_mean"], (quants["kl_mean_high"] - quants["kl_mean_low"]) / 2
    return (
        f"{made}, were asked {asked}. "
        f"Their mean KLD goes from {significant(kld.min())} to {significant(kld.max())} nats; "
        f"half of its interval is {printed((half / kld).median(), 0, percent=True)} % of it (median over quants)."
    )


def _floors(study: LoadedStudy) -> str:
    """What is not quantization: the reference in a wider dtype, and in every other basis."""
    cohort = study.cohort
    bases = cohort[cohort["label"].isin([basis.floor_label for basis in study.params.bases])]
    said = [say.floor_sentence(floor_table(cohort))]
    if len(bases):
        where = "In another basis" if len(bases) == 1 else f"In {len(bases)} other bases"
        most = int(bases["changed_answers"].max())
        answers = f"at most {say.count(most, 'item')} otherwise" if most else "every item alike"
        said.append(
            f"{where} the unquantized reference has a mean KLD of at most {significant(bases['kl_mean'].max())} nats, "
            f"and answers {answers}."
        )
        notes = bases.get("note", pd.Series("", index=bases.index))
        said += [f"{label}: {note}." for label, note in zip(bases["label"], notes, strict=True) if note]
    return " ".join(said)


def _answered(study: LoadedStudy, figure: str, question: str, figures: str) -> str:
    """One question: what answers it, the figure, how that is read. Builds that the study has not are left out."""
    if figure == BUILDS_FIGURE and not has_builds(study):
        return ""
    of_builds = figure == BUILDS_FIGURE
    answer, caption = (builds_paragraph(study), BUILDS) if of_builds else (paragraph(study, figure), CAPTIONS[figure])
    return f"## {question}\n\n{answer}\n\n![{question}]({figures}/{figure}.png)\n\n*{caption}*"
