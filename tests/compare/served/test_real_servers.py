"""Bounds from real server processes hold the truth from full logits; a server that dies is gone on from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from real_servers import llama_cpp_python, llama_server, running
from tiny_models import COMPUTE, FACTS

from qkld.compare.served import open_asker, record_served, sendable, served_header, served_model
from qkld.divergence import FullLogits, token_divergence
from qkld.errors import ServerError
from qkld.models import OpenedModel, open_model
from qkld.sources.windows import Window
from qkld.study.entries import GgufModel
from qkld.workflow import cli

pytestmark = pytest.mark.model

CONTEXT, WINDOWS = 24, 3
TEXT = "The quick brown fox, 12345 times. def f(x): return x + 1\n" * 12
HOW = ("--device", "cpu", "--dtype", "float32", "--bootstrap", "100", "--no-floor")
SIZE = ("--windows", str(WINDOWS), "--context", str(CONTEXT))


CACHE = 0.02
"""What these servers' float16 cache of keys and values adds to a log-probability at most, nats."""


def opened(path: Path) -> OpenedModel:
    place = {"path": str(path.parent), "file": path.name, "to_be_checked": ("sha256",)}
    entry = GgufModel(label=path.stem, family="tiny", **place, **FACTS)
    return open_model(entry, reference=entry, compute=COMPUTE)


@pytest.fixture(scope="session")
def models(files: Path, tmp_path_factory: pytest.TempPathFactory) -> list[OpenedModel]:
    """Reference and served model, opened in torch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QKLD_DATA", str(tmp_path_factory.mktemp("data")))
        return [opened(files / f"{name}.gguf") for name in ("reference", "served")]


@pytest.fixture(scope="session")
def windows(models: list[OpenedModel]) -> list[Window]:
    ids = models[0].tokenizer(TEXT)["input_ids"]
    cut = [tuple(ids[i * CONTEXT : (i + 1) * CONTEXT]) for i in range(WINDOWS)]
    return [Window(f"w{i}", tokens, tuple(range(11, CONTEXT - 1)), i) for i, tokens in enumerate(cut)]


@pytest.fixture(scope="session")
def log_probabilities(models: list[OpenedModel], windows: list[Window]) -> list[torch.Tensor]:
    """Of both models, shape (windows, positions, vocabulary), float64."""
    tokens = torch.tensor([w.tokens for w in windows])
    with torch.inference_mode():
        states = [m.hidden(tokens)[:, list(windows[0].positions)] for m in models]
        logits = [m.head.logits(s.flatten(0, 1)) for m, s in zip(models, states, strict=True)]
    return [x.double().log_softmax(-1).reshape(WINDOWS, -1, x.shape[-1]) for x in logits]


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A text of a few windows; answers of servers go to this test's folder."""
    monkeypatch.setenv("QKLD_DATA", str(tmp_path / "data"))
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path / "text.txt"


@pytest.mark.parametrize("name", ["llama", "python"])
def test_a_server_lists_the_log_probabilities_of_what_follows(request, name, models, windows, log_probabilities):
    model = served_model(request.getfixturevalue(name) + ",top_k=40")
    vocabulary = models[0].head.vocabulary
    with open_asker(model, models[0].tokenizer, vocabulary) as asker:
        assert asker.facts["api"] == {"llama": "llama-server", "python": "openai"}[name]
        for index in sendable(asker, windows):
            listed = asker.lists(windows[index].tokens, windows[index].positions)
            truth = log_probabilities[1][index]
            assert len(listed) == len(truth)
            assert sum(len(own.values) for own in listed) > 100
            gaps = [float(v - row[t]) for own, row in zip(listed, truth, strict=True) for t, v in own.values.items()]
            assert max(map(abs, gaps)) < CACHE


def compared(tmp_path: Path, files: Path, text: Path, *quants: str) -> dict:
    output = tmp_path / "figures.json"
    given = [part for quant in quants for part in ("--quant", quant)]
    arguments = ("--reference", str(files / "reference.gguf"), *given, "--text", str(text), "--json", str(output))
    assert cli.main(["compare", *arguments, *HOW, *SIZE]) == 0
    return json.loads(output.read_text())


def bound(values: dict, label: str, metric: str) -> float:
    return next(float(r["estimate"]) for r in values["bounds"] if (r["quant"], r["metric"]) == (label, metric))


