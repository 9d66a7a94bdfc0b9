"""Builds: the same function in every basis, other weights after quantizing, and nothing left when they are measured."""

from __future__ import annotations

import copy

import pytest
import torch
from pydantic import ValidationError
from tiny_gguf_files import write_model
from tiny_models import FACTS, make_module, save, stored

from qkld.divergence import FullLogits, token_divergence
from qkld.errors import ModelError, ParameterError, SourceError
from qkld.models import open_model
from qkld.models.folders import read_json
from qkld.models.making import make_study_files
from qkld.models.making.builds import check_has_bases, forget_basis
from qkld.models.making.study_files import IN_TORCH
from qkld.study.entries import Basis, GgufModel
from qkld.study.params import Study, load_params, parse_study
from qkld.study.paths import StudyPaths, data_folder
from qkld.workflow.commands.work.notebook import make_again

IDS = torch.arange(120).reshape(2, 60) * 7 % 280
OF = {"label": "r", "family": "f", **FACTS}
GROUPED = {"method": "torchao", "scheme": "intx", "bits": 4, "group_size": 32}
CHANNEL = {"method": "torchao", "scheme": "int8"}
NF4 = {"method": "bitsandbytes", "scheme": "nf4"}
LLM_INT8 = {"method": "bitsandbytes", "scheme": "int8"}
HQQ = {"method": "hqq", "bits": 4, "group_size": 64}
FP8 = {"method": "torchao", "scheme": "float8"}
Q4_0 = {"method": "gguf", "made": {"type": "Q4_0"}}
PROSE = {"name": "prose", "asset": "boolq-passages", "context_lengths": [64], "windows": 2}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """Runs and data go to the test's own folder."""
    monkeypatch.setenv("QKLD_RUNS", str(tmp_path / "runs"))
    assets = data_folder() / "assets"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "assets").symlink_to(assets)
    monkeypatch.setenv("QKLD_DATA", str(tmp_path / "data"))
    return tmp_path


def lively(kind="Llama", **changes):
    """A random module whose gains are no ones, so that rotating has to fold them."""
    module = make_module(kind, **changes)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 2)
    return module


@pytest.fixture
def folder(tmp_path):
    """The folder of a random Llama with a tied head, in bfloat16."""
    return save(tmp_path / "model", lively(tie_word_embeddings=True).to(torch.bfloat16))


@pytest.fixture
def gguf_file(tmp_path):
    """A random Llama as a GGUF file."""
    return write_model(tmp_path / "whole.gguf")


def gguf_entry(file):
    return GgufModel(
        label="tiny", family="g", path=str(file.parent), file=file.name, to_be_checked=("sha256",), **FACTS
    )


def study_of(reference, *quants, name="tiny"):
    """A study like smoke's in float32 with these quants, each with its label."""
    values = load_params("smoke").model_dump(mode="json")
    quants = [{**OF, "label": f"q{number}", **quant} for number, quant in enumerate(quants)]
    return Study(**{**values, "study": name, "reference": reference.model_dump(), "quants": quants,
                    "corpora": [PROSE], "headline": {"corpus": "prose", "context": 64}})  # fmt: skip


def opened(study, label):
    return open_model(study.entry(label), reference=study.reference, compute=IN_TORCH)


@torch.inference_mode()
def logits(model):
    return model.head.logits(model.hidden(IDS)).flatten(0, -2)


def mean_kl(study, label):
    """Mean KL(reference ‖ model) over the tokens of `IDS`, nats."""
    pair = (FullLogits(logits(opened(study, name))) for name in (study.reference.label, label))
    return token_divergence(*pair, IDS.flatten()).kl.mean().item()


