"""Files made by llama.cpp: what they hold, types that fall back, importance matrices, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_gguf_files import write_model
from tiny_models import FACTS

from qkld.errors import CorpusError, ModelError, ParameterError, SourceError
from qkld.models import open_model
from qkld.models.gguf.gguf_files import contents, read, tensor_data_sha256
from qkld.models.gguf.llama_as_gguf import write_gguf
from qkld.models.gguf.open_in_torch import located, made_file
from qkld.models.making import equal_tensors, importance_of, make_study_files, quantize_file
from qkld.models.making.study_files import IN_TORCH
from qkld.study.entries import GgufModel
from qkld.study.params import Study, load_params
from qkld.study.paths import StudyPaths, data_folder
from qkld.workflow import cli
from qkld.workflow.plan import plan_jobs

pytestmark = pytest.mark.model


def entry(file, **more):
    place = {"path": str(file.parent), "file": file.name, "to_be_checked": ("sha256",)}
    return GgufModel(**{"label": "tiny", "family": "g", **FACTS, **place, **more})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of files, with a data folder of its own that has the project's assets."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "data").mkdir()
    (folder / "data" / "assets").symlink_to(data_folder() / "assets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QKLD_DATA", str(folder / "data"))
        yield folder


@pytest.fixture(scope="module")
def whole(folder):
    return write_model(folder / "whole.gguf")


@pytest.fixture(scope="module")
def opened(whole):
    return open_model(entry(whole), reference=entry(whole), compute=IN_TORCH)


@pytest.fixture(scope="module")
def importance(opened):
    return importance_of(opened, [range(2, 60), range(100, 180)])


def test_a_file_is_what_was_asked_for(folder, whole):
    made = quantize_file(whole, folder / "q4.gguf", "Q4_K_S")
    assert made.contents.name == "Q4_K_S"
    assert made.contents.main_type == "Q4_K"
    assert made.contents.bits == contents([made.file]).bits
    record = made.as_json()
    assert record["sha256"] != record["tensor_data_sha256"] == tensor_data_sha256([made.file])
    assert record["bits_per_trunk_weight"] == pytest.approx(4.5, abs=0.3)  # Q5_K in some layers, norms in float32


def test_types_that_do_not_fit_the_width_fall_back_and_two_become_equal(folder):
    narrow = write_model(folder / "narrow.gguf", width=192, inner=448, heads=6, key_heads=3)
    made = [quantize_file(narrow, folder / f"n-{kind}.gguf", kind) for kind in ("Q2_K", "Q3_K_S", "Q4_K_M")]
    assert [one.contents.name for one in made] == [
        *("Q4_0 (called Q2_K)", "Q4_0 (called Q3_K_S)", "Q5_0 (called Q4_K_M)")
    ]
    ((first, second),) = equal_tensors(made)
    assert (first.asked, second.asked) == ("Q2_K", "Q3_K_S")
    assert first.sha256 != second.sha256  # their headers differ


def squared_error(file, importance, name="blk.0.ffn_down.weight"):
    """Σ w_j·(x_j − x̂_j)² of one tensor of a file against the source's."""
    import gguf

    tensors = {t.name: t for t in read(file).tensors}
    values = gguf.quants.dequantize(tensors[name].data, tensors[name].tensor_type)
    source = {t.name: t for t in read(file.parent / "whole.gguf").tensors}[name].data
    return float((importance[name] * (values - source) ** 2).sum())


def test_an_importance_matrix_lowers_the_error_that_it_weighs(folder, whole, importance):
    plain = quantize_file(whole, folder / "plain.gguf", "Q3_K_S")
    weighed = quantize_file(whole, folder / "weighed.gguf", "Q3_K_S", importance=importance)
    assert plain.contents.types == weighed.contents.types
    assert plain.contents.tensor_data_sha256 != weighed.contents.tensor_data_sha256
    assert squared_error(weighed.file, importance) < 0.95 * squared_error(plain.file, importance)


