"""The analysis' row at a small size: the tables pass their schemas, and the work writes every result."""

import numpy as np
import pytest

from qkld.analysis.cohort import variants_of
from qkld.statistics.zone.variants import check_variants_distinct
from qkld.study.registry import OF_STUDIES
from qkld.study.schemas import COHORT, ITEMS
from validation.bench.analysis_row import STAGES, AnalysisSizes, analysis_row, sized_study
from validation.bench.machine import Machine
from validation.bench.simulated_tables import simulated_tables

pytestmark = pytest.mark.long

MACHINE = Machine("Some CPU", 8, 1, False, 10e9, 100e9, 5e9, 1e9)
SMALL = AnalysisSizes(quants=14, items=600, resamples=100, threads=1)
OF_TOKENS = {"paired_fidelity", "fidelity_breakdown"}


def test_simulated_tables_are_whole_and_drawn_from_the_seed():
    study = sized_study(SMALL)
    first, same, other = (simulated_tables(study.params, 603, rng=np.random.default_rng(s)) for s in (1, 1, 2))
    assert COHORT.checked(first.cohort).equals(first.cohort)
    assert ITEMS.checked(first.items).equals(first.items)
    assert first.items.equals(same.items)
    assert not first.items.equals(other.items)
    counts = first.items.groupby(["model", "benchmark"]).size().unstack()
    assert counts.shape == (15, len(study.benchmarks))
    assert set(counts.sum(axis=1)) == {603}
    variants = variants_of(study.params)
    assert len(variants) == 14
    assert (study.params.silent_zone.null_draws, study.params.silent_zone.edge_draws) == (20, 20)
    assert sized_study(AnalysisSizes()).params.silent_zone.null_draws == 2000
    check_variants_distinct(variants, first.cohort)


def test_the_row_writes_every_result_and_is_not_judged_at_a_smaller_size(tmp_path):
    figures, cost = analysis_row(MACHINE, tmp_path, SMALL)
    written = {file.stem for file in tmp_path.rglob("*.csv")}
    expected = {name for name, table in OF_STUDIES.items() if table.notebook[:2] in STAGES} - OF_TOKENS
    assert written == expected
    assert cost["seconds"] == pytest.approx(sum(cost["shares"].values()))
    assert [f.target for f in figures] == [60.0, 2.0]
    assert [f.is_met for f in figures] == [None, None]
    assert figures[1].value == cost["peak_bytes"] / 1e9 > 0.1
    assert "14 quants, 600 items, 100 resamples" in figures[0].what
