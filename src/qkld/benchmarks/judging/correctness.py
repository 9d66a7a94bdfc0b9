"""Whether written answers are right: by the harness's own metric, or by the checker that a task names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qkld.benchmarks.judging.checkers import are_right

if TYPE_CHECKING:
    from qkld.benchmarks.harness_tasks import LoadedTask
    from qkld.benchmarks.writing import Prompt, Written


def judged(task: LoadedTask, tokenizer: Any, prompts: Sequence[Prompt], answers: Mapping[str, Written]) -> list[int]:
    """1 for each prompt whose answer is right, else 0, in order; an answer that broke off at a logit is wrong."""
    written = [answers[prompt.request] for prompt in prompts]
    if task.judging.checker:
        documents = [dict(document) for document in task.task.eval_docs]
        texts = [answer.text for answer in written]
        right = are_right(task.judging.checker, documents, texts)
    else:
        right = _by_the_harness(task, tokenizer, answers)
    return [int(bool(r) and answer.finite) for r, answer in zip(right, written, strict=True)]


def _by_the_harness(task: LoadedTask, tokenizer: Any, answers: Mapping[str, Written]) -> list[bool]:
    """The harness's own verdicts, in the order of its documents."""
    asker = task.asker(tokenizer, write=lambda prompts: [answers[prompt.request].text for prompt in prompts])
    samples = [s for s in task.samples(asker) if s["filter"] == task.judging.filter]
    return [bool(s[task.judging.metric]) for s in sorted(samples, key=lambda s: s["doc_id"])]
