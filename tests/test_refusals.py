"""Every command on what users hand over by mistake: one error that names the cause, and nothing half written.

Each case is run in this process; an exception that leaves the command line fails the test as a traceback would.
"""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from ordinary_user import as_ordinary_user
from safetensors.torch import load_file, save_file
from tiny_gguf_files import write_model
from tiny_gguf_vocabularies import write_byte_level
from tiny_models import make_module, make_tokenizer, save

from qkld.workflow import cli

pytestmark = pytest.mark.model

PAGE = b"<!DOCTYPE html>\n<html><head><title>404</title></head><body>Entry not found</body></html>\n"
"""What a download gives where there is no such file."""

WORDS = "The quick brown fox, 12345 times. def f(x): return x + 1\n" * 40

SMALL = (
    "--context",
    "16",
    "--windows",
    "2",
    "--device",
    "cpu",
    "--dtype",
    "float32",
    "--no-floor",
    "--bootstrap",
    "100",
)


@dataclass(frozen=True)
class Inputs:
    """A folder of good inputs: ``model``, ``model.gguf`` and ``text.txt``; and room for bad ones."""

    root: Path

    def __truediv__(self, name: str) -> Path:
        return self.root / name

    def model(self, name: str, change: Callable[[Path], object]) -> str:
        """A copy of the model's folder after a change."""
        folder = shutil.copytree(self / "model", self / name)
        change(folder)
        return str(folder)

    def file(self, name: str, content: bytes | str) -> str:
        path = self / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    def compare(
        self, *, reference: str = "model", quant: str = "torchao:int8,group=32", text: str = "text.txt"
    ) -> list:
        """The command with one of its inputs replaced."""
        given = {"--reference": str(self / reference), "--quant": quant, "--text": str(self / text)}
        return ["compare", *(part for pair in given.items() for part in pair), *SMALL]


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Inputs:
    folder = tmp_path_factory.mktemp("good")
    save(folder / "model", make_module())
    write_model(folder / "model.gguf")
    (folder / "text.txt").write_text(WORDS)
    return Inputs(folder)


@pytest.fixture
def inputs(good, tmp_path, monkeypatch) -> Inputs:
    """The good inputs in a folder where runs, data and the working directory lie too."""
    shutil.copytree(good.root, tmp_path / "here")
    for name, place in (("QKLD_DATA", "data"), ("QKLD_RUNS", "runs"), ("QKLD_FIGURES", "figures")):
        monkeypatch.setenv(name, str(tmp_path / place))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return Inputs(tmp_path / "here")


CASES: dict[str, Callable[[Inputs], list[str]]] = {}


def case(make: Callable[[Inputs], list[str]]) -> Callable[[Inputs], list[str]]:
    CASES[make.__name__] = make
    return make


def config(**changes: object) -> Callable[[Path], object]:
    """Set keys of config.json; None takes one out."""

    def change(folder: Path) -> None:
        values = json.loads((folder / "config.json").read_text()) | changes
        values = {k: v for k, v in values.items() if v is not None}
        (folder / "config.json").write_text(json.dumps(values))

    return change


def replaced(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def shortened(path: Path, kept: float) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: int(kept * len(raw))])


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:
    """Change a folder's tensors in place."""

    def act(folder: Path) -> None:
        held = load_file(folder / "model.safetensors")
        change(held)
        save_file(held, folder / "model.safetensors", {"format": "pt"})

    return act


# --- models -----------------------------------------------------------------------------------------------------------


