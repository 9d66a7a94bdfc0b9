"""Runs in the environment of bfcl-eval, never in qkld's: a list of items as JSON comes in, a list of answers goes out.

    python -P bfcl_worker.py prompts|check < items.json

Two things of the package are replaced here, none of which changes what is right:

- its registry of models, which imports every service's client and of which the checker reads one flag of one model;
- ``eval`` in its decoder, which would run arithmetic that a model wrote, and with it whatever else stands there. It
  becomes arithmetic on numbers; anything else does not decode, and is wrong.
"""

import ast
import json
import operator
import sys
import types

MODEL = "qkld"
NUMBERS = (int, float, complex)
OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
LARGEST_POWER = 1000
"""Of base and exponent both, so that no answer computes for long."""


def arithmetic(text):
    """The value of a Python expression of numbers; a ValueError for anything else."""
    return _value(ast.parse(text, mode="eval").body)


def _value(node):
    if isinstance(node, ast.Constant) and type(node.value) in NUMBERS:
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Pow) and max(abs(left), abs(right)) > LARGEST_POWER:
            raise ValueError("too large a power")
        return OPERATORS[type(node.op)](left, right)
    raise ValueError(f"no arithmetic: {ast.unparse(node)}")


def load():
    """The package's own functions, by name."""
    registry = types.ModuleType("bfcl_eval.constants.model_config")
    registry.MODEL_CONFIG_MAPPING = {MODEL: types.SimpleNamespace(underscore_to_dot=False)}
    sys.modules[registry.__name__] = registry
    from bfcl_eval.constants.enums import Language
    from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker
    from bfcl_eval.model_handler import utils as handling
    from bfcl_eval.utils import add_language_specific_hint_to_function_doc, is_empty_output
    from bfcl_eval.utils import is_function_calling_format_output as is_call

    handling.eval = arithmetic
    return types.SimpleNamespace(
        check=lambda *given: ast_checker(*given, MODEL),
        decode=handling.default_decode_ast_prompting,
        has_form=is_call,
        hinted=add_language_specific_hint_to_function_doc,
        is_empty=is_empty_output,
        python=Language.PYTHON,
        with_system=handling.system_prompt_pre_processing_chat_model,
    )


def prompt(bfcl, item):
    """System prompt and user message, as the package's handlers of prompted chat models make them."""
    entry = bfcl.hinted([{"id": item["id"], "question": item["question"], "function": item["function"]}])[0]
    messages = bfcl.with_system(list(entry["question"][0]), entry["function"], item["id"])
    system, *turns = messages
    if [turn["role"] for turn in turns] != ["user"]:
        raise ValueError(f"{item['id']} has other turns than one of the user")
    return {"system": system["content"], "question": turns[0]["content"]}


def is_right(bfcl, item):
    """The package's verdict on one answer, as in its ``eval_runner``."""
    try:
        calls = bfcl.decode(item["answer"])
    except Exception:
        calls = None
    if "irrelevance" in item["category"]:
        return calls is None or bfcl.is_empty(calls)
    if calls is None or not bfcl.has_form(calls):
        return False
    return bfcl.check(item["function"], calls, item["ground_truth"], bfcl.python, item["category"])["valid"]


def main():
    """Answer one command."""
    act = {"prompts": prompt, "check": is_right}[sys.argv[1]]
    bfcl, items = load(), json.load(sys.stdin)
    print(json.dumps([act(bfcl, item) for item in items]))


if __name__ == "__main__":
    main()
