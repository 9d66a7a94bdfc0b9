"""The estimate on a GPU against sums done by hand from the studies' own windows and the models' sizes."""

from __future__ import annotations

import math
import warnings

import pytest

from qkld.sources.windows import ANSWERS_AT_ONCE
from qkld.study.params import Study, ToBeChecked, load_params
from qkld.workflow.estimate import H100, Work, cohort_work, estimate_lines, estimate_table, tokens_of

QWEN, DEVSTRAL = "qwen3.6-35b-a3b", "devstral-small-2-24b"


def cohort(name: str) -> Study:
    """A published cohort, without its warning of facts to be checked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ToBeChecked)
        return load_params(name)


def work(name: str) -> dict[str, Work]:
    return {w.name: w for w in cohort_work(cohort(name))}


def test_tokens_are_counted_from_the_windows():
    n = tokens_of(cohort(QWEN))
    assert n.windows == 300
    assert n.run == 100 * 1024 + 100 * 512 + 100 * (70 + 256)
    assert n.kept == 100 * (64 + 256 + 512) + 100 * 256 + 100 * 256  # second halves of 128, 512 and 1,024, without gaps
    assert (n.answers, n.longest) == (100 * 256, 1024)


def test_the_dense_model_is_counted_by_hand():
    one = work(DEVSTRAL)["02 one quant"]
    parameters, width, vocabulary = 23.577e9, 5120, 131_072
    trunk, head = 2 * (parameters - width * vocabulary), 2 * width * vocabulary
    assert one.runs == 41
    assert one.operations == pytest.approx(186_200 * trunk + 2 * 2 * 134_400 * head)  # two heads in two walks
    assert one.read_bytes == pytest.approx(300 * 2 * (parameters + 3 * width * vocabulary))
    assert one.host_bytes == pytest.approx(2 * parameters + 134_400 * width * 2)
    products, reading = one.operations / 989.4e12, one.read_bytes / 3.35e12
    rest = one.exps / (16 * 132 * 1.83e9) + one.host_bytes / 64e9
    assert one.seconds(H100) == pytest.approx(max(products, reading) + rest, rel=1e-3)
    assert products > reading


def test_a_mixture_of_experts_computes_little_and_reads_all():
    one = work(QWEN)["02 one quant"]
    assert one.read_bytes / H100.bytes_per_second > one.operations / H100.bfloat16_flop_per_second
    assert one.read_bytes == pytest.approx(300 * 2 * (34.66e9 + 3 * 2048 * 248_320))


def test_one_walk_applies_each_head_once():
    study = cohort(QWEN)
    knobs = study.quant_kld.model_copy(update={"second_walk": False})
    one, two = (cohort_work(s)[1] for s in (study.model_copy(update={"quant_kld": knobs}), study))
    assert two.exps == 2 * one.exps
    assert two.operations - one.operations == pytest.approx(2 * 134_400 * 2 * 2048 * 248_320)
    assert two.read_bytes - one.read_bytes == pytest.approx(300 * 2 * 2 * 2048 * 248_320)


def test_the_reference_writes_a_token_of_as_many_answers_a_pass_as_recording_does():
    reference = work(QWEN)["01 reference"]
    assert reference.passes == 300 + math.ceil(100 / ANSWERS_AT_ONCE) * 256
    assert reference.exps == 0


@pytest.mark.parametrize("name", [QWEN, DEVSTRAL])
def test_what_does_not_fit_crosses_the_host_link_once_a_pass(name):
    found = work(name)
    assert found["02 one quant"].device_bytes < H100.memory_bytes
    parameters, width, vocabulary = {QWEN: (34.66e9, 2048, 248_320), DEVSTRAL: (23.577e9, 5120, 131_072)}[name]
    floor = found["02 floor-dtype, float32"]
    wanted = 4 * parameters + 4 * width * vocabulary + 1024 * 4 * width + 1024 * 8192 * 20
    assert floor.device_bytes == H100.memory_bytes < wanted
    assert floor.host_bytes == pytest.approx(4 * parameters + 300 * (wanted - 0.9 * 80e9) + 134_400 * width * 4)


def test_the_table_says_that_it_is_an_estimate_and_by_which_formula():
    table = estimate_table(cohort(QWEN))
    assert table.title.startswith("Estimate for")
    assert "nothing was run" in table.note
    assert "max(operations / peak, bytes read / bandwidth)" in table.note
    assert "4,096 bytes a token" in table.note
    assert [row[0] for row in table.rows] == ["01 reference", "02 one quant", "02 floor-dtype, float32", "together"]
    assert {len(row) for row in table.rows} == {len(table.columns)}
    assert any(line.startswith("02 one quant") for line in estimate_lines(cohort(QWEN)))


def test_a_model_of_unknown_size_has_no_estimate():
    study = cohort(QWEN)
    other = study.model_copy(
        update={"reference": study.reference.model_copy(update={"repository": "a/b", "file": "c.gguf"})}
    )
    assert estimate_table(other) is None
    assert list(estimate_lines(other)) == []


@pytest.mark.parametrize(("name", "converted"), [(QWEN, True), (DEVSTRAL, False)])
def test_a_gguf_reference_s_conversion_is_counted(name, converted):
    note = estimate_table(cohort(name)).note
    assert ("converted in the host's memory and on its disk as float32" in note) == converted
