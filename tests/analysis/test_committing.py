"""Which columns of items go into the repository."""

import numpy as np
import pandas as pd
import pytest

from qkld.analysis.committing import without_texts
from qkld.errors import TableError

ITEMS = pd.DataFrame({"item": ["0"], "correct": [1], "choice_scores": [np.array([-1.5, -2.0], dtype=np.float32)]})


def test_scores_of_choices_are_kept_and_what_was_written_is_not():
    assert list(without_texts(ITEMS.assign(written="the Nile"))) == ["item", "correct", "choice_scores"]


def test_a_column_of_words_that_nobody_named_is_refused():
    with pytest.raises(TableError, match="question"):
        without_texts(ITEMS.assign(question="Which river?"))
