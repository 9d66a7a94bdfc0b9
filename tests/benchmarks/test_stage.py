"""Stage 03 on models of a few thousand weights: both kinds of tasks, resumed, and refused where they do not fit."""

import numpy as np
import pytest
import torch

from qkld.benchmarks import harness_tasks
from qkld.benchmarks.harness_tasks import load_task, prompts_of
from qkld.benchmarks.reference_items import record_benchmarks
from qkld.benchmarks.stage import _report_unanswered, score_benchmarks
from qkld.benchmarks.writing.task_answers import model_answers
from qkld.errors import BenchmarkError
from qkld.study.paths import StudyPaths
from qkld.study.schemas import ITEMS, read_table, write_table

SHORT = {"task": "gsm8k", "chance": 0.0, "answer_tokens": 9}


def log_probabilities(model, tokens):
    with torch.no_grad():
        return model.module(torch.tensor([tokens])).logits[0].double().log_softmax(dim=-1).numpy()


def test_rows_follow_their_definitions(study, tiny):
    params = study(SHORT)
    record_benchmarks(params, tiny.reference)
    own, quant = (score_benchmarks(params, model) for model in (tiny.reference, tiny.quant))
    prompts = prompts_of(harness_tasks.fetched_task(params.benchmarks[0]), tiny.reference.tokenizer)
    answers = model_answers(params.study, params.benchmarks[0], prompts, tiny.reference)
    assert list(quant["item"]) == [str(i) for i in range(6)]
    assert list(quant["request"]) == list(own["request"])
    assert (own["written"] != quant["written"]).all()
    for row, theirs, prompt in zip(quant.itertuples(), own.itertuples(), prompts, strict=True):
        answer = answers[prompt.request].tokens
        tokens, first = (*prompt.tokens, *answer), len(prompt.tokens)
        assert (theirs.answer_tokens, theirs.written) == (len(answer), answers[prompt.request].text)
        p, q = (log_probabilities(m, tokens) for m in (tiny.reference, tiny.quant))
        kl = (np.exp(p) * (p - q)).sum(axis=1)
        assert row.kl_prompt == pytest.approx(kl[: first - 1].mean(), abs=1e-5)
        assert row.kl_answer == pytest.approx(kl[first - 1 : -1].mean(), abs=1e-5)
        nll = [-p[i, tokens[i + 1]] for i in range(first - 1)]
        assert row.nll_prompt == pytest.approx(np.mean(nll), abs=1e-5)
        entropy = -(np.exp(p) * p).sum(axis=1)[: first - 1]
        assert row.entropy_prompt == pytest.approx(entropy.mean(), abs=1e-5)
        assert (row.prompt_tokens, row.truncated, row.answer, row.right) == (first, True, -1, -1)
        assert answer == tuple(p[first - 1 : -1].argmax(axis=1)), "the reference's answer is greedy"
    assert own[["kl_prompt", "kl_answer"]].to_numpy().max() <= 1e-12


def test_written_and_chosen_answers_share_one_table(study, tiny, tmp_path):
    params = study(SHORT, {"task": "arc_easy", "chance": 0.125})
    record_benchmarks(params, tiny.reference)
    table = score_benchmarks(params, tiny.quant)
    path = tmp_path / "items.parquet"
    write_table(path, table, ITEMS, {})
    assert read_table(path, ITEMS, made_in="this test").equals(table)
    written, chosen = (table[table["benchmark"] == name] for name in ("gsm8k", "arc_easy"))
    assert chosen[["written", "answer_tokens", "truncated"]].isna().all(axis=None)
    assert written[["margin", "kl_choice_right", "kl_choice_mean", "nll_reference"]].isna().all(axis=None)
    assert table[["kl_prompt", "kl_answer", "nll_prompt", "entropy_prompt"]].notna().all(axis=None)
    assert "cluster" not in table


