"""A study's parameters: what is refused, what the messages say, and what the published cohorts hold."""

from __future__ import annotations

import copy
import re
import warnings
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from qkld.errors import ParameterError
from qkld.study.entries import identity
from qkld.study.knobs import STAGES, knob_names, knobs, with_knobs
from qkld.study.params import Study, ToBeChecked, asked, load_params, parse_study
from qkld.study.paths import known_studies, project_root

STUDIES = known_studies()
COHORTS = {"qwen3.6-35b-a3b": 28, "devstral-small-2-24b": 41}
GGUF = {
    "label": "x-Q8_0",
    "method": "gguf",
    "family": "x",
    "maker": "x",
    "recipe": "Q8_0",
    "nominal_bits": 8.5,
    "repository": "x/y",
    "revision": "0" * 40,
    "file": "y.gguf",
    "sha256": "a" * 64,
}
INTX = {
    "label": "i",
    "method": "torchao",
    "family": "t",
    "maker": "x",
    "recipe": "r",
    "nominal_bits": 8,
    "scheme": "intx",
    "bits": 8,
}


@pytest.fixture
def smoke() -> dict:
    return yaml.safe_load((project_root() / "params" / "smoke.yaml").read_text())


def loaded_quietly(study: str) -> Study:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ToBeChecked)
        return load_params(study)


def refusal(values: object) -> str:
    """The message with which the values are refused; every one says what to do."""
    with pytest.raises(ParameterError) as caught:
        parse_study(values, source="here.yaml")
    message = str(caught.value)
    assert message.startswith("here.yaml is not a valid study.")
    assert re.search(r"expected: .+\n  found:    .+\n(.*\n)*  do:       .+", message)
    return message


def test_a_misspelt_key_is_named_with_the_right_one(smoke):
    smoke["silent_zone"]["zone_cutt"] = smoke["silent_zone"].pop("zone_cut")
    message = refusal(smoke)
    assert "silent_zone.zone_cutt: unknown key; did you mean 'zone_cut'?" in message
    assert "silent_zone.zone_cut: Field required" in message


def test_an_unknown_key_is_named_wherever_it_is(smoke):
    smoke["colour"] = 1
    smoke["quants"][0]["sparkle"] = 1
    message = refusal(smoke)
    assert "colour: unknown key" in message
    assert "quants.0.torchao.sparkle: unknown key" in message


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("reference_logits", "score_from", 1.0),
        ("quant_kld", "confidence", 95),
        ("quant_kld", "bootstrap", 10),
        ("silent_zone", "zone_cut", 0),
        ("silent_zone", "zone_cut", float("inf")),
        ("silent_zone", "zone_cut", float("nan")),
        ("silent_zone", "zone_rule", "by_eye"),
        ("compute", "compute_dtype", "int8"),
    ],
)
def test_a_value_out_of_range_is_named_and_shown(smoke, section, key, value):
    smoke[section][key] = value
    message = refusal(smoke)
    assert f"{section}.{key}: " in message
    assert f"(found {value!r})" in message


@pytest.mark.parametrize("value", ["200", 200.5, True, None, [200]])
def test_nothing_is_coerced_into_a_number(smoke, value):
    smoke["quant_kld"]["bootstrap"] = value
    assert "quant_kld.bootstrap: " in refusal(smoke)


def test_a_whole_number_may_stand_where_a_fraction_is_meant(smoke):
    smoke["silent_zone"]["zone_cut"] = 2
    assert parse_study(smoke, source="here").silent_zone.zone_cut == 2.0


def test_a_missing_section_is_named(smoke):
    del smoke["silent_zone"]
    assert "silent_zone: Field required" in refusal(smoke)


@pytest.mark.parametrize("values", [None, [], "study", 3])
def test_what_is_no_mapping_is_refused(values):
    assert "study: Input should be an object" in refusal(values)


def test_a_label_used_twice_is_named(smoke):
    smoke["quants"].append(copy.deepcopy(smoke["quants"][1]))
    assert f"quant label used twice: {smoke['quants'][1]['label']}" in refusal(smoke)


