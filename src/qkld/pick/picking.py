"""``qkld pick``: KLD of every file, then items in rounds until every file is decided or the time is used."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from qkld.compare.compare_request import Request
from qkld.compare.preparing import opened_session
from qkld.compare.session import Session, let_go
from qkld.errors import DiskError, ModelError, ParameterError
from qkld.models import OpenedModel, open_model
from qkld.models.opening import stored_tokenizer
from qkld.pick.answer import LEFT_OUT, Answer, Interval, Row, Speeds, duration
from qkld.pick.candidates import Candidate, reference_of
from qkld.pick.files_to_pick import Files, files_of_folder
from qkld.pick.hub_files import files_of_hub, is_repository
from qkld.pick.pick_request import PickRequest
from qkld.pick.rounds import LEAST_ITEMS, REFERENCE, Answered, ItemRun, Round, items_there, planned_rounds
from qkld.pick.speed_of_files import engine_of, kept_speed
from qkld.statistics.flips.decision import UNDECIDED
from qkld.statistics.flips.direction import flip_counts
from qkld.statistics.items.paired_means import paired_means
from qkld.statistics.items.score_differences import difference_interval
from qkld.statistics.rounds.deciding import decided
from qkld.statistics.rounds.looks import Look
from qkld.statistics.tokens.fidelity import summarise
from qkld.study.entries import StoredModel
from qkld.study.params import Compute
from qkld.study.paths import some_project
from qkld.study.provenance import key_of, made_by
from qkld.study.sealing import read_sealed, write_sealed

BOOTSTRAP = 1000


@dataclass
class Clock:
    """The time that was given, and what an item was seen to take, in seconds; None where nothing was run yet."""

    hours: float | None
    begun: float = field(default_factory=time.monotonic)
    seconds_an_item: float | None = None
    seconds_a_token: float | None = None

    @property
    def left(self) -> float:
        return np.inf if self.hours is None else 3600 * self.hours - self.spent

    @property
    def spent(self) -> float:
        return time.monotonic() - self.begun


@dataclass
class Picking:
    """One question under way."""

    request: PickRequest
    files: Files
    reference: StoredModel
    session: Session
    run: ItemRun
    clock: Clock
    notes: list[str] = field(default_factory=list)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    measured_in: list[str] = field(default_factory=list)

    def opened(self, entry: StoredModel, compute: Compute | None = None) -> OpenedModel:
        return open_model(entry, reference=self.reference, compute=compute or self.session.compute)


def pick(request: PickRequest) -> Answer:
    """Measure the files of a folder until each is decided, and say which to take.

    Whatever was measured is kept below ``request.out``: the same request goes on where an earlier one was stopped.

    Raises
    ------
    QkldError
        If the folder, its files, the reference or an option cannot be used.
    """
    with some_project():
        files = _files(request)
        try:
            return _picked(request, files)
        finally:
            files.close()


def _files(request: PickRequest) -> Files:
    """The files of a folder, or those of a repository where one is named."""
    if is_repository(request.what):
        how = {"remove": request.remove, "largest": request.fit, "reference": request.reference}
        return files_of_hub(request.what, request.out / "files", **how)
    if request.remove:
        raise ParameterError(
            "--remove applies only to files downloaded by this command.",
            expected="owner/name on a hub",
            found=request.what,
            do="leave out --remove; your own files are never removed",
        )
    return files_of_folder(request.what)


def _picked(request: PickRequest, files: Files) -> Answer:
    reference = reference_of(files.found, request.reference)
    others = [c for c in files.found if c.entry != reference.entry]
    if not others:
        raise ParameterError(
            "There are no files to choose from.",
            expected="files besides the reference",
            found="none",
            do="add files to the folder",
        )
    if request.speed or request.engine == "llamacpp":
        for file in files.found:
            engine_of(file.entry)  # whether it is here, before hours of work
    fitting = _fitting(request, others)
    with files.at_hand(reference):
        picking = _begun(request, files, reference)
        for file in [c for c in others if c not in fitting]:
            files.leave(file)
        speed = _speed_of(picking, reference)
        measured = _kld_of_all(picking, fitting)
        _decide(picking, [c for c in measured if _is_near(picking, c)])
        answer = _answer(picking, others, fitting, reference)
        return replace(answer, speed_of_reference=_speeds(speed), speed_measured=tuple(picking.measured_in))


def _fitting(request: PickRequest, files: Sequence[Candidate]) -> list[Candidate]:
    """The files that the memory is enough for, with their cache; not one of them is an error, before hours of work."""
    fitting = [c for c in files if request.fit is None or c.memory(request.context) <= request.fit]
    if not fitting:
        least = min(files, key=lambda c: c.memory(request.context))
        raise ParameterError(
            "No file fits into the memory limit.",
            expected=f"at most {(request.fit or 0) / 1e9:.3g} GB with {request.context} tokens of cache",
            found=f"{least.label}, the smallest, takes {least.memory(request.context) / 1e9:.3g} GB",
            do="raise --fit, or lower --context",
        )
    return fitting


def _begun(request: PickRequest, files: Files, reference: Candidate) -> Picking:
    """The folder of this question, the reference's states on the text, and the rounds."""
    entry = reference.entry.model_copy(update={"label": REFERENCE})
    sizes = items_there(request.tasks, request.limit)
    rounds = planned_rounds(sizes, seed=request.seed)
    depends = {
        "reference": [reference.label, reference.digest],
        "items": sizes,
        "seed": request.seed,
        "windows": request.windows,
        "text": str(request.text),
        "engine": request.engine,
        "first_round": LEAST_ITEMS,
    }
    folder = request.out / key_of(depends)[:12]
    folder.mkdir(parents=True, exist_ok=True)
    clock, is_new = Clock(request.hours), not (folder / "reference").exists()
    comparison = Request(
        reference=REFERENCE, quants=(request.what,), windows=request.windows, text=request.text, floor=False
    )
    session = opened_session(comparison, folder, entry, None)
    picking = Picking(request, files, entry, session, ItemRun(folder, rounds), clock, notes=files.notes)
    if is_new:
        clock.seconds_a_token = clock.spent / _tokens(picking)
    if not reference.full:
        picking.notes.append(
            f"The reference is {reference.label}, itself {reference.kind}: all numbers are distances to it, and not to "
            "the model."
        )
    return picking


