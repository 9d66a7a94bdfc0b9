"""A filter of system calls, as the kernel's classic BPF program: these fail with "not permitted", all others pass.

Limits on address space, files and processes bound a program's memory but for objects that live in the kernel without
them: System V and POSIX queues and shared memory, files in memory, rings. Those are refused, and with them what traces
or reaches into processes, mounts, opens namespaces, loads programs into the kernel, or keeps keys.
"""

from __future__ import annotations

import platform
import struct

AUDIT_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
NUMBERS = {
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
}
"""Refused calls, their numbers on x86_64 and aarch64 (the kernel's ``syscall_64.tbl``, ``asm-generic/unistd.h``)."""

LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
KILL, REFUSE, ALLOW = 0x8000_0000, 0x0005_0001, 0x7FFF_0000
X32 = 0x4000_0000
"""Numbers from here on are x86_64's second set of calls, which would pass the filter by."""

Step = tuple[int, int, int, int]


def filter_program(machine: str | None = None) -> bytes | None:
    """The filter for this processor as ``struct sock_filter`` records; None for one that it is not written for."""
    machine = machine or platform.machine()
    if machine not in AUDIT_ARCHITECTURE:
        return None
    column = list(AUDIT_ARCHITECTURE).index(machine)
    steps: list[Step] = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, AUDIT_ARCHITECTURE[machine]), (RETURN, 0, 0, KILL)]
    steps += [(LOAD, 0, 0, 0), (AT_LEAST, 0, 1, X32), (RETURN, 0, 0, KILL)]
    for numbers in NUMBERS.values():
        steps += [(EQUAL, 0, 1, numbers[column]), (RETURN, 0, 0, REFUSE)]
    steps.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
