"""Items scored by real servers: log-probabilities of choices beside torch's, and a study's table."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
import yaml
from real_servers import llama_server, running
from tiny_models import FACTS

from qkld.analysis.importing import import_items
from qkld.benchmarks.items import Item
from qkld.compare.served import open_asker, served_model
from qkld.compare.served.served_items import score_item
from qkld.errors import ServerError, TokenizerError
from qkld.models import OpenedModel, open_model
from qkld.sources import fetch
from qkld.study.entries import GgufModel
from qkld.study.params import Compute
from qkld.study.schemas import ITEMS, read_table
from qkld.workflow import cli

pytestmark = pytest.mark.model

CACHE = 0.05
"""What the servers' float16 cache of keys and values adds to a choice's log-probability at most, nats."""


@pytest.fixture(scope="module")
def model(files, tmp_path_factory) -> OpenedModel:
    """The served model, opened in torch."""
    place = {"path": str(files), "file": "served.gguf", "to_be_checked": ("sha256",)}
    entry = GgufModel(label="served", family="tiny", **place, **FACTS)
    compute = {"device": "cpu", "compute_dtype": "float32", "head_dtype": "compute_dtype", "device_map": "none"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QKLD_DATA", str(tmp_path_factory.mktemp("data")))
        return open_model(entry, reference=entry, compute=Compute(**compute, weights="dequantized", vocabulary_tile=64))


@pytest.fixture(scope="module")
def item(model) -> Item:
    encode = model.tokenizer
    prompt, *choices = (tuple(encode(t)["input_ids"]) for t in ("The quick brown fox,", " 12345", " times.", "é"))
    return Item("0", prompt, tuple(choices))


def truth(model: OpenedModel, item: Item) -> list[float]:
    found = []
    for choice in item.choices:
        tokens = torch.tensor([item.prompt + choice])
        with torch.inference_mode():
            rows = model.head.logits(model.hidden(tokens)[0]).double().log_softmax(-1)
        start = len(item.prompt) - 1
        found.append(sum(float(rows[start + i, token]) for i, token in enumerate(choice)))
    return found


def test_llama_server_gives_every_choice_its_log_probability(llama, model, item):
    with open_asker(served_model(f"{llama},top_k=301"), model.tokenizer, model.head.vocabulary) as asker:
        answer = score_item(asker, item).answer
    assert answer.loglikelihood == pytest.approx(truth(model, item), abs=CACHE)
    assert answer.choice == max(range(3), key=truth(model, item).__getitem__)


def test_a_choice_s_own_token_comes_beside_the_most_likely(llama, model, item):
    """Of the first two choices, whose tokens are text; a part of a character cannot be asked for by itself."""
    plain = Item("0", item.prompt, item.choices[:2])
    with open_asker(served_model(f"{llama},top_k=2"), model.tokenizer, model.head.vocabulary) as asker:
        answer = score_item(asker, plain).answer
        assert answer.loglikelihood == pytest.approx(truth(model, plain), abs=CACHE)
        with pytest.raises(ServerError, match=r"(?s)too few log-probabilities to score item 0.*top_k=N"):
            score_item(asker, item)


def test_a_study_s_items_are_scored_and_joined_with_others(project, model, monkeypatch, tmp_path, capsys):
    for name, value in project.variables.items():
        monkeypatch.setenv(name, value)
    params = project.root / "params" / "smoke.yaml"
    values = yaml.safe_load(params.read_text())
    values["benchmarks"] = [{"task": "sciq", "chance": 0.25, "limit": 3}]
    params.write_text(yaml.safe_dump(values))
    (path,) = fetch("smollm2-135m-instruct").glob("*.gguf")
    command, port = llama_server(path, context=512)
    arguments = ("served", "--study", "smoke", "--label", "q4", "--out", str(tmp_path / "q4.parquet"))
    with running(*command, port=port) as url:
        assert cli.main([*arguments, "--quant", f"{url}#{path},top_k=20"]) == 0
        with pytest.raises(TokenizerError, match="differs from the reference's in the ids of the probe text"):
            open_asker(served_model(f"{url}#{path}"), model.tokenizer, model.head.vocabulary).__enter__()
    items = read_table(tmp_path / "q4.parquet", ITEMS, made_in="qkld served")
    assert (set(items["model"]), set(items["benchmark"]), len(items)) == ({"q4"}, {"sciq"}, 3)
    assert ((items["answer"] == items["right"]) == (items["correct"] == 1)).all()
    assert ((items["margin"] > 0) == (items["correct"] == 1)).all()
    assert items["kl_prompt"].isna().all()
    assert "of 3 right" in capsys.readouterr().out
    other = items.assign(model="q8")
    other.to_parquet(tmp_path / "q8.parquet")
    both = import_items("csv", [tmp_path / "q4.parquet", tmp_path / "q8.parquet"])
    assert both.groupby("model").size().to_dict() == {"q4": 3, "q8": 3}
    pd.testing.assert_series_equal(both["margin"][:3], items["margin"])
