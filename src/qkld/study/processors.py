"""The processor that made a result. Its rounding is its own, so the builds of one recipe are made on one kind."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")

CHOSEN_BY = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve")
"""Flags by which libraries of matrix products choose their code, and with it the order of sums."""


def cpu_facts(cpuinfo: Path = CPUINFO) -> Mapping[str, str]:
    """What the system says of the first processor; nothing where it cannot be read."""
    try:
        first = cpuinfo.read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def processor_in(cpuinfo: Path) -> dict[str, str]:
    """Kind and name of a processor. Two of one kind round alike: its maker, and the flags of `CHOSEN_BY`."""
    facts = cpu_facts(cpuinfo)
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    maker = facts.get("vendor_id") or facts.get("CPU implementer") or platform.machine()
    kind = " ".join([maker, *(flag for flag in CHOSEN_BY if flag in flags)])
    return {"kind": kind, "name": facts.get("model name") or platform.processor() or platform.machine()}


@cache
def processor() -> Mapping[str, str]:
    """This machine's, as `processor_in`; read once a process."""
    return processor_in(CPUINFO)
