"""LiveCodeBench's own evaluator on hand-written answers to three questions of ours; its questions cannot be had here.

    python livecodebench_files.py FOLDER

in an environment with ``pip install nvidia-livecodebench==26.3`` (LiveCodeBench as packaged by NVIDIA, MIT).
"""

import json
import sys
from pathlib import Path

from livecodebench.benchmarks.code_generation import CodeGenerationProblem
from livecodebench.runner import custom_evaluator

TWICE = "class Solution:\n    def twice(self, x: int) -> int:\n"
ANSWERS = {
    "own_a": ("a, b = map(int, input().split())\nprint(a + b)\n", "print(sum(map(int, input().split())))\n"),
    "own_b": ("print(input()[::-1])\n", "print(input())\n"),
    "own_c": (TWICE + "        return 2 * x\n", TWICE + "        return abs(2 * x)\n"),
}


def question(name, title, content, tests, starter="", function=None):
    kind = "functional" if function else "stdin"
    return CodeGenerationProblem(
        question_title=title,
        question_content=content,
        platform="leetcode" if function else "atcoder",
        question_id=name,
        contest_id="own",
        contest_date="2026-01-01T00:00:00",
        starter_code=starter,
        difficulty="easy",
        public_test_cases=json.dumps([{"input": i, "output": o, "testtype": kind} for i, o in tests]),
        private_test_cases="[]",
        metadata=json.dumps({"func_name": function} if function else {}),
    )


if __name__ == "__main__":
    sys.set_int_max_str_digits(50000)
    questions = [
        question("own_a", "Sum", "Read two numbers and print their sum.", [("1 2\n", "3\n"), ("-4 4\n", "0\n")]),
        question("own_b", "Backwards", "Print the line backwards.", [("abc\n", "cba\n")]),
        question("own_c", "Twice", "Return two times x.", [("3", "6"), ("-1", "-2")], TWICE, "twice"),
    ]
    custom_evaluator.build_prompt_benchmark = lambda args: (questions, None)
    for model, taken in (("reference", (0,)), ("q4", (1,)), ("sampled", (0, 1))):
        path = Path(sys.argv[1]) / f"{model}.json"
        path.write_text(
            json.dumps([{"question_id": q, "code_list": [a[i] for i in taken]} for q, a in ANSWERS.items()])
        )
        given = ["--custom_output_file", str(path), "--scenario", "codegeneration", "--num_process_evaluate", "1"]
        kept, sys.argv = sys.argv, ["custom_evaluator", *given, "--timeout", "30"]
        custom_evaluator.main()
        sys.argv = kept
