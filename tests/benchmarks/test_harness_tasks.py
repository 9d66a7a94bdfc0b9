import copy
import json
import random
import socket
from itertools import pairwise

import numpy as np
import pytest
from byte_models import CHAT_TEMPLATE, END

from qkld.benchmarks.harness_tasks import chosen_items, items_of, known_tasks, load_task, prepare_ifeval, prompts_of
from qkld.errors import BenchmarkError
from qkld.study.params import Benchmark

ROWS = {
    "arc_easy": {
        "id": "a",
        "question": "What melts?",
        "choices": {"text": ["ice", "sand", "fog"], "label": ["1", "2", "3"]},
        "answerKey": "2",
    },
    "openbookqa": {
        "id": "b",
        "question_stem": "Frost is",
        "choices": {"text": ["cold", "hot"], "label": ["A", "B"]},
        "answerKey": "B",
    },
    "sciq": {
        "question": "What flows?",
        "distractor1": "rock",
        "distractor2": "iron",
        "distractor3": "sand",
        "correct_answer": "water",
        "support": " Water flows.",
    },
    "hellaswag": {
        "ind": 4,
        "activity_label": "Baking",
        "ctx_a": "A man kneads.",
        "ctx_b": "he",
        "ctx": "A man kneads. he",
        "endings": ["rests [header] a bit.", "sings  aloud.", "sleeps."],
        "label": "1",
    },
    "mmlu": {
        "question": " What is 1 + 1? ",
        "subject": "abstract_algebra",
        "choices": ["1", "2", "3", "4"],
        "answer": 1,
    },
    "piqa": {"goal": "Melt ice.", "sol1": "Heat it.", "sol2": "Hide it from the sun.", "label": 0},
    "social_iqa": {
        "context": "Ann ate.",
        "question": "How is she?",
        "answerA": "cold",
        "answerB": "full",
        "answerC": "lost",
        "label": "2",
    },
    "copa": {
        "premise": "The ice melted.",
        "choice1": "It was warm.",
        "choice2": "It snowed.",
        "question": "cause",
        "idx": 0,
        "label": 0,
    },
    "boolq": {"question": "does ice melt", "passage": "Ice melts.", "label": 1},
    "commonsense_qa": {
        "id": "q",
        "question": " What melts? ",
        "question_concept": "melt",
        "choices": {"label": ["A", "B", "C", "D", "E"], "text": ["ice", "sand", "fog", "air", "iron"]},
        "answerKey": "A",
    },
}
ASKED = {
    "arc_easy": ("Question: What melts?\nAnswer:", [" ice", " sand", " fog"], 1),
    "openbookqa": ("Frost is", [" cold", " hot"], 1),
    "sciq": ("Water flows.\nQuestion: What flows?\nAnswer:", [" rock", " iron", " sand", " water"], 3),
    "hellaswag": ("Baking: A man kneads. He", [" rests a bit.", " sings aloud.", " sleeps."], 1),
    "mmlu": (
        "The following are multiple choice questions (with answers) about abstract algebra.\n\n"
        "What is 1 + 1?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:",
        [" A", " B", " C", " D"],
        1,
    ),
    "piqa": ("Question: Melt ice.\nAnswer:", [" Heat it.", " Hide it from the sun."], 0),
    "social_iqa": ("Q: Ann ate. How is she?\nA:", [" cold", " full", " lost"], 1),
    "copa": ("The ice melted because", ["  it was warm.", "  it snowed."], " it was warm."),
    "boolq": ("Ice melts.\nQuestion: does ice melt?\nAnswer:", [" no", " yes"], 1),
    "commonsense_qa": (
        "Question: What melts?\nA. ice\nB. sand\nC. fog\nD. air\nE. iron\nAnswer:",
        [" A", " B", " C", " D", " E"],
        "A",
    ),
}