@pytest.mark.parametrize("label", ["reference", "floor-batch", "floor-dtype"])
def test_a_quant_can_not_take_the_label_of_the_reference_or_a_floor(smoke, label):
    smoke["quants"][0]["label"] = label
    assert f"quant label used twice: {label}" in refusal(smoke)


@pytest.mark.parametrize("label", ["a/b", "../x", "", ".hidden", "a b", "x" * 81])
def test_a_label_that_is_no_file_name_is_refused(smoke, label):
    smoke["quants"][0]["label"] = label
    assert "quants.0.torchao.label: " in refusal(smoke)


@pytest.mark.parametrize(
    ("section", "key", "problem"),
    [("corpora", "name", "corpus name used twice"), ("benchmarks", "task", "benchmark task used twice")],
)
def test_corpora_and_tasks_have_names_of_their_own(smoke, section, key, problem):
    smoke[section][1][key] = smoke[section][0][key]
    assert f"{problem}: {smoke[section][0][key]}" in refusal(smoke)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"repeats": 3, "answer_tokens": 9}, "greedy answers do not differ"),
        ({"sampling_seed": 3, "answer_tokens": 9}, "greedy answers do not differ"),
        ({"temperature": 0.5}, "give answer_tokens"),
        ({"temperature": -0.5, "answer_tokens": 9}, "temperature"),
        ({"family": "maths"}, "family"),
        ({"prompt": "chats"}, "prompt"),
    ],
)
def test_keys_of_written_answers_are_held_to_each_other(smoke, more, problem):
    smoke["benchmarks"][0] |= more
    assert problem in refusal(smoke)


def test_a_benchmark_that_writes_nothing_is_described_as_before_there_was_writing(smoke):
    benchmark = parse_study(smoke, source="here.yaml").benchmarks[0]
    assert asked(benchmark) == {"task": "arc_easy", "chance": 0.25, "limit": 12, "role": "composite", "seed": 0}
    writes = benchmark.model_copy(update={"answer_tokens": 9, "temperature": 0.5})
    assert asked(writes) == asked(benchmark) | {"answer_tokens": 9, "temperature": 0.5}


@pytest.mark.parametrize(("corpus", "context"), [("prose", 63), ("verse", 64), ("chat", 64)])
def test_the_headline_must_be_one_of_the_corpora(smoke, corpus, context):
    smoke["headline"] = {"corpus": corpus, "context": context}
    assert "is none of the study's corpora and contexts" in refusal(smoke)


def test_prompts_are_compared_by_no_divergence_that_is_not_measured(smoke):
    smoke["benchmark_scores"]["item_kld"] = "choices"
    smoke["prompts"]["prompt_divergence"] = "kl_choice_mean"
    assert Study.model_validate(smoke).benchmark_scores.item_kld == "choices"
    smoke["prompts"]["prompt_divergence"] = "kl_prompt"
    assert "item_kld: choices leaves out" in refusal(smoke)


@pytest.mark.parametrize("key", ["revision", "sha256"])
def test_a_published_file_needs_its_revision_and_hash_or_a_mark(smoke, key):
    entry = {k: v for k, v in GGUF.items() if k != key}
    smoke["quants"] = [entry]
    assert f"'{key}' among to_be_checked" in refusal(smoke)
    smoke["quants"] = [entry | {"to_be_checked": [key]}]
    with pytest.warns(ToBeChecked, match="1 of 4|1 of 2"):
        parse_study(smoke, source="here")


@pytest.mark.parametrize("places", [{}, {"path": "/models/y"}, {"asset": "y"}, {"repository": None, "asset": None}])
def test_a_model_lies_in_exactly_one_place(smoke, places):
    smoke["quants"] = [GGUF | (places or {"repository": None})]
    assert "expected exactly one of asset, repository and path" in refusal(smoke)


@pytest.mark.parametrize("change", [{"bits": None}, {"scheme": "int8"}])
def test_bits_belong_to_intx_and_intx_needs_them(smoke, change):
    smoke["quants"] = [INTX | change]
    assert "bits belongs to scheme intx, and intx needs it" in refusal(smoke)


