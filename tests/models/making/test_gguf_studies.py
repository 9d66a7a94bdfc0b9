"""The GGUF studies of params/: enough files, down to low bits, and no text of an importance matrix that is measured."""

from __future__ import annotations

import pytest

from qkld.models.making.gguf import check_types
from qkld.models.making.importance import check_disjoint, importance_windows, measured_documents
from qkld.models.opening import stored_tokenizer
from qkld.study.params import load_params
from qkld.workflow.plan import made_files


@pytest.fixture(scope="module")
def study():
    return load_params("gguf")


def test_the_cohort_has_the_papers_size(study):
    files = made_files(study)
    assert len(files) >= 28
    assert sum(made.importance is not None for made in files) >= 10
    assert max(files.values()) == 8
    assert min(files.values()) <= 3
    assert {q.engine for q in study.quants} == {"llamacpp"}
    assert (study.reference.pad, study.reference.rotate) == (256, 2606)


def test_caches_vary_on_files_that_are_there_with_the_usual_one(study):
    cached = [q for q in study.quants if q.cache_k]
    assert len(cached) >= 4
    plain = {q.made for q in study.quants if not q.cache_k}
    assert {q.made for q in cached} <= plain


@pytest.mark.parametrize(("name", "rotate"), [("gguf-engines", 2606), ("gguf-unrotated", None)])
def test_each_file_is_in_both_engines(name, rotate):
    both = load_params(name)
    assert both.reference.rotate == rotate
    assert len(both.corpora) == 1
    by_engine = {e: {q.made for q in both.quants if q.engine == e} for e in ("torch", "llamacpp")}
    assert by_engine["torch"] == by_engine["llamacpp"] == set(made_files(both))


@pytest.mark.model
@pytest.mark.parametrize("name", ["gguf", "gguf-engines", "gguf-unrotated"])
def test_llamacpp_knows_every_type(name):
    check_types(made.type for made in made_files(load_params(name)))


@pytest.mark.model
def test_no_document_is_in_an_importance_matrix_and_measured(study):
    reference = study.reference.model_copy(update={"pad": None, "rotate": None})
    tokenizer = stored_tokenizer(reference)
    (wanted,) = {made.importance for made in made_files(study) if made.importance}
    windows, taken = importance_windows(wanted, tokenizer)
    assert len(windows) == 36
    check_disjoint(taken, measured_documents(study, tokenizer))