# --- KLD --------------------------------------------------------------------------------------------------------------


def _kld_of_all(picking: Picking, files: Sequence[Candidate]) -> list[Candidate]:
    """The files whose KLD is measured, or was; it ends where the time does, or the disk is full.

    A file that cannot be run is left out with the reason, so that the others get their answer.
    """
    done: list[Candidate] = []
    for number, file in enumerate(files):
        if picking.clock.left <= 0:
            picking.notes.append(_no_time_for(picking, files[number:]))
            break
        try:
            picking.rows[file.label] = _kld_of(picking, file)
        except DiskError as error:
            picking.notes.append(f"It ended at {file.label}: {error.problem}")
            break
        except ModelError as error:
            picking.rows[file.label] = {"note": f"cannot be run: {error.problem} Found: {error.found}"}
            picking.files.leave(file)
            continue
        done.append(file)
    return done


def _no_time_for(picking: Picking, files: Sequence[Candidate]) -> str:
    """Whose KLD is missing, and how long it would take as far as one was timed here."""
    said = f"The time was used before the KLD of {', '.join(file.label for file in files)}"
    a_token = picking.clock.seconds_a_token
    takes = "" if a_token is None else f", which takes about {duration(a_token * len(files) * _tokens(picking))}"
    return f"{said}{takes}."


def _tokens(picking: Picking) -> int:
    """Tokens of the text."""
    return sum(len(window.tokens) for window in picking.session.store.header.windows)


def _kld_of(picking: Picking, file: Candidate) -> dict[str, Any]:
    """KLD with its interval, top-1 agreement and, where asked for, speed of one file, as JSON; measured once."""
    session, name = picking.session, file.kept_name
    facts = session.folder / f"{name}.json"
    if not facts.exists():
        begun = time.monotonic()
        entry = _run_by(picking.request, file.entry).model_copy(update={"label": name})
        with picking.files.at_hand(file):
            session.measured(name, lambda: picking.opened(entry))
        picking.clock.seconds_a_token = (time.monotonic() - begun) / _tokens(picking)
        write_sealed(facts, _fidelity(picking, name) | {"bits": session.facts[name]["bits_per_weight"]})
    known = read_sealed(facts, do="delete it and run the same command again")
    return known | {"speed": _speed_of(picking, file)}