@pytest.mark.parametrize("key", ["pad", "rotate", "permute"])
def test_only_the_reference_is_padded_and_rotated_and_that_decides_its_numbers(smoke, key):
    plain = identity(parse_study(smoke, source="here").reference)
    smoke["reference"][key] = 256
    assert identity(parse_study(smoke, source="here").reference) == plain | {key: 256}
    smoke["quants"].append({**GGUF, key: 256 if key == "pad" else 0})
    assert "pad, rotate and permute are keys of the reference alone; found on x-Q8_0" in refusal(smoke)


def test_an_unknown_method_is_named(smoke):
    smoke["quants"][0]["method"] = "magic"
    assert "'magic'" in refusal(smoke)


def test_to_be_checked_names_only_keys_of_its_entry(smoke):
    smoke["quants"] = [GGUF | {"to_be_checked": ["sha265"]}]
    assert "to_be_checked names what is no key of this entry: sha265" in refusal(smoke)


def test_a_chat_has_no_context_lengths_and_a_text_needs_rising_ones(smoke):
    smoke["corpora"][0]["context_lengths"] = [64, 32]
    smoke["corpora"][1]["context_lengths"] = []
    smoke["corpora"][2]["context_lengths"] = [64]
    message = refusal(smoke)
    assert "context_lengths must rise" in message
    assert "needs context_lengths" in message
    assert "leave context_lengths out" in message


def test_a_missing_file_names_the_studies_there_are(tmp_path):
    (tmp_path / "other.yaml").write_text("{}")
    with pytest.raises(ParameterError, match=r"(?s)no study 'mine'.*expected: other\n.*write .*mine\.yaml"):
        load_params("mine", tmp_path / "mine.yaml")


def test_a_study_carries_the_name_of_its_file(tmp_path, smoke):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(smoke))
    with pytest.raises(ParameterError, match=r"(?s)names another study.*mine.*smoke.*one name"):
        load_params("mine", path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"study: [", "expected the node content"),
        (b"study: a\nstudy: b\n", "key given twice: study"),
        (b"silent_zone:\n  zone_cut: 1.0\n  zone_cut: 2.0\n", "key given twice: zone_cut"),
        (b"study: \xff\xfe\n", "invalid"),
    ],
)
def test_what_is_not_yaml_is_refused_with_the_place(tmp_path, content, why):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(ParameterError, match=rf"(?s)bad\.yaml is not a YAML file.*{why}.*do:  .*correct the file"):
        load_params("bad", path)


def test_nothing_changes_after_parsing():
    study = load_params("smoke")
    with pytest.raises(ValidationError, match="frozen"):
        study.study = "other"
    with pytest.raises(ValidationError, match="frozen"):
        study.silent_zone.zone_cut = 2.0
    with pytest.raises(TypeError):
        study.quants[0] = study.quants[1]


def test_an_unknown_label_is_refused_with_the_known_ones():
    study = load_params("smoke")
    assert study.entry("bnb-nf4").scheme == "nf4"
    with pytest.raises(ParameterError, match=r"(?s)no model 'bnb-nf5'.*, bnb-nf4"):
        study.entry("bnb-nf5")


def test_knobs_are_the_sections_of_the_stage():
    study = load_params("smoke")
    assert knobs(study, "05_silent_zone") == {
        **study.correlation.model_dump(mode="json"),
        **study.silent_zone.model_dump(mode="json"),
    }
    assert knobs(study, "08_findings") == {}


def test_every_knob_belongs_to_a_stage_and_no_stage_has_one_name_twice():
    measured = {"reference", "corpora", "benchmarks", "headline", "quants"}
    words = {"study", "description", "notes"}
    whole_runs = {"self_flips", "significant_bits", "primary_score", "probability_margin", "preregistered", "figures"}
    sections = {section for stage in STAGES.values() for section in stage}
    assert sections == set(Study.model_fields) - measured - words - whole_runs
    study = load_params("smoke")
    for stage, sections in STAGES.items():
        assert len(knobs(study, stage)) == sum(len(type(getattr(study, s)).model_fields) for s in sections)


