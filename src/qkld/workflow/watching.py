"""What a running study looks like from outside: one line a running job, one for the study, and who failed and why.

Jobs say it themselves in small files (`qkld.study.progress`); how many there are stands in Snakemake's log.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qkld.study.progress import FAILED, RUNNING, STEP, Step

PERIOD = 60.0
"""Seconds between two reports where the output is no terminal."""

_STEPS = re.compile(r"^(\d+) of (\d+) steps", re.MULTILINE)
_TOTAL = re.compile(r"^total\s+(\d+)\s*$", re.MULTILINE)


@dataclass
class Watch:
    """A run that is under way.

    Attributes
    ----------
    study : str
    folder : Path
        Of the jobs' progress files.
    log : Path
        Snakemake's output of this run.
    """

    study: str
    folder: Path
    log: Path
    started: float = field(default_factory=time.monotonic)

    def jobs(self) -> list[str]:
        """Names of the jobs that run, in order."""
        return sorted(path.stem for path in self.folder.glob(f"*{RUNNING}"))

    def failures(self) -> dict[str, str]:
        """Job → why it failed, once nothing of the run is left: one that never said so was killed."""
        told = {path.stem: path.read_text(errors="replace") for path in sorted(self.folder.glob(f"*{FAILED}"))}
        killed = {name: "it was killed; see whether memory ran out" for name in self.jobs() if name not in told}
        return told | killed

    def ended_line(self) -> str:
        """What is said of a run that ended well."""
        what = self.done() or "nothing was left to do"
        return f"{self.study}: {what}, {clock(time.monotonic() - self.started)}; its tables lie in {self.log.parent}"

    def lines(self) -> list[str]:
        """The study's line, then one a running job."""
        jobs = self.jobs()
        failed = len(list(self.folder.glob(f"*{FAILED}")))
        state = [self.done(), f"{len(jobs)} running", *([f"{failed} failed"] if failed else [])]
        whole = f"{self.study}: {', '.join(s for s in state if s)}, {clock(time.monotonic() - self.started)}"
        width = max(map(len, jobs), default=0)
        return [whole, *(f"  {name:<{width}}  {self._line(name)}" for name in jobs)]

    def done(self) -> str:
        """How many of how many jobs have ended, once Snakemake has counted them."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        if found := _STEPS.findall(text):
            return f"{found[-1][0]} of {found[-1][1]} jobs done"
        return f"0 of {total[-1]} jobs done" if (total := _TOTAL.findall(text)) else ""

    def _line(self, name: str) -> str:
        step = _read(self.folder / f"{name}{STEP}")
        if step is not None:
            return step_line(Step(**step))
        started = _read(self.folder / f"{name}{RUNNING}")
        return f"opens its model and tables, {clock(time.time() - started['started'])}" if started else "starts"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):  # it ended meanwhile
        return None


def step_line(step: Step) -> str:
    """What a job does, the share done, tokens (else units) a second, and the time that the rest will take."""
    share = step.done / step.total if step.total else 1.0
    line = f"{step.what}  {share:4.0%}  {step.done} of {step.total} {step.unit}s"
    if not step.done or not step.seconds:
        return line
    rate = f"{step.tokens / step.seconds:,.0f} tokens/s" if step.tokens else f"{step.done / step.seconds:.2g}/s"
    return f"{line}  {rate}  {clock(step.seconds / step.done * (step.total - step.done))} left"


def clock(seconds: float) -> str:
    """``m:ss``, or ``h:mm:ss`` from an hour on."""
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


@contextmanager
def shown(watch: Watch) -> Iterator[Callable[[], None]]:
    """What to call now and then while this lasts: lines that renew themselves on a terminal, else a report a minute."""
    if not sys.stdout.isatty():
        yield _Reports(watch).look
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    def text() -> Text:
        return Text("\n".join(watch.lines()), no_wrap=True, overflow="ellipsis")

    with Live(console=Console(), auto_refresh=False, transient=True) as live:
        yield lambda: live.update(text(), refresh=True)


class _Reports:
    """Plain lines: of each job as it starts, and of all every `PERIOD` seconds."""

    def __init__(self, watch: Watch) -> None:
        self._watch, self._seen = watch, set()
        self._reported = time.monotonic()

    def look(self) -> None:
        fresh = [name for name in self._watch.jobs() if name not in self._seen]
        self._seen |= set(fresh)
        if fresh or time.monotonic() - self._reported >= PERIOD:
            self._reported = time.monotonic()
            print("\n".join(self._watch.lines()), flush=True)


def failed_lines(watch: Watch, status: int, known: Mapping[str, str] | None = None) -> list[str]:
    """What is said of a run that did not end well: each failed job with its cause, and how to go on.

    ``known`` causes, of a cluster that ended a job from outside, go before what the job itself could say.
    """
    failures = {**watch.failures(), **(known or {})}
    go_on = f"Mend the cause and give the same command again: what is finished is kept. The whole log: {watch.log}"
    if not failures:
        last = watch.log.read_text(errors="replace").splitlines()[-20:] if watch.log.exists() else []
        return [*last, f"qkld: the workflow of '{watch.study}' stopped with status {status}. {go_on}"]
    one = "1 job" if len(failures) == 1 else f"{len(failures)} jobs"
    head = f"qkld: {one} of '{watch.study}' failed, and what needs their results was not run ({watch.done()}):"
    return [head, *(f"  {name}: {cause}" for name, cause in failures.items()), go_on]
