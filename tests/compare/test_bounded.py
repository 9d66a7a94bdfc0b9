"""``qkld compare`` against base files and top-k stores: the truth lies within the bounds, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import COMPUTE, make_module, save, stored

from qkld.compare.live import LiveModel, live_model
from qkld.compare.stores import BaseFile, compare_stores, open_store, summarise_bounds, to_top_k, write_base_file
from qkld.compare.stores.base_file import base_positions
from qkld.divergence import FullLogits, token_divergence
from qkld.errors import CorpusError
from qkld.models import OpenedModel, open_model
from qkld.workflow import cli

CONTEXT, WINDOWS = 24, 3
HOW = ("--device", "cpu", "--dtype", "float32", "--bootstrap", "100")


def opened(folder: Path) -> OpenedModel:
    entry = stored(folder)
    return open_model(entry, reference=entry, compute=COMPUTE)


def logits_of(model: OpenedModel, tokens: np.ndarray) -> torch.Tensor:
    """Logits of a base file's positions, shape (windows, rows, vocabulary)."""
    with torch.inference_mode():
        hidden = model.hidden(torch.from_numpy(tokens))[:, list(base_positions(CONTEXT))]
        return torch.stack([model.head.logits(states) for states in hidden])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A random model whose distributions span more than 16 nats, and two with their weights moved a little and more."""
    made = []
    for name, share in (("plain", 0.0), ("near", 0.02), ("far", 0.2)):
        module, rng = make_module(), torch.Generator().manual_seed(1)
        with torch.no_grad():
            module.lm_head.weight *= 40
            for weight in module.parameters():
                weight += share * weight.std() * torch.randn(weight.shape, generator=rng)
        made.append(save(tmp_path_factory.mktemp(name), module))
    return made


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    return np.random.default_rng(4).integers(2, 290, (WINDOWS, CONTEXT))


@pytest.fixture(scope="module")
def base(folders: list[Path], tokens: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> BaseFile:
    """The first model's base file, most rows of which are clamped."""
    model = opened(folders[0])
    path = tmp_path_factory.mktemp("base") / "base.kld"
    return write_base_file(path, tokens, logits_of(model, tokens).numpy(), model.head.vocabulary)


