"""Instruction following: what IFEval's checks in lm-evaluation-harness need before they are imported."""

from __future__ import annotations

from qkld.sources import fetch


def prepare() -> None:
    """Give nltk its sentence splitter from a pinned file, and language detection a seed.

    Without the first the harness's module downloads it when it is imported; without the second the same answer may be
    of another language the next time (langdetect draws at random, in its own generator).
    """
    import langdetect
    import nltk

    folder = str(fetch("nltk-punkt_tab"))
    if folder not in nltk.data.path:
        nltk.data.path.insert(0, folder)
    langdetect.DetectorFactory.seed = 0
