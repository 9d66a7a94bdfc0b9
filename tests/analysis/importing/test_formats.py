"""Real files of every tool as one table, what does not match across models, and what is refused."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
from own_items import read_own_items

from qkld.analysis.importing import FORMATS, import_items
from qkld.analysis.importing.imported_items import IMPORTED
from qkld.errors import BenchmarkError, ParameterError, StatisticsError, TableError
from qkld.study.schemas import read_table
from qkld.workflow import cli


def right(items: pd.DataFrame) -> dict[tuple[str, str], list[int]]:
    """(model, benchmark) → its answers, in order."""
    return {key: own["correct"].tolist() for key, own in items.groupby(["model", "benchmark"])}


def test_evalplus_counts_its_own_tests_and_the_further_ones(files):
    paths = [files / "evalplus" / f"{name}_eval_results.json" for name in ("reference", "q4")]
    items = import_items("evalplus", paths, labels=["reference", "q4"])
    assert right(items) == {
        ("reference", "humaneval"): [1, 1, 1],
        ("reference", "humaneval+"): [1, 1, 1],
        ("q4", "humaneval"): [1, 1, 0],  # the last never ends
        ("q4", "humaneval+"): [1, 0, 0],
    }
    assert list(items["item"].unique()) == ["HumanEval/0", "HumanEval/1", "HumanEval/2"]
    assert items["answer"].str.startswith("def ").all()
    assert "cluster" not in items


def test_evalplus_without_further_tests_has_one_benchmark(files):
    items = import_items("evalplus", [files / "evalplus" / "base_eval_results.json"], labels=["q8"])
    assert right(items) == {("q8", "humaneval"): [1, 1, 1]}


@pytest.mark.parametrize("form", ["evalplus", "livecodebench"])
def test_several_samples_of_an_item_are_one_cluster(files, form):
    name = {"evalplus": "sampled_eval_results.json", "livecodebench": "sampled_eval_all.json"}[form]
    items = import_items(form, [files / form / name], labels=["q8"])
    own = items[items["benchmark"] == items["benchmark"].iloc[0]]
    assert len(own) == 6
    assert own.groupby("cluster")["item"].agg(list).iloc[0] == [f"{own['cluster'].iloc[0]}#{i}" for i in range(2)]
    assert own["correct"].tolist() == {"evalplus": [1, 1, 1, 1, 1, 0], "livecodebench": [1, 1, 1, 0, 1, 0]}[form]


def test_livecodebench(files):
    paths = [files / "livecodebench" / f"{name}_eval_all.json" for name in ("reference", "q4")]
    items = import_items("livecodebench", paths, labels=["reference", "q4"])
    assert right(items) == {("reference", "livecodebench"): [1, 1, 1], ("q4", "livecodebench"): [1, 0, 0]}
    assert list(items["item"].unique()) == ["own_a", "own_b", "own_c"]


@pytest.mark.parametrize("name", ["reference_codegeneration_output.json", "reference_codegeneration_output_eval.json"])
def test_other_files_of_livecodebench_are_refused(files, name):
    with pytest.raises(TableError, match=r"(?s)expected: LiveCodeBench's \*_eval_all.json.*graded_list"):
        import_items("livecodebench", [files / "livecodebench" / name], labels=["q8"])


def test_bfcl_takes_an_answer_without_a_score_line_as_right(files):
    items = import_items("bfcl", [files / "bfcl"])
    llama, qwen = "meta-llama_Llama-3.1-8B-Instruct", "Qwen_Qwen3-8B"
    assert right(items) == {
        (llama, "bfcl_irrelevance"): [1],
        (llama, "bfcl_simple_python"): [1, 1, 1],
        (qwen, "bfcl_irrelevance"): [0],
        (qwen, "bfcl_simple_python"): [1, 0, 0],
    }
    first = items[(items["model"] == qwen) & (items["item"] == "simple_python_0")].iloc[0]
    assert (first["answer"], first["tokens"]) == ("[calculate_triangle_area(base=10, height=5)]", 11)


def test_bfcl_needs_answers_and_scores_of_one_run(files, tmp_path):
    with pytest.raises(TableError, match="simple_python of Qwen_Qwen3-8B in result files only"):
        import_items("bfcl", [files / "bfcl" / "result"])
    shutil.copytree(files / "bfcl", tmp_path / "bfcl")
    (score,) = (tmp_path / "bfcl" / "score" / "Qwen_Qwen3-8B").rglob("*simple_python_score.json")
    score.write_text("\n".join(score.read_text().splitlines()[:-1]))
    with pytest.raises(TableError, match=r"(?s)the scores of BFCL_v4_simple_python_result.json: 3 answers.*1 lines"):
        import_items("bfcl", [tmp_path / "bfcl"])


def test_samples_of_the_harness(files):
    items = import_items("lm-eval", [files / "lm-eval"], filter_name="flexible-extract")
    for model in ("reference", "q4"):
        own = items[items["model"] == model].set_index(["benchmark", "item"])
        (path,) = (files / "lm-eval" / model).glob("samples_own_choice*")
        for sample in map(json.loads, path.read_text().splitlines()):
            row = own.loc[("own_choice", str(sample["doc_id"]))]
            values = [float(value) for value, _ in sample["filtered_resps"]]
            others = [v for i, v in enumerate(values) if i != int(sample["target"])]
            assert row["correct"] == sample["acc"] == (row["answer"] == sample["target"])
            assert row["margin"] == pytest.approx(values[int(sample["target"])] - max(others))
        assert own.loc["own_answer"]["answer"].tolist() == ["l", "l"]
        assert own.loc["own_answer"]["correct"].tolist() == [0, 1]


def test_a_filter_of_the_harness_has_to_be_named(files):
    with pytest.raises(TableError, match=r"(?s)under several filters.*--filter"):
        import_items("lm-eval", [files / "lm-eval"])
    with pytest.raises(TableError, match=r"(?s)several filters.*flexible-extract.*strict-match"):
        import_items("lm-eval", [files / "lm-eval"], filter_name="loose")


def test_labels_rename_models_of_the_harness(files):
    paths = [next((files / "lm-eval" / model).glob("samples_own_choice*")) for model in ("reference", "q4")]
    assert set(import_items("lm-eval", paths, labels=["a", "b"])["model"]) == {"a", "b"}


# --- plain tables, and models that do not match -----------------------------------------------------------------------

LONG = pd.DataFrame(
    [(m, "arc", f"00{i}", int(m == "ref" or i > 1)) for m in ("ref", "q8", "q4") for i in range(4)],
    columns=["model", "benchmark", "item", "correct"],
)


def imported(tmp_path, table: pd.DataFrame) -> pd.DataFrame:
    table.to_csv(tmp_path / "items.csv", index=False)
    return import_items("csv", [tmp_path / "items.csv"])


def test_a_plain_table_keeps_what_it_says(tmp_path):
    more = {"margin": 0.5, "truncated": True, "kld": 0.25, "answer": "7"}
    items = imported(tmp_path, LONG.assign(**more, unknown=1))
    assert set(items) == {*LONG, *more}
    assert items["item"].tolist()[:2] == ["000", "001"]
    assert (items["truncated"].dtype, items["answer"].iloc[0]) == (bool, "7")


@pytest.mark.parametrize(("sign", "number"), [(",", "0.25"), (";", "0,25"), ("\t", "0.25")])
def test_cells_between_commas_semicolons_and_tabs(tmp_path, sign, number):
    rows = [sign.join((m, "arc", f"00{i}", str(i % 2 == 0), number)) for m in ("ref", "q8") for i in range(2)]
    header = sign.join(("model", "benchmark", "item", "correct", "kld"))
    (tmp_path / "items.csv").write_text("\ufeff" + "\n".join([header, *rows]) + "\n")
    items = import_items("csv", [tmp_path / "items.csv"])
    assert items["item"].tolist() == ["000", "001"] * 2
    assert items["correct"].tolist() == [1, 0] * 2
    assert items["kld"].tolist() == [0.25] * 4


@pytest.mark.parametrize(
    ("right", "wrong"), [("yes", "no"), ("True", "False"), ("CORRECT", "incorrect"), ("pass", "fail"), ("1.0", "0.0")]
)
def test_words_for_right_and_wrong(tmp_path, right, wrong):
    items = imported(tmp_path, LONG.assign(correct=LONG["correct"].map({1: right, 0: wrong})))
    assert items["correct"].tolist() == imported(tmp_path, LONG)["correct"].tolist()


def test_words_that_are_neither_are_refused(tmp_path):
    with pytest.raises(StatisticsError, match="maybe"):
        imported(tmp_path, LONG.assign(correct=["maybe", *["yes"] * (len(LONG) - 1)]))


def test_names_of_columns_may_differ_in_case(tmp_path):
    items = imported(tmp_path, LONG.rename(columns={"model": "Model", "item": "ITEM ", "correct": "Correct"}))
    assert items["item"].tolist()[:2] == ["000", "001"]


@pytest.mark.parametrize("ending", ["jsonl", "json", "ndjson"])
def test_objects_of_json_are_rows(tmp_path, ending):
    path = tmp_path / f"items.{ending}"
    LONG.assign(correct=LONG["correct"].astype(bool)).to_json(path, orient="records", lines=ending != "json")
    items = import_items("csv", [path])
    pd.testing.assert_frame_equal(items, imported(tmp_path, LONG), check_dtype=False)


@pytest.mark.parametrize("text", ["[1, 2]", '{"model": "q8"}', "7", "[]"])
def test_json_that_is_no_list_of_items_is_refused(tmp_path, text):
    (tmp_path / "items.json").write_text(text)
    with pytest.raises(TableError):
        import_items("csv", [tmp_path / "items.json"])


def test_files_of_one_model_need_no_column_model(tmp_path):
    for model in ("q8", "q4"):
        LONG[LONG["model"] == model].drop(columns="model").to_csv(tmp_path / f"{model}.csv", index=False)
    paths = [tmp_path / "q8.csv", tmp_path / "q4.csv"]
    assert set(import_items("csv", paths, labels=["a", "b"])["model"]) == {"a", "b"}


def test_items_that_some_models_lack_are_named(tmp_path):
    with pytest.raises(BenchmarkError, match=r"(?s)do not match.*arc: 'q4' lacks 001, 002 of 4 items"):
        imported(tmp_path, LONG.drop(index=[9, 10]))
    other = LONG[LONG["model"] != "q4"].assign(benchmark="mmlu", item=lambda t: "m" + t["item"])
    with pytest.raises(BenchmarkError, match="mmlu: 'q4' lacks m000, m001, m002 and 1 more of 4 items"):
        imported(tmp_path, pd.concat([LONG, other]))


def test_items_of_one_name_that_were_other_questions_are_named(tmp_path, files):
    asked = LONG.assign(request="a")
    asked.loc[asked.index[-1], "request"] = "b"
    with pytest.raises(BenchmarkError, match="arc: 'q4' was asked otherwise than 'ref' in 003"):
        imported(tmp_path, asked)
    changed = json.loads((files / "evalplus" / "q4_eval_results.json").read_text()) | {"hash": "0" * 32}
    (tmp_path / "q4.json").write_text(json.dumps(changed))
    with pytest.raises(BenchmarkError, match="'q4' was asked otherwise than 'reference' in HumanEval/0"):
        import_items(
            "evalplus",
            [files / "evalplus" / "reference_eval_results.json", tmp_path / "q4.json"],
            labels=["reference", "q4"],
        )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda t: t.assign(correct=0.5), StatisticsError, "0 and 1"),
        (lambda t: t.assign(kld=-1.0), StatisticsError, "'kld' is negative"),
        (lambda t: pd.concat([t, t.head(1)]), TableError, "an item twice"),
        (lambda t: t.drop(columns="item"), TableError, r"missing \['item'\]"),
        (lambda t: t.assign(cluster=["c", *[None] * (len(t) - 1)]), TableError, "missing values in 'cluster'"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path, change, error, message):
    with pytest.raises(error, match=message):
        imported(tmp_path, change(LONG))


@pytest.mark.parametrize(
    ("name", "paths", "more", "message"),
    [
        ("helm", ["a"], {}, "There is no such format"),
        ("csv", [], {}, "No file was given"),
        ("bfcl", ["a"], {"labels": ["q8"]}, "name their models"),
        ("evalplus", ["a"], {}, "do not name their models"),
        ("csv", ["a", "b"], {"labels": ["q8"]}, "2 labels"),
        ("csv", ["a"], {"filter_name": "strict"}, "A filter belongs to"),
    ],
)
def test_calls_that_do_not_fit_their_format_are_refused(name, paths, more, message):
    with pytest.raises(ParameterError, match=message):
        import_items(name, paths, **more)


@pytest.mark.parametrize("name", [n for n in FORMATS if n != "csv"])
@pytest.mark.parametrize("content", ["", "{", "[]", '{"eval": 1}', '[{"question_id": 1}]'])
def test_files_of_another_kind_are_refused(tmp_path, name, content):
    path = tmp_path / {"lm-eval": "samples_t_2026-01-31T12-30-05.1.jsonl"}.get(name, "BFCL_v4_a_result.json")
    path.write_text(content)
    labels = ["q8"] if FORMATS[name].naming == "never" else ()
    with pytest.raises(TableError):
        import_items(name, [path], labels=labels)


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_writes_what_analyse_reads(files, tmp_path, capsys):
    out = tmp_path / "items.parquet"
    paths = [str(files / "livecodebench" / f"{name}_eval_all.json") for name in ("reference", "q4")]
    labels = ("--label", "reference", "--label", "q4")
    assert cli.main(["import", "livecodebench", *paths, *labels, "--out", str(out)]) == 0
    assert "q4" in (shown := capsys.readouterr().out)
    assert "1 of 3" in shown
    assert read_table(out, IMPORTED, made_in="qkld import")["correct"].sum() == 4
    own = read_own_items(out, quants=["q4"], reference="reference", scores=["livecodebench"])
    assert (own.models, own.notes, len(own.items)) == (["q4", "reference"], (), 6)
    assert cli.main(["import", "livecodebench", *paths, *labels, "--out", str(tmp_path / "items.csv")]) == 2
    assert "--out needs a Parquet file" in capsys.readouterr().err
