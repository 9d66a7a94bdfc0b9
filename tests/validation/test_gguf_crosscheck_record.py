"""What the cross-check of the GGUF engines recorded, against the limits that it is held to.

Engine llamacpp and llama-perplexity are of one source and run the same kernels on the same batches, so llama.cpp's
figures of the engine's logits are those that are printed, to a hundred-thousandth. (Another version need not give
them: its Q6_K kernels round otherwise, which moved SmolLM2's mean KLD by 2.5 %.) Engine torch multiplies in another
order, a float32 rounding error apart. qkld's own figures are of the reference's logits themselves, not of a base file's
16 bits of them: the smaller a KLD, the more these weigh.
"""

from __future__ import annotations

import json

import pytest
from conftest import REPOSITORY

RECORD = REPOSITORY / "tests" / "data" / "gguf_crosscheck" / "record.json"
MODELS = ("tiny", "smollm2")
LABELS = {"Mean KLD", "Median KLD", "99.9% KLD", "Same top p", "Mean PPL(Q)", "Mean PPL(base)"}
WITH_UNCERTAINTY = LABELS - {"Median KLD", "99.9% KLD"}

DIGIT = 1e-6
"""The last digit that llama-perplexity prints of a KLD or a perplexity; a row's terms are float32."""

CUT_OFF = ("tiny", "Mean PPL(base)")
"""The base file cuts off log-probabilities that true tokens of the random model have: its perplexity is too low."""


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text(encoding="utf-8"))


def pairs(record, model, engine, ours):
    """Type, label, what llama-perplexity printed with its uncertainty, and our value; of every type."""
    for kind, found in record["models"][model]["types"].items():
        if engine in found:
            assert set(found[engine]["printed"]) == set(found[engine][ours]) == LABELS
            for label, (value, uncertainty) in found[engine]["printed"].items():
                yield kind, label, value, uncertainty, found[engine][ours][label][0]


def mean_klds(record, model, engine, ours):
    """Type, printed mean KLD and ours."""
    return [(p[0], p[2], p[4]) for p in pairs(record, model, engine, ours) if p[1] == "Mean KLD"]


def test_program_and_engine_are_of_one_source(record):
    lock = (REPOSITORY / "requirements-llamacpp.lock").read_text()
    pin = next(line for line in lock.splitlines() if line.startswith("llama-cpp-python=="))
    assert record["llama.cpp"]["source_sha256"] in pin
    assert record["engine"].split(",")[0].replace(" ", "==") in pin


@pytest.mark.parametrize("model", MODELS)
def test_the_record_holds_different_files_that_are_what_they_are_called(record, model):
    recorded = record["models"][model]
    files = {kind: found["file"] for kind, found in recorded["types"].items()}
    assert len({file["tensor_data_sha256"] for file in files.values()}) == len(files)
    assert all(file["name"] == kind for kind, file in files.items())
    assert all({"llamacpp", "torch"} <= set(found) for found in recorded["types"].values())
    assert recorded["scored_tokens"] == recorded["windows"] * (recorded["context"] // 2 - 1)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("ours", ["by_llama", "by_qkld"])
@pytest.mark.parametrize("engine", ["llamacpp", "torch"])
def test_engines_agree_with_llama_perplexity_within_its_uncertainties(record, model, engine, ours):
    for kind, label, printed, uncertainty, own in pairs(record, model, engine, ours):
        assert (uncertainty is not None) == (label in WITH_UNCERTAINTY)
        if uncertainty is not None and (ours == "by_llama" or (model, label) != CUT_OFF):
            assert abs(own - printed) <= uncertainty, (kind, label)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("ours", ["by_llama", "by_qkld"])
def test_mean_klds_of_engine_llamacpp_agree_to_a_hundredth(record, model, ours):
    for kind, printed, own in mean_klds(record, model, "llamacpp", ours):
        assert own == pytest.approx(printed, rel=0.01, abs=DIGIT), kind


@pytest.mark.parametrize("model", MODELS)
def test_mean_klds_of_engine_torch_agree_to_a_thousandth_on_dequantized_files(record, model):
    for kind, printed, own in mean_klds(record, model, "torch", "by_llama"):
        assert own == pytest.approx(printed, rel=0.001, abs=DIGIT), kind


@pytest.mark.parametrize("model", MODELS)
def test_figures_of_engine_llamacpp_are_those_printed(record, model):
    for kind, label, printed, _, own in pairs(record, model, "llamacpp", "by_llama"):
        tolerance = 1000 * DIGIT if label == "Same top p" else DIGIT
        assert own == pytest.approx(printed, rel=1e-5, abs=tolerance), (kind, label)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("engine", ["llamacpp", "torch"])
def test_medians_and_tails_agree_to_a_hundredth(record, model, engine):
    for kind, label, printed, _, own in pairs(record, model, engine, "by_llama"):
        if label in ("Median KLD", "99.9% KLD"):
            assert own == pytest.approx(printed, rel=0.01, abs=DIGIT), (kind, label)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("engine", ["llamacpp", "torch"])
def test_six_types_went_through_each_engine(record, model, engine):
    assert len(mean_klds(record, model, engine, "by_llama")) >= 6


def test_what_is_deployed_is_another_thing_than_its_weights_alone(record):
    deployed, weights = ({p[0]: p[2] for p in mean_klds(record, "tiny", e, "by_qkld")} for e in ("llamacpp", "torch"))
    assert set(deployed) == set(weights)
    for kind, value in weights.items():
        assert abs(deployed[kind] - value) > 1e-5, kind