def _speed_of(picking: Picking, file: Candidate) -> list[list[float]] | None:
    """Speed of a file, where it is asked for; a note where it cannot be measured."""
    if not picking.request.speed:
        return None
    try:
        found = kept_speed(picking.session, picking.files, file, picking.opened)
    except ModelError as error:
        picking.notes.append(f"The speed of {file.label} was not measured: {error.problem} Found: {error.found}")
        return None
    finally:
        let_go()
    if found["where"] not in picking.measured_in:
        picking.measured_in.append(found["where"])
    return found["speeds"]


def _fidelity(picking: Picking, name: str) -> dict[str, Any]:
    request = picking.request
    how = {"confidence": request.confidence, "bootstrap": BOOTSTRAP, "rng": np.random.default_rng(request.seed)}
    table = summarise(picking.session.tokens(name), name, **how).set_index("metric")
    kld = table.loc["kl_mean"]
    return {
        "kld": [float(kld[column]) for column in ("estimate", "low", "high")],
        "top1": float(table.loc["top1_agreement", "estimate"]),
    }


def _run_by(request: PickRequest, entry: StoredModel) -> StoredModel:
    """The entry, run by the engine that is asked for where it is a GGUF file."""
    return entry.model_copy(update={"engine": request.engine}) if request.engine and entry.method == "gguf" else entry


def _is_near(picking: Picking, file: Candidate) -> bool:
    limit = picking.request.max_kld
    near = limit is None or picking.rows[file.label]["kld"][0] <= limit
    if not near:
        picking.rows[file.label]["note"] = f"mean KLD above {limit:g}"
        picking.files.leave(file)
    return near


# --- items ------------------------------------------------------------------------------------------------------------


def _decide(picking: Picking, files: Sequence[Candidate]) -> None:
    """Rounds of items until no file is open, no time or no items are left; what is known of each goes into `rows`."""
    labels, looks = [file.label for file in files], list[Look]()
    for label in labels:
        picking.rows[label]["decision"] = UNDECIDED
    going_on = list(files)
    for number in range(len(picking.run.rounds)):
        if not going_on:
            return
        try:
            names = _play(picking, number, going_on)
        except DiskError as error:
            picking.notes.append(f"It ended in round {number + 1}: {error.problem}")
            return
        if names is None:
            return
        answered = _answered(picking, number, names)
        looks.append(answered.look(picking.request.primary, picking.request.primary_margin, among=labels))
        level = 1 - picking.request.confidence
        found = decided(looks, picking.run.rule, margin=picking.request.primary_margin, level=level)
        _note_scores(picking, answered, len(labels))
        for label, decision in zip(labels, found.decision, strict=True):
            picking.rows[label]["decision"] = str(decision)
        going_on = [file for file, leaves in zip(files, found.leaves, strict=True) if not leaves]
        for file in files:
            if file not in going_on:
                picking.files.leave(file)


def _has_time(picking: Picking, items: Round, files: Sequence[Candidate]) -> bool:
    """Whether a round's answers fit into the time that is left; if not, a note says what they take, as far as known."""
    clock, a_item = picking.clock, picking.clock.seconds_an_item
    models = len(files) + (not picking.run.is_done(items.number, REFERENCE))
    needed = None if a_item is None else a_item * items.items * models
    if clock.left > 0 and (needed is None or needed <= clock.left):
        return True
    if needed is None and clock.seconds_a_token is not None:
        tokens = picking.run.tokens(items.number, stored_tokenizer(picking.reference))
        needed = clock.seconds_a_token * tokens * models
    takes = "were not begun" if needed is None else f"take about {duration(needed)}"
    left = f", and {duration(clock.left)} was left" if clock.left > 0 else ""
    picking.notes.append(
        f"The time ended before round {items.number + 1} of {len(picking.run.rounds)}: its {items.items:,} items "
        f"{takes} for {len(files)} file{'s' * (len(files) > 1)}{left}."
    )
    return False


