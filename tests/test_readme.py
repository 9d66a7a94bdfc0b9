"""The README's tables and figures are those that the repository makes."""

from __future__ import annotations

import re

import pytest

from qkld.errors import TableError
from qkld.report.text_tables import TextTable
from qkld.workflow.docs import blocks, filled, markdown


def test_every_marked_block_of_the_readme_is_the_generated_one(repository):
    text = (repository / "README.md").read_text(encoding="utf-8")
    assert filled(text, blocks()) == text, "run `qkld readme`"


def test_every_picture_and_file_the_readme_names_is_there(repository):
    text = (repository / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"!\[[^]]*\]\(([^)]+)\)", text) + re.findall(r"`((?:figures|params|workflow)/[\w./-]+)`", text)
    to_be_made = {"params/mine.yaml", "figures/S/numbers.json"}  # the reader's own
    assert set(named) > to_be_made
    assert [n for n in named if n not in to_be_made and not (repository / n).exists()] == []


def test_every_make_target_and_command_the_readme_names_exists(repository):
    text = (repository / "README.md").read_text(encoding="utf-8")
    makefile = (repository / "Makefile").read_text()
    targets = set(re.findall(r"(?:`|^    )make ([\w-]+)", text, flags=re.MULTILINE))
    assert {"reproduce", "test"} < targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_blocks_are_filled_in_place_and_only_there():
    text = "a\n<!-- schema:x -->\nold\n<!-- /schema -->\nb\n<!-- schema:y -->\nkept\n<!-- /schema -->\n"
    assert filled(text, {"schema:x": "new"}) == text.replace("old", "\nnew\n")
    with pytest.raises(TableError, match="0 times"):
        filled(text, {"schema:z": "new"})


def test_a_table_becomes_markdown():
    table = TextTable("Title", "A note.", ("model", "ρ"), (("a|b", "−0.5"),))
    assert markdown(table) == "**Title.**\n\n| model | ρ |\n| --- | ---: |\n| a\\|b | −0.5 |\n\nA note."
