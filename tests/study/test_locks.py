"""One holder at a time: who waits, who is told of whom, and what is left behind."""

import os
import socket
import threading
from pathlib import Path

import pytest

from qkld.errors import QkldError
from qkld.study.locks import locked


def test_who_can_not_wait_is_told_who_holds_it(tmp_path: Path) -> None:
    lock = tmp_path / "store" / ".lock"
    holder = f"(?s){tmp_path / 'store'} is in use.*process {os.getpid()} on {socket.gethostname()}"
    with locked(lock), pytest.raises(QkldError, match=holder), locked(lock, patience=0.0):
        pass
    with locked(lock, patience=0.0):
        assert lock.exists()


def test_what_fails_inside_frees_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inside"), locked(tmp_path / ".lock"):
        raise ValueError("inside")
    with locked(tmp_path / ".lock", patience=0.0):
        pass


def test_many_threads_hold_it_one_after_the_other(tmp_path: Path) -> None:
    inside, most = [], []

    def take() -> None:
        with locked(tmp_path / ".lock"):
            inside.append(1)
            most.append(len(inside))
            inside.pop()

    threads = [threading.Thread(target=take) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert most == [1] * 8


def test_a_lock_whose_file_is_removed_meanwhile_is_taken_on_a_new_one(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with locked(lock):
        lock.unlink()
        with locked(lock, patience=0.0):
            assert lock.exists()
