"""Logs that llama-perplexity itself wrote (validation/crosschecks/llama_logs.py), against its own totals.

SmolLM2's KLD at three quants, and the items of a random model of 301 tokens; by the version of 2026, which names
neither model nor build.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY
from scipy import stats

from qkld.analysis.importing.llama_logs import read_log
from qkld.analysis.importing.llama_perplexity import read_llama_perplexity
from qkld.analysis.importing.results import import_folder, import_results
from qkld.errors import BenchmarkError, TableError
from qkld.workflow import cli
from validation.crosschecks.llama_perplexity import printed_figures

LOGS = REPOSITORY / "tests" / "data" / "llama_logs"
QUANTS = ("Q8_0", "Q4_0", "Q2_K")
TASKS = {"hellaswag": 20, "winogrande": 103, "arc": 30}


def of_quants(*more: str):
    return [*(LOGS / f"kld-{kind}.log" for kind in QUANTS), *(LOGS / name for name in more)]


@pytest.fixture(scope="module")
def quants():
    return read_llama_perplexity(of_quants("base-F16.log"))


def test_quants_are_named_by_their_logs_and_ordered_by_their_bits(quants):
    table = quants.quants.set_index("label")
    assert list(table.index) == [*QUANTS, "F16"]
    assert table.loc[list(QUANTS), "kl_mean"].is_monotonic_increasing
    assert (table.loc[list(QUANTS), ["context", "windows"]].to_numpy() == [128, 24]).all()


@pytest.mark.parametrize("kind", QUANTS)
def test_every_line_of_the_closing_block_is_a_column(quants, kind):
    text = (LOGS / f"kld-{kind}.log").read_text()
    lines = [line for line in text.split("====== Perplexity statistics ======")[1].splitlines() if ":" in line]
    row = quants.quants.set_index("label").loc[kind]
    columns = [c for c in row.index if c.startswith(("kl_", "dp_", "ppl", "log_", "top1")) and row.notna()[c]]
    own = [c for c in columns if not c.endswith(("_se", "_windows", "_low", "_high"))]
    assert len(own) == len(lines)
    assert sum(c.endswith("_se") for c in columns) == sum("±" in line for line in lines)
    for line in lines:
        value = float(re.search(r":\s*(-?[\d.]+)", line)[1])
        assert any(np.isclose(abs(row[c]) * scale, abs(value)) for c in own for scale in (1, 100)), line


def test_the_reference_has_the_perplexity_that_its_own_run_printed(quants):
    table = quants.quants.set_index("label")
    assert table.at["F16", "ppl"] == 19.4401
    assert table.loc[list(QUANTS), "ppl_reference"].to_numpy() == pytest.approx(19.4401, abs=0.02), "16-bit base file"


def test_windows_add_up_to_the_closing_mean(quants):
    table = quants.quants.set_index("label")
    for label, own in quants.windows.groupby("label"):
        assert own["kl_mean"].mean() == pytest.approx(table.at[label, "kl_mean"], abs=6e-6)
        assert own["window"].tolist() == list(range(1, 25))


def test_neighbours_differ_by_more_than_chance(quants):
    for row in quants.pairs.itertuples():
        own = [
            quants.windows[quants.windows["label"] == label]["kl_mean"].to_numpy()
            for label in (row.label_a, row.label_b)
        ]
        assert row.t_p == pytest.approx(stats.ttest_rel(*own).pvalue, rel=0.3)
        assert 0 < row.low < row.kld_difference < row.high


def test_the_error_of_windows_is_larger_than_that_of_tokens(quants):
    table = quants.quants.set_index("label").loc[list(QUANTS)]
    ratio = table["kl_mean_se_windows"] / table["kl_mean_se"]
    assert (ratio > 0.8).all()
    assert (ratio < 4).all()


def test_its_output_alone_holds_everything_but_context_and_windows():
    row = read_llama_perplexity([LOGS / "tiny-output.log"]).quants.iloc[0]
    assert row["label"] == "tiny-output"
    assert row["windows"] == 24
    assert "context" not in row
    assert row["kl_mean"] > 0


@pytest.mark.parametrize("kind", ["F32", "Q4_0"])
@pytest.mark.parametrize("task", TASKS)
def test_items_add_up_to_the_printed_total(task, kind):
    path = LOGS / f"{task}-{kind}.log"
    (run,) = read_log(path)
    right = [item.correct for item in run.items]
    assert len(right) == TASKS[task]
    text = path.read_text()
    total = re.search(r"(?:Final result: |score\(\d+ tasks\): )([\d.]+)", text) or re.search(r"20\t([\d.]+)%", text)
    assert 100 * np.mean(right) == pytest.approx(float(total[1]), abs=1e-4)
    items = import_results("llama-perplexity", [path]).items
    assert items[["model", "benchmark"]].drop_duplicates().to_numpy().tolist() == [[kind, task]]
    assert items["correct"].tolist() == right


def test_options_of_winogrande_become_probabilities():
    items = import_results("llama-perplexity", [LOGS / "winogrande-Q4_0.log"]).items
    last = items.iloc[-1]  # scores −11.243650 and −11.429111, option 1 taken, 2 right
    assert (last["answer"], last["correct"]) == ("0", 0)
    assert last["probability_by_token"] == pytest.approx(1 / (1 + np.exp(-11.243650 + 11.429111)))
    assert ((items["probability_by_token"] > 0.5) == (items["correct"] == 1)).all()


def test_a_folder_of_everything_gives_quants_and_items(tmp_path, capsys):
    for path in LOGS.iterdir():
        if not path.name.startswith(("kld", "base")):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    found = import_folder(tmp_path)
    table = found.quants.set_index("label")
    assert set(table.columns) >= {"hellaswag", "winogrande", "arc"}
    assert len(found.items) == 2 * sum(TASKS.values())
    out = tmp_path / "out"
    assert cli.main(["import", str(tmp_path), "--out", str(out)]) == 0
    analysed = ["analyse", "--items", str(out / "items.parquet"), "--reference", "F32", "--out", str(tmp_path / "a")]
    assert cli.main(analysed) == 0
    assert "Q4_0" in capsys.readouterr().out


@pytest.mark.parametrize("task", TASKS)
def test_a_task_that_was_cut_off_is_refused(tmp_path, task):
    lines = (LOGS / f"{task}-F32.log").read_text().splitlines()
    path = tmp_path / "cut.log"
    path.write_text("\n".join(lines[: next(i for i, line in enumerate(lines) if line.startswith("15\t"))]))
    with pytest.raises(TableError, match="ends before its task is complete") as error:
        import_results("llama-perplexity", [path])
    assert (error.value.expected, error.value.found) == (f"{TASKS[task]} items", "14")


def test_two_tasks_of_one_kind_are_not_held_to_be_the_same(tmp_path):
    text = (LOGS / "hellaswag-Q4_0.log").read_text().replace("loaded 24 tasks", "loaded 10042 tasks")
    (tmp_path / "hellaswag-Q4_0.log").write_text(text)
    with pytest.raises(BenchmarkError, match="do not match"):
        import_results("llama-perplexity", [LOGS / "hellaswag-F32.log", tmp_path / "hellaswag-Q4_0.log"])


def test_items_without_the_name_of_their_task_need_one(tmp_path):
    path = tmp_path / "q4.log"
    path.write_text("\n".join(line for line in (LOGS / "arc-F32.log").read_text().splitlines() if line[:1] != "0"))
    with pytest.raises(TableError, match="does not name the task"):
        read_llama_perplexity([path])
    assert read_llama_perplexity([path], benchmark="arc").items["benchmark"].unique().tolist() == ["arc"]


def test_two_texts_of_one_model_are_refused(tmp_path):
    tiny = (LOGS / "tiny-output.log").read_bytes()
    (tmp_path / "Q3.log").write_bytes(tiny)
    with pytest.raises(TableError, match="different references or texts"):
        read_llama_perplexity([*of_quants(), tmp_path / "Q3.log"])


def test_a_folder_of_two_models_is_refused_or_said(tmp_path):
    """Two references, one label for two models, a base run of another model: each in words."""
    kept = {"a/Q4_0.log": "kld-Q4_0.log", "b/tiny.log": "tiny-output.log"}
    for name, log in kept.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(LOGS / log, tmp_path / name)
    with pytest.raises(TableError, match="different references or texts") as error:
        import_folder(tmp_path)
    assert all(label in error.value.found for label in ("Q4_0", "tiny"))
    (tmp_path / "b" / "tiny.log").rename(tmp_path / "b" / "Q4_0.log")
    with pytest.raises(TableError, match="Two logs of 'Q4_0'"):
        import_folder(tmp_path)
    shutil.copy(LOGS / "tiny-base.log", tmp_path / "b" / "Q4_0.log")
    (tmp_path / "b" / "Q4_0.log").rename(tmp_path / "b" / "tiny-base.log")
    shutil.copy(LOGS / "base-F16.log", tmp_path / "a")
    notes = import_folder(tmp_path).notes
    assert any(note.startswith("'tiny' has a perplexity of ") and "another model or text" in note for note in notes)
    assert not any("'F16'" in note for note in notes)


def test_every_command_of_the_page_runs_on_a_folder_of_logs(tmp_path, monkeypatch, capsys):
    """In its order, as it stands there, on logs of a reference and a quant with KLD and items."""
    page = (REPOSITORY / "docs" / "howto" / "logs.md").read_text(encoding="utf-8")
    commands = [line.split()[1:] for line in page.splitlines() if line.startswith("    qkld ")]
    assert [words[0] for words in commands] == ["import", "import", "analyse", "share"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    own = {"kld-Q4_0": "kld-Q4_0", "base-F16": "base-F16", "hellaswag-Q4_0": "hellaswag-Q4_0"}
    for name, log in (own | {"hellaswag-F16": "hellaswag-F32"}).items():
        shutil.copy(LOGS / f"{log}.log", tmp_path / "logs" / f"{name}.log")
    for words in commands:
        given = [str(p) for word in words for p in (sorted(Path().glob(word)) if "*" in word else [word])]
        assert cli.main(given) == 0, capsys.readouterr().err
    shared = import_folder(tmp_path / "shared").quants.set_index("label")
    assert shared.at["NAME/Q4_0", "kl_mean"] == pytest.approx(0.312425)
    assert np.isnan(shared.at["NAME/F16", "kl_mean"]), "the reference has no KLD, and none is shared"
    said = capsys.readouterr().out
    assert "next: qkld analyse results/quants.parquet" in said
    shutil.copy(LOGS / "kld-Q8_0.log", tmp_path / "logs")
    assert cli.main(["import", "logs/", "--out", "more/"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("--reference LABEL --missing drop"), "Q8_0 has no items"


def test_logs_that_name_two_models_are_said(tmp_path):
    """As versions before 2026 name them, from `general.name`: the random model's items beside SmolLM2's KLD."""
    for log, name in (("kld-Q4_0.log", "SmolLM2 135M"), ("winogrande-Q4_0.log", "Tiny")):
        said = f"llama_model_loader: - kv   2: general.name str              = {name}\n"
        (tmp_path / log).write_text(said + (LOGS / log).read_text(encoding="utf-8"), encoding="utf-8")
    notes = import_folder(tmp_path).notes
    assert "the logs are of several models: SmolLM2 135M (Q4_0); Tiny (Q4_0)" in notes


def test_the_cross_check_reads_by_the_same_lines():
    record = json.loads((REPOSITORY / "tests" / "data" / "llama_perplexity" / "record.json").read_text())
    printed = printed_figures((LOGS / "kld-Q8_0.log").read_text())
    assert printed.keys() == record["models"]["smollm2"]["files"]["printed"].keys()
    assert printed["Same top p"][1] is not None