@pytest.fixture(scope="module")
def truth(folders: list[Path], tokens: np.ndarray) -> dict[str, float]:
    """Label → mean KLD from full logits."""
    reference, *quants = (logits_of(opened(folder), tokens).flatten(0, 1) for folder in folders)
    targets = torch.from_numpy(tokens[:, CONTEXT // 2 + 1 :].reshape(-1))
    return {
        folder.name: float(token_divergence(FullLogits(reference), FullLogits(logits), targets).kl.mean())
        for folder, logits in zip(folders[1:], quants, strict=True)
    }


def compared(tmp_path: Path, *arguments: str) -> dict:
    output = tmp_path / "figures.json"
    assert cli.main(["compare", *arguments, *HOW, "--json", str(output)]) == 0
    return json.loads(output.read_text())


def figures(values: dict, label: str) -> dict[str, dict]:
    return {row["metric"]: row for row in values["bounds"] if row["quant"] == label}


def test_the_truth_lies_within_a_base_files_bounds(own_place, tmp_path, folders, base, truth, capsys) -> None:
    near, far = (str(folder) for folder in folders[1:])
    values = compared(tmp_path, "--reference", str(base.path), "--quant", far, "--quant", near)
    assert base.clamp() == 16.0
    for folder in folders[1:]:
        found = figures(values, folder.name)
        assert found["kl_low"]["estimate"] <= truth[folder.name] <= found["kl_high"]["estimate"] < np.inf
        assert found["kl_low"]["low"] < found["kl_low"]["estimate"] < found["kl_low"]["high"]
        assert 0 <= found["floored_share"]["estimate"] <= 1
        assert found["kl_low"]["tokens"] == WINDOWS * (CONTEXT - CONTEXT // 2 - 1)
    (pair,) = values["paired"]
    labels = [folder.name for folder in folders[1:]]
    assert [pair["label_a"], pair["label_b"]] == labels
    assert pair["difference_low"] <= truth[labels[1]] - truth[labels[0]] <= pair["difference_high"]
    assert pair["low"] < pair["difference_low"] < pair["difference_high"] < pair["high"]
    shown = capsys.readouterr().out
    assert "at least" in shown
    assert "over both sides' 64 top tokens" in shown
    assert "base file base.kld" in shown
    assert not list(own_place.folder.glob("runs/*"))


def test_the_truth_lies_within_a_top_k_stores_bounds(own_place, tmp_path, folders, base, truth) -> None:
    store = to_top_k(open_store(base.path), tmp_path / "stores", k=20)
    values = compared(tmp_path, "--reference", str(store.folder), "--quant", str(folders[1]))
    found = figures(values, folders[1].name)
    assert found["kl_low"]["estimate"] <= truth[folders[1].name] <= found["kl_high"]["estimate"] < np.inf
    assert values["made_by"]["floor_form"] == {"k": 20, "log_probability": -16.0}
    assert values["paired"] is None
    few = compared(tmp_path, "--reference", str(base.path), "--quant", str(folders[2]), "--windows", "2",
                   "--floor-k", "5", "--floor-log-p", "-9")  # fmt: skip
    assert figures(few, folders[2].name)["kl_low"]["clusters"] == few["made_by"]["windows"] == 2
    assert few["made_by"]["floor_form"] == {"k": 5, "log_probability": -9.0}


@pytest.mark.parametrize("option", [("--context", "24"), ("--second-walk",), ("--breakdown",)])
def test_what_needs_exact_logits_is_refused(own_place, option, folders, base, capsys) -> None:
    arguments = ["compare", "--reference", str(base.path), "--quant", str(folders[1]), *HOW, *option]
    assert cli.main(arguments) == 2
    assert f"{option[0]} cannot be given with a base file or a top-k store" in capsys.readouterr().err


def test_another_vocabulary_a_foreign_file_and_too_long_windows_are_refused(
    own_place, tmp_path, folders, tokens, capsys
) -> None:
    logits = np.zeros((WINDOWS, len(base_positions(CONTEXT)), 330), dtype=np.float32)
    write_base_file(tmp_path / "other.kld", tokens, logits, 330)
    (tmp_path / "text.kld").write_text("not a base file")
    for name, message in (("other.kld", "different vocabulary"), ("text.kld", "is not a base file")):
        arguments = ["compare", "--reference", str(tmp_path / name), "--quant", str(folders[1]), *HOW]
        assert cli.main(arguments) == 2
        assert message in capsys.readouterr().err
    long = np.zeros((1, 160), dtype=np.int64)
    rows = len(base_positions(160))
    made = write_base_file(tmp_path / "long.kld", long, np.zeros((1, rows, 300), dtype=np.float32), 300)
    with pytest.raises(CorpusError, match="longer than the context"):
        live_model(opened(folders[1]), made, as_llama=True)


def test_a_window_begins_with_bos_where_llama_puts_one(folders, base, tokens) -> None:
    model = opened(folders[1])
    begun = tokens.copy()
    begun[:, 0] = 0
    live = LiveModel(model, model.head, base.windows, begin=(0,))
    found = live.rows(1).source.tile(0, model.head.vocabulary)
    assert torch.equal(found, logits_of(model, begun)[1])
    assert live_model(model, base, as_llama=True).begin == ()  # this tokenizer asks for none


def test_padding_rows_are_tokens_where_the_store_counts_them(tmp_path, folders, tokens) -> None:
    model = opened(folders[0])
    with torch.inference_mode():
        logits = model.module(torch.from_numpy(tokens)).logits[:, list(base_positions(CONTEXT))]
    assert logits.shape[2] == 320 == model.vocabulary + model.padded_rows
    padded = write_base_file(tmp_path / "padded.kld", tokens, logits.numpy(), 320)
    live = live_model(model, padded, as_llama=True)
    torch.testing.assert_close(live.rows(0).source.tile(0, 320), logits[0])
    summary = summarise_bounds(compare_stores(padded, live))
    assert summary.kl_low < 1e-4  # the model against its own file: half a code step
    assert summary.kl_high < 1e-2
