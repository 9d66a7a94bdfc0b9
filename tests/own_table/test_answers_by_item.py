"""Answers item by item: the long form, samples of lm-evaluation-harness, and what is refused."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from own_items import read_own_items

from qkld.errors import StatisticsError, TableError

LABELS = ["ref", "q8", "q4"]
LONG = pd.DataFrame(
    [(m, b, i, (i + len(m) + len(b)) % 2) for m in LABELS for b in ("arc", "mmlu") for i in range(5)],
    columns=["model", "benchmark", "item", "correct"],
)


@pytest.fixture
def read(tmp_path):
    def call(items: pd.DataFrame = LONG, kind: str = "parquet", **options):
        path = tmp_path / f"items.{kind}"
        items.to_csv(path, index=False) if kind == "csv" else items.to_parquet(path)
        call_with = {"quants": ["q8", "q4"], "reference": "ref", "scores": ["arc", "mmlu"]} | options
        return read_own_items(path, **call_with)

    return call


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_long_form(read, kind):
    found = read(kind=kind)
    assert (found.models, found.benchmarks, found.notes) == (sorted(LABELS), ["arc", "mmlu"], ())
    assert found.items["correct"].dtype == "int8"
    pd.testing.assert_series_equal(found.items["correct"].astype(int), LONG["correct"])


@pytest.mark.parametrize("kinds", [("parquet",) * 3, ("csv", "parquet", "tsv")])
def test_a_folder_with_a_table_a_model(read, kinds, tmp_path):
    whole, folder = read(LONG.assign(kl_prompt=0.1)), tmp_path / "items"
    folder.mkdir()
    for label, kind in zip(LABELS, kinds, strict=True):
        own = LONG[LONG["model"] == label]
        own = own.assign(kl_prompt=np.nan if label == "ref" else 0.1)
        path = folder / f"{label}.{kind}"
        own.to_parquet(path) if kind == "parquet" else own.to_csv(path, index=False, sep="\t" if kind == "tsv" else ",")
    (folder / "README.md").write_text("Items of three models.")
    found = read_own_items(folder, quants=["q8", "q4"], reference="ref", scores=["arc", "mmlu"])
    key = ["model", "benchmark", "item"]
    one, other = (table.items.sort_values(key).reset_index(drop=True) for table in (found, whole))
    pd.testing.assert_frame_equal(one[[*key, "correct"]], other[[*key, "correct"]])
    assert one.loc[one["model"] == "ref", "kl_prompt"].isna().all()
    assert (one.loc[one["model"] != "ref", "kl_prompt"] == 0.1).all()


def test_samples_are_read_beside_a_table_of_their_scores(tmp_path):
    for label in LABELS:
        write_samples(tmp_path, label, "arc", [0, 1, 0, 1])
    (tmp_path / "scores.csv").write_text("label,arc\nref,0.5\nq8,0.5\nq4,0.5\n")
    found = read_own_items(tmp_path, quants=["q8", "q4"], reference="ref", scores=["arc"])
    assert len(found.items) == 12


def test_optional_columns_stay_and_others_go(read):
    found = read(LONG.assign(margin=0.5, answer=2))
    assert list(found.items) == ["model", "benchmark", "item", "correct", "margin"]
    more = {"kl_answer": 0.1, "kl_choice_mean": 0.2, "choice_entropy": 1.0, "logp_right": -2.0, "base": "ref"}
    found = read(LONG.assign(**more, something=1))
    assert set(found.items) == {"model", "benchmark", "item", "correct", *more}
    assert found.divergence == "kl_choice_mean"


def test_the_kld_with_most_values_is_taken_and_a_negative_one_refused(read):
    assert read(LONG.assign(kl_prompt=0.1, kl_choice_mean=0.2)).divergence == "kl_choice_mean"
    some = LONG.assign(kl_prompt=0.1, kl_choice_mean=[0.2, *[np.nan] * (len(LONG) - 1)], kl_answer=np.nan)
    assert read(some).divergence == "kl_prompt"
    assert read(LONG.assign(kl_answer=np.nan)).divergence is None
    assert read().divergence is None
    assert (read(LONG.assign(kld=-1e-9)).items["kld"] == 0).all()
    with pytest.raises(StatisticsError, match="'kld' is negative"):
        read(LONG.assign(kld=-0.1))


def test_true_and_false_are_answers(read):
    assert read(LONG.assign(correct=LONG["correct"] == 1)).items["correct"].tolist() == LONG["correct"].tolist()


def test_models_and_benchmarks_of_one_side_are_named(read):
    more = pd.concat([LONG, LONG[LONG["model"] == "q4"].assign(model="q3"), LONG.head(5).assign(benchmark="sciq")])
    found = read(more, scores=["arc", "mmlu", "piqa"])
    assert found.notes == (
        "items of models that the table does not have: q3",
        "items of benchmarks that are no named score: sciq",
        "scores without items, left out of what needs them: piqa",
    )


def test_models_without_some_items_are_named(read):
    some = LONG.drop(index=LONG.index[-1])
    with pytest.raises(StatisticsError, match=r"q4: 9 of 10 answers; it lacks \w+ of \w+"):
        read(some)
    found = read(some, missing="drop")
    assert found.models == ["q8", "ref"]
    assert found.notes == ("left out of what needs items, for missing answers: q4",)
    with pytest.raises(StatisticsError, match="q4: 0 of 10 answers"):
        read(LONG[LONG["model"] != "q4"])


@pytest.mark.parametrize("value", [2, -1, 0.5, np.nan])
def test_correctness_that_is_neither_0_nor_1_is_refused(read, value):
    items = LONG.astype({"correct": float})
    items.loc[3, "correct"] = value
    with pytest.raises(StatisticsError, match="0 and 1"):
        read(items)


def test_an_item_twice_is_refused(read):
    with pytest.raises(TableError, match=r"(?s)an item twice.*'item': '0'"):
        read(pd.concat([LONG, LONG.head(1)]))


def test_tables_that_share_nothing_are_refused(read):
    with pytest.raises(TableError, match=r"(?s)models among \['x'\].*models \['q4', 'q8', 'ref'\]"):
        read(quants=["x"], reference=None)


def test_files_that_are_no_items_are_refused(tmp_path):
    LONG.drop(columns="correct").to_csv(tmp_path / "short.csv", index=False)
    call = {"quants": ["q8"], "reference": None, "scores": ["arc"]}
    for name, found in (("short.csv", r"missing \['correct'\]"), ("nowhere.csv", "cannot be read")):
        with pytest.raises(TableError, match=found):
            read_own_items(tmp_path / name, **call)


# --- samples of lm-evaluation-harness ---------------------------------------------------------------------------------

TIME = "2026-01-31T12-30-05.123456"


def write_samples(folder, model, task, answers, time=TIME, **more):
    """Samples as the harness logs them: two choices, the first right, with its log-probabilities as text."""
    place = folder / model
    place.mkdir(exist_ok=True)
    lines = [
        {"doc_id": i, "doc": {}, "target": "0", "filter": "none", "metrics": ["acc"], "acc": float(right),
         "resps": [], "filtered_resps": [["-1.5" if right else "-3.0", "False"], ["-2.0", "False"]], **more}
        for i, right in enumerate(answers)
    ]  # fmt: skip
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (place / f"samples_{task}_{time}.jsonl").write_text(text)


@pytest.fixture
def samples(tmp_path):
    for model, answers in (("ref", [1, 1, 0]), ("q8", [1, 0, 0])):
        write_samples(tmp_path, model, "arc_easy", answers)
        write_samples(tmp_path, model, "mmlu_2024-x", answers[::-1])
    (tmp_path / "ref" / f"results_{TIME}.json").write_text("{}")
    return tmp_path


CALL = {"quants": ["q8"], "reference": "ref", "scores": ["arc_easy", "mmlu_2024-x"]}


def test_samples_of_the_harness(samples):
    found = read_own_items(samples, **CALL).items.set_index(["model", "benchmark", "item"]).sort_index()
    assert found["correct"].loc["q8", "arc_easy"].tolist() == [1, 0, 0]
    assert found["correct"].loc["ref", "mmlu_2024-x"].tolist() == [0, 1, 1]
    assert found["margin"].loc["ref", "arc_easy"].tolist() == [0.5, 0.5, -1.0]


def test_samples_without_choices_have_no_margin(tmp_path):
    for model in ("ref", "q8"):
        write_samples(tmp_path, model, "gsm8k", [1, 0], target="#### 42", exact_match=1.0)
    found = read_own_items(tmp_path, quants=["q8"], reference="ref", scores=["gsm8k"])
    assert "margin" not in found.items


def test_two_runs_of_a_task_are_refused(samples):
    write_samples(samples, "q8", "arc_easy", [1, 1, 1], time="2026-02-01T12-30-05.123456")
    with pytest.raises(TableError, match=r"arc_easy of q8: samples_arc_easy_.*2026-02-01T12-30(?s:.*)keep one run"):
        read_own_items(samples, **CALL)


def test_several_filters_are_refused(samples):
    path = samples / "q8" / f"samples_arc_easy_{TIME}.jsonl"
    line = json.loads(path.read_text().splitlines()[0]) | {"filter": "flexible-extract"}
    path.write_text(path.read_text() + json.dumps(line) + "\n")
    with pytest.raises(TableError, match="several filters"):
        read_own_items(samples, **CALL)


@pytest.mark.parametrize("line", ["{", "[]", '{"doc_id": 1, "bleu": 0.3}', '{"acc": 1.0}'])
def test_lines_that_are_no_samples_are_refused(samples, line):
    path = samples / "q8" / f"samples_arc_easy_{TIME}.jsonl"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(TableError, match=r"line 4, (is not a sample|cannot be used)"):
        read_own_items(samples, **CALL)


def test_a_folder_without_samples_is_refused(tmp_path):
    with pytest.raises(TableError, match="--log_samples"):
        read_own_items(tmp_path, **CALL)


def test_the_harness_still_names_its_files_so():
    """The installed harness's own source: file name and time are what `SAMPLES` reads."""
    package = Path(find_spec("lm_eval").origin).parent
    source = (package / "loggers" / "evaluation_tracker.py").read_text()
    assert 'f"samples_{task_name}_{self.date_id}.jsonl"' in source
    assert 'datetime.now().isoformat().replace(":", "-")' in source
