"""What is asked of a model that writes a benchmark's answers, and the reference's own answers as items.

The reference's answer to a prompt is an item with one choice: that answer. So it is stored, packed, resumed and
compared as all items are, and one forward pass of a quant gives its divergence on the prompt and on the reference's own
answer, token by token as the reference wrote it ("teacher-forced").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qkld.benchmarks.items import Item
from qkld.benchmarks.writing.answer_files import answers_key, kept_answers
from qkld.benchmarks.writing.prompts import Prompt, Sampling, Written
from qkld.errors import BenchmarkError
from qkld.models import OpenedModel
from qkld.reference.store import NOTEBOOK
from qkld.sources.windows import Window
from qkld.study.params import Benchmark
from qkld.study.paths import StudyPaths
from qkld.study.provenance import key_of


def sampling_of(benchmark: Benchmark, repeat: int) -> Sampling:
    """How a benchmark's answers are chosen, the ``repeat``-th time."""
    return Sampling(benchmark.temperature, benchmark.sampling_seed, repeat)


def asked_key(benchmark: Benchmark, prompts: Sequence[Prompt]) -> str:
    """Names what the reference's answers depend on beside the reference: prompts, their ends, how they are drawn."""
    return key_of([[prompt.request for prompt in prompts], sampling_of(benchmark, 0).key()])


def model_answers(
    study: str, benchmark: Benchmark, prompts: Sequence[Prompt], model: OpenedModel, *, repeat: int = 0
) -> dict[str, Written]:
    """Request → a model's answer to every prompt; kept one by one below `StudyPaths.partial`."""
    model.check_tokens(prompt.tokens for prompt in prompts)
    sampling = sampling_of(benchmark, repeat)
    folder = StudyPaths(study).partial / "answers" / model.label / f"{benchmark.task}-{answers_key(model, sampling)}"
    turn = f", {repeat + 1} of {benchmark.repeats}" if benchmark.repeats > 1 else ""
    return kept_answers(model, prompts, sampling, folder, description=f"{model.label} writes {benchmark.task}{turn}")


def answer_items(prompts: Sequence[Prompt], answers: Mapping[str, Written]) -> list[Item]:
    """Each prompt once, with the reference's own answer as its only choice.

    Raises
    ------
    BenchmarkError
        If the reference has an answer with a logit that is not finite: nothing can be measured against it.
    """
    distinct = {prompt.request: prompt for prompt in prompts}
    broken = [prompt.name for prompt in distinct.values() if not answers[prompt.request].finite]
    if broken:
        raise BenchmarkError(
            "The reference has logits that are not finite.",
            expected="a whole answer to every prompt",
            found=f"none for items {', '.join(broken[:5])}",
            do="run the study in compute_dtype float32",
        )
    return [Item(p.name, p.tokens, (answers[request].tokens,)) for request, p in distinct.items()]


def stored_items(task: str, prompts: Sequence[Prompt], windows: Sequence[Window]) -> dict[str, Item]:
    """Request of each prompt → its item with the reference's answer, read back from the windows of the store.

    Raises
    ------
    BenchmarkError
        If the store holds other prompts; the message names the first that differs.
    """
    distinct = list({prompt.request: prompt for prompt in prompts}.values())
    for place in range(max(len(distinct), len(windows))):
        known = place < min(len(distinct), len(windows))
        if not known or windows[place].tokens[: len(distinct[place].tokens)] != distinct[place].tokens:
            raise BenchmarkError(
                f"The reference answered different prompts of '{task}', first at prompt {place}.",
                expected=windows[place].name if place < len(windows) else f"{len(windows)} prompts, as stored",
                found=f"item {distinct[place].name}" if place < len(distinct) else f"{len(distinct)} prompts",
                do=f"run {NOTEBOOK} again if the task, its file or its limit changed; else compare the tokenizers",
            )
    return {
        prompt.request: Item(prompt.name, prompt.tokens, (window.tokens[len(prompt.tokens) :],))
        for prompt, window in zip(distinct, windows, strict=True)
    }