@pytest.mark.parametrize("quantizer", [GROUPED, NF4, HQQ], ids=["torchao", "bitsandbytes", "hqq"])
@pytest.mark.parametrize("seeds", [{"rotate": [1, 2]}, {"permute": [1, 2]}], ids=["rotate", "permute"])
def test_builds_of_one_recipe_are_other_models_of_one_function(folder, quantizer, seeds):
    study = study_of(stored(folder), quantizer, {**quantizer, "builds": seeds})
    kind = next(iter(seeds))
    assert [q.label for q in study.quants] == ["q0", f"q1-{kind}-1", f"q1-{kind}-2"]
    assert [q.recipe_id for q in study.quants] == [None, "q1", "q1"]
    assert study.floors[2:] == (f"floor-{kind}-1", f"floor-{kind}-2")
    for basis in study.bases:
        make_study_files(study, threads=1, basis=basis.name)
    assert max(mean_kl(study, floor) for floor in study.floors[2:]) < 1e-7
    of_quants = [mean_kl(study, q.label) for q in study.quants]
    assert len({f"{kl:.3e}" for kl in of_quants}) == 3
    assert max(of_quants) < 3 * min(of_quants)
    assert min(of_quants) > 1e-5


@pytest.mark.parametrize("reference", [{}, {"pad": 48}, {"rotate": 7}, {"pad": 48, "permute": 3}])
@pytest.mark.parametrize("kind", ["rotate", "permute"])
def test_a_basis_is_of_the_given_weights_whatever_the_references_own(folder, reference, kind):
    study = study_of(stored(folder, **reference), {**GROUPED, "group_size": 16, "builds": {kind: [5]}})
    plain = study_of(stored(folder, pad=reference.get("pad")), {**GROUPED, "group_size": 16, "builds": {kind: [5]}})
    hashes = [opened(s, f"floor-{kind}-5").weights_sha256 for s in (study, plain)]
    assert hashes[0] == hashes[1]
    assert mean_kl(study, f"floor-{kind}-5") < 1e-7


@pytest.mark.parametrize("kind", ["Qwen3", "Gemma", "Granite", "GPTNeoX"])
def test_an_architecture_without_other_bases_is_named(tmp_path, kind):
    folder = save(tmp_path / "other", make_module(kind))
    study = study_of(stored(folder), {**GROUPED, "builds": {"rotate": [1]}})
    found = {"GPTNeoX": "gpt_neox"}.get(kind, kind.lower())
    with pytest.raises(ModelError, match=rf"(?s)type llama or mistral.*found: +model type {found}.*builds"):
        make_study_files(study, threads=1, basis="rotate-1")
    assert not StudyPaths("tiny").basis_seal("rotate-1").exists()


@pytest.mark.parametrize("kind", ["GPTNeoX", "Qwen2"])
def test_an_architecture_without_other_bases_is_named_before_anything_runs(tmp_path, kind):
    study = study_of(stored(save(tmp_path / "other", make_module(kind))), {**GROUPED, "builds": {"rotate": [1]}})
    with pytest.raises(ModelError, match=r"(?s)builds cannot be made.*llama or mistral") as refused:
        check_has_bases(study)
    assert refused.value.found == {"GPTNeoX": "gpt_neox", "Qwen2": "qwen2"}[kind]


def test_references_with_other_bases_and_studies_without_builds_pass(folder, gguf_file, tmp_path):
    builds = {**GROUPED, "builds": {"rotate": [1]}}
    for study in (study_of(stored(folder), builds), study_of(gguf_entry(gguf_file), builds)):
        check_has_bases(study)
    check_has_bases(study_of(stored(save(tmp_path / "other", make_module("Qwen2"))), GROUPED))


def test_a_mistral_has_builds(tmp_path):
    study = study_of(stored(save(tmp_path / "m", lively("Mistral"))), {**GROUPED, "builds": {"permute": [4]}})
    make_study_files(study, threads=1, basis="permute-4")
    assert mean_kl(study, "floor-permute-4") < 1e-7 < mean_kl(study, "q0-permute-4")