WRITTEN = {
    "gsm8k": {"question": "What is 1 + 1?", "answer": "Two.\n#### 2"},
    "math500": {"problem": "What is $1+1$?", "level": 1, "solution": "It is $\\boxed{2}$."},
    "ifeval": {
        "key": 1,
        "prompt": "Write. Use no comma.",
        "instruction_id_list": ["punctuation:no_comma"],
        "kwargs": [{}],
    },
    "humaneval": {
        "task_id": "HumanEval/0",
        "prompt": "def one():\n",
        "test": "def check(candidate):\n    assert candidate() == 1\n",
        "entry_point": "one",
    },
    "mbpp": {
        "task_id": 11,
        "text": "Write one.",
        "test_list": ["assert one() == 1", "assert one() > 0", "assert one() < 2"],
        "test_setup_code": "",
    },
    "bfcl": {
        "id": "simple_python_0",
        "category": "simple_python",
        "question": [[{"role": "user", "content": "What is 1 + 1?"}]],
        "function": json.dumps(
            [
                {
                    "name": "add",
                    "description": "Adds.",
                    "parameters": {"type": "dict", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
                }
            ]
        ),
        "ground_truth": json.dumps([{"add": {"a": [1]}}]),
    },
}
WRITTEN_ASKED = {
    "gsm8k": ("Q: What is 1 + 1?\nA: Let's think step by step.", ("Q:", "</s>", "<|im_end|>"), 256),
    "math500": ("Problem:\nWhat is $1+1$?\n\nSolution:", ("Problem:",), 256),
    "ifeval": ("Write. Use no comma.", (), 1280),
    "humaneval": ("def one():\n", ("\nclass", "\ndef", "\n#", "\nif", "\nprint"), 1024),
    "mbpp": (
        "You are an expert Python programmer, and here is your task:\nWrite one.\nYour code should pass these tests:\n"
        "assert one() == 1\nassert one() > 0\nassert one() < 2\n```python\n",
        ("\n```",),
        256,
    ),
}


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a task was about to reach for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def load(name, data, **choice):
    return load_task(Benchmark(task=name, chance=0.25, **choice), data)


def test_every_task_here_is_tested():
    assert set(known_tasks()) == set(ROWS) | set(WRITTEN)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", sorted(ROWS))
def test_tasks_ask_what_the_harness_asks(name, write_lines, tokenizer):
    task = load(name, write_lines([ROWS[name]]))
    (item,) = items_of(task, tokenizer)
    prompt, choices, right = ASKED[name]
    assert tokenizer.decode(item.prompt) == prompt
    assert [tokenizer.decode(choice) for choice in item.choices] == choices
    assert task.task.doc_to_target(task.task.eval_docs[0]) == right


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", sorted(WRITTEN_ASKED))
def test_tasks_in_which_answers_are_written_ask_what_the_harness_asks(name, write_lines, tokenizer):
    (prompt,) = prompts_of(load(name, write_lines([WRITTEN[name]])), tokenizer)
    text, stop, longest = WRITTEN_ASKED[name]
    assert tokenizer.decode(prompt.tokens) == text
    assert (prompt.stop, prompt.max_tokens) == (stop, longest)


def test_the_study_s_longest_answer_is_taken_before_the_task_s(write_lines, tokenizer):
    task = load("ifeval", write_lines([WRITTEN["ifeval"]]), answer_tokens=7)
    assert prompts_of(task, tokenizer)[0].max_tokens == 7


def chatting(tokenizer):
    own = copy.deepcopy(tokenizer)
    own.chat_template = CHAT_TEMPLATE
    return own


def test_a_chat_has_control_tokens_and_tool_calling_its_system_prompt(write_lines, tokenizer):
    chat = chatting(tokenizer)
    (prompt,) = prompts_of(load("bfcl", write_lines([WRITTEN["bfcl"]]), prompt="chat"), chat)
    places = [i for i, token in enumerate(prompt.tokens) if token == END]
    turns = [chat.decode(prompt.tokens[a + 1 : b]) for a, b in pairwise([*places, len(prompt.tokens)])]
    assert [turn.split(":")[0] for turn in turns] == ["system", "user", "assistant"]
    assert turns[0].startswith("system:You are an expert in composing functions.")
    assert '"name": "add"' in turns[0]
    assert turns[1:] == ["user:What is 1 + 1?", "assistant:"]


def test_choices_may_be_asked_in_a_chat(write_lines, tokenizer):
    chat = chatting(tokenizer)
    (item,) = items_of(load("arc_easy", write_lines([ROWS["arc_easy"]]), prompt="chat"), chat)
    assert chat.decode(item.prompt) == "<end>user:Question: What melts?\nAnswer:<end>assistant:"
    assert [chat.decode(choice) for choice in item.choices] == ["ice", "sand", "fog"]


@pytest.mark.parametrize("name", ["gsm8k", "arc_easy"])
def test_a_chat_without_a_template_is_refused(name, write_lines, tokenizer):
    task = load(name, write_lines([(ROWS | WRITTEN)[name]]), prompt="chat")
    with pytest.raises(BenchmarkError, match=r"uses a chat template, but the model has none(.|\n)*prompt: plain"):
        (items_of if name in ROWS else prompts_of)(task, tokenizer)


def test_keys_of_written_answers_are_refused_where_none_is_written(write_lines):
    with pytest.raises(BenchmarkError, match="Task 'arc_easy' is multiple choice"):
        load("arc_easy", write_lines([ROWS["arc_easy"]]), answer_tokens=5)


def test_items_are_named_by_their_line(write_lines, tokenizer, arc_rows):
    data = write_lines(arc_rows)
    task = load("arc_easy", data, limit=4, seed=3)
    items = items_of(task, tokenizer)
    assert [item.name for item in items] == [str(i) for i in task.items]
    for item in items:
        assert arc_rows[int(item.name)]["question"] in tokenizer.decode(item.prompt)


def test_a_line_separator_inside_a_text_splits_no_item(write_lines):
    row = {**ROWS["arc_easy"], "question": "What\u2028melts\u0085?"}
    assert load("arc_easy", write_lines([row, ROWS["arc_easy"]])).items == (0, 1)


@pytest.mark.parametrize("date", ["2019-07-04", "2019-07-04T10:00:00", "2019-07-04 10:00:00"])
def test_answers_that_look_like_dates_stay_text(date, write_lines, tokenizer):
    later = date.replace("2019", "2021")
    choices = {"text": [date, later], "label": ["A", "B"]}
    task = load("arc_easy", write_lines([{**ROWS["arc_easy"], "question": date, "choices": choices, "answerKey": "A"}]))
    (item,) = items_of(task, tokenizer)
    assert [tokenizer.decode(choice).strip() for choice in item.choices] == [date, later]
    assert date in tokenizer.decode(item.prompt)


def test_a_key_that_lines_lack_harms_no_other_line(write_lines, tokenizer):
    rows = [{**ROWS["arc_easy"], "question": "One?"}, {**ROWS["arc_easy"], "question": "Two?", "source": "new"}]
    prompts = [tokenizer.decode(item.prompt) for item in items_of(load("arc_easy", write_lines(rows)), tokenizer)]
    assert ["One?" in prompts[0], "Two?" in prompts[1]] == [True, True]


def test_choice_of_items_is_sorted_without_repetition_and_seeded():
    chosen = chosen_items(100, 30, seed=1)
    assert list(chosen) == sorted(set(chosen))
    assert len(chosen) == 30
    assert chosen == chosen_items(100, 30, seed=1)
    assert chosen != chosen_items(100, 30, seed=2)
    assert set(chosen) < set(chosen_items(100, 31, seed=1))
    assert chosen_items(5, None, seed=1) == chosen_items(5, 9, seed=1) == (0, 1, 2, 3, 4)


def test_choice_of_items_leaves_global_generators_alone():
    before = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    chosen_items(100, 30, seed=1)
    assert random.getstate() == before[0]
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_an_unknown_task_is_refused_with_those_that_exist(write_lines):
    with pytest.raises(BenchmarkError, match=r"no task 'arc_esay'(.|\n)*arc_easy"):
        load("arc_esay", write_lines([ROWS["arc_easy"]]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "items of 'arc_easy' are missing"),
        ("\n\n", "no items"),
        ('{"question": "What\n', "line 1"),
    ],
)
def test_unusable_files_are_refused(tmp_path, content, message):
    data = tmp_path / "items.jsonl"
    if content is not None:
        data.write_text(content)
    with pytest.raises(BenchmarkError, match=message):
        load("arc_easy", data)


