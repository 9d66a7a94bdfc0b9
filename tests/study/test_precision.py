"""Numbers with fewer bits: how near they are, what stays, and what a table of them costs."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from qkld.study.parquet import write_parquet
from qkld.study.precision import DOUBLE, rounded, rounded_table


@pytest.mark.parametrize("bits", [12, 16, 24, 52])
def test_the_error_is_at_most_half_a_unit_of_the_last_bit(bits):
    values = np.random.default_rng(0).normal(size=10_000) * 10.0 ** np.arange(-150, 150).repeat(34)[:10_000]
    near = rounded(values, bits)
    assert (np.abs(near - values) <= np.abs(values) * 2.0**-bits).all()
    assert (near != values).mean() > 0.4
    np.testing.assert_array_equal(rounded(near, bits), near)


def test_single_precision_is_numpys():
    values = np.random.default_rng(1).normal(size=1000)
    np.testing.assert_array_equal(rounded(values, 24), values.astype(np.float32))


def test_what_has_no_digits_stays():
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -0.5, 5e-324])
    for bits in (12, DOUBLE):
        np.testing.assert_array_equal(rounded(special, bits), special)
        assert np.signbit(rounded(special, bits)[1])


def test_words_whole_numbers_and_types_stay_and_lists_are_rounded():
    table = pd.DataFrame(
        {
            "name": ["a", "b", "c"],
            "count": np.array([1, 2, 70_001], dtype=np.int32),
            "kl": [0.1, np.nan, 1 / 3],
            "single": np.array([0.1, 0.2, 0.3], dtype=np.float32),
            "scores": [np.array([0.1, 0.7], dtype=np.float32), None, [1 / 3]],
        }
    )
    near = rounded_table(table, 12)
    assert (near.dtypes == table.dtypes).all()
    assert near["name"].tolist() == ["a", "b", "c"]
    assert near["count"].tolist() == [1, 2, 70_001]
    assert near["scores"][0].dtype == np.float32
    assert near["scores"][0][0] == np.float32(rounded(np.float32(0.1), 12)) != np.float32(0.1)
    assert near["scores"][1] is None
    assert near["scores"][2][0] == rounded(1 / 3, 12)
    assert rounded_table(table, None) is table


def test_fewer_bits_take_less_space(tmp_path):
    values = pd.DataFrame({"kl": np.random.default_rng(2).lognormal(size=20_000)})
    sizes = {}
    for bits in (None, 24, 16):
        path = tmp_path / f"{bits}.parquet"
        write_parquet(path, pa.Table.from_pandas(rounded_table(values, bits)), {})
        sizes[bits] = path.stat().st_size
    assert sizes[24] < 0.6 * sizes[None]
    assert sizes[16] < 0.75 * sizes[24]
