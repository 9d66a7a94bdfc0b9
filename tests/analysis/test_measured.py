"""Tables of single models are read together, and written as the two that the analysis reads."""

import pandas as pd
import pytest
from conftest import REPOSITORY
from simulated_project import NAME, simulated_parsed, simulated_tables

from qkld.analysis.cohort import build_cohort
from qkld.analysis.measured import collect
from qkld.errors import StageError
from qkld.study.paths import StudyPaths
from qkld.study.schemas import COHORT, ITEMS, read_table, read_table_and_provenance


@pytest.fixture(scope="module")
def cohort():
    return build_cohort(simulated_parsed(REPOSITORY), *simulated_tables()[1:])


@pytest.fixture
def simulated(measured_project):
    return StudyPaths(NAME)


def test_collect_writes_both_tables(simulated, cohort):
    collect(NAME)
    found, made = read_table_and_provenance(simulated.cohort, COHORT, made_in="collect")
    pd.testing.assert_frame_equal(found, cohort)
    assert {"arc_easy", "sciq"} <= set(made["composite"])
    assert read_table(simulated.all_items, ITEMS, made_in="collect")["model"].nunique() == 23


def test_collect_names_what_is_missing_and_leaves_nothing(simulated):
    simulated.items("hqq-8-g64").unlink()
    with pytest.raises(StageError, match="run notebook 03_benchmark_scores for 'hqq-8-g64' first"):
        collect(NAME)
    assert not simulated.cohort.exists()
    assert not simulated.all_items.exists()