def test_items_without_a_wrong_choice_are_refused(write_lines, tokenizer):
    row = {**ROWS["arc_easy"], "choices": {"text": ["ice"], "label": ["2"]}}
    with pytest.raises(BenchmarkError, match="without wrong choices"):
        items_of(load("arc_easy", write_lines([row])), tokenizer)


@pytest.mark.parametrize(
    ("name", "metric"),
    [("arc_easy", "acc"), ("sciq", "acc"), ("mmlu", "acc"), ("hellaswag", "acc_norm"), ("openbookqa", "acc_norm")],
)
def test_a_task_is_scored_by_the_metric_it_is_published_by(name, metric, write_lines):
    data = write_lines([ROWS[name]])
    assert load_task(Benchmark(task=name, chance=0.25), data).metric == metric
    other = {"acc": "acc_norm", "acc_norm": "acc"}[metric]
    assert load_task(Benchmark(task=name, chance=0.25, metric=other), data).metric == other


def test_a_written_answer_has_the_metric_of_its_judge(write_lines):
    data = write_lines([{"question": "What is 1 + 1?", "answer": "#### 2"}])
    assert load_task(Benchmark(task="gsm8k", chance=0), data).metric == "exact_match"
    with pytest.raises(BenchmarkError, match="metric acc"):
        load_task(Benchmark(task="gsm8k", chance=0, metric="acc"), data)


@pytest.mark.network
def test_sentences_are_split_by_the_pinned_data_and_languages_are_seeded():
    prepare_ifeval()
    import langdetect
    import nltk

    from qkld.sources import fetch

    assert str(nltk.data.find("tokenizers/punkt_tab/english")).startswith(str(fetch("nltk-punkt_tab")))
    assert nltk.sent_tokenize("Dr. Who came at 3 p.m. today. He left.") == ["Dr. Who came at 3 p.m. today.", "He left."]
    assert langdetect.DetectorFactory.seed == 0
    before = list(nltk.data.path)
    prepare_ifeval()
    assert nltk.data.path == before