def _play(picking: Picking, number: int, files: Sequence[Candidate]) -> dict[str, str] | None:
    """Let the reference and the files answer a round's items; label → the name that the answers are kept under.

    None where the time ends before that. The reference answers first, so that the time of an item is known.
    """
    run, items = picking.run, picking.run.rounds[number]
    names = {file.label: file.kept_name for file in files}
    missing = [file for file in files if not run.is_done(number, names[file.label])]
    if not missing and run.is_done(number, REFERENCE):
        return names
    if not _has_time(picking, items, missing or files):
        return None
    model = picking.opened(picking.reference)
    stores = run.stores(number, model)
    if not run.is_done(number, REFERENCE):
        _timed(picking, number, REFERENCE, model, stores)
    del model
    let_go()
    if not _has_time(picking, items, missing or files):
        return None
    for file in missing:
        entry = _run_by(picking.request, file.entry).model_copy(update={"label": names[file.label]})
        with picking.files.at_hand(file):
            _timed(picking, number, names[file.label], picking.opened(entry), stores)
        let_go()
    return names


def _timed(picking: Picking, number: int, name: str, model: OpenedModel, stores: dict[str, Any]) -> None:
    begun = time.monotonic()
    picking.run.answer(number, name, model, stores)
    seconds = (time.monotonic() - begun) / picking.run.rounds[number].items
    picking.clock.seconds_an_item = max(seconds, picking.clock.seconds_an_item or 0.0)


def _answered(picking: Picking, number: int, names: dict[str, str]) -> Answered:
    items = picking.run.up_to(number, [REFERENCE, *names.values()])
    back = {name: label for label, name in names.items()}
    return Answered(items.assign(model=items["model"].replace(back)), tuple(names))


def _note_scores(picking: Picking, answered: Answered, files: int) -> None:
    """Differences of both scores with intervals, items, and items that would decide, of the files that answered."""
    request, counts = picking.request, flip_counts(answered.flips)
    low, high = difference_interval(*counts, request.confidence)
    by_probability = paired_means(answered.changes)
    ends = by_probability.interval(request.confidence)
    flips = {task: changes.astype(float) for task, changes in answered.flips.items()}
    primary = by_probability if request.primary == "probability" else paired_means(flips)
    total = int(counts[2].sum())
    needed = primary.items_to_decide(total, request.primary_margin, (1 - request.confidence) / files)
    net = ((counts[0] - counts[1]) / counts[2]).mean(axis=-1)
    for place, label in enumerate(answered.labels):
        picking.rows[label] |= {
            "accuracy": (net[place], low[place], high[place]),
            "probability": (by_probability.net[place], ends[0][place], ends[1][place]),
            "items": total,
            "items_needed": float(needed[place]),
        }


# --- answer -----------------------------------------------------------------------------------------------------------


def _answer(picking: Picking, files: Sequence[Candidate], fitting: Sequence[Candidate], reference: Candidate) -> Answer:
    request = picking.request
    return Answer(
        rows=tuple(_row(picking, file, fits=file in fitting) for file in files),
        reference=f"{reference.label} ({reference.kind})",
        margin=request.primary_margin,
        primary=request.primary,
        confidence=request.confidence,
        notes=tuple(picking.notes),
        seconds_an_item=picking.clock.seconds_an_item,
        made_by=made_by(
            rule=picking.run.rule.name, shares=picking.run.rule.shares, tasks=request.tasks, seed=request.seed
        ),
    )


def _row(picking: Picking, file: Candidate, *, fits: bool) -> Row:
    known, request = picking.rows.get(file.label, {}), picking.request
    note = known.get("note", "")
    if not fits:
        note = f"{file.memory(request.context) / 1e9:.3g} GB with {request.context} tokens of cache"
    return Row(
        label=file.label,
        kind=file.kind,
        size=file.size,
        bits=known.get("bits", file.bits),
        kld=_triple(known.get("kld")),
        top1=known.get("top1"),
        accuracy=_triple(known.get("accuracy")),
        probability=_triple(known.get("probability")),
        items=known.get("items", 0),
        decision=known.get("decision", LEFT_OUT),
        items_needed=known.get("items_needed"),
        note=note,
        speed=_speeds(known.get("speed")),
    )


def _speeds(values: Sequence[Sequence[float]] | None) -> Speeds | None:
    return None if values is None else tuple((int(prompt), *own) for prompt, *own in values)


def _triple(values: Sequence[float] | None) -> Interval | None:
    return None if values is None else (float(values[0]), float(values[1]), float(values[2]))
