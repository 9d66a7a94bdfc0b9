"""nltk finds its pinned sentence splitter, and language detection says the same every time."""

import pytest


@pytest.mark.network
def test_sentences_are_split_by_the_pinned_data_and_languages_are_seeded():
    from qkld.benchmarks import instructions

    instructions.prepare()
    import langdetect
    import nltk

    from qkld.sources import fetch

    assert str(nltk.data.find("tokenizers/punkt_tab/english")).startswith(str(fetch("nltk-punkt_tab")))
    assert nltk.sent_tokenize("Dr. Who came at 3 p.m. today. He left.") == ["Dr. Who came at 3 p.m. today.", "He left."]
    assert langdetect.DetectorFactory.seed == 0
    before = list(nltk.data.path)
    instructions.prepare()
    assert nltk.data.path == before