def test_with_knobs_changes_what_is_given_and_checks_it():
    study = load_params("smoke")
    stage = "05_silent_zone"
    values = knobs(study, stage)
    assert with_knobs(study, stage, **values) == study
    assert with_knobs(study, stage, **dict.fromkeys(values)) == study == with_knobs(study, stage)
    changed = with_knobs(study, stage, zone_cut=2, zone_rule=None)
    assert (changed.silent_zone.zone_cut, changed.silent_zone.zone_rule) == (2.0, study.silent_zone.zone_rule)
    with pytest.raises(ParameterError, match="no parameter width"):
        with_knobs(study, stage, **values, width=1)
    with pytest.raises(ParameterError, match=r"silent_zone\.edge_draws.*greater than"):
        with_knobs(study, stage, **values | {"edge_draws": -1})


def test_names_of_knobs_are_those_of_the_values():
    study = load_params("smoke")
    for stage in STAGES:
        assert list(knob_names(stage)) == list(knobs(study, stage))


@pytest.mark.parametrize("study", STUDIES)
def test_every_study_of_the_project_loads_and_comes_back_from_its_own_values(study):
    parsed = loaded_quietly(study)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ToBeChecked)
        assert parse_study(parsed.model_dump(mode="json"), source="again") == parsed


@pytest.mark.parametrize("study", sorted(set(STUDIES) - set(COHORTS)))
def test_only_the_published_cohorts_have_facts_to_be_checked(study):
    with warnings.catch_warnings():
        warnings.simplefilter("error", ToBeChecked)
        load_params(study)


@pytest.mark.parametrize(("study", "size"), COHORTS.items())
def test_a_cohort_has_the_paper_s_size_and_no_file_twice(study, size):
    quants = loaded_quietly(study).quants
    assert len(quants) == size
    assert len({(q.repository, q.file) for q in quants}) == size
    known = [q.sha256 for q in quants if q.sha256]
    assert len(set(known)) == len(known) >= 2
    assert not [q.label for q in quants if "MTP" in q.repository]
    assert 5 <= len({q.family for q in quants}) <= 8
    assert len({q.maker for q in quants}) >= 4


@pytest.mark.parametrize("study", COHORTS)
def test_a_cohort_spreads_from_8_bits_to_about_2_with_many_near_the_baseline(study):
    bits = [q.nominal_bits for q in loaded_quietly(study).quants]
    assert max(bits) >= 8.5
    assert min(bits) < 2.4
    assert sum(b > 4.4 for b in bits) >= 0.45 * len(bits)


@pytest.mark.parametrize(("study", "size"), COHORTS.items())
def test_loading_a_cohort_warns_once_and_says_how_much_is_to_be_checked(study, size):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = load_params(study)
    (only,) = caught
    assert issubclass(only.category, ToBeChecked)
    assert Path(only.filename) == Path(__file__)
    unchecked = [m for m in (loaded.reference, *loaded.quants) if m.to_be_checked]
    assert f"{len(unchecked)} of {size + 1} models" in str(only.message)
    for fact in {fact for m in unchecked for fact in m.to_be_checked}:
        assert f"{fact} of {sum(fact in m.to_be_checked for m in unchecked)}" in str(only.message)


@pytest.mark.parametrize("study", COHORTS)
def test_a_cohort_says_that_it_is_not_the_paper_s_own_and_has_the_paper_s_values(study):
    head = (project_root() / "params" / f"{study}.yaml").read_text().split("\nstudy:")[0]
    assert re.search(r"own list of \d\d files is not known", head)
    loaded = loaded_quietly(study)
    assert "The paper's own" in loaded.notes[0]
    assert "not known" in loaded.notes[0]
    assert loaded.quant_kld.bootstrap == loaded.correlation.correlation_bootstrap == 10_000
    assert loaded.correlation.permutations == 9_999


def test_file_names_made_by_a_pattern_are_marked():
    quants = loaded_quietly("devstral-small-2-24b").quants
    assert sum("file" in q.to_be_checked for q in quants) == 8
    assert {q.maker for q in quants if "file" in q.to_be_checked} == {"bartowski"}
    assert not [q for q in loaded_quietly("qwen3.6-35b-a3b").quants if "file" in q.to_be_checked]
