"""What a model may be called on the command line, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from qkld.errors import ParameterError
from qkld.models.names import distinct_labels, model_entry
from qkld.study.entries import BitsandbytesModel, GgufModel, HqqModel, TorchaoModel, TransformersModel
from qkld.study.params import load_params


@pytest.mark.parametrize(
    ("text", "kind", "settings"),
    [
        ("torchao:int8,group=32", TorchaoModel, {"scheme": "intx", "bits": 8, "group_size": 32}),
        ("torchao:int8", TorchaoModel, {"scheme": "int8", "bits": None, "group_size": None}),
        ("torchao:int4,group=64,mapping=asymmetric", TorchaoModel, {"bits": 4, "mapping": "asymmetric"}),
        ("torchao:float8", TorchaoModel, {"scheme": "float8"}),
        ("bitsandbytes:nf4", BitsandbytesModel, {"scheme": "nf4", "double_quant": False}),
        ("bitsandbytes:fp4,double_quant=true", BitsandbytesModel, {"scheme": "fp4", "double_quant": True}),
        ("hqq:4,group=32", HqqModel, {"bits": 4, "group_size": 32}),
        ("hqq:3", HqqModel, {"bits": 3, "group_size": 64}),
    ],
)
def test_a_quantizer_is_read_with_its_settings(text: str, kind: type, settings: dict) -> None:
    entry = model_entry(text)
    assert type(entry) is kind
    assert {name: getattr(entry, name) for name in settings} == settings
    assert entry.recipe == text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("torchao:int9", "scheme: Input should be"),
        ("torchao:", "scheme: Input should be"),
        ("hqq:7", "bits: Input should be 8, 6, 5, 4, 3 or 2"),
        ("hqq:4,group=4", "group_size: Input should be greater than or equal to 8"),
        ("hqq:4,group", "'group' instead of key=value"),
        ("bitsandbytes:nf4,group=64", "group_size: Extra inputs are not permitted"),
        ("torchao:float8,bits=8", "bits belongs to scheme intx"),
    ],
)
def test_an_impossible_quantizer_names_what_is_wrong(text: str, found: str) -> None:
    with pytest.raises(ParameterError, match=f"'{text}' is not a quantizer that qkld supports(.|\n)*{found}"):
        model_entry(text)


def test_files_and_folders_of_this_machine(tmp_path: Path) -> None:
    folder = tmp_path / "my model (v2)"
    folder.mkdir()
    (folder / "m-Q4_K_M.gguf").touch()
    stored, gguf = model_entry(str(folder)), model_entry(str(folder / "m-Q4_K_M.gguf"))
    assert isinstance(stored, TransformersModel)
    assert (stored.label, stored.path) == ("my-model-v2", str(folder))
    assert isinstance(gguf, GgufModel)
    assert (gguf.label, gguf.path, gguf.file, gguf.more_files) == ("m-Q4_K_M", str(folder), "m-Q4_K_M.gguf", ())


def test_a_split_gguf_file_brings_its_further_parts(tmp_path: Path) -> None:
    (tmp_path / "m-00001-of-00003.gguf").touch()
    entry = model_entry(str(tmp_path / "m-00001-of-00003.gguf"))
    assert entry.more_files == ("m-00002-of-00003.gguf", "m-00003-of-00003.gguf")


def test_a_pinned_hub_revision_needs_no_network() -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = model_entry(f"HuggingFaceTB/SmolLM2-135M@{commit}")
    gguf = model_entry(f"owner/quants/m-Q8_0.gguf@{commit}")
    assert (folder.repository, folder.revision, folder.label) == ("HuggingFaceTB/SmolLM2-135M", commit, "SmolLM2-135M")
    assert (gguf.repository, gguf.file, gguf.label) == ("owner/quants", "m-Q8_0.gguf", "m-Q8_0")


def test_a_label_of_the_study_comes_first() -> None:
    study = load_params("smoke")
    assert model_entry("bnb-nf4", study=study) == study.entry("bnb-nf4")
    assert model_entry("reference", study=study) == study.reference
    with pytest.raises(ParameterError, match=r"'bnb-nf5' is not a model(.|\n)*labels are reference, torchao-int8-g32"):
        model_entry("bnb-nf5", study=study)


def test_what_is_neither_model_nor_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ParameterError, match=r"expected: a folder or a .gguf file"):
        model_entry(str(tmp_path / "notes.txt"))
    with pytest.raises(ParameterError, match="torchao:int8,group=32, bitsandbytes:nf4 or hqq:4"):
        model_entry("nothing")


def test_models_of_one_name_get_labels_of_their_own(tmp_path: Path) -> None:
    for name in ("a/m", "b/m", "reference"):
        (tmp_path / name).mkdir(parents=True)
    entries = [model_entry(str(tmp_path / name)) for name in ("a/m", "b/m", "reference")]
    assert [e.label for e in distinct_labels(entries, ["reference"])] == ["m", "m-2", "reference-2"]
    with pytest.raises(ParameterError, match="given twice"):
        distinct_labels([entries[0], entries[0]], [])