FOLDERS: dict[str, Callable[[Path], object]] = {
    "config_missing": lambda f: (f / "config.json").unlink(),
    "config_no_json": replaced("config.json", b"{'model_type': llama"),
    "config_a_list": replaced("config.json", b"[1, 2]"),
    "config_a_page": replaced("config.json", PAGE),
    "config_latin1": replaced("config.json", '{"model_type": "caf\u00e9"}'.encode("latin-1")),
    "model_type_missing": config(model_type=None, architectures=None),
    "model_type_unknown": config(model_type="unheard_of"),
    "model_type_a_number": config(model_type=7),
    "config_of_an_encoder": config(model_type="bert", architectures=["BertForMaskedLM"]),
    "hidden_size_missing_the_tensors": config(hidden_size=128),
    "layers_beyond_the_file": config(num_hidden_layers=3),
    "quantization_unknown": config(quantization_config={"quant_method": "unheard-of"}),
    "quantization_a_word": config(quantization_config="nf4"),
    "weights_missing": lambda f: (f / "model.safetensors").unlink(),
    "weights_truncated": lambda f: shortened(f / "model.safetensors", 0.6),
    "weights_cut_in_the_header": lambda f: shortened(f / "model.safetensors", 0.0001),
    "weights_empty": replaced("model.safetensors", b""),
    "weights_a_page": replaced("model.safetensors", PAGE),
    "weights_a_pointer": replaced("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
    "weights_dangling": lambda f: [(f / "model.safetensors").unlink(), (f / "model.safetensors").symlink_to("gone")],
    "weights_not_finite": tensors(lambda t: t["model.layers.0.mlp.up_proj.weight"].fill_(float("nan"))),
    "weights_without_a_layer": tensors(lambda t: t.pop("model.layers.1.mlp.up_proj.weight")),
    "weights_of_integers": tensors(lambda t: t.update({k: v.to(torch.int32) for k, v in t.items()})),
    "tokenizer_missing": lambda f: [p.unlink() for p in f.glob("tokenizer*")],
    "tokenizer_truncated": lambda f: shortened(f / "tokenizer.json", 0.5),
    "tokenizer_of_another_model": lambda f: make_tokenizer(text=("other words here",)).save_pretrained(f),
    "tokenizer_config_no_json": replaced("tokenizer_config.json", b"{"),
    "adapter_inside": lambda f: [
        (f / "adapter_config.json").write_text('{"peft_type": "LORA"}'),
        save_file({"x.lora_A.weight": torch.zeros(4, 64)}, f / "adapter_model.safetensors"),
    ],
}
"""What is wrong → the change of a good model's folder that makes it so; each is tried as quant and as reference."""


def pickled(folder: Path) -> None:
    with (folder / "pytorch_model.bin").open("wb") as stream:
        pickle.dump(load_file(folder / "model.safetensors"), stream)
    (folder / "model.safetensors").unlink()


def missing_shard(folder: Path) -> None:
    names = list(load_file(folder / "model.safetensors"))
    shards = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(names)}
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": shards}))


def adapter_alone(folder: Path) -> None:
    FOLDERS["adapter_inside"](folder)
    (folder / "model.safetensors").unlink()
    (folder / "config.json").unlink()


FOLDERS |= {"weights_pickled": pickled, "shard_missing": missing_shard, "adapter_alone": adapter_alone}


UNFIT = [
    (name, role)
    for name in FOLDERS
    for role in ("quant", "reference")
    if (name, role) != ("tokenizer_of_another_model", "reference")  # a model's own tokenizer can be any
]


@pytest.mark.parametrize(("name", "role"), UNFIT)
def test_a_model_folder_that_can_not_be_used_is_refused_in_words(inputs, capsys, name, role):
    folder = inputs.model(name, FOLDERS[name])
    check_refused(inputs, capsys, inputs.compare(**{role: folder}))


# --- names, GGUF files, quantizers ------------------------------------------------------------------------------------


@case
def quant_missing(i):
    return i.compare(quant=str(i / "gone"))


@case
def quant_a_text_file(i):
    return i.compare(quant=str(i / "text.txt"))


@case
def quant_an_empty_folder(i):
    (i / "empty").mkdir()
    return i.compare(quant=str(i / "empty"))


@case
def quant_a_folder_of_gguf_files(i):
    (i / "files").mkdir()
    shutil.copy(i / "model.gguf", i / "files")
    return i.compare(quant=str(i / "files"))


@case
def quant_a_dangling_link(i):
    (i / "link").symlink_to(i / "gone")
    return i.compare(quant=str(i / "link"))


@case
def quant_of_a_hub_without_a_network(i):
    return i.compare(quant="somebody/some-model")


@case
def quant_of_a_hub_at_a_commit_without_a_network(i):
    return i.compare(quant=f"somebody/some-model@{'0' * 40}")


@case
def quant_empty(i):
    return i.compare(quant="")


@case
def quant_of_a_name_too_long(i):
    return i.compare(quant="m" * 5000)


@case
def quantizer_unknown(i):
    return i.compare(quant="gptq:4")


@case
def quantizer_of_too_many_bits(i):
    return i.compare(quant="torchao:int9")


@case
def quantizer_with_an_unknown_setting(i):
    return i.compare(quant="bitsandbytes:nf4,blocksize=64")


@case
def quantizer_with_a_group_that_does_not_divide(i):
    return i.compare(quant="torchao:int4,group=48")


@case
def quantizer_with_a_group_of_words(i):
    return i.compare(quant="hqq:4,group=many")


@case
def gguf_truncated(i):
    shortened(i / "model.gguf", 0.7)
    return i.compare(quant=str(i / "model.gguf"))


@case
def gguf_a_page(i):
    return i.compare(quant=i.file("page.gguf", PAGE))


