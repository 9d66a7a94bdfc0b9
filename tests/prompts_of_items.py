"""Tables prompt by prompt straight from items, whose rows are put together first as `Evidence.prompts` does."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from qkld.statistics.prompts.prompt_rows import prompt_items

OF_ROWS = ("models", "benchmarks", "divergence", "reference", "minimum_reference", "families")


def from_items(make: Callable[..., pd.DataFrame]) -> Callable[..., pd.DataFrame]:
    """``make`` of items: what says which rows goes to `prompt_items`, the rest to ``make``."""

    def table(items: pd.DataFrame, **given: Any) -> pd.DataFrame:
        rows = {name: given.pop(name) for name in OF_ROWS if name in given}
        return make(prompt_items(items, **rows), **given)

    return table