@pytest.mark.parametrize(
    ("quantizer", "equal"),
    [
        (CHANNEL, True),
        (LLM_INT8, True),
        (FP8, True),
        ({**GROUPED, "group_size": 64}, False),  # down_proj is 128 wide: two groups a row there
        (HQQ, False),
        (NF4, False),
    ],
    ids=["int8", "LLM.int8", "float8", "grouped", "hqq", "nf4"],
)
def test_permuted_builds_with_a_scale_a_channel_are_refused_as_equal(folder, quantizer, equal):
    study = study_of(stored(folder), {**quantizer, "builds": {"permute": [1, 2]}})
    if not equal:
        make_study_files(study, threads=1, basis="permute-1")
        return
    with pytest.raises(ModelError, match=r"(?s)Builds of 'q0' are equal, tensor by tensor.*builds of rotate"):
        make_study_files(study, threads=1, basis="permute-1")
    rotated = study_of(stored(folder), {**quantizer, "builds": {"rotate": [1]}})
    make_study_files(rotated, threads=1, basis="rotate-1")


def test_a_group_as_wide_as_every_row_is_a_scale_a_channel(tmp_path):
    folder = save(tmp_path / "square", lively(intermediate_size=64))
    study = study_of(stored(folder), {**GROUPED, "group_size": 64, "builds": {"permute": [1]}})
    with pytest.raises(ModelError, match="are equal"):
        make_study_files(study, threads=1, basis="permute-1")


# --- GGUF files -------------------------------------------------------------------------------------------------------


@pytest.mark.model
@pytest.mark.parametrize("engine", ["torch", "llamacpp"])
def test_each_basis_has_its_own_source_matrix_and_files_and_all_go_after_use(gguf_file, engine):
    importance = {"assets": ["science-questions"], "windows": 2, "context": 64}
    recipe = {"method": "gguf", "engine": engine, "made": {"type": "Q2_K_S", "importance": importance}}
    study = study_of(
        gguf_entry(gguf_file), {**recipe, "builds": {"rotate": [1, 2]}}, {**Q4_0, "builds": {"permute": [1]}}
    )
    for basis in study.bases:
        table = make_study_files(study, threads=1, basis=basis.name)
        assert len(table) == 1
    folders = sorted((data_folder() / "quantized").iterdir())
    assert [len(list(f.glob("imatrix-*.gguf"))) for f in folders].count(1) == 2
    assert [len(list(f.glob("reference.gguf"))) for f in folders] == [1, 1, 1]
    assert max(mean_kl(study, floor) for floor in study.floors[2:]) < 1e-7
    hashes = {opened(study, q.label).weights_sha256 for q in study.quants}
    assert len(hashes) == 3
    seal = read_json(StudyPaths("tiny").basis_seal("rotate-2"))
    assert seal["reference"]["rotate"] == 2
    for basis in study.bases:
        assert forget_basis(study, basis)["bytes"] > 0
    assert not list((data_folder() / "quantized").glob("[!.]*"))
    assert not list((data_folder() / "transformed").glob("[!.]*"))
    given = [f for f in (data_folder() / "converted").glob("[!.]*") if f.is_dir()]
    assert len(given) == 1, "what the reference was given as is kept"
    with pytest.raises(SourceError, match="has not been made"):
        opened(study, "q0-rotate-1")
    for label in (*study.floors, study.reference.label, "q0-rotate-1"):
        make_again(study, label, threads=1)
    assert opened(study, "q0-rotate-1").weights_sha256 in hashes


@pytest.mark.model
@pytest.mark.parametrize(("kind", "file_type"), [("permute", "F16"), ("permute", "BF16"), ("rotate", "F32")])
def test_files_that_nothing_quantized_are_refused_as_equal(gguf_file, kind, file_type):
    study = study_of(gguf_entry(gguf_file), {"method": "gguf", "made": {"type": file_type}, "builds": {kind: [1, 2]}})
    with pytest.raises(ModelError, match=r"(?s)Builds of 'q0' are equal.*matrices in"):
        make_study_files(study, threads=1, basis=f"{kind}-1")


# --- use and removal --------------------------------------------------------------------------------------------------