@case
def gguf_a_folder(i):
    (i / "folder.gguf").mkdir()
    return i.compare(quant=str(i / "folder.gguf"))


@case
def gguf_without_a_tokenizer(i):
    file = write_byte_level(i / "bare.gguf", "gpt-2", tokens=None, merges=None, token_type=None, model=None)
    return i.compare(quant=str(file))


@case
def gguf_without_a_tokenizer_as_reference(i):
    file = write_byte_level(i / "bare.gguf", "gpt-2", tokens=None, merges=None, token_type=None, model=None)
    return i.compare(reference=str(file))


@case
def gguf_of_an_images_projector(i):
    file = write_byte_level(i / "mmproj-model.gguf", "gpt-2", architecture="clip", tokens=None, merges=None)
    return i.compare(quant=str(file))


@case
def gguf_of_another_model(i):
    return i.compare(quant=str(i / "model.gguf"))


@case
def gguf_of_another_vocabulary(i):
    return i.compare(quant=str(write_byte_level(i / "other.gguf", "gpt-2")))


@case
def gguf_that_lacks_its_tensors_as_reference(i):
    return i.compare(reference=str(write_byte_level(i / "bare.gguf", "gpt-2")))


@case
def gguf_without_its_second_part(i):
    (i / "model.gguf").rename(i / "model-00001-of-00002.gguf")
    return i.compare(quant=str(i / "model-00001-of-00002.gguf"))


@case
def gguf_in_llamacpp_of_another_model(i):
    return [*i.compare(quant=str(i / "model.gguf")), "--engine", "llamacpp"]


@case
def engine_without_a_file(i):
    return [*i.compare(), "--engine", "llamacpp"]


# --- references -------------------------------------------------------------------------------------------------------


@case
def reference_a_text(i):
    return i.compare(reference="text.txt")


@case
def reference_an_empty_file(i):
    return i.compare(reference=i.file("base.dat", b""))


@case
def reference_a_base_file_cut_short(i):
    return i.compare(reference=i.file("base.dat", b"_logits_" + b"\x10\x00\x00\x00" * 3))


@case
def reference_a_broken_store(i):
    (i / "store").mkdir()
    (i / "store" / "header.json").write_text("{")
    return i.compare(reference="store")


@case
def reference_a_store_of_another_form(i):
    (i / "store").mkdir()
    (i / "store" / "header.json").write_text('{"kind": "unheard-of"}')
    return i.compare(reference="store")


@case
def reference_behind_an_unknown_protocol(i):
    return ["compare", "--reference", "nowhere://bucket/store", "--quant", "hqq:4"]


@case
def reference_of_a_server(i):
    return ["compare", "--reference", "http://localhost:1#model", "--quant", "hqq:4"]


@case
def quant_behind_a_dead_server(i):
    return i.compare(quant="http://127.0.0.1:9#model")


@case
def quant_behind_a_server_without_a_name(i):
    return i.compare(quant="http://127.0.0.1:9")


# --- texts and outputs ------------------------------------------------------------------------------------------------


TEXTS: dict[str, bytes] = {
    "empty.txt": b"",
    "blank.txt": b" \n\n \n",
    "short.txt": b"Too short.",
    "utf16.txt": WORDS.encode("utf-16"),
    "utf16-without-a-mark.txt": WORDS.encode("utf-16-le"),
    "utf32.txt": WORDS.encode("utf-32"),
    "latin1.txt": ("caf\u00e9 " * 500).encode("latin-1"),
    "packed.txt": b"\x1f\x8b\x08\x00" + bytes(100),
    "table.parquet": b"PAR1" + bytes(100),
    "null.jsonl": b'{"text": "one"}\n{"text": null}\n',
    "without-a-text.JSONL": b'{"content": "one"}\n',
    "cut.jsonl": WORDS[:0].encode() + b'{"text": "one"}\n{"text": "tw',
    "half-a-character.jsonl": b'{"text": "one \\ud83d"}\n',
    "pretty.json": json.dumps({"text": "one"}, indent=1).encode(),
    "list.json": b'["one", "two"]\n',
}


@pytest.mark.parametrize("name", list(TEXTS))
def test_a_text_that_can_not_be_measured_is_refused_in_words(inputs, capsys, name):
    inputs.file(name, TEXTS[name])
    check_refused(inputs, capsys, inputs.compare(text=name))


@case
def text_missing(i):
    return i.compare(text="gone.txt")


@case
def text_a_folder(i):
    return i.compare(text="model")


@case
def text_a_dangling_link(i):
    (i / "link.txt").symlink_to("gone.txt")
    return i.compare(text="link.txt")


