"""The plan of a study as text: a line a rule, bytes on disk, downloads, time in all, and what is not known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qkld.study.entries import GgufModel
from qkld.study.params import Study
from qkld.study.text_table import TextTable
from qkld.workflow.plan import Job, Shape, benchmark_costs, job_seconds, known_shape, plan_jobs

_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def in_bytes(value: float | None) -> str:
    """A size for people; decimal units."""
    if value is None:
        return "unknown"
    for size, unit in _UNITS:
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f} B"


def in_time(seconds: float | None) -> str:
    """A duration for people."""
    if seconds is None:
        return "unknown"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _count(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.0f}"


def _total(values: Iterable[float | None]) -> float | None:
    known = list(values)
    return None if any(v is None for v in known) else float(sum(v for v in known if v is not None))


def _largest(values: Iterable[float | None]) -> float | None:
    known = list(values)
    return None if any(v is None for v in known) else max(v for v in known if v is not None)


def rule_seconds(jobs: Sequence[Job], shape: Shape | None, flop_per_second: float | None, cores: int) -> float | None:
    """Time of a rule's jobs, ``cores`` of them side by side, each on one thread."""
    work = _total(job_seconds(job, shape, flop_per_second) for job in jobs)
    return None if work is None else work / min(cores, len(jobs))


def seconds_by_rule(
    jobs: Sequence[Job], shape: Shape | None, flop_per_second: float | None, cores: int
) -> dict[str, float | None]:
    """`rule_seconds` of every rule, in the order of the jobs; rules run one after the other."""
    rules = dict.fromkeys(job.rule for job in jobs)
    return {rule: rule_seconds([j for j in jobs if j.rule == rule], shape, flop_per_second, cores) for rule in rules}


def _rules_table(jobs: Sequence[Job], shape: Shape | None, speed: float | None, cores: int) -> TextTable:
    rows = []
    for rule in dict.fromkeys(job.rule for job in jobs):
        own = [job for job in jobs if job.rule == rule]
        rows.append(
            (
                rule,
                str(len(own)),
                _count(_largest(job.tokens for job in own)),
                in_bytes(_largest(job.memory_bytes for job in own)),
                in_time(_largest(job_seconds(job, shape, speed) for job in own)),
                in_time(rule_seconds(own, shape, speed, cores)),
            )
        )
    columns = ("rule", "jobs", "tokens a job", "memory a job", "longest job", "all its jobs")
    return TextTable("", "", columns, tuple(rows))


def downloads(study: Study) -> str:
    """Bytes of the GGUF files that the study names, and how many of them have no size in it."""
    files = [m for m in (study.reference, *study.quants) if isinstance(m, GgufModel) and m.asset is None and not m.made]
    if not files:
        return "none beyond the pinned assets"
    sizes = [f.size_bytes for f in files if f.size_bytes]
    unknown = len(files) - len(sizes)
    return in_bytes(sum(sizes)) + (f", and {unknown} of {len(files)} files of unknown size" if unknown else "")


def unknowns(study: Study, speed: float | None) -> list[str]:
    """What the estimate misses, and what to do about it."""
    lines = []
    if known_shape(study) is None:
        lines.append("the reference's size: add it to qkld.workflow.plan.KNOWN_SHAPES")
    if benchmark_costs(study) is None:
        lines.append(
            f"the benchmarks' lengths: their files are not here; `qkld fetch {study.study}` where qkld has them"
        )
    if speed is None:
        lines.append("the speed of this device: give --tokens-per-second, as measured for one window")
    unchecked = [m.label for m in (study.reference, *study.quants) if m.to_be_checked]
    if unchecked:
        lines.append(f"{len(unchecked)} entries hold facts that are still to be checked, such as {unchecked[0]}")
    return lines


def plan_text(study: Study, *, cores: int, flop_per_second: float | None) -> str:
    """The whole plan.

    Parameters
    ----------
    cores : int
        Jobs that run side by side, each on one thread; with a GPU, 1.
    flop_per_second : float or None
        Speed of one of them.
    """
    jobs, shape = plan_jobs(study), known_shape(study)
    by_rule = {rule: [j for j in jobs if j.rule == rule] for rule in dict.fromkeys(j.rule for j in jobs)}
    total = _total(seconds_by_rule(jobs, shape, flop_per_second, cores).values())
    stores = _total(j.written_bytes for rule in ("reference_corpora", "reference_benchmarks") for j in by_rule[rule])
    peak = _total(sorted((j.memory_bytes for j in jobs if j.memory_bytes), reverse=True)[:cores]) if shape else None
    facts = [
        ("jobs", str(len(jobs))),
        ("reference stores", in_bytes(stores)),
        ("token tables", in_bytes(_total(j.written_bytes for j in by_rule["quant_kld"]))),
        ("files to download", downloads(study)),
        (f"peak memory, {cores} jobs at once", in_bytes(peak)),
        (f"time on {cores} cores", in_time(total)),
    ]
    width = max(len(name) for name, _ in facts)
    lines = [
        f"Plan of study '{study.study}'",
        study.description,
        "",
        *_rules_table(jobs, shape, flop_per_second, cores).lines(),
        "",
    ]
    lines += [f"{name.ljust(width)}  {value}" for name, value in facts]
    missing = unknowns(study, flop_per_second)
    return "\n".join([*lines, *_listed("Not known", missing), *_listed("Notes of the study", study.notes)])


def _listed(title: str, entries: Sequence[str]) -> list[str]:
    return ["", f"{title}:", *(f"  - {entry}" for entry in entries)] if entries else []
