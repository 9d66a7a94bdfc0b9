"""Programs that mean harm, and what each may come to."""

from __future__ import annotations

from dataclasses import dataclass, replace

from qkld.benchmarks.judging.sandbox import Limits

LIMITS = Limits(wall_seconds=90.0, cpu_seconds=1, memory_bytes=160 << 20, processes=4, file_bytes=1 << 20)
LIMITS = replace(LIMITS, output_bytes=1 << 16)
"""For programs that end at another limit than time, on a loaded machine too."""

SHORT = replace(LIMITS, wall_seconds=1.0)

NAME = "qkld-bomb"
"""Name that the fork bomb's processes give themselves, so that a test finds those that outlive it."""


@dataclass(frozen=True)
class Hostile:
    """A program and what it ends as."""

    source: str
    status: str
    error: str = ""
    limits: Limits = LIMITS


def hostile_programs(*, secret: str, port: int, outside: str) -> dict[str, Hostile]:
    """Every program, aimed at a file that all may read, a listening port, and a path that all may write."""
    return {
        "fork bomb": Hostile(
            f"import ctypes, os\nctypes.CDLL(None).prctl(15, b'{NAME}')\n"
            "while True:\n try:\n  os.fork()\n except OSError:\n  pass",
            "timeout",
            limits=SHORT,
        ),
        "fork bomb that leaves its session": Hostile(
            "import os, time\n"
            "try:\n for _ in range(9):\n  if os.fork() == 0:\n   os.setsid()\n   time.sleep(3)\n   os._exit(0)\n"
            "except BlockingIOError:\n raise RuntimeError('no more')",
            "failed",
            error="RuntimeError: no more",
        ),
        "endless loop": Hostile("while True: pass", "timeout"),
        "endless sleep": Hostile("import time\ntime.sleep(3600)", "timeout", error="out of time", limits=SHORT),
        "10 GB of memory": Hostile("x = bytearray(10 << 30)", "memory"),
        "memory in small pieces": Hostile("x = []\nwhile True: x.append(bytearray(1 << 20))", "memory"),
        "memory in several processes": Hostile(
            "import os, time\nfor _ in range(3):\n if os.fork() == 0:\n  break\nx = b'x' * (70 << 20)\ntime.sleep(60)",
            "memory",
        ),
        "reading a file": Hostile(f"assert open({secret!r}).read() == 'secret'", "failed", error="FileNotFoundError"),
        "opening a socket": Hostile(
            f"import socket\nsocket.create_connection(('127.0.0.1', {port}), timeout=2)",
            "failed",
            error="ConnectionRefusedError",
        ),
        "killing the parent": Hostile("import os, time\nos.kill(os.getppid(), 9)\ntime.sleep(9)", "killed"),
        "stopping the parent": Hostile(
            "import os, time\nos.kill(os.getppid(), 19)\ntime.sleep(9)", "timeout", error="supervisor", limits=SHORT
        ),
        "killing itself": Hostile("import os\nos.kill(os.getpid(), 9)", "killed", error="signal 9"),
        "writing outside": Hostile(f"open({outside!r}, 'w').write('here')", "failed", error="FileNotFoundError"),
        "filling the disk": Hostile(
            "f = open('big', 'wb')\nwhile True: f.write(bytes(1 << 16))", "failed", error="OSError"
        ),
        "1 GB of print": Hostile("for _ in range(1024): print('x' * (1 << 20))", "output"),
        "printing a verdict": Hostile(
            'import os\nprint(\'{"status": "passed"}\')\nos.write(2, b\'{"status": "passed"}\')\nos._exit(0)',
            "failed",
            error="before its end",
        ),
        "leaving with success": Hostile("raise SystemExit(0)", "failed", error="SystemExit"),
        "writing a verdict everywhere": Hostile(
            "import os\n"
            "for fd in range(3, 64):\n"
            " try:\n"
            '  os.write(fd, b\'{"ticket": "", "status": "passed", "error": ""}\')\n'
            " except OSError:\n"
            "  pass\n"
            "os._exit(0)",
            "failed",
            error="before its end",
        ),
        "speaking the supervisor's own words": Hostile(
            "import json, os\n"
            "last_words = {'ticket': os.read(5, 64).decode(), 'status': 'passed', 'error': ''}\n"
            "os.write(4, json.dumps(last_words).encode())\n"
            "os._exit(0)",
            "failed",
            error="claims an end",
        ),
        "stopping the run in the supervisor's own words": Hostile(
            "import json, os\n"
            "last_words = {'ticket': os.read(5, 64).decode(), 'status': 'unlimited', 'error': [1]}\n"
            "os.write(4, json.dumps(last_words).encode())\n"
            "os._exit(0)",
            "failed",
            error="before its end",
        ),
        "last words without end": Hostile("import os\nos.write(4, b'[' * 60000)\nos._exit(0)", "failed"),
        "an unknown signal": Hostile("import os\nos.kill(os.getpid(), 40)", "killed", error="signal 40"),
        "an exception that lies": Hostile(
            "class Lie(BaseException):\n def __str__(self): raise SystemExit(0)\nraise Lie", "failed", error="Lie"
        ),
    }
