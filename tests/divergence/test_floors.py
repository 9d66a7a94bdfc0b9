"""Floor rows: what runs under which label."""

import pytest

from qkld.divergence.floors import packed_tokens
from qkld.errors import ParameterError
from qkld.study.params import FLOOR_BATCH, load_params
from qkld.workflow.plan import answered_labels, scored_labels


def test_the_second_run_is_the_reference_in_another_batch_shape():
    smoke = load_params("smoke")
    again = smoke.entry(FLOOR_BATCH)
    assert again == smoke.reference.model_copy(update={"label": FLOOR_BATCH})
    assert packed_tokens(smoke, FLOOR_BATCH) == smoke.benchmark_scores.pack_tokens // 2
    assert packed_tokens(smoke, "reference") == smoke.benchmark_scores.pack_tokens
    assert scored_labels(smoke) == (*answered_labels(smoke), FLOOR_BATCH)


def test_without_self_flips_there_is_none():
    alone = load_params("smoke").model_copy(update={"self_flips": False})
    assert scored_labels(alone) == answered_labels(alone)
    with pytest.raises(ParameterError, match="no model 'floor-batch'"):
        alone.entry(FLOOR_BATCH)