def test_what_another_study_uses_is_kept_until_it_is_done_too(folder):
    first, second = (study_of(stored(folder), {**GROUPED, "builds": {"rotate": [1]}}, name=n) for n in ("one", "two"))
    for study in (first, second):
        make_study_files(study, threads=1, basis="rotate-1")
    assert forget_basis(first, first.bases[0])["used_by_others"] == ["two"]
    assert list((data_folder() / "transformed").glob("[!.]*"))
    assert forget_basis(second, second.bases[0])["removed"] == 2
    assert not list((data_folder() / "transformed").glob("[!.]*"))


def test_a_reference_that_lay_in_the_basis_before_is_kept(folder):
    reference = stored(folder, rotate=1)
    other = study_of(reference, GROUPED, name="other")
    opened(other, "reference")
    study = study_of(stored(folder), {**GROUPED, "builds": {"rotate": [1]}})
    make_study_files(study, threads=1, basis="rotate-1")
    assert forget_basis(study, study.bases[0])["used_by_others"] == ["_others"]
    assert list((data_folder() / "transformed").glob("[!.]*"))


def test_a_removed_basis_is_made_again_with_the_same_weights(folder):
    study = study_of(stored(folder), {**GROUPED, "builds": {"rotate": [1]}})
    before = opened(study, "q0-rotate-1").weights_sha256
    forget_basis(study, study.bases[0])
    assert opened(study, "q0-rotate-1").weights_sha256 == before


def test_a_basis_that_the_study_does_not_have_is_named(folder):
    study = study_of(stored(folder), {**GROUPED, "builds": {"rotate": [1]}})
    with pytest.raises(ParameterError, match=r"(?s)no builds in basis 'rotate-2'.*rotate-1"):
        make_study_files(study, threads=1, basis="rotate-2")


# --- what a study may say ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quant", "said"),
    [
        ({**GROUPED, "builds": {"rotate": [1, 2, 1]}}, "the same build twice: 1"),
        ({**GROUPED, "builds": {"permute": [3, 3]}}, "the same build twice: 3"),
        ({**GROUPED, "builds": {"rotate": [1], "permute": [2]}}, "not of both"),
        ({**GROUPED, "builds": {}}, "expected seeds of rotate or of permute"),
        ({**GROUPED, "builds": {"rotate": [-1]}}, "greater than or equal to 0"),
        ({**GROUPED, "builds": {"rotate": [7]}}, "the reference lies in this basis itself"),
        ({**GROUPED, "builds": {"rotate": [1]}, "basis": {"rotate": 2}}, "not both"),
        ({**GROUPED, "builds": {"rotate": [1]}, "label": "x" * 75}, "longer than 80"),
        ({**GROUPED, "builds": {"rotate": [1]}, "weights_sha256": "0" * 64}, "that of one build"),
        ({"method": "transformers", "path": "m", "builds": {"rotate": [1]}}, "only what is made here"),
        ({"method": "gguf", "path": "m", "file": "a.gguf", "sha256": "0" * 64, "builds": {"rotate": [1]}},
         "only what is made here"),
    ],
)  # fmt: skip
def test_builds_that_can_not_be_are_refused_with_their_place(quant, said):
    with pytest.raises(ValidationError, match=said):
        study_of(stored("model", rotate=7), quant)


def test_recipes_do_not_mix_kinds_of_bases():
    with pytest.raises(ValidationError, match=r"found x \(permute, rotate\)"):
        study_of(stored("m"), *({**GROUPED, "recipe_id": "x", "builds": {k: [1]}} for k in ("rotate", "permute")))
    with pytest.raises(ValidationError, match=r"found q1 \(given, rotate\)"):
        study_of(stored("m"), {**GROUPED, "recipe_id": "q1"}, {**GROUPED, "builds": {"rotate": [1]}})


def test_a_parsed_study_stands_for_the_same_study():
    study = study_of(stored("m"), {**GROUPED, "builds": {"rotate": [1, 2]}}, {**NF4, "builds": {"permute": [2]}})
    again = parse_study(copy.deepcopy(study.model_dump(mode="json")), source="a test")
    assert again == study
    assert again.bases == (Basis(rotate=1), Basis(rotate=2), Basis(permute=2))
