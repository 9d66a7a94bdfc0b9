"""Do something as a user without privileges, in a process of its own, where the tests run as root."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable
from typing import Any

USER = 65531  # nobody's account


def as_ordinary_user(act: Callable[[], Any]) -> Any:
    """What ``act`` returns, as JSON gives it back; its traceback as an error where it fails."""
    if os.getuid():
        return json.loads(json.dumps(act()))
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        _act_and_leave(act, write)
    os.close(write)
    with os.fdopen(read) as stream:
        answer = json.load(stream)
    os.waitpid(child, 0)
    assert "error" not in answer, answer["error"]
    return answer["value"]


def _act_and_leave(act: Callable[[], Any], write: int) -> None:
    """In the forked process: become the user, act, hand over, and leave without pytest's clean-up."""
    try:
        os.setgroups([])
        os.setresgid(USER, USER, USER)
        os.setresuid(USER, USER, USER)
        answer = {"value": act()}
    except BaseException:
        answer = {"error": traceback.format_exc()}
    with os.fdopen(write, "w") as stream:
        json.dump(answer, stream)
    os._exit(0)