@case
def windows_longer_than_the_model(i):
    return [*i.compare(), "--context", "100000"]


@case
def json_a_folder(i):
    return [*i.compare(), "--json", str(i / "model")]


@case
def json_below_a_file(i):
    return [*i.compare(), "--json", str(i / "text.txt" / "out.json")]


# --- other commands ---------------------------------------------------------------------------------------------------


@case
def study_unknown(i):
    return ["run", "no-such-study"]


@case
def study_a_path(i):
    return ["run", "params/smoke.yaml"]


@case
def fetched_study_unknown(i):
    return ["fetch", "no-such-study"]


@case
def compared_study_unknown(i):
    return ["compare", "--study", "no-such-study", "--quant", "hqq:4"]


@case
def profile_unknown(i):
    return ["run", "smoke", "--profile", "no-such-profile", "--dry-run"]


@case
def stage_unknown(i):
    return ["notebook", "09_more", "--study", "smoke"]


@case
def notebook_of_an_unknown_quant(i):
    return ["notebook", "02_quant_kld", "--study", "smoke", "--quant", "no-such-quant"]


@case
def notebook_without_a_quant(i):
    return ["notebook", "02_quant_kld", "--study", "smoke"]


@case
def notebook_with_a_misspelt_knob(i):
    return ["notebook", "05_silent_zone", "--study", "smoke", "-p", "zone_cutt=0.02"]


@case
def notebook_before_its_inputs(i):
    return ["notebook", "04_correlation", "--study", "smoke"]


@case
def collected_before_its_inputs(i):
    return ["collect", "smoke"]


@case
def imported_format_unknown(i):
    return ["import", "helm", str(i / "text.txt"), "--out", str(i / "out.parquet")]


@case
def imported_file_missing(i):
    return ["import", "lm-eval", str(i / "gone"), "--out", str(i / "out.parquet")]


@case
def imported_file_of_another_tool(i):
    return ["import", "lm-eval", str(i / "text.txt"), "--out", str(i / "out.parquet")]


@case
def imported_folder_empty(i):
    (i / "empty").mkdir()
    return ["import", "bfcl", str(i / "empty"), "--out", str(i / "out.parquet")]


@case
def imported_json_broken(i):
    return ["import", "evalplus", i.file("a_eval_results.json", b"{"), "--label", "m", "--out", str(i / "out.parquet")]


@case
def imported_json_of_another_form(i):
    return ["import", "livecodebench", i.file("a.json", b"[3]"), "--label", "m", "--out", str(i / "out.parquet")]


@case
def imported_table_binary(i):
    return ["import", "csv", i.file("a.csv", bytes(range(256))), "--out", str(i / "out.parquet")]


@case
def imported_table_without_columns(i):
    return ["import", "csv", i.file("a.csv", b"a,b\n1,2\n"), "--out", str(i / "out.parquet")]


@case
def imported_parquet_broken(i):
    return ["import", "csv", i.file("a.parquet", PAGE), "--out", str(i / "out.parquet")]


@case
def imported_to_another_form(i):
    return ["import", "csv", i.file("a.csv", b"a\n1\n"), "--out", str(i / "out.csv")]


ITEMS = b"model,benchmark,item,correct\nq,arc,1,1\nq,arc,2,0\n"


@case
def imported_below_a_file(i):
    return ["import", "csv", i.file("a.csv", ITEMS), "--out", str(i / "text.txt" / "out.parquet")]


@case
def imported_onto_a_folder(i):
    (i / "out.parquet").mkdir()
    return ["import", "csv", i.file("a.csv", ITEMS), "--out", str(i / "out.parquet")]


TABLE = "label,kl_mean,mmlu\n" + "".join(f"q{n},{0.01 * n},{0.7 - 0.01 * n}\n" for n in range(1, 12))


def analyse(i: Inputs, table: str, *more: str, fidelity: str = "kl_mean", scores: str = "mmlu") -> list[str]:
    return ["analyse", table, "--fidelity", fidelity, "--scores", scores, "--out", str(i / "report"), *more]


@case
def analysed_table_missing(i):
    return analyse(i, str(i / "gone.csv"))


@case
def analysed_table_a_folder(i):
    return analyse(i, str(i / "model"))


@case
def analysed_table_empty(i):
    return analyse(i, i.file("t.csv", b""))


@case
def analysed_table_binary(i):
    return analyse(i, i.file("t.csv", bytes(range(256))))


@case
def analysed_table_a_page(i):
    return analyse(i, i.file("t.parquet", PAGE))


@case
def analysed_column_unknown(i):
    return analyse(i, i.file("t.csv", TABLE), fidelity="kld")


