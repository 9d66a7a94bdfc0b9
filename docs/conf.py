"""Sphinx: the pages in this folder, what the package writes of itself, and notebooks that were executed elsewhere."""

from __future__ import annotations

import os
import re
from importlib import metadata
from pathlib import Path

os.environ.setdefault("QKLD_ROOT", str(Path(__file__).resolve().parent.parent))

from sphinx.errors import ConfigError

from qkld.errors import QkldError
from qkld.workflow.pages import write_pages

try:
    write_pages(Path(__file__).parent)
except QkldError as error:
    raise ConfigError(str(error)) from None  # Sphinx shows its lines, without a traceback

project = "qkld"
author = "the qkld developers"
release = metadata.version("qkld")

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates", "generated/*.md"]

myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_render_markdown_format = "myst"  # sentences and tables that a notebook shows

default_role = "code"  # single backticks in docstrings are names
autodoc_member_order = "bysource"
autodoc_default_options = {"exclude-members": "Counts"}  # an alias of a tuple, whose signature autodoc cannot format
autodoc_typehints = "none"  # numpydoc's parameter lists say them
autosummary_generate = True
autosummary_ignore_module_all = True
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "sphinx_book_theme"
html_title = "qkld"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_theme_options = {
    "show_toc_level": 2,
    "use_download_button": True,
    "home_page_in_toc": True,
}
suppress_warnings = ["mystnb.unknown_mime_type"]  # widgets: they live in JupyterLab


def escape_bars(_app, _what, _name, _of, _options, lines) -> None:
    """Show |z| as it is written: reStructuredText takes bars for a substitution, except in literals."""
    for i, line in enumerate(lines):
        lines[i] = "".join(
            part if j % 2 else part.replace("|", r"\|") for j, part in enumerate(re.split(r"(`+.*?`+)", line))
        )


def setup(app) -> None:
    """Connect what Sphinx calls on its way."""
    app.connect("autodoc-process-docstring", escape_bars, priority=900)
