"""Written answers from prompt to row: both stages on tiny models, each column against its definition, each judge."""

import json

import numpy as np
import pytest
import torch

from qkld.benchmarks import reference_items as recording
from qkld.benchmarks.loading import load_task, prompts_of
from qkld.benchmarks.reference_items import record_benchmarks
from qkld.benchmarks.scores import score_benchmarks
from qkld.benchmarks.writing import Written
from qkld.benchmarks.written import answer_items, judged, model_answers, stored_items
from qkld.errors import BenchmarkError
from qkld.study.params import Benchmark, load_params
from qkld.study.paths import StudyPaths
from qkld.study.schemas import ITEMS, read_table, write_table

GSM8K = [{"question": f"What is {n} + {n}?" * (1 + n % 3), "answer": f"{2 * n}\n#### {2 * n}"} for n in range(6)]
SHORT = {"task": "gsm8k", "chance": 0.0, "answer_tokens": 9}


@pytest.fixture
def study(tmp_path, monkeypatch, write_lines, arc_rows):
    """Benchmark entries → the smoke study with these, its runs in the test's folder and its items made here."""
    files = {"benchmark-gsm8k": write_lines(GSM8K, "gsm8k.jsonl"), "benchmark-arc_easy": write_lines(arc_rows)}
    monkeypatch.setenv("QKLD_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(recording, "fetch", files.__getitem__)
    smoke = load_params("smoke")

    def made(*entries):
        return smoke.model_copy(update={"benchmarks": tuple(Benchmark(**entry) for entry in entries)})

    return made


def log_probabilities(model, tokens):
    with torch.no_grad():
        return model.module(torch.tensor([tokens])).logits[0].double().log_softmax(dim=-1).numpy()


def test_rows_follow_their_definitions(study, tiny):
    params = study(SHORT)
    record_benchmarks(params, tiny.reference)
    own, quant = (score_benchmarks(params, model) for model in (tiny.reference, tiny.quant))
    prompts = prompts_of(recording.fetched_task(params.benchmarks[0]), tiny.reference.tokenizer)
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
    assert len(answers) == len(GSM8K)
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
    items = [str(i) for i in load_task(params.benchmarks[0], recording.fetch("benchmark-gsm8k")).items]
    assert sorted(drawn["item"]) == sorted(f"{i}#{repeat}" for i in items for repeat in range(3))
    assert set(drawn["cluster"]) == set(items)
    assert drawn.groupby("cluster")["written"].nunique().min() > 1
    assert drawn.groupby("cluster")["kl_answer"].nunique().max() == 1
    chosen = table[table["benchmark"] == "arc_easy"]
    assert list(chosen["cluster"]) == list(chosen["item"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer_tokens": 8}, "wrote its answers otherwise"),
        ({"limit": 5}, "answered other prompts"),
        ({"prompt": "chat"}, "no chat template"),
    ],
)
def test_other_answers_than_the_reference_s_are_refused(study, tiny, change, message):
    record_benchmarks(study(SHORT), tiny.reference)
    with pytest.raises(BenchmarkError, match=message):
        score_benchmarks(study(SHORT | change), tiny.quant)


def test_items_come_back_from_the_store_s_windows(study, tiny):
    params = study(SHORT)
    prompts = prompts_of(recording.fetched_task(params.benchmarks[0]), tiny.reference.tokenizer)
    answers = {p.request: Written((5, int(p.name)), "", True) for p in prompts}
    items = answer_items(prompts, answers)
    windows = recording.windows_of(items)
    assert list(stored_items("gsm8k", prompts, windows).values()) == items
    with pytest.raises(BenchmarkError, match="prompt 2 differs"):
        stored_items("gsm8k", [*prompts[:2], prompts[3], prompts[2], *prompts[4:]], windows)
    with pytest.raises(BenchmarkError, match="prompt 5 differs"):
        stored_items("gsm8k", prompts[:5], windows)


def test_a_reference_whose_answer_broke_off_is_refused(study, tiny):
    prompts = prompts_of(recording.fetched_task(study(SHORT).benchmarks[0]), tiny.reference.tokenizer)
    answers = {p.request: Written((5,), "", True, finite=p.name != "3") for p in prompts}
    with pytest.raises(BenchmarkError, match="none for items 3"):
        answer_items(prompts, answers)


# --- judges -----------------------------------------------------------------------------------------------------------


def verdicts(task, tokenizer, texts, **changes):
    prompts = prompts_of(task, tokenizer)
    answers = {p.request: Written((1,), text, False, **changes) for p, text in zip(prompts, texts, strict=True)}
    return judged(task, tokenizer, prompts, answers)


def loaded(name, rows, write_lines, **entry):
    return load_task(Benchmark(task=name, chance=0.0, **entry), write_lines(rows, f"{name}.jsonl"))


def test_gsm8k_takes_the_last_number(write_lines, tokenizer):
    rows = [{"question": f"{i}?", "answer": "so\n#### 1,018"} for i in range(5)]
    texts = ["It is 1018.", "5 + 3 is 8, so $1,018", "1018 and 4", "", "one thousand"]
    task = loaded("gsm8k", rows, write_lines)
    assert verdicts(task, tokenizer, texts) == [1, 1, 0, 0, 0]
    assert verdicts(task, tokenizer, texts, finite=False) == [0] * 5


def test_math500_takes_what_is_equal(write_lines, tokenizer):
    rows = [{"problem": f"{i}?", "level": 1, "solution": r"So it is $\boxed{\frac{1}{2}}$."} for i in range(4)]
    texts = [r"Therefore $\boxed{0.5}$", r"$\frac{2}{4}$", r"$\boxed{\frac13}$", "I do not know"]
    assert verdicts(loaded("math500", rows, write_lines), tokenizer, texts) == [1, 1, 0, 0]


def test_ifeval_takes_what_keeps_every_instruction(write_lines, tokenizer):
    counted = {"relation": "at least", "num_sentences": 2}
    rows = [
        {"key": i, "prompt": f"{i}", "instruction_id_list": ["punctuation:no_comma", kind], "kwargs": [{}, own]}
        for i, (kind, own) in enumerate(
            [("length_constraints:number_sentences", counted)] * 3
            + [("language:response_language", {"language": "en"})] * 2
        )
    ]
    english = "This is a plain sentence in English about the weather."
    texts = ["Dr. Who came. He went.", "Dr. Who came", "One, two. Three.", english, "Dies ist ein deutscher Satz."]
    assert verdicts(loaded("ifeval", rows, write_lines), tokenizer, texts) == [1, 0, 0, 1, 0]


def test_bfcl_takes_calls_that_its_own_checker_takes(write_lines, tokenizer):
    function = {
        "name": "add",
        "description": "Adds.",
        "parameters": {"type": "dict", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    }
    user = [[{"role": "user", "content": "Add."}]]
    rows = [
        {
            "id": f"{category}_{i}",
            "category": category,
            "question": user,
            "function": json.dumps([function]),
            "ground_truth": json.dumps([{"add": {"a": [6]}}] if category == "simple_python" else []),
        }
        for category, n in (("simple_python", 6), ("irrelevance", 2))
        for i in range(n)
    ]
    chat = _distinct_questions(rows)
    hostile = "[add(a=__import__('os').system('touch owned') + 6)]"
    texts = [
        "[add(a=6)]",
        "add(a=2*3)",
        "[add(a=7)]",
        "The sum is 6.",
        hostile,
        "[add(a=9**9**9)]",
        "No.",
        "[add(a=1)]",
    ]
    assert verdicts(loaded("bfcl", chat, write_lines), tokenizer, texts) == [1, 1, 0, 0, 0, 0, 1, 0]


def _distinct_questions(rows):
    return [row | {"question": [[{"role": "user", "content": f"Add {i}."}]]} for i, row in enumerate(rows)]


def test_programs_are_judged_by_their_tests_in_the_sandbox(write_lines, tokenizer):
    rows = [
        {
            "task_id": f"HumanEval/{i}",
            "prompt": f"def one():  # {i}\n",
            "test": "def check(candidate):\n    assert candidate() == 1\n",
            "entry_point": "one",
        }
        for i in range(2)
    ]
    assert verdicts(loaded("humaneval", rows, write_lines), tokenizer, ["    return 1\n", "    return 2\n"]) == [1, 0]
    tests = ["assert one() == 1", "assert one() > 0", "assert one() < 2"]
    rows = [{"task_id": i, "text": f"{i}", "test_list": tests, "test_setup_code": ""} for i in range(2)]
    texts = ["def one():\n    return 1", "def one():\n    return"]
    assert verdicts(loaded("mbpp", rows, write_lines), tokenizer, texts) == [1, 0]


def test_a_chat_without_a_template_is_refused_before_anything_runs(study, tiny):
    with pytest.raises(BenchmarkError, match="no chat template"):
        record_benchmarks(study(SHORT | {"prompt": "chat"}), tiny.reference)