@case
def analysed_score_of_words(i):
    return analyse(i, i.file("t.csv", TABLE.replace("0.65", "good")))


@case
def analysed_items_missing(i):
    return analyse(i, i.file("t.csv", TABLE), "--items", str(i / "gone"))


@case
def analysed_counts_no_numbers(i):
    return analyse(i, i.file("t.csv", TABLE), "--n-items", "mmlu=many")


@case
def analysed_zone_no_rule(i):
    return analyse(i, i.file("t.csv", TABLE), "--zone", "small")


@case
def analysed_into_a_file(i):
    return [
        "analyse",
        i.file("t.csv", TABLE),
        "--fidelity",
        "kl_mean",
        "--scores",
        "mmlu",
        "--out",
        str(i / "text.txt"),
    ]


@case
def published_into_a_file(i):
    return ["published", "--out", str(i / "text.txt")]


def quantize(i: Inputs, model: str, *more: str, types: str = "Q8_0", out: str = "out") -> list[str]:
    return ["quantize", model, "--types", types, "--out", str(i / out), *more]


@case
def quantized_folder(i):
    return quantize(i, str(i / "model"))


@case
def quantized_file_missing(i):
    return quantize(i, str(i / "gone.gguf"))


@case
def quantized_file_truncated(i):
    shortened(i / "model.gguf", 0.5)
    return quantize(i, str(i / "model.gguf"))


@case
def quantized_to_an_unknown_type(i):
    return quantize(i, str(i / "model.gguf"), types="Q5_X")


@case
def quantized_to_nothing(i):
    return quantize(i, str(i / "model.gguf"), types=",")


@case
def quantized_by_a_missing_matrix(i):
    return quantize(i, str(i / "model.gguf"), "--imatrix", str(i / "gone.gguf"))


@case
def quantized_by_a_matrix_that_is_none(i):
    return quantize(i, str(i / "model.gguf"), "--imatrix", str(i / "text.txt"))


@case
def quantized_with_a_matrix_of_no_text(i):
    return quantize(i, str(i / "model.gguf"), "--imatrix", "compute")


@case
def quantized_into_a_file(i):
    return quantize(i, str(i / "model.gguf"), out="text.txt")


@case
def served_at_no_address(i):
    return ["served", "--study", "smoke", "--quant", "localhost", "--out", str(i / "out.parquet")]


@case
def served_to_another_form(i):
    return ["served", "--study", "smoke", "--quant", "http://127.0.0.1:9#m", "--out", str(i / "out.csv")]


@case
def served_for_an_unknown_study(i):
    return ["served", "--study", "none", "--quant", "http://127.0.0.1:9#m", "--out", str(i / "out.parquet")]


@pytest.mark.parametrize("name", list(CASES))
def test_what_can_not_be_used_is_refused_in_words(inputs, capsys, name):
    check_refused(inputs, capsys, CASES[name](inputs))


@pytest.mark.parametrize("name", ["--quant", "--text", "--json"])
def test_a_place_that_may_not_be_used_is_refused_in_words(inputs, name):
    """The folders of a test are closed to other users."""
    given = {"--reference": "owner/model", "--quant": "hqq:4,group=64", name: str(inputs / "model")}
    command = ["compare", *(part for pair in given.items() for part in pair)]

    def act() -> tuple[int, str]:
        with contextlib.redirect_stderr(io.StringIO()) as said:
            return cli.main(command), said.getvalue()

    status, said = as_ordinary_user(act)
    assert (status, said.count("\n  do:")) == (2, 1)
    assert "ermission" in said


def check_refused(inputs: Inputs, capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    """Run a command; it ends with status 2, an error that says expected, found and do, and the files as before."""
    before = lying_there(inputs.root.parent)
    assert cli.main(command) == 2
    said = capsys.readouterr().err
    assert "qkld: " in said
    lines = said[said.index("qkld: ") :].split("\n")
    assert [line.split(":")[0].strip() for line in lines[1:] if line.startswith("  ")][:1] == ["expected"], said
    assert all(any(line.startswith(f"  {part}:") for line in lines) for part in ("expected", "found", "do")), said
    assert "Traceback" not in said
    assert lying_there(inputs.root.parent) == before


def lying_there(folder: Path) -> dict[str, int]:
    """Every file with its size, and every folder of a partial result.

    Locks, whole conversions of models and executed notebooks, which show where they stopped, are left out.
    """
    kept = (folder / "data", folder / "runs" / "smoke" / "notebooks")
    return {
        str(path.relative_to(folder)): path.lstat().st_size
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock" and not any(map(path.is_relative_to, kept))
    } | {str(path): 0 for path in folder.rglob("*partial*")}
