"""What a program may use, and what came of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal

from qkld.errors import ParameterError

Status = Literal["passed", "failed", "timeout", "memory", "output", "killed"]


@dataclass(frozen=True)
class Limits:
    """What one program may use. All values are above 0.

    Parameters
    ----------
    wall_seconds : float
        From the program's start to its end; starting the sandbox is not counted.
    cpu_seconds : int
        Processor time of each process, so of the whole program at most ``processes`` times as much.
    memory_bytes : int
        Address space of each process, held by the kernel; resident memory of all processes together, held by a look
        every 20 ms. Between two looks a program can use up to ``processes`` × ``memory_bytes``, never more.
    processes : int
        Processes and threads of the program at one time, the first one included.
    file_bytes : int
        Size of a file, and of each of the two temporary file systems of the sandbox.
    output_bytes : int
        Standard output and standard error together.
    """

    wall_seconds: float = 10.0
    cpu_seconds: int = 10
    memory_bytes: int = 512 << 20
    processes: int = 8
    file_bytes: int = 16 << 20
    output_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            whole = field.name == "wall_seconds" or isinstance(value, int)
            if not (whole and math.isfinite(value) and value > 0):
                kind = "a number of seconds" if field.name == "wall_seconds" else "a whole number"
                raise ParameterError(
                    f"A program cannot be run with this {field.name}.",
                    expected=f"{kind} above 0",
                    found=value,
                    do="give a limit: without one, a program could run forever or fill the disk",
                )


@dataclass(frozen=True)
class Outcome:
    """What came of one program.

    Parameters
    ----------
    status : str
        ``passed``: it reached its last statement; ``failed``: it raised an exception or left before its end;
        ``timeout``, ``memory``, ``output``: it went over that limit; ``killed``: a signal ended it or its supervisor.
    error : str
        Type and text of the exception, or why it ended; empty where it passed.
    return_code : int or None
        Exit status of the program's process, −signal where one ended it; None where its supervisor is gone.
    stdout, stderr : str
        The last 4 KiB of each.
    seconds : float
        Wall time, the sandbox's start included.
    """

    status: Status
    error: str = ""
    return_code: int | None = None
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether the program ran to its last statement without an exception."""
        return self.status == "passed"
