"""The reference's side of the benchmarks: its hidden states on every item, in one store a task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qkld.benchmarks.harness_tasks import LoadedTask, fetched_task, items_of, prompts_of
from qkld.benchmarks.items import Item, distinct, scored_items
from qkld.benchmarks.packing import hidden_states, layout_name, split_into_packs
from qkld.benchmarks.writing import Prompt
from qkld.benchmarks.writing.task_answers import answer_items, asked_key, model_answers, stored_items
from qkld.errors import BenchmarkError, StageError
from qkld.models import OpenedModel
from qkld.reference import recording
from qkld.reference.store import NOTEBOOK, ReferenceStore, StoreHeader, StoreWriter
from qkld.sources.windows import Window
from qkld.study.params import Study
from qkld.study.paths import StudyPaths
from qkld.study.progress import steps
from qkld.study.sealing import write_sealed


def reference_items(params: Study, task: LoadedTask, model: OpenedModel) -> tuple[list[Item], str]:
    """The items that the reference is run on, each request once, and the name of what its answers were asked for.

    Where answers are written, the reference writes its own first, and an item is a prompt with that answer.
    """
    item_kld = params.benchmark_scores.item_kld
    if task.judging is None:
        return scored_items(distinct(items_of(task, model.tokenizer)), item_kld), ""
    prompts = prompts_of(task, model.tokenizer)
    answers = model_answers(params.study, task.benchmark, prompts, model)
    return scored_items(answer_items(prompts, answers), item_kld), asked_key(task.benchmark, prompts)


def windows_of(items: Sequence[Item]) -> tuple[Window, ...]:
    """One window an item: its prompt, then all its choices; its name holds the item's and the request's hash."""
    return tuple(
        Window(f"{item.name} {item.request}", item.tokens, item.positions, cluster)
        for cluster, item in enumerate(items)
    )


def record_benchmarks(params: Study, model: OpenedModel) -> dict[str, Any]:
    """Store the reference's hidden states on the items of every benchmark of a study, then write the seal.

    Finished items of an earlier run with the same content are kept. The seal, which is returned, names every task's
    store and what it was made for; it is equal, byte for byte, whenever the stores are.
    """
    paths = StudyPaths(params.study)
    seal: dict[str, Any] = {"made_for": made_for(params), "benchmarks": {}}
    knobs = params.benchmark_scores
    for benchmark in params.benchmarks:
        items, asked = reference_items(params, fetched_task(benchmark), model)
        layout = layout_name(model, knobs)
        header = items_header(benchmark.task, items, model, layout=layout, asked=asked)
        manifest = record_items(paths.reference, header, items, model, pack_tokens=knobs.pack_tokens)
        seal["benchmarks"][benchmark.task] = {
            "folder": header.folder(paths.reference).name,
            "key": header.key,
            "manifest_sha256": manifest["sha256"],
            "windows": len(items),
            "clusters": len(items),
            **{name: manifest[name] for name in ("scored_tokens", "raw_bytes", "stored_bytes")},
        }
    return write_sealed(paths.benchmarks_seal, seal)


def made_for(params: Study) -> dict[str, Any]:
    """What all stores of a study's benchmarks depend on, as JSON; the items are compared one by one."""
    corpora = recording.made_for(params)
    return {name: corpora[name] for name in ("reference", "compute")}


def open_written(params: Study, task: LoadedTask, layout: str, prompts: Sequence[Prompt]) -> ReferenceStore:
    """The reference's store of a task in which answers are written, checked to be asked for by these very prompts.

    Its items, with the reference's answers, are `stored_items` of its windows. Raises as `open_benchmark` does.
    """
    store = _opened(params, task.name)
    stored_items(task.name, prompts, store.header.windows)
    _compare_layout(task.name, store.header.name, f"{task.name}-{layout}-{asked_key(task.benchmark, prompts)}")
    return store


def open_benchmark(params: Study, task: str, layout: str, items: Sequence[Item]) -> ReferenceStore:
    """The reference's store of a task, checked to hold these very items in this layout.

    Raises
    ------
    StageError
        If notebook 01 has not stored this task's items.
    BenchmarkError
        If it stored other items, or ran them in another layout; the message names the first item that differs.
    StoreError
        If the store is damaged, or of another reference or dtype.
    """
    store = _opened(params, task)
    _compare_layout(task, store.header.name, f"{task}-{layout}")
    _compare_items(task, store.header.windows, windows_of(items))
    return store


def _opened(params: Study, task: str) -> ReferenceStore:
    """The store that the seal names for a task."""
    paths = StudyPaths(params.study)
    sealed = recording.read_seal(paths.benchmarks_seal, made_for(params))["benchmarks"]
    if task not in sealed:
        raise StageError(
            f"The reference has not been run on '{task}'.",
            expected=f"'{task}' in {paths.benchmarks_seal}",
            found=", ".join(sealed),
            do=f"run {NOTEBOOK}",
        )
    return ReferenceStore.open(paths.reference / sealed[task]["folder"], expected_key=sealed[task]["key"])


def items_header(task: str, items: Sequence[Item], model: OpenedModel, *, layout: str, asked: str = "") -> StoreHeader:
    """The header of the store that holds a reference's hidden states on these items, run in this layout.

    ``asked`` is the `asked_key` of written answers.
    """
    return StoreHeader(
        kind="benchmark",
        name="-".join([task, layout, *([asked] if asked else [])]),
        model_sha256=model.weights_sha256,
        tokenizer_sha256=model.tokenizer_sha256,
        compute_dtype=str(model.compute_dtype).removeprefix("torch."),
        device=model.device.type,
        head_sha256=model.head.sha256(),
        width=model.head.width,
        windows=windows_of(items),
    )


def record_items(
    root: Path, header: StoreHeader, items: Sequence[Item], model: OpenedModel, *, pack_tokens: int
) -> dict[str, Any]:
    """Run a model over the items that a store still misses, and seal it; returns the manifest.

    A pack with a missing item is run whole, so that shapes do not depend on where an earlier run was killed.
    """
    model.check_tokens(window.tokens for window in header.windows)
    with StoreWriter(root, header, model.head) as store:
        missing, first = set(store.missing()), 0
        with steps(f"reference on {header.name}", len(items), unit="item") as progress:
            for pack in split_into_packs(items, pack_tokens=pack_tokens, packing=model.supports_packing):
                fresh = missing.intersection(range(first, first + len(pack)))
                hidden = hidden_states(model, pack) if fresh else []
                for number in sorted(fresh):
                    store.write(number, hidden[number - first])
                first += len(pack)
                progress.advance(len(pack), tokens=sum(len(item.tokens) for item in pack) if fresh else 0)
        return store.seal()


def _compare_layout(task: str, stored: str, layout: str) -> None:
    if stored != layout:
        raise BenchmarkError(
            f"The reference ran the items of '{task}' in another layout or with other settings for written answers.",
            expected=stored,
            found=layout,
            do=f"give {NOTEBOOK} and this notebook one pack_tokens and one entry of the benchmark, and both models "
            "one architecture",
        )


def _compare_items(task: str, stored: Sequence[Window], found: Sequence[Window]) -> None:
    for place in range(max(len(stored), len(found))):
        theirs, mine = (w[place].name if place < len(w) else "no item" for w in (stored, found))
        if mine != theirs:
            raise BenchmarkError(
                f"The items of '{task}' differ from those that the reference was run on, first at item {place}.",
                expected=f"{theirs} (number in the file, request hash), as stored",
                found=mine,
                do=f"run {NOTEBOOK} again if the task, its file or its limit changed; else compare the tokenizers",
            )
