import json

import numpy as np
import pytest
import torch

from qkld.benchmarks.harness import NO_CHOICE
from qkld.benchmarks.items import Item, scored_items
from qkld.benchmarks.packing import hidden_states
from qkld.benchmarks.scoring import ItemScore, score_pack, score_states
from qkld.errors import StoreError

ITEMS = [
    Item("0", (5, 6, 7, 8), ((9, 10), (11,), (12, 13, 14))),
    Item("1", (20,), ((21,), (22, 23))),
    Item("2", (30, 31), ((32,), (33,))),
]


def log_probabilities(model, tokens):
    """ln p(next token) after every prefix, float64, shape (tokens, vocabulary), from the model's own logits."""
    with torch.no_grad():
        return model.module(torch.tensor([tokens])).logits[0].double().log_softmax(dim=-1).numpy()


def kl(p, q):
    return float((np.exp(p) * (p - q)).sum())


def scores_of(reference, quant, items=ITEMS):
    return score_pack(quant, items, hidden_states(reference, items), reference.head, tile=100)


def test_scores_follow_their_definitions(tiny):
    for item, score in zip(ITEMS, scores_of(tiny.reference, tiny.quant), strict=True):
        last = len(item.prompt) - 1
        for number, choice in enumerate(item.choices):
            p, q = (log_probabilities(m, item.prompt + choice) for m in (tiny.reference, tiny.quant))
            where = range(last, last + len(choice))
            assert score.answer.loglikelihood[number] == pytest.approx(
                sum(q[w, t] for w, t in zip(where, choice, strict=True)), abs=1e-4
            )
            assert score.answer.greedy[number] == all(q[w].argmax() == t for w, t in zip(where, choice, strict=True))
            assert score.kl_choice[number] == pytest.approx(np.mean([kl(p[w], q[w]) for w in where]), abs=1e-5)
            assert score.nll_reference[number] == pytest.approx(
                -np.mean([p[w, t] for w, t in zip(where, choice, strict=True)]), abs=1e-5
            )
            assert score.entropy_reference[number] == pytest.approx(
                np.mean([-(np.exp(p[w]) * p[w]).sum() for w in where]), abs=1e-5
            )
        prompt = [kl(p[w], q[w]) for w in range(last)]
        assert score.kl_prompt == (pytest.approx(np.mean(prompt), abs=1e-5) if prompt else None)


def test_choices_alone_give_the_same_and_nothing_of_the_prompt(tiny):
    whole = scores_of(tiny.reference, tiny.quant)
    for own, same in zip(scores_of(tiny.reference, tiny.quant, scored_items(ITEMS, "choices")), whole, strict=True):
        assert own.answer.loglikelihood == pytest.approx(same.answer.loglikelihood, abs=1e-4)
        assert own.answer.greedy == same.answer.greedy
        for name in ("kl_choice", "nll_reference", "entropy_reference"):
            assert getattr(own, name) == pytest.approx(getattr(same, name), abs=1e-5)
        assert (own.kl_prompt, own.nll_prompt, own.entropy_prompt) == (None, None, None)


def test_greedy_choices_are_told(tiny):
    prompt = (5, 6, 7, 8)
    best = int(log_probabilities(tiny.quant, prompt)[-1].argmax())
    (score,) = scores_of(tiny.reference, tiny.quant, [Item("0", prompt, ((best,), ((best + 1) % 257,)))])
    assert score.answer.greedy == (True, False)


def test_the_reference_diverges_from_itself_by_nothing(tiny):
    for score in scores_of(tiny.reference, tiny.reference):
        assert all(abs(value) <= 1e-12 for value in [*score.kl_choice, score.kl_prompt or 0.0])


def test_scores_pass_through_json_bit_for_bit(tiny):
    for score in scores_of(tiny.reference, tiny.quant):
        assert ItemScore.from_json(json.loads(json.dumps(score.to_json()))) == score


def test_one_state_that_is_not_finite_costs_its_own_choice_alone(tiny):
    hidden = hidden_states(tiny.quant, ITEMS)
    reference = hidden_states(tiny.reference, ITEMS)
    whole = score_states(ITEMS, hidden, tiny.quant.head, reference, tiny.reference.head, tile=100)
    hidden[0][-1] = torch.nan  # the state that predicts the last token of the first item's last choice
    broken = score_states(ITEMS, hidden, tiny.quant.head, reference, tiny.reference.head, tile=100)
    assert broken[1:] == whole[1:]
    assert broken[0].answer.loglikelihood == (*whole[0].answer.loglikelihood[:2], None)
    assert broken[0].kl_choice == (*whole[0].kl_choice[:2], None)
    assert (broken[0].kl_prompt, broken[0].answer.choice) == (whole[0].kl_prompt, NO_CHOICE)
    assert ItemScore.from_json(json.loads(json.dumps(broken[0].to_json(), allow_nan=False))) == broken[0]


# --- kept packs -------------------------------------------------------------------------------------------------------


def test_finished_packs_are_not_run_again(scored, tiny, tmp_path):
    whole = scored(tiny.quant)
    parts = sorted((tmp_path / tiny.quant.label).iterdir())
    assert len(parts) > 3
    parts[1].unlink()
    kept = {path: path.stat().st_mtime_ns for path in parts if path.exists()}
    assert scored(tiny.quant) == whole
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert parts[1].exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"other": {}}'])
def test_a_damaged_part_is_refused(scored, tiny, tmp_path, content):
    scored(tiny.quant)
    part = min((tmp_path / tiny.quant.label).iterdir())
    part.write_text(content)
    with pytest.raises(StoreError, match=f"{part.name} was damaged"):
        scored(tiny.quant)


def test_an_edited_part_with_a_key_missing_is_refused(scored, tiny, tmp_path):
    scored(tiny.quant)
    part = min((tmp_path / tiny.quant.label).iterdir())
    values = json.loads(part.read_text())
    del next(iter(v for v in values.values() if isinstance(v, dict)))["kl_choice"]
    part.write_text(json.dumps(values))
    with pytest.raises(StoreError, match="was damaged"):
        scored(tiny.quant)
