"""Stores of any two kinds compared: bounds hold the package's own divergence, Eq. 5 stands beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from small_stores import VOCABULARY, WINDOWS, hidden_store, small_windows

from qkld.compare.stores import HiddenStates, compare_stores, floor_form, summarise_bounds, to_base_file, to_top_k
from qkld.divergence import token_divergence
from qkld.errors import StoreError
from qkld.sources.windows import Window


def compared(*arguments, **more) -> pd.DataFrame:
    """All windows' tables as one."""
    return pd.concat(compare_stores(*arguments, **more), ignore_index=True)


def exact_divergence(reference: HiddenStates, quant: HiddenStates) -> np.ndarray:
    """KL of every position by the package's walk."""
    parts = []
    for i, window in enumerate(reference.windows):
        targets = torch.tensor([window.tokens[p + 1] for p in window.positions])
        parts.append(token_divergence(reference.source(i), quant.source(i), targets).kl.numpy())
    return np.concatenate(parts)


def test_every_pair_of_stores_bounds_the_exact_divergence(tmp_path: Path) -> None:
    reference, quant = hidden_store(tmp_path / "r"), hidden_store(tmp_path / "q", shift=0.2)
    expected = exact_divergence(reference, quant)
    base = to_base_file(reference, tmp_path / "base.kld"), to_base_file(quant, tmp_path / "quant.kld", clamp=24.0)
    references = (reference, base[0], to_top_k(reference, tmp_path, 20), to_top_k(base[0], tmp_path, 20))
    quants = (quant, base[1], to_top_k(quant, tmp_path / "tops", 20))
    for one in references:
        for other in quants:
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
    assert (table["kl_high"] < 1e-9).all()


def test_top_k_stores_give_eq_5_beside_their_bounds(tmp_path: Path) -> None:
    stores = [to_top_k(hidden_store(tmp_path / str(s), shift=s), tmp_path / f"t{s}", 10) for s in (0.0, 0.5)]
    table = compared(*stores, floor=-16.0)
    forms = [floor_form(*(s.top_k(i) for s in stores), -16.0) for i in range(WINDOWS)]
    np.testing.assert_allclose(table["kl_floor"], np.concatenate([f.kl for f in forms]), rtol=1e-5)
    assert table["floored"].tolist() == np.concatenate([f.floored for f in forms]).tolist()
    assert table["floored"].sum() > 0


def test_eq_5_is_taken_from_stores_of_other_kinds_by_their_top_k(tmp_path: Path) -> None:
    exact = [hidden_store(tmp_path / str(s), shift=s) for s in (0.0, 0.5)]
    lists = [to_top_k(store, tmp_path / f"t{i}", 5) for i, store in enumerate(exact)]
    expected = compared(*lists, floor=-16.0)
    pd.testing.assert_frame_equal(
        compared(*exact, k=5, floor=-16.0)[["kl_floor", "floored"]], expected[["kl_floor", "floored"]]
    )
    base = to_base_file(exact[0], tmp_path / "base.kld")
    assert (compared(base, exact[1], k=5, floor=-16.0)["kl_floor"] - expected["kl_floor"]).abs().max() < 2e-3


def test_summary_is_the_mean_of_the_tables(tmp_path: Path) -> None:
    reference, quant = hidden_store(tmp_path / "r"), hidden_store(tmp_path / "q", shift=0.5)
    base = to_base_file(reference, tmp_path / "base.kld")
    table = compared(base, quant, k=5, floor=-16.0)
    found = summarise_bounds(compare_stores(base, quant, k=5, floor=-16.0))
    assert (found.tokens, found.nonfinite) == (5 * WINDOWS, 0)
    for name in ("kl_low", "kl_high", "kl_floor"):
        assert getattr(found, name) == pytest.approx(table[name].mean())
    assert found.floored_share == (table["floored"] > 0).mean()
    assert summarise_bounds(compare_stores(base, quant)).kl_floor is None


def test_positions_without_a_number_are_counted_and_left_out(tmp_path: Path) -> None:
    reference, quant = hidden_store(tmp_path / "r"), hidden_store(tmp_path / "q", shift=0.5)
    tables = list(compare_stores(reference, with_nan(quant, tmp_path), k=5, floor=-16.0))
    bad = pd.concat(tables)["kl_low"].isna()
    assert bad.sum() == 2
    assert pd.concat(tables)["kl_floor"].isna().tolist() == bad.tolist()
    found = summarise_bounds(tables)
    assert (found.tokens, found.nonfinite) == (5 * WINDOWS - 2, 2)
    with pytest.raises(StoreError, match="1 positions, none of them finite"):
        summarise_bounds([pd.concat(tables)[bad.to_numpy()].head(1)])


def with_nan(store: HiddenStates, folder: Path) -> HiddenStates:
    """The same store with two hidden states that are no numbers."""
    from qkld.reference.store import ReferenceStore, StoreWriter

    header, head = store.store.header, store.store.head
    with StoreWriter(folder / "nan", header, head) as writer:
        for i in range(WINDOWS):
            hidden = store.store.hidden(i).clone()
            hidden[1, 0] = torch.nan if i else 0.0
            writer.write(i, hidden)
        writer.seal()
    return HiddenStates(ReferenceStore.open(header.folder(folder / "nan")))


def test_stores_of_other_windows_do_not_compare(tmp_path: Path) -> None:
    store = hidden_store(tmp_path / "a")
    fewer = hidden_store(tmp_path / "b", small_windows()[:2])
    with pytest.raises(StoreError, match="different number of windows"):
        compared(store, fewer)
    other = Window("w2", small_windows()[0].tokens, small_windows()[2].positions, 2)
    with pytest.raises(StoreError, match="different window 2"):
        compared(store, hidden_store(tmp_path / "c", (*small_windows()[:2], other)))
    apart = tuple(Window(w.name, w.tokens, (0, 1), w.cluster) for w in small_windows())
    with pytest.raises(StoreError, match="no position in common"):
        compared(store, hidden_store(tmp_path / "d", apart))


def test_two_ks_are_an_error(tmp_path: Path) -> None:
    store = hidden_store(tmp_path)
    with pytest.raises(StoreError, match="k = 4"):
        compared(to_top_k(store, tmp_path, 3), to_top_k(store, tmp_path, 4))


@pytest.mark.parametrize("k", [None, 0, VOCABULARY + 1])
def test_a_floor_asks_for_a_k_that_both_know(tmp_path: Path, k: int | None) -> None:
    store = hidden_store(tmp_path)
    with pytest.raises(StoreError, match=f"a k from 1 to {VOCABULARY}"):
        compared(store, store, k=k, floor=-16.0)
    with pytest.raises(StoreError, match="a k from 1 to 3"):
        compared(store, to_top_k(store, tmp_path, 3), k=4, floor=-16.0)
