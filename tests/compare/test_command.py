"""``qkld compare`` on the demo model, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import make_module, save

from qkld.compare.compare_request import Request
from qkld.divergence import FullLogits, token_divergence
from qkld.errors import ParameterError
from qkld.models import open_model
from qkld.study.params import Compute, load_params
from qkld.workflow import cli

WORDS = "The ferry to the island leaves at seven in the morning, and again at noon when the sea is calm. "

SMALL = ("--study", "smoke", "--device", "cpu", "--dtype", "float32", "--bootstrap", "100")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A text of a few windows."""
    path = tmp_path / "text.txt"
    path.write_text(WORDS + WORDS.upper() + WORDS[::-1])
    return path


def compared(tmp_path: Path, *arguments: str) -> dict:
    output = tmp_path / "figures.json"
    assert cli.main(["compare", *arguments, "--json", str(output)]) == 0
    return json.loads(output.read_text())


def mean_kld(values: dict, label: str) -> float:
    return next(r["estimate"] for r in values["fidelity"] if (r["quant"], r["metric"]) == (label, "kl_mean"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """A random model as a reference, and the same with its weights moved a little."""
    reference, moved = make_module(), make_module()
    with torch.no_grad():
        for weight in moved.parameters():
            weight += 0.05 * weight.std() * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    return tuple(
        save(tmp_path_factory.mktemp(name), module) for name, module in (("plain", reference), ("moved", moved))
    )


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """A working directory outside any project, with a cache of its own."""
    monkeypatch.delenv("QKLD_ROOT")
    monkeypatch.delenv("QKLD_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_folders_are_compared_outside_any_project(elsewhere, folders, text, capsys) -> None:
    reference, moved = (str(folder) for folder in folders)
    how = ("--device", "cpu", "--dtype", "float32", "--bootstrap", "100", "--windows", "2", "--context", "24")
    quants = ("--quant", moved, "--quant", "torchao:int8,group=32")
    values = compared(elsewhere, "--reference", reference, *quants, "--text", str(text), *how, "--second-walk")
    assert {"acceptance_rate", "jensen_shannon_mean"} < {row["metric"] for row in values["fidelity"]}
    label = folders[1].name
    assert mean_kld(values, label) == pytest.approx(defined(folders, text), rel=1e-4)
    (pair,) = values["paired"]
    assert (pair["label_a"], pair["label_b"]) == ("torchao-int8-g32", label)
    assert f"{label} − torchao-int8-g32, paired on 24 tokens" in capsys.readouterr().out
    assert {p.name for p in elsewhere.iterdir()} == {"cache", "figures.json", "text.txt"}


def defined(folders: tuple[Path, Path], text: Path) -> float:
    """Mean KLD over the second half of two windows of 24 tokens, from full logits."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    models = [AutoModelForCausalLM.from_pretrained(folder) for folder in folders]
    tokenizer = AutoTokenizer.from_pretrained(folders[0])
    rows = max(tokenizer.get_vocab().values()) + 1
    windows = torch.tensor(tokenizer(text.read_text().strip() + "\n\n")["input_ids"][:48]).reshape(2, 24)
    with torch.inference_mode():
        both = [model(windows).logits[:, 11:-1, :rows].reshape(24, rows) for model in models]
    targets = windows[:, 12:].reshape(-1)
    return float(np.mean(token_divergence(FullLogits(both[0]), FullLogits(both[1]), targets).kl.numpy()))


def test_a_floor_that_can_not_be_computed_is_not_measured_and_the_rest_is(
    elsewhere, folders, text, capsys, monkeypatch
) -> None:
    from transformers.models.llama.modeling_llama import LlamaAttention

    whole = LlamaAttention.forward
    monkeypatch.setattr(
        LlamaAttention, "forward", lambda self, hidden_states, **more: whole(self, hidden_states.float(), **more)
    )
    how = ("--device", "cpu", "--dtype", "float32", "--bootstrap", "100", "--windows", "2", "--context", "24")
    values = compared(elsewhere, "--reference", str(folders[0]), "--quant", str(folders[1]), "--text", str(text), *how)
    assert mean_kld(values, folders[1].name) == pytest.approx(defined(folders, text), rel=1e-4)
    assert values["floor"].startswith("not measured: LlamaForCausalLM cannot be run on token ids in float64.")
    assert values["made_by"]["floor_dtype"] is None
    assert f"floor      {values['floor']}" in capsys.readouterr().out


@pytest.mark.model
def test_two_quants_of_the_demo_model_are_measured_tested_and_written(own_place, tmp_path, text, capsys) -> None:
    quants = ("--quant", "bnb-nf4", "--quant", "torchao:int8,group=32")
    values = compared(tmp_path, *SMALL, *quants, "--text", str(text), "--windows", "2", "--context", "24")
    (pair,) = values["paired"]
    assert (pair["label_a"], pair["label_b"]) == ("torchao-int8-g32", "bnb-nf4")
    assert pair["kld_difference"] == pytest.approx(mean_kld(values, "bnb-nf4") - mean_kld(values, "torchao-int8-g32"))
    assert (pair["windows"], pair["tokens"], pair["lower_a"]) == (2, 24, 2)
    assert pair["floor_kld"] == mean_kld(values, "floor-dtype") < 1e-6
    assert 0.05 < mean_kld(values, "bnb-nf4") < 2
    assert "subtracted from nothing" in capsys.readouterr().out
    hashes = [facts["weights_sha256"] for facts in values["made_by"]["models"].values()]
    assert len(set(hashes)) == 4
    assert not list(own_place.folder.glob("runs/*"))


@pytest.mark.model
def test_a_store_of_notebook_01_is_a_reference(own_place, tmp_path, capsys) -> None:
    from qkld.reference.recording import open_corpora, record_corpora
    from qkld.study.paths import StudyPaths

    whole = load_params("smoke")
    study = whole.model_copy(update={"corpora": whole.corpora[1:2]})
    record_corpora(study, open_model(study.reference, reference=study.reference, compute=study.compute))
    ((store, _),) = open_corpora(study)
    values = compared(
        tmp_path,
        "--reference",
        str(store.folder),
        *SMALL,
        "--quant",
        "torchao-int4-g64",
        "--windows",
        "2",
        "--no-floor",
    )
    assert values["made_by"]["store_key"] == store.header.key
    assert {r["context"] for r in values["fidelity"]} == {64}
    assert mean_kld(values, "torchao-int4-g64") > 0.05
    assert "floor      not measured" in capsys.readouterr().out
    for more, message in (
        (("--reference", str(store.folder), *SMALL, "--context", "64"), "--context cannot be given with a store"),
        (("--reference", str(store.folder)), "cannot be made from a store"),
        (("--reference", str(StudyPaths("smoke").reference)), "is not a store but a folder of stores"),
    ):
        assert cli.main(["compare", "--quant", "hqq:4,group=64", *more]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--quant", "hqq:4"), "--reference cannot be used"),
        (("--reference", "hqq:4", "--quant", "hqq:4"), "A quantizer cannot be the reference"),
        (("--reference", "nothing", "--quant", "hqq:4"), "'nothing' is not a model"),
        (("--study", "smok", "--quant", "hqq:4"), "There is no study 'smok'"),
        (("--study", "smoke", "--quant", "hqq:4", "--quant", "hqq:4"), "given twice"),
        (("--study", "smoke", "--quant", "hqq:4", "--bootstrap", "10"), "--bootstrap cannot be used"),
        (("--study", "smoke", "--quant", "hqq:4", "--context", "4"), "--context cannot be used"),
        (("--study", "smoke", "--quant", "hqq:4", "--json", "."), "--json needs a file"),
    ],
)
def test_what_can_not_be_compared_is_refused_before_a_model_is_opened(arguments, message, capsys) -> None:
    assert cli.main(["compare", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.model
@pytest.mark.parametrize(
    ("content", "more", "message"),
    [
        (None, (), "no such file"),
        ("Too short.", (), "'text' is too short"),
        (WORDS, ("--context", "100000"), "A window is longer than the model's context"),
    ],
)
def test_a_text_that_gives_no_window_is_refused(own_place, tmp_path, capsys, content, more, message) -> None:
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_text(content)
    assert cli.main(["compare", *SMALL, "--quant", "bnb-nf4", "--text", str(path), *more]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("name", "value"), [("confidence", 1.0), ("power", 0.0), ("seed", -1), ("windows", 0)])
def test_values_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ParameterError, match=f"--{name} cannot be used"):
        Request(reference="m", quants=("q",), **{name: value})


def test_the_devices_and_dtypes_offered_are_those_of_a_study() -> None:
    options = {a.dest: set(a.choices) for a in compare_parser()._actions if a.choices}
    for option, key in (
        ("device", "device"),
        ("dtype", "compute_dtype"),
        ("device_map", "device_map"),
        ("weights", "weights"),
    ):
        assert options[option] == set(Compute.model_fields[key or option].annotation.__args__)


def compare_parser():
    """The subcommand's own parser."""
    (commands,) = (a for a in cli.parser()._actions if a.dest == "act" or a.metavar == "COMMAND")
    return commands.choices["compare"]
