"""Lists of cache types in a study: an entry a pair, with a label that says which, and lists that are refused."""

from __future__ import annotations

import pytest
import yaml

from qkld.errors import ParameterError
from qkld.study.params import parse_study
from qkld.study.paths import project_root

GGUF = {
    "label": "Q8_0",
    "method": "gguf",
    "family": "kv-cache",
    "maker": "x",
    "recipe": "Q8_0",
    "nominal_bits": 8,
    "made": {"type": "Q8_0"},
    "engine": "llamacpp",
}


def quants(**more):
    values = yaml.safe_load((project_root() / "params" / "smoke.yaml").read_text())
    values["quants"] = [*values["quants"], {**GGUF, **more}]
    return parse_study(values, source="here.yaml").quants[len(values["quants"]) - 1 :]


def test_two_lists_are_a_grid():
    made = quants(cache_k=["f16", "q8_0", "q4_0"], cache_v=["f16", "q4_0"])
    assert [(q.cache_k, q.cache_v) for q in made] == [(k, v) for k in ("f16", "q8_0", "q4_0") for v in ("f16", "q4_0")]
    assert made[3].label == "Q8_0-k-q8_0-v-q4_0"
    assert made[3].recipe == "Q8_0, keys in q8_0, values in q4_0"
    assert len({q.label for q in made}) == 6


def test_one_list_varies_alone():
    made = quants(cache_k="q8_0", cache_v=["f16", "iq4_nl"], recipe_id="eight")
    assert [(q.label, q.cache_k, q.cache_v, q.recipe_id) for q in made] == [
        ("Q8_0-v-f16", "q8_0", "f16", "eight-v-f16"),
        ("Q8_0-v-iq4_nl", "q8_0", "iq4_nl", "eight-v-iq4_nl"),
    ]
    (single,) = quants(cache_k="q8_0")
    assert (single.label, single.cache_k, single.cache_v) == ("Q8_0", "q8_0", None)


def test_a_grid_in_each_build():
    made = quants(cache_k=["f16", "q4_0"], builds={"rotate": [1, 2]})
    assert [(q.label, q.recipe_id) for q in made] == [
        (f"Q8_0-k-{k}-rotate-{seed}", f"Q8_0-k-{k}") for k in ("f16", "q4_0") for seed in (1, 2)
    ]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"cache_k": ["f16", "q6_k"]}, r"cache_k\.types\.1: .*'q6_k'"),
        ({"cache_k": "q3_0"}, r"cache_k\.type: .*'q3_0'"),
        ({"cache_v": []}, "cache_v.*at least 1"),
        ({"cache_k": ["f16", "f16"]}, "cache_k names a type twice"),
        ({"cache_v": ["f16", "q4_0"], "flash_attention": False}, "cache_v q4_0 needs flash attention"),
        ({"cache_k": ["f16", "q8_0"], "engine": "torch"}, "only engine llamacpp has a cache"),
        ({"cache_k": ["f16", "q8_0"], "label": "a" * 76}, "label of a pair of caches is longer"),
    ],
    ids=["unknown in a list", "unknown", "empty", "twice", "no flash attention", "torch", "long label"],
)
def test_lists_that_cannot_be_run_are_refused(more, said):
    with pytest.raises(ParameterError, match=rf"(?s){said}"):
        quants(**more)
