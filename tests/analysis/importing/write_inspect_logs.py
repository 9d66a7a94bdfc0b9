"""Write logs of Inspect on three sums, of a model whose answers are given: ``write_inspect_logs.py SPEC.json``.

The specification names each log's folder with its answers, form, scorers and epochs. It runs as a process of its own,
because inspect-ai leaves streams open that would be collected in another test.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SUMS = {"sum-0": "1", "sum-1": "2", "sum-2": "3"}


def write(folder: str, answers: list[str], form: str = "eval", scorers: int = 1, epochs: int = 1) -> None:
    """Run Inspect on the sums with these answers; the log lies in a folder of its own."""
    from inspect_ai import Task, eval
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import get_model
    from inspect_ai.scorer import includes, match

    dataset = MemoryDataset([Sample(id=name, input=f"{name}?", target=t) for name, t in SUMS.items()], name="sums")
    task = Task(dataset=dataset, scorer=[match(), includes()][:scorers], name="sums", epochs=epochs)
    model = get_model("mockllm/model", custom_outputs=[_output(text) for text in answers], memoize=False)
    (log,) = eval(task, model=model, log_dir=folder, log_format=form, max_samples=1, display="none")
    if log.status != "success":
        raise RuntimeError(f"{folder}: {log.error}")


def _output(text: str) -> Any:
    """An answer with its count of tokens, for which inspect-ai would else fetch a vocabulary."""
    from inspect_ai.model import ModelOutput, ModelUsage

    output = ModelOutput.from_content("mockllm/model", text)
    output.usage = ModelUsage(input_tokens=4, output_tokens=1, total_tokens=5)
    return output


if __name__ == "__main__":
    for name, values in json.loads(Path(sys.argv[1]).read_text()).items():
        write(name, **values)
