"""Two tokenizers are equal when they turn text into the same ids, and are refused with both shown when not."""

from __future__ import annotations

import pytest
from tiny_models import make_module, make_tokenizer, save, stored
from tokenizers import pre_tokenizers

from qkld.errors import TokenizerError
from qkld.models import open_model
from qkld.models.tokenizer import check_same_tokenizer, tokenizer_sha256


def other_vocabulary():
    return make_tokenizer(text=("completely different words here",))


def other_special_token():
    tokenizer = make_tokenizer()
    tokenizer.bos_token = "</s>"
    return tokenizer


def other_pre_tokenizer():
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("e", "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    return tokenizer


def other_merges():
    import json

    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    state = json.loads(make_tokenizer().backend_tokenizer.to_str())
    state["model"]["merges"] = state["model"]["merges"][::-1]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )


def test_the_same_tokenizer_passes_and_has_the_same_hash():
    check_same_tokenizer(make_tokenizer(), make_tokenizer(), label="q")
    assert tokenizer_sha256(make_tokenizer()) == tokenizer_sha256(make_tokenizer())


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (other_vocabulary, "vocabulary"),
        (other_special_token, "special tokens"),
        (other_pre_tokenizer, "ids of the probe text"),
        (other_merges, "merges"),
    ],
)
def test_a_difference_is_named_with_both_sides(make, what):
    with pytest.raises(TokenizerError) as caught:
        check_same_tokenizer(make_tokenizer(), make(), label="q4")
    message = str(caught.value)
    assert what in message
    assert "'q4'" in message
    expected, found = (next(x for x in message.splitlines() if x.strip().startswith(k)) for k in ("expected", "found"))
    assert expected.split(":", 1)[1] != found.split(":", 1)[1]
    assert tokenizer_sha256(make_tokenizer()) != tokenizer_sha256(make())


def test_a_model_with_another_tokenizer_is_not_opened(tmp_path, tiny, compute):
    entry = stored(save(tmp_path, make_module(), other_vocabulary()), label="q")
    with pytest.raises(TokenizerError, match="vocabulary"):
        open_model(entry, reference=tiny, compute=compute)
