from dataclasses import replace

import pytest
import torch

from qkld.benchmarks.items import Item, distinct
from qkld.benchmarks.packing import hidden_states, layout_name, split_into_packs
from qkld.benchmarks.reference_items import items_header, open_benchmark, record_items, windows_of
from qkld.errors import BenchmarkError, StageError
from qkld.reference.recording import made_for
from qkld.reference.store import ReferenceStore
from qkld.study.params import BenchmarkScores, load_params
from qkld.study.sealing import write_sealed

ITEMS = [Item(str(i), tuple(range(i, 2 * i + 3)), ((i, 5), (6,), (7, 8, 9 + i))) for i in range(12)]
PACK = 60


def record(root, model, items=ITEMS):
    header = items_header("made_up", items, model, layout=f"packed-{PACK}")
    record_items(root, header, items, model, pack_tokens=PACK)
    return ReferenceStore.open(header.folder(root), expected_key=header.key)


def test_windows_are_prompt_and_choices_with_the_positions_that_predict(tiny):
    window = windows_of([Item("3", (1, 2), ((4, 5), (6,)))])[0]
    assert window.tokens == (1, 2, 4, 5, 6)
    assert window.positions == (0, 1, 2)
    assert window.name.startswith("3 ")


def test_the_store_gives_back_what_the_packs_gave(tiny, tmp_path):
    store = record(tmp_path, tiny.reference)
    packs = split_into_packs(ITEMS, pack_tokens=PACK, packing=True)
    assert len(packs) > 3
    expected = [states for pack in packs for states in hidden_states(tiny.reference, pack)]
    for number, states in enumerate(expected):
        assert torch.equal(store.hidden(number), states)


def test_a_killed_recording_goes_on_and_ends_with_the_same_bits(tiny, tmp_path):
    whole, broken = record(tmp_path / "whole", tiny.reference), record(tmp_path / "broken", tiny.reference)
    done = sorted((broken.folder / "done").iterdir())
    kept = {path: path.stat().st_mtime_ns for path in done[:5]}
    for path in [*done[5:], broken.folder / "manifest.json"]:
        path.unlink()
    again = record(tmp_path / "broken", tiny.reference)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert again.manifest["digests"] == whole.manifest["digests"]


def test_the_key_changes_with_the_layout(tiny):
    rows = replace(tiny.reference, supports_packing=False)
    asked = [
        (tiny.reference, BenchmarkScores(pack_tokens=64), ITEMS),
        (tiny.reference, BenchmarkScores(pack_tokens=66), ITEMS),
        (tiny.reference, BenchmarkScores(pack_tokens=64, item_kld="choices"), ITEMS),
        (rows, BenchmarkScores(pack_tokens=64), ITEMS),
        (tiny.reference, BenchmarkScores(pack_tokens=64), ITEMS[:-1]),
        (tiny.quant, BenchmarkScores(pack_tokens=64), ITEMS),
    ]
    headers = [items_header("made_up", items, model, layout=layout_name(model, knobs)) for model, knobs, items in asked]
    assert len({header.key for header in headers}) == len(headers)


@pytest.fixture
def recorded(tiny, tmp_path, monkeypatch):
    """A study whose seal names a store of `ITEMS`."""
    monkeypatch.setenv("QKLD_RUNS", str(tmp_path / "runs"))
    params = load_params("smoke")
    root = tmp_path / "runs" / "smoke" / "reference"
    store = record(root, tiny.reference)
    place = {"folder": store.folder.name, "key": store.header.key}
    part = {name: made_for(params)[name] for name in ("reference", "compute")}
    seal = {"made_for": part, "benchmarks": {"made_up": place}}
    write_sealed(tmp_path / "runs" / "smoke" / "seals" / "benchmarks.json", seal)
    return params


def test_a_recorded_benchmark_is_opened(recorded):
    store = open_benchmark(recorded, "made_up", f"packed-{PACK}", ITEMS)
    assert len(store.header.windows) == len(ITEMS)


@pytest.mark.parametrize(
    ("items", "first"),
    [
        ([*ITEMS[:4], Item("4", (*ITEMS[4].prompt, 1), ITEMS[4].choices), *ITEMS[5:]], "first at item 4"),
        (ITEMS[:-1], "first at item 11"),
        ([*ITEMS, Item("12", (1,), ((2,), (3,)))], "first at item 12"),
        ([ITEMS[1], ITEMS[0], *ITEMS[2:]], "first at item 0"),
    ],
)
def test_other_items_than_the_reference_s_are_refused(recorded, items, first):
    with pytest.raises(BenchmarkError, match=first):
        open_benchmark(recorded, "made_up", f"packed-{PACK}", distinct(items))


def test_another_layout_than_the_reference_s_is_refused(recorded):
    with pytest.raises(BenchmarkError, match=f"packed-{PACK}(.|\n)*rows-{PACK}"):
        open_benchmark(recorded, "made_up", f"rows-{PACK}", ITEMS)


def test_a_task_that_was_not_recorded_names_the_notebook(recorded):
    with pytest.raises(StageError, match=r"'sciq'(.|\n)*01_reference_logits"):
        open_benchmark(recorded, "sciq", f"packed-{PACK}", ITEMS)
