"""The documents of a task, as lm-evaluation-harness asks for them: what its YAML names as ``custom_dataset``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset

from qkld.errors import BenchmarkError
from qkld.study.texts import json_lines


def documents(*, file: str, **_: Any) -> dict[str, Dataset]:
    """One document a JSON line of ``file``, in order, as the split ``test``; a key that a line lacks is None there.

    Text stays text, where a reader of JSON that guesses types makes dates of answers that look like dates, and what a
    line's own lists and objects hold stays as it is. The harness gives the task's ``metadata`` too.
    """
    lines = [line.value for line in json_lines(Path(file), error=BenchmarkError, expected="one JSON object per line")]
    columns = dict.fromkeys(name for line in lines for name in line)
    values = {name: [line.get(name) for line in lines] for name in columns}
    return {"test": Dataset.from_dict(values, on_mixed_types="use_json")}
