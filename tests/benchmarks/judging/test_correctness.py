"""Written answers are judged as each benchmark's own metric or checker has it."""

import json

from qkld.benchmarks.harness_tasks import load_task, prompts_of
from qkld.benchmarks.judging.correctness import judged
from qkld.benchmarks.writing import Written
from qkld.study.params import Benchmark


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