def test_compare_gives_bounds_that_hold_the_truth(files, llama, log_probabilities, text, tmp_path, capsys):
    reference, quant = (x.flatten(0, 1) for x in log_probabilities)
    targets = torch.zeros(len(reference), dtype=torch.long)
    truth = float(token_divergence(FullLogits(reference), FullLogits(quant), targets).kl.mean())
    values = compared(tmp_path, files, text, f"{llama},top_k=20", f"{llama},top_k=301")
    some, whole = (label for label in values["made_by"]["served"])
    assert 0 < bound(values, some, "kl_low") < truth < bound(values, some, "kl_high") == np.inf
    assert bound(values, whole, "kl_low") == pytest.approx(truth, abs=CACHE)
    assert bound(values, whole, "kl_high") == pytest.approx(truth, abs=CACHE)
    assert values["bounds"][0]["tokens"] == WINDOWS * CONTEXT // 2
    shown = capsys.readouterr().out
    assert "no upper bound" in shown
    assert f"{some}: served, gives its top log-probabilities alone" in shown
    assert not list((tmp_path / "data" / "served").iterdir())


def test_compare_with_a_server_that_takes_text_alone(files, python, text, tmp_path):
    values = compared(tmp_path, files, text, f"{python},top_k=40")
    assert 0 < bound(values, "tiny", "kl_low") < np.inf
    assert values["made_by"]["models"]["tiny"]["server"]["api"] == "openai"


class Counting:
    """A form that counts the windows asked for, and ends the server before one of them."""

    def __init__(self, form, end=None, before=None) -> None:
        self.form, self.end, self.before, self.windows = form, end, before, 0

    def lists(self, tokens, positions, top_k):
        if len(positions) > 1:
            if self.windows == self.before:
                self.end()
            self.windows += 1
        return self.form.lists(tokens, positions, top_k)


def recorded(url, path, models, windows, root, **more):
    """Record these windows from a server; gives the store and how many windows were asked for."""
    model = served_model(f"{url}#{path},top_k=20,attempts=1")
    with open_asker(model, models[0].tokenizer, models[0].head.vocabulary) as asker:
        counting = Counting(asker.form, **more)
        asker = type(asker)(asker.model, counting, asker.facts, asker.tokenizer, asker.vocabulary)
        return record_served(root, served_header(asker, windows, reference={}), asker), counting.windows


def test_a_server_that_dies_is_gone_on_from_and_another_model_refused(files, models, windows, tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes((files / "served.gguf").read_bytes())
    command, port = llama_server(path)
    with running(*command, port=port) as server:
        dying = {"end": server.process.kill, "before": 2}
        with pytest.raises(
            ServerError, match=r"(?s)does not answer POST /completion.*windows that are finished are kept"
        ):
            recorded(server, path, models, windows, tmp_path / "served", **dying)
    command, port = llama_server(path)
    with running(*command, port=port) as server:
        store, asked = recorded(server, path, models, windows, tmp_path / "served")
        whole, all_of_them = recorded(server, path, models, windows, tmp_path / "unbroken")
    assert (asked, all_of_them) == (1, WINDOWS)
    for index in range(WINDOWS):
        np.testing.assert_allclose(
            store.top_k(index).log_probabilities, whole.top_k(index).log_probabilities, atol=CACHE
        )
    path.write_bytes((files / "other.gguf").read_bytes())
    command, port = llama_server(path)
    with (
        running(*command, port=port) as server,
        pytest.raises(ServerError, match="is not the model that gave the first answers"),
    ):
        recorded(server, path, models, windows, tmp_path / "served")


def test_servers_without_log_probabilities_of_a_prompt_are_refused(files, llama, text, capsys):
    command, port = llama_cpp_python(files / "served.gguf", "--logits_all", "false")
    reference = ("--reference", str(files / "reference.gguf"), "--text", str(text), *HOW, *SIZE)
    with running(*command, port=port) as server:
        assert cli.main(["compare", *reference, "--quant", f"{server}#tiny,attempts=1"]) == 2
    assert "logits_all=False" in capsys.readouterr().err
    assert cli.main(["compare", *reference, "--quant", f"{llama},api=openai"]) == 2
    assert "no usable log-probabilities of a prompt" in capsys.readouterr().err


def test_what_can_not_be_compared_is_refused(files, llama, text, capsys):
    reference = ("--reference", str(files / "reference.gguf"), "--text", str(text), *HOW, *SIZE)
    for quants, message in (
        ((llama, "hqq:4"), "These quants cannot be compared together"),
        ((llama, llama), "These quants cannot be compared together"),
        ((llama.partition("#")[0] + "#nobody",), "The server has no model 'nobody'"),
    ):
        given = [part for quant in quants for part in ("--quant", quant)]
        assert cli.main(["compare", *reference, *given]) == 2
        assert message in capsys.readouterr().err
    assert cli.main(["compare", *reference, "--quant", llama, "--second-walk"]) == 2
    assert "--second-walk cannot be given with a served quant" in capsys.readouterr().err
