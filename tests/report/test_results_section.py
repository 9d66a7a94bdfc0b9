"""The results section of a study: every question with its answer, figure and caption, and what was preregistered."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from conftest import REPOSITORY

from qkld.analysis.study import load_study
from qkld.report.paragraphs import BUILDS, CAPTIONS, paragraph
from qkld.report.results_section import QUESTIONS, how_measured, results_section
from qkld.study.params import Preregistered

ASKED = Preregistered(
    questions=("Does KLD rank them?", "Do builds differ?"), zone="0.05 nats", primary_score="accuracy", rules=("One.",)
)


@pytest.fixture
def demo(own_place):
    """The study as a clone has it: from the tables that the repository keeps."""
    return load_study("demo")


def test_every_figure_stands_below_what_it_answers(demo):
    text = results_section(demo, "../figures/demo")
    shown = re.findall(r"!\[(.+)\]\(\.\./figures/demo/(\w+)\.png\)", text)
    assert shown == [(question, figure) for figure, question in QUESTIONS.items() if figure != "builds"]
    for figure, caption in CAPTIONS.items():
        assert text.index(paragraph(demo, figure)) < text.index(f"/{figure}.png") < text.index(f"*{caption}*")
        assert (REPOSITORY / "figures" / "demo" / f"{figure}.png").exists()
    assert BUILDS not in text
    assert "What was asked" not in text


def test_the_questions_are_those_of_findings_in_its_order():
    cells = json.loads((REPOSITORY / "notebooks" / "08_findings.ipynb").read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells]
    asked = [text.removeprefix("### ") for text in sources if text.startswith("### ") and text.endswith("?")]
    shown = [
        re.search(r"show_?(builds|\w*)\((?:data, \"(\w+)\")?", text) for text in sources if text.startswith("show")
    ]
    assert asked == list(QUESTIONS.values())
    assert [match[2] or match[1] for match in shown] == list(QUESTIONS)


def test_questions_and_rules_stand_as_they_were_written(simulated):
    asked = replace(simulated, params=simulated.params.model_copy(update={"preregistered": ASKED}))
    text = results_section(asked, "figures")
    assert text.startswith("## What was asked\n\nThe study was preregistered without naming the commit of it")
    assert "1. Does KLD rank them?\n2. Do builds differ?\n\nThe zone: 0.05 nats. The primary score: accuracy." in text
    assert "\n\n- One.\n\n## How it was measured" in text


def test_sizes_are_those_of_the_tables(demo):
    text = how_measured(demo)
    quants = demo.cohort[demo.cohort["role"] == "quant"]
    items = len(demo.items) // (len(quants) + 1)
    assert text.startswith(f"{len(quants)} quants of {len(quants)} recipes, {quants['family'].nunique()} families, ")
    assert f"were asked {items} items of 1 benchmark." in text
    assert "other bases" not in text


def test_bases_are_told_with_the_answers_that_they_change(own_place):
    main = load_study("main")
    floors = main.cohort["label"].str.startswith("floor-rotate-")
    assert (main.cohort.loc[floors, "changed_answers"] == 0).all()
    assert how_measured(main).endswith("nats, and answers every item alike.")
    main.cohort.loc[floors, "changed_answers"] = [0, 2, 1]
    assert how_measured(main).endswith("nats, and answers at most 2 items otherwise.")
