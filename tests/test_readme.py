"""README and documentation: what they print is made, and every link, file, target and command they name exists."""

from __future__ import annotations

import re

import pytest
from conftest import REPOSITORY

from qkld.errors import TableError
from qkld.workflow.commands import COMMANDS
from qkld.workflow.docs import blocks, filled

README = REPOSITORY / "README.md"
PAGES = [README, *sorted(p for p in (REPOSITORY / "docs").rglob("*.md") if not {"generated", "_build"} & set(p.parts))]
OWN = {"params/mine.yaml", "figures/STUDY/"}
"""What the reader makes."""


def test_every_marked_block_of_the_readme_is_the_generated_one():
    text = README.read_text(encoding="utf-8")
    assert filled(text, blocks()) == text, "run `qkld readme`"


def test_the_readme_stays_one_that_is_read():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_every_link_of_a_page_leads_to_a_file(page):
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text) + re.findall(r"\{(?:include|image)\} (\S+)", text)
    made = [link for link in links if "generated/" in link]
    assert [link for link in links if link not in made and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_every_file_that_a_page_names_is_in_the_repository(page):
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`((?:figures|params|workflow|validation|tools|tests)/[\w./-]+)`", text)
    assert [n for n in named if n not in OWN and not (REPOSITORY / n).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_every_make_target_and_command_of_a_page_exists(page):
    text, makefile = page.read_text(encoding="utf-8"), (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:`|^ {4})make ([\w-]+)", text, flags=re.MULTILINE))
    assert {target for target in targets if not re.search(rf"^{target}:", makefile, flags=re.MULTILINE)} == set()
    assert set(re.findall(r"(?:`|^ {4})qkld ([a-z][\w-]*)", text, flags=re.MULTILINE)) <= {
        command.name for command in COMMANDS
    }
    modules = set(re.findall(r"python -m ((?:qkld|validation|tools)[\w.]*)", text))
    places = [REPOSITORY / ("src" if m.startswith("qkld") else ".") / m.replace(".", "/") for m in modules]
    assert [p for p in places if not (p.is_dir() or p.with_suffix(".py").exists())] == []


def test_the_readme_names_both_commands():
    text = README.read_text(encoding="utf-8")
    assert re.search(r"^ {4}make reproduce", text, flags=re.MULTILINE)
    assert re.search(r"^ {4}make test", text, flags=re.MULTILINE)


def test_blocks_are_filled_in_place_and_only_there():
    text = "a\n<!-- finding:x -->\nold\n<!-- /finding -->\nb\n<!-- finding:y -->\nkept\n<!-- /finding -->\n"
    assert filled(text, {"finding:x": "new"}) == text.replace("old", "\nnew\n")
    with pytest.raises(TableError, match="0 times"):
        filled(text, {"finding:z": "new"})
