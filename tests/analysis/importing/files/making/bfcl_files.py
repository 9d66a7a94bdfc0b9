"""bfcl-eval's own writer and evaluator on hand-written answers to four of its questions.

    BFCL_PROJECT_ROOT=FOLDER python bfcl_files.py

in an environment with ``pip install bfcl-eval==2026.3.23`` (Apache-2.0).
"""

from bfcl_eval.constants.eval_config import RESULT_PATH
from bfcl_eval.eval_checker.eval_runner import get_handler, main

ITEMS = ("simple_python_0", "simple_python_1", "simple_python_2", "irrelevance_0")
ANSWERS = {
    "meta-llama/Llama-3.1-8B-Instruct": (
        *("[calculate_triangle_area(base=10, height=5)]", "[math.factorial(number=5)]", "[math.hypot(x=4, y=5)]"),
        "I cannot compute this.",
    ),
    "Qwen/Qwen3-8B": (
        *("[calculate_triangle_area(base=10, height=5)]", "[math.factorial(number=6)]", "math.hypot of 4 and 5 is 6.4"),
        "[determine_body_mass_index(weight=10, height=5)]",
    ),
}

if __name__ == "__main__":
    for model, answers in ANSWERS.items():
        rows = [
            {"id": i, "result": a, "input_token_count": 400 + n, "output_token_count": len(a) // 4, "latency": 0.5 + n}
            for n, (i, a) in enumerate(zip(ITEMS, answers, strict=True))
        ]
        get_handler(model).write(rows, RESULT_PATH)
    main(list(ANSWERS), ["simple_python", "irrelevance"], None, None, partial_eval=True)