def test_types_below_three_bits_ask_for_an_importance_matrix(folder, whole, importance):
    target = folder / "small.gguf"
    with pytest.raises(ModelError, match=r"(?s)Q2_K_S.*requires an imatrix"):
        quantize_file(whole, target, "Q2_K_S")
    assert not target.exists()
    assert quantize_file(whole, target, "Q2_K_S", importance=importance).contents.main_type == "Q2_K"


def test_an_importance_matrix_of_another_model_is_refused(folder, whole, importance):
    other = {name: mean[:-32] for name, mean in importance.items()}
    with pytest.raises(ModelError, match=r"(?s)imatrix size"):
        quantize_file(whole, folder / "other.gguf", "Q4_K_S", importance=other)
    assert not (folder / "other.gguf").exists()


def test_an_unknown_type_is_refused_with_those_there_are(folder, whole):
    with pytest.raises(ParameterError, match=r"(?s)IQ3_XXS.*found:    Q4_X"):
        quantize_file(whole, folder / "x.gguf", "Q4_X")


def test_a_damaged_source_is_refused(folder, whole):
    (folder / "cut.gguf").write_bytes(whole.read_bytes()[:100_000])
    with pytest.raises(ModelError, match=r"cannot make Q8_0 from cut\.gguf"):
        quantize_file(folder / "cut.gguf", folder / "x.gguf", "Q8_0")
    assert not (folder / "x.gguf").exists()


def test_an_exported_model_has_its_sources_values_bit_by_bit(folder, whole, opened):
    target = write_gguf(opened.module, whole, folder / "exported.gguf")
    expected = {t.name: t.data for t in read(whole).tensors}
    found = {t.name: t.data for t in read(target).tensors}
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def study_of(whole, quants, **more):
    values = load_params("smoke").model_dump(mode="json")
    values |= {"study": "tiny", "reference": entry(whole, label="reference", **more).model_dump(mode="json")}
    return Study(**{**values, "quants": quants})


def made(kind, label=None, *, importance=None, **more):
    asked = {"type": kind} | ({"importance": importance} if importance else {})
    return {**FACTS, "method": "gguf", "family": "k-quant", "label": label or kind, "made": asked, **more}


PROSE = {"name": "prose", "asset": "science-questions", "context_lengths": [16], "windows": 3, "packing": "documents"}
HEADLINE = {"corpus": "prose", "context": 16}
SCIENCE = {"assets": ["science-questions"], "windows": 2, "context": 32}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Runs go to the test's own folder."""
    monkeypatch.setenv("QKLD_RUNS", str(tmp_path / "runs"))
    return tmp_path


def test_a_studys_files_are_made_once_and_opened_in_any_engine_and_cache(place, whole, monkeypatch):
    cache = {"engine": "llamacpp", "cache_k": "q8_0", "cache_v": "q8_0"}
    study = study_of(whole, [made("Q4_K_S"), made("Q4_K_S", "cached", **cache), made("Q6_K", engine="llamacpp")])
    table = make_study_files(study, threads=1)
    assert table["is"].tolist() == ["Q4_K_S", "Q6_K"]
    assert next(job.rule for job in plan_jobs(study)) == "make_quants"
    seal = StudyPaths("tiny").quants_seal.read_bytes()
    monkeypatch.setattr("qkld.models.making.study_files.quantize_file", lambda *_, **__: pytest.fail("made twice"))
    make_study_files(study, threads=1)
    assert StudyPaths("tiny").quants_seal.read_bytes() == seal
    models = [open_model(q, reference=study.reference, compute=study.compute) for q in study.quants]
    assert len({m.weights_sha256 for m in models}) == 3
    assert models[0].bits == models[1].bits


def test_a_file_that_was_not_made_names_the_notebook(whole):
    study = study_of(whole, [made("Q5_0")])
    with pytest.raises(SourceError, match=r"(?s)'Q5_0' has not been made.*00_make_quants"):
        located(study.quants[0], study.reference)


def test_a_file_that_was_altered_afterwards_is_refused(place, whole):
    study = study_of(whole, [made("Q5_1", engine="llamacpp")])
    make_study_files(study, threads=1)
    file = made_file(study.quants[0], study.reference)
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    with pytest.raises(SourceError, match="wrong hash"):
        open_model(study.quants[0], reference=study.reference, compute=study.compute)


