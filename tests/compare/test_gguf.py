"""``qkld compare`` with GGUF files of the field's vocabularies: quant and reference, in torch and in llama.cpp."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, quants
from tiny_gguf_models import KINDS, PADDING, make_module, published, save_folder, write_gguf

from qkld.compare.stores.base_file import base_positions, write_base_file
from qkld.workflow import cli

pytestmark = [pytest.mark.model, pytest.mark.long]

TEXT = " ".join(
    f"Ferry {i} goes at {i % 24}:{i % 60:02d}  for '{chr(97 + i % 26)}';\n\n  café €{i * i},50 wasn't e\u0301te\u0301."
    for i in range(40)
)

HOW = ("--device", "cpu", "--dtype", "float32", "--bootstrap", "100", "--context", "32", "--windows", "3", "--no-floor")


@pytest.fixture(scope="module", params=list(KINDS))
def files(request, tmp_path_factory) -> tuple[str, Path]:
    """Kind, and a folder with the model as ``folder``, ``f32.gguf`` and ``q8.gguf``."""
    folder = tmp_path_factory.mktemp(request.param)
    save_folder(folder / "folder", request.param)
    write_gguf(folder / "f32.gguf", request.param)
    write_gguf(folder / "q8.gguf", request.param, "Q8_0")
    (folder / "text.txt").write_text(TEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QKLD_DATA", str(folder / "data"))
        yield request.param, folder


def compared(folder: Path, reference: str, *more: str) -> dict:
    output = folder / "out.json"
    given = ("--reference", str(folder / reference), "--text", str(folder / "text.txt"), "--json", str(output))
    assert cli.main(["compare", *given, *HOW, *more]) == 0
    return json.loads(output.read_text())


def mean_kld(values: dict, label: str) -> float:
    return next(r["estimate"] for r in values["fidelity"] if (r["quant"], r["metric"]) == (label, "kl_mean"))


def defined(kind: str) -> float:
    """Mean KL(reference ‖ Q8_0) over the second half of three windows of 32 tokens, from full logits in float64."""
    reference, quant = make_module(kind), make_module(kind)
    with torch.no_grad():
        for weight in quant.parameters():
            if weight.ndim > 1:
                raw = quants.quantize(weight.numpy(), GGMLQuantizationType.Q8_0)
                weight.copy_(torch.from_numpy(quants.dequantize(raw, GGMLQuantizationType.Q8_0)))
    tokenizer = published(kind)
    start = tokenizer("a")["input_ids"][: 0 if kind in PADDING else 1]
    ids = tokenizer(TEXT.strip() + "\n\n", add_special_tokens=False)["input_ids"]
    room = 32 - len(start)
    windows = torch.tensor([[*start, *ids[i * room : (i + 1) * room]] for i in range(3)])
    rows = min(len(tokenizer), reference.config.vocab_size)
    with torch.inference_mode():
        p, q = (m(windows).logits[:, 15:-1, :rows].double().log_softmax(-1) for m in (reference, quant))
    return float((p.exp() * (p - q)).sum(-1).mean())


def test_a_file_is_measured_beside_the_folder_it_was_made_from(files):
    kind, folder = files
    values = compared(folder, "folder", "--quant", str(folder / "f32.gguf"), "--quant", str(folder / "q8.gguf"))
    assert mean_kld(values, "q8") == pytest.approx(defined(kind), rel=1e-4)
    assert abs(mean_kld(values, "f32")) < 1e-9
    models = values["made_by"]["models"]
    padding = PADDING.get(kind, 0)
    assert {m: f["padded_rows"] for m, f in models.items()} == dict.fromkeys(models, padding)
    assert len({facts["tokenizer_sha256"] for facts in models.values()}) == 1


def test_llamacpp_runs_the_same_file(files):
    kind, folder = files
    both = ("--quant", str(folder / "f32.gguf"), "--quant", str(folder / "q8.gguf"), "--engine", "llamacpp")
    values = compared(folder, "folder", *both)
    assert 0 <= mean_kld(values, "f32") < 1e-4  # its cache is float16
    assert mean_kld(values, "q8") == pytest.approx(defined(kind), rel=1)  # activations are rounded too
    facts = values["made_by"]["models"]["q8"]
    assert facts["engine"]["name"] == "llamacpp"
    assert facts["padded_rows"] == PADDING.get(kind, 0)


def test_a_file_is_a_reference_beside_a_folder_a_file_and_a_quantizer(files):
    kind, folder = files
    quants_ = (
        "--quant",
        str(folder / "folder"),
        "--quant",
        str(folder / "q8.gguf"),
        "--quant",
        "torchao:int8,group=32",
    )
    values = compared(folder, "f32.gguf", *quants_)
    assert abs(mean_kld(values, "folder")) < 1e-9
    assert 1e-5 < mean_kld(values, "torchao-int8-g32") < 1
    windows_differ = kind == "gemma3"  # its file has no normalizer's spelling of spaces, and one token fewer
    assert mean_kld(values, "q8") == pytest.approx(defined(kind), rel=0.5 if windows_differ else 1e-4)
    in_llamacpp = compared(folder, "f32.gguf", "--quant", str(folder / "q8.gguf"), "--engine", "llamacpp")
    assert mean_kld(in_llamacpp, "q8") == pytest.approx(defined(kind), rel=1)


@pytest.mark.parametrize("files", ["qwen3"], indirect=True)  # heads of 128, four blocks of a quantized cache
def test_a_grid_of_caches_by_position_up_to_the_context(files):
    _, folder = files
    figure = folder / "positions.png"
    grid = ("--engine", "llamacpp", "--cache-k", "f32,q4_0", "--cache-v", "f32,q8_0", "--figure", str(figure))
    how = ("--score-from", "0", "--positions", "2", "--context", "256", "--windows", "1")
    values = compared(folder, "folder", "--quant", str(folder / "f32.gguf"), *grid, *how)
    labels = [f"f32-k-{k}-v-{v}" for k in ("f32", "q4_0") for v in ("f32", "q8_0")]
    means = {label: mean_kld(values, label) for label in labels}
    assert means["f32-k-f32-v-f32"] < means["f32-k-f32-v-q8_0"] < means["f32-k-q4_0-v-q8_0"]
    facts = values["made_by"]["models"]["f32-k-q4_0-v-q8_0"]["engine"]
    assert (facts["cache_k"], facts["cache_v"]) == ("q4_0", "q8_0")
    rows = [r for r in values["breakdown"] if (r["label"], r["by"], r["metric"]) == (labels[3], "position", "kl_mean")]
    assert len(rows) == 2
    assert rows[0]["bucket_from"] < 3
    assert rows[-1]["bucket_to"] > 250
    assert sum(r["tokens"] for r in rows) == 255
    assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("files", ["llama3"], indirect=True)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--cache-k", "q8_0"), "--cache-k applies only to llama.cpp's cache"),
        (("--engine", "llamacpp", "--cache-v", "q8_0,q6_k"), "--cache-v cannot be used"),
        (("--engine", "llamacpp", "--figure", "kld.bmp"), "--figure cannot be used"),
        (("--score-from", "1"), "--score-from cannot be used"),
    ],
)
def test_caches_and_figures_that_cannot_be_made_are_refused(files, options, said, capsys):
    _, folder = files
    given = ("--reference", str(folder / "folder"), "--quant", str(folder / "f32.gguf"), *options)
    assert cli.main(["compare", *given]) == 2
    assert said in capsys.readouterr().err


def test_an_engine_without_a_file_is_refused(files, capsys):
    _, folder = files
    given = ("--reference", str(folder / "folder"), "--quant", "torchao:int8,group=32", "--engine", "llamacpp")
    assert cli.main(["compare", *given]) == 2
    assert "--engine applies only to GGUF files" in capsys.readouterr().err


@pytest.mark.parametrize("files", ["gemma3"], indirect=True)  # its tokenizer has a token beyond its model's rows
def test_a_token_without_a_row_is_refused_where_the_text_holds_it(files, capsys):
    _, folder = files
    (folder / "image.txt").write_text(TEXT[:20] + "<image_soft_token>" + TEXT)
    given = ("--reference", str(folder / "folder"), "--text", str(folder / "image.txt"))
    for quant in ("torchao:int8,group=32", str(folder / "q8.gguf")):
        assert cli.main(["compare", *given, "--quant", quant, *HOW]) == 2
        assert "<image_soft_token>" in (said := capsys.readouterr().err)
        assert "not in the vocabulary" in said


@pytest.mark.parametrize("rows", [0, 8, 40, 60])
def test_files_padded_otherwise_than_the_folder_fit_it(tmp_path, monkeypatch, rows):
    """llama.cpp's converter pads to the model's rows, other tools to multiples of their own, or not at all."""
    monkeypatch.setenv("QKLD_DATA", str(tmp_path / "data"))
    save_folder(tmp_path / "folder", "qwen2")
    write_gguf(tmp_path / "other.gguf", "qwen2", rows_of_padding=rows)
    (tmp_path / "text.txt").write_text(TEXT)
    for engine in ("torch", "llamacpp"):
        values = compared(tmp_path, "folder", "--quant", str(tmp_path / "other.gguf"), "--engine", engine)
        assert abs(mean_kld(values, "other")) < (1e-9 if engine == "torch" else 1e-4)
        models = values["made_by"]["models"]
        assert (models["reference"]["padded_rows"], models["other"]["padded_rows"]) == (40, rows)


@pytest.mark.parametrize("engine", ["torch", "llamacpp"])
def test_padding_is_measured_against_a_base_file_which_counts_it_as_tokens(tmp_path, monkeypatch, capsys, engine):
    """llama-perplexity writes the logits of every row that a file has a token for, [PADn] among them."""
    monkeypatch.setenv("QKLD_DATA", str(tmp_path / "data"))
    module = make_module("qwen2")
    file = write_gguf(tmp_path / "padded.gguf", "qwen2")
    ids = published("qwen2")(TEXT, add_special_tokens=False)["input_ids"]
    tokens = np.array(ids[:64], np.int32).reshape(2, 32)
    with torch.inference_mode():
        logits = module(torch.from_numpy(tokens).long()).logits.float().numpy()
    write_base_file(
        tmp_path / "base.kld", tokens, [rows[list(base_positions(32))] for rows in logits], logits.shape[-1]
    )
    given = ("--reference", str(tmp_path / "base.kld"), "--quant", str(file), "--engine", engine)
    output = tmp_path / "out.json"
    assert cli.main(["compare", *given, "--device", "cpu", "--dtype", "float32", "--json", str(output)]) == 0
    bounds = {row["metric"]: row["estimate"] for row in json.loads(output.read_text())["bounds"]}
    assert bounds["kl_low"] <= 1e-3
    assert bounds["kl_high"] < 0.05
