"""Rows of the item table follow from the scores and from what the harness says."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from qkld.benchmarks.harness import NO_CHOICE
from qkld.benchmarks.harness_tasks import items_of, load_task
from qkld.benchmarks.item_table import _lengths, item_table
from qkld.benchmarks.items import distinct
from qkld.benchmarks.packing import layout_name
from qkld.benchmarks.reference_items import items_header, record_items
from qkld.benchmarks.scoring import score_items
from qkld.errors import BenchmarkError
from qkld.reference.store import ReferenceStore
from qkld.study.params import Benchmark, BenchmarkScores
from qkld.study.schemas import ITEMS

PACK = 200
KNOBS = BenchmarkScores(pack_tokens=PACK)


def table_of(model, task, scores):
    return ITEMS.checked(item_table(model.label, task, model.tokenizer, scores))


def test_items_that_ask_the_same_are_run_once_and_told_twice(task, scored, tiny):
    scores = scored(tiny.quant)
    table = table_of(tiny.quant, task, scores)
    assert (len(scores), len(table)) == (8, 9)
    assert list(table["item"]) == [str(i) for i in range(9)]
    twice = table[table["item"].isin(["2", "8"])].drop(columns="item")
    assert twice.iloc[0].equals(twice.iloc[1])


def test_the_table_follows_from_the_scores(task, scored, tiny, arc_rows):
    scores = scored(tiny.quant)
    for row, source in zip(table_of(tiny.quant, task, scores).itertuples(), arc_rows, strict=True):
        score = scores[row.request]
        values = np.array(score.answer.loglikelihood)
        assert row.right == source["choices"]["label"].index(source["answerKey"])
        assert row.answer == values.argmax()
        assert row.correct == (row.answer == row.right) == (row.margin > 0)
        assert row.margin == values[row.right] - max(v for i, v in enumerate(values) if i != row.right)
        assert row.kl_choice_right == score.kl_choice[row.right]
        assert row.kl_choice_mean == pytest.approx(sum(score.kl_choice) / 8, rel=1e-12)
        assert row.prompt_tokens == len(f"Question: {source['question']}\nAnswer:")
        assert row.choice_tokens == sum(1 + len(text) for text in source["choices"]["text"])


def test_the_reference_s_own_table_has_no_divergence(task, scored, tiny):
    table = table_of(tiny.reference, task, scored(tiny.reference))
    assert table[["kl_prompt", "kl_choice_right", "kl_choice_mean"]].abs().to_numpy().max() <= 1e-12


def test_a_right_choice_that_does_not_exist_is_refused(task, scored, tiny, write_lines, arc_rows):
    scores = scored(tiny.quant)
    task.task.config.doc_to_target = 8
    with pytest.raises(BenchmarkError, match="no single right choice"):
        table_of(tiny.quant, task, scores)


def test_an_item_without_an_answer_is_wrong_and_the_others_stay(task, scored, without_answers, tiny):
    scores = scored(tiny.quant)
    whole = table_of(tiny.quant, task, scores)
    broken = whole.loc[whole["right"] == 7, "request"]  # the harness would take the NaN choice, and be right
    assert len(broken) == 1
    table = table_of(tiny.quant, task, without_answers(scores, broken))
    own = table["request"].isin(broken)
    assert table.loc[own, ["correct", "answer"]].to_numpy().tolist() == [[0, NO_CHOICE]]
    assert table.loc[own, "margin"].isna().all()
    pd.testing.assert_frame_equal(table[~own], whole[~own], check_exact=True)


def test_acc_norm_divides_by_the_characters_of_each_choice(write_lines, arc_rows, tiny, tokenizer, tmp_path):
    """Choices of very different length: the metric, the answer and the margin are of ln p a character."""
    texts = ["sun", "a rather long answer about the ice", "lead", "salt from the sea and more of it"]
    rows = [
        {**row, "choices": {"text": texts[n % 4 :] + texts[: n % 4], "label": list("ABCD")}, "answerKey": "ABCD"[n % 4]}
        for n, row in enumerate(arc_rows)
    ]
    tables = {}
    for metric in ("acc", "acc_norm"):
        task = load_task(Benchmark(task="arc_easy", chance=0.25, metric=metric), write_lines(rows))
        items = distinct(items_of(task, tokenizer))
        header = items_header("arc_easy", items, tiny.reference, layout=layout_name(tiny.reference, KNOBS))
        record_items(tmp_path / "reference", header, items, tiny.reference, pack_tokens=PACK)
        store = ReferenceStore.open(header.folder(tmp_path / "reference"))
        scores = score_items(tiny.quant, items, store, tmp_path / "quant", pack_tokens=PACK, tile=100)
        tables[metric] = table_of(tiny.quant, task, scores)
        for row, source in zip(tables[metric].itertuples(), rows, strict=True):
            values = np.array(scores[row.request].answer.loglikelihood)
            lengths = np.array([len(t) for t in source["choices"]["text"]] if metric == "acc_norm" else [1] * 4)
            values = values / lengths
            probabilities = softmax(values * lengths.mean())
            assert row.probability_right == pytest.approx(probabilities[row.right], rel=1e-12)
            assert row.metric == metric
            assert row.answer == values.argmax()
            assert row.correct == (row.answer == row.right) == (row.margin > 0)
            assert row.margin == pytest.approx(values[row.right] - np.delete(values, row.right).max(), rel=1e-12)
    assert (tables["acc"]["answer"] != tables["acc_norm"]["answer"]).any()


def test_an_empty_choice_has_no_length_to_divide_by(write_lines, arc_rows, tiny, tokenizer):
    empty = {**arc_rows[1], "choices": {**arc_rows[1]["choices"], "text": ["", *arc_rows[1]["choices"]["text"][1:]]}}
    rows = write_lines([arc_rows[0], empty])
    task = load_task(Benchmark(task="arc_easy", chance=0.125, metric="acc_norm"), rows)
    first, second = (dict(document) for document in task.task.eval_docs)
    assert list(_lengths(task, first)) == [float(len(text)) for text in arc_rows[0]["choices"]["text"]]
    with pytest.raises(BenchmarkError, match="metric: acc"):
        _lengths(task, second)


def test_a_metric_that_the_task_does_not_report_is_refused(task, scored, tiny):
    other = replace(task, benchmark=task.benchmark.model_copy(update={"metric": "acc_norm"}))
    other.task._metric_fn_list.pop("acc_norm")
    with pytest.raises(BenchmarkError, match="does not report 'acc_norm'"):
        table_of(tiny.quant, other, scored(tiny.quant))


def test_the_probability_of_the_right_choice_is_on_the_scale_of_an_answer(task, scored, tiny):
    scores = scored(tiny.quant)
    for row in table_of(tiny.quant, task, scores).itertuples():
        values = np.array(scores[row.request].answer.loglikelihood)
        assert row.probability_right == pytest.approx(softmax(values)[row.right], rel=1e-12)
        assert row.choice_scores == pytest.approx(values, rel=1e-6)
        assert np.argmax(row.choice_scores) == row.answer
