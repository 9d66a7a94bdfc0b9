"""From store to store: equal numbers, carried errors, and windows that do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_stores import CONTEXT, VOCABULARY, WINDOWS, hidden_store, small_windows

from qkld.compare.stores import BaseFile, TopKStore, open_store, to_base_file, to_top_k
from qkld.compare.stores.base_file import seal_of
from qkld.compare.stores.base_format import encode_rows
from qkld.errors import StoreError
from qkld.sources.windows import Window


def test_a_base_file_holds_the_rows_of_the_hidden_states(tmp_path: Path) -> None:
    store = hidden_store(tmp_path, small_windows(first=4))
    file = to_base_file(store, tmp_path / "base.kld")
    for i in range(WINDOWS):
        np.testing.assert_array_equal(file.words(i), encode_rows(store.source(i).tile(0, VOCABULARY)[2:].numpy()))
    assert [w.tokens for w in file.windows] == [w.tokens for w in store.windows]
    assert json.loads(seal_of(file.path).read_text())["made"]["key"] == store.store.header.key


def test_a_top_k_of_a_base_file_is_that_of_the_logits_within_half_a_step(tmp_path: Path) -> None:
    store = hidden_store(tmp_path)
    exact = to_top_k(store, tmp_path, 7)
    decoded = to_top_k(to_base_file(store, tmp_path / "base.kld"), tmp_path, 7)
    for i in range(WINDOWS):
        one, other = exact.top_k(i), decoded.top_k(i)
        apart = np.abs(one.log_probabilities - other.log_probabilities)
        assert apart[other.has_value].max() < 1.4e-4
        assert (one.ids == other.ids).mean() > 0.9  # two tokens within a step may change places


def test_stores_are_opened_by_name(tmp_path: Path) -> None:
    store = hidden_store(tmp_path)
    file, top = to_base_file(store, tmp_path / "base.kld"), to_top_k(store, tmp_path, 3)
    assert open_store(str(store.store.folder)).windows == store.windows
    assert isinstance(open_store(str(file.path)), BaseFile)
    assert isinstance(open_store(top.folder), TopKStore)
    for name, found in (("nowhere", "nothing there"), (".", "neither")):
        with pytest.raises(StoreError, match=found):
            open_store(tmp_path / name)


def test_a_killed_conversion_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = hidden_store(tmp_path)
    read = []
    rows = type(store).rows

    def counted(self, index):
        read.append(index)
        if len(read) == 2:
            raise KeyboardInterrupt
        return rows(self, index)

    monkeypatch.setattr(type(store), "rows", counted)
    with pytest.raises(KeyboardInterrupt):
        to_top_k(store, tmp_path, 3)
    with pytest.raises(StoreError, match="not finished"):
        open_store(next(tmp_path.glob("topk-*")))
    to_top_k(store, tmp_path, 3)
    assert read == [0, 1, 1, 2]


def windows_of(tokens: tuple[int, ...], first: int) -> Window:
    return Window("odd", tokens, tuple(range(first, len(tokens) - 1)), 9)


@pytest.mark.parametrize(
    ("window", "bos", "message"),
    [
        (windows_of(tuple(range(CONTEXT + 2)), 6), None, "windows of one length"),
        (windows_of(tuple(range(CONTEXT)), 7), None, "positions 6 to 10 of every window"),
        (windows_of(tuple(range(CONTEXT)), 6), 7, "windows that begin with token 7"),
    ],
)
def test_windows_that_a_base_file_can_not_hold_are_refused(
    tmp_path: Path, window: Window, bos: int | None, message: str
) -> None:
    store = hidden_store(tmp_path, (*small_windows()[:1], window))
    with pytest.raises(StoreError, match=message):
        to_base_file(store, tmp_path / "base.kld", bos=bos)
    assert not (tmp_path / "base.kld").exists()
