"""EvalPlus's own evaluation of hand-written answers to three tasks of ours, since its tasks cannot be downloaded here.

    HUMANEVAL_OVERRIDE_PATH=tasks.jsonl python evalplus_files.py FOLDER

in an environment with ``pip install evalplus==0.3.1`` (Apache-2.0), run twice: the first call writes ``tasks.jsonl``.
"""

import json
import os
import sys
from pathlib import Path

TASKS = (
    ("twice", "x", "Two times x.", "    return 2 * x\n", [[1], [5]], [[-3], [0]]),
    (
        *("largest", "values", "The largest value, or None of none."),
        *("    return max(values) if values else None\n", [[[1, 2]], [[7]]], [[[]], [[-1, -2]]]),
    ),
    ("backwards", "text", "The text backwards.", "    return text[::-1]\n", [["ab"], ["xyz"]], [[""], ["a"]]),
)
OTHER = ("    return x + x\n", "    return max(values)\n", "    while True:\n        pass\n")
"""Right; right on the first tests alone; without an end."""


def tasks():
    for number, (name, argument, text, body, base, plus) in enumerate(TASKS):
        prompt = f'def {name}({argument}):\n    """{text}"""\n'
        yield {
            "task_id": f"HumanEval/{number}", "prompt": prompt, "entry_point": name, "canonical_solution": body,
            "base_input": base, "plus_input": plus, "atol": 0, "contract": "", "test": "",
        }  # fmt: skip


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    folder, own = Path(sys.argv[1]), list(tasks())
    if "HUMANEVAL_OVERRIDE_PATH" not in os.environ:
        sys.exit(write(folder / "tasks.jsonl", own))
    from evalplus.evaluate import evaluate

    answers = {
        "reference": [(t, t["canonical_solution"]) for t in own],
        "q4": list(zip(own, OTHER, strict=True)),
        "sampled": [(t, a) for t, b in zip(own, OTHER, strict=True) for a in (t["canonical_solution"], b)],
        "base": [(t, t["canonical_solution"]) for t in own],
    }
    for name, given in answers.items():
        path = folder / f"{name}.jsonl"
        write(path, [{"task_id": t["task_id"], "solution": t["prompt"] + answer} for t, answer in given])
        evaluate("humaneval", samples=str(path), parallel=1, base_only=name == "base")
