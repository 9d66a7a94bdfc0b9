"""From store to store: equal numbers, carried errors, and windows that do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from small_stores import CONTEXT, VOCABULARY, WINDOWS, hidden_store, small_windows

from qkld.divergence import token_divergence
from qkld.errors import StoreError
from qkld.stores import BaseFile, TopKStore, compare_stores, open_store, to_base_file, to_top_k
from qkld.stores.base_file import seal_of
from qkld.stores.base_format import encode_rows
from qkld.windows import Window


def compared(*arguments, **more) -> pd.DataFrame:
    return pd.concat(compare_stores(*arguments, **more), ignore_index=True)


def exact_divergence(reference, quant) -> np.ndarray:
    """KL of every position by the package's walk."""
    parts = []
    for i, window in enumerate(reference.windows):
        targets = torch.tensor([window.tokens[p + 1] for p in window.positions])
        parts.append(token_divergence(reference.source(i), quant.source(i), targets).kl.numpy())
    return np.concatenate(parts)


def test_a_base_file_holds_the_rows_of_the_hidden_states(tmp_path: Path) -> None:
    store = hidden_store(tmp_path, small_windows(first=4))
    file = to_base_file(store, tmp_path / "base.kld")
    for i in range(WINDOWS):
        np.testing.assert_array_equal(file.words(i), encode_rows(store.source(i).tile(0, VOCABULARY)[2:].numpy()))
    assert [w.tokens for w in file.windows] == [w.tokens for w in store.windows]
    assert json.loads(seal_of(file.path).read_text())["made"]["key"] == store.store.header.key


def test_every_pair_of_stores_bounds_the_exact_divergence(tmp_path: Path) -> None:
    reference, quant = hidden_store(tmp_path / "r"), hidden_store(tmp_path / "q", shift=0.2)
    expected = exact_divergence(reference, quant)
    base = to_base_file(reference, tmp_path / "base.kld"), to_base_file(quant, tmp_path / "quant.kld", clamp=24.0)
    kinds = [
        (reference, base[0], to_top_k(reference, tmp_path, 20), to_top_k(base[0], tmp_path, 20)),
        (quant, base[1], to_top_k(quant, tmp_path / "tops", 20)),
    ]
    for one in kinds[0]:
        for other in kinds[1]:
            table = compared(one, other)
            assert (table["kl_low"] <= expected + 1e-12).all()
            assert (expected <= table["kl_high"] + 1e-12).all()
    exact = compared(reference, quant)
    np.testing.assert_allclose(exact["kl_low"], expected, rtol=1e-6)
    np.testing.assert_allclose(exact["kl_high"], expected, rtol=1e-6)


def test_the_table_says_where_each_row_stands(tmp_path: Path) -> None:
    store = hidden_store(tmp_path)
    table = compared(store, to_base_file(store, tmp_path / "base.kld"))
    assert table["position"].tolist() == [7, 8, 9, 10, 11] * WINDOWS
    assert table["token"].tolist() == [w.tokens[p] for w in store.windows for p in range(7, 12)]
    assert table["window"].tolist() == table["cluster"].tolist() == [i for i in range(WINDOWS) for _ in range(5)]


def test_two_stores_are_compared_on_the_positions_they_share(tmp_path: Path) -> None:
    wide = hidden_store(tmp_path / "wide", small_windows(first=2))
    narrow = hidden_store(tmp_path / "narrow", small_windows(first=6))
    table = compared(wide, narrow)
    assert len(table) == 5 * WINDOWS
    assert (table["kl_high"] == 0).all()


def test_top_k_stores_give_eq_5_beside_their_bounds(tmp_path: Path) -> None:
    stores = [to_top_k(hidden_store(tmp_path / str(s), shift=s), tmp_path / f"t{s}", 10) for s in (0.0, 0.5)]
    table = compared(*stores, floor=-16.0)
    assert {"kl_floor", "floored"} <= set(table.columns)
    assert table["floored"].between(0, 10).all()
    assert table["floored"].sum() > 0


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


def test_stores_of_other_windows_do_not_compare(tmp_path: Path) -> None:
    store = hidden_store(tmp_path / "a")
    fewer = hidden_store(tmp_path / "b", small_windows()[:2])
    with pytest.raises(StoreError, match="another number of windows"):
        compared(store, fewer)
    other = Window("w2", small_windows()[0].tokens, small_windows()[2].positions, 2)
    with pytest.raises(StoreError, match="another tokens of window 2"):
        compared(store, hidden_store(tmp_path / "c", (*small_windows()[:2], other)))
    apart = tuple(Window(w.name, w.tokens, (0, 1), w.cluster) for w in small_windows())
    with pytest.raises(StoreError, match="share no position"):
        compared(store, hidden_store(tmp_path / "d", apart))


def test_two_ks_and_a_floor_without_lists_are_errors(tmp_path: Path) -> None:
    store = hidden_store(tmp_path)
    with pytest.raises(StoreError, match="k = 4"):
        compared(to_top_k(store, tmp_path, 3), to_top_k(store, tmp_path, 4))
    with pytest.raises(StoreError, match="two top-k stores"):
        compared(store, store, floor=-16.0)