def test_a_table_of_choices_has_no_column_of_written_answers(study, tiny):
    params = study({"task": "arc_easy", "chance": 0.125})
    record_benchmarks(params, tiny.reference)
    table = score_benchmarks(params, tiny.quant)
    assert {"written", "truncated", "answer_tokens", "cluster"}.isdisjoint(table.columns)


def test_tables_without_the_newer_columns_are_still_read(study, tiny, tmp_path):
    params = study({"task": "arc_easy", "chance": 0.125})
    record_benchmarks(params, tiny.reference)
    older = score_benchmarks(params, tiny.quant).drop(
        columns=[n for n, c in ITEMS.columns.items() if c.optional], errors="ignore"
    )
    path = tmp_path / "older.parquet"
    write_table(path, older, ITEMS, {})
    assert read_table(path, ITEMS, made_in="this test").equals(older)


def test_both_stages_go_on_where_they_were_killed(study, tiny):
    params = study(SHORT)
    record_benchmarks(params, tiny.reference)
    whole = score_benchmarks(params, tiny.quant)
    partial = StudyPaths(params.study).partial
    answers = sorted((partial / "answers" / tiny.quant.label).rglob("*.json"))
    assert len(answers) == 6
    for path in [*answers[:2], *(partial / "items").rglob("*.json")]:
        path.unlink()
    kept = {path: path.stat().st_mtime_ns for path in answers[2:]}
    seal = StudyPaths(params.study).benchmarks_seal.read_bytes()
    record_benchmarks(params, tiny.reference)
    assert StudyPaths(params.study).benchmarks_seal.read_bytes() == seal
    assert score_benchmarks(params, tiny.quant).equals(whole)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_drawn_answers_are_rows_of_one_cluster_an_item(study, tiny):
    params = study(
        SHORT | {"temperature": 0.9, "repeats": 3, "sampling_seed": 4, "limit": 2},
        {"task": "arc_easy", "chance": 0.125},
    )
    record_benchmarks(params, tiny.reference)
    table = score_benchmarks(params, tiny.quant)
    drawn = table[table["benchmark"] == "gsm8k"]
    items = [str(i) for i in load_task(params.benchmarks[0], harness_tasks.fetch("benchmark-gsm8k")).items]
    assert sorted(drawn["item"]) == sorted(f"{i}#{repeat}" for i in items for repeat in range(3))
    assert set(drawn["cluster"]) == set(items)
    assert drawn.groupby("cluster")["written"].nunique().min() > 1
    assert drawn.groupby("cluster")["kl_answer"].nunique().max() == 1
    chosen = table[table["benchmark"] == "arc_easy"]
    assert list(chosen["cluster"]) == list(chosen["item"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer_tokens": 8}, "other settings for written answers"),
        ({"limit": 5}, "answered different prompts"),
        ({"prompt": "chat"}, "chat template, but the model has none"),
    ],
)
def test_other_answers_than_the_reference_s_are_refused(study, tiny, change, message):
    record_benchmarks(study(SHORT), tiny.reference)
    with pytest.raises(BenchmarkError, match=message):
        score_benchmarks(study(SHORT | change), tiny.quant)


def test_a_chat_without_a_template_is_refused_before_anything_runs(study, tiny):
    with pytest.raises(BenchmarkError, match="chat template, but the model has none"):
        record_benchmarks(study(SHORT | {"prompt": "chat"}), tiny.reference)


def test_items_without_an_answer_are_counted_and_a_model_without_any_is_refused(
    task, scored, without_answers, tiny, capsys
):
    scores = scored(tiny.quant)
    _report_unanswered("tiny", task.name, scores)
    assert capsys.readouterr().out == ""
    _report_unanswered("tiny", task.name, without_answers(scores, list(scores)[:3]))
    assert "tiny on arc_easy: 3 of 8 items" in capsys.readouterr().out
    with pytest.raises(BenchmarkError, match="no valid answer to any item of 'arc_easy'"):
        _report_unanswered("tiny", task.name, without_answers(scores, scores))