def test_a_padded_reference_is_exported_and_fits_blocks_of_256(place, folder):
    narrow = write_model(folder / "padded-from.gguf", width=192, inner=448, heads=6, key_heads=3)
    study = study_of(narrow, [made("Q6_K", engine="llamacpp")], pad=256, rotate=5)
    table = make_study_files(study, threads=1)
    assert table["is"].tolist() == ["Q6_K"]
    assert table["tensor_types"].tolist() == ["Q6_K 100.0 %"]
    reference, quant = (
        open_model(e, reference=study.reference, compute=study.compute) for e in (study.reference, *study.quants)
    )
    tokens = torch.tensor([[0, 5, 61, 7, 99, 31]])
    gap = reference.head.logits(reference.hidden(tokens)[0]) - quant.hidden(tokens)[0]
    assert 0 < gap.std() < 0.15  # of logits that spread over several nats


def test_a_studys_importance_matrix_is_computed_once_from_the_ends_of_its_texts(place, whole):
    study = study_of(whole, [made("Q2_K_S", importance=SCIENCE), made("Q3_K_L", importance=SCIENCE)])
    study = Study(**{**study.model_dump(mode="json"), "corpora": [PROSE], "headline": HEADLINE})
    table = make_study_files(study, threads=1)
    assert table["is"].tolist() == ["Q2_K_S", "Q3_K_L"]
    assert table["importance"].all()
    files = [made_file(q, study.reference) for q in study.quants]
    assert len(list(files[0].parent.glob("imatrix-*.gguf"))) == 1


def test_an_importance_matrix_of_text_that_the_study_measures_is_refused(place, whole):
    greedy = {**SCIENCE, "windows": 40, "context": 512}
    study = study_of(whole, [made("Q3_K_L", importance=greedy)])
    study = Study(**{**study.model_dump(mode="json"), "corpora": [{**PROSE, "windows": 1100}], "headline": HEADLINE})
    with pytest.raises(CorpusError, match="also in corpus 'prose'"):
        make_study_files(study, threads=1)


def test_equal_files_of_a_study_are_refused(place, folder):
    narrow = folder / "narrow.gguf"
    study = study_of(narrow, [made("Q2_K"), made("Q3_K_S")])
    with pytest.raises(ModelError, match=r"(?s)'Q2_K' and 'Q3_K_S' are identical.*twice Q4_0"):
        make_study_files(study, threads=1)


def test_the_command_makes_a_list_and_names_what_each_is(folder, whole, capsys):
    out = folder / "out"
    code = cli.main(["quantize", str(folder / "narrow.gguf"), "--types", "Q2_K,Q3_K_S,Q8_0", "--out", str(out)])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    assert "Q4_0 (called Q2_K)" in shown.out
    assert "Q3_K_S is equal to Q2_K, tensor by tensor" in shown.out
    assert sorted(p.name for p in out.glob("*.gguf")) == [f"narrow-{t}.gguf" for t in ("Q2_K", "Q3_K_S", "Q8_0")]


def test_the_command_computes_an_importance_matrix_from_text_and_reads_it_back(folder, whole, capsys):
    text, out = folder / "text.txt", folder / "weighed"
    text.write_text("The quick brown fox, 12345 times. def f(x): return x + 1\n" * 40)
    options = ["quantize", str(whole), "--types", "Q2_K_S", "--out", str(out)]
    computed = ["--imatrix", "compute", "--text", str(text), "--windows", "2", "--context", "64"]
    assert cli.main([*options, *computed]) == 0
    first = contents([out / "whole-Q2_K_S-imatrix.gguf"])
    assert first.name == "Q2_K_S"
    assert cli.main([*options, "--imatrix", str(out / "whole-imatrix.gguf")]) == 0
    assert contents([out / "whole-Q2_K_S-imatrix.gguf"]).tensor_data_sha256 == first.tensor_data_sha256
    assert cli.main([*options, "--imatrix", "compute"]) == 2
    assert "computed from text" in capsys.readouterr().err
