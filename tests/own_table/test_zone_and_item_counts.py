"""Zones and numbers of items as the command line gives them."""

import pandas as pd
import pytest

from qkld.analysis.own_table.zone_and_item_counts import parse_item_counts, parse_zone
from qkld.errors import TableError


@pytest.mark.parametrize(("sign", "kept"), [("<=", 2), ("<", 1), (">=", 2), (">", 1)])
def test_zone_signs(sign, kept):
    assert parse_zone(f" kl_mean {sign} 0.02 ").members(pd.DataFrame({"kl_mean": [0.01, 0.02, 0.03]})).sum() == kept


@pytest.mark.parametrize("text", ["kl_mean=0.02", "kl_mean<=low", "0.02", "", "a<b<1"])
def test_what_is_no_zone_is_refused(text):
    with pytest.raises(TableError, match="COLUMN<=NUMBER"):
        parse_zone(text)


def test_item_counts():
    assert parse_item_counts("mmlu=400, arc=299", ["arc", "mmlu", "sciq"]) == {"mmlu": 400, "arc": 299}


@pytest.mark.parametrize("text", ["mmlu", "mmlu=0", "mmlu=-3", "mmlu=4.5", "other=400", "mmlu=1,mmlu=2", ""])
def test_what_is_no_item_count_is_refused(text):
    with pytest.raises(TableError, match="NAME=NUMBER"):
        parse_item_counts(text, ["mmlu"])
