"""Logs of --kl-divergence in every version's form: read back, held against each other, and refused where damaged."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from analysis.importing.made_logs import Measured, log, measured
from scipy import stats

from qkld.analysis.importing.llama_perplexity import read_llama_perplexity
from qkld.analysis.importing.running_table import blocks_of, window_means
from qkld.errors import ParameterError, TableError
from qkld.workflow import cli

WINDOWS = 60
LEVELS = {"Tiny-Q8_0": 0.001, "Tiny-Q5_K_M": 0.008, "Tiny-Q4_K_M": 0.02}


@pytest.fixture
def runs():
    rng = np.random.default_rng(5)
    return {label: measured(rng, WINDOWS, level) for label, level in LEVELS.items()}


@pytest.fixture
def write(tmp_path):
    def put(text: str | bytes, name: str = "q.log"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return put


def logs(write, runs, **how):
    return [write(log(run, model=f"{label}.gguf", **how), f"{i}.log") for i, (label, run) in enumerate(runs.items())]


# --- forms ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", ["±", "+/-", "_", "┬▒", "Â±", "?"])
@pytest.mark.parametrize("prefix", ["", "0.00.782.862 I ", "    ", "> ", "\x1b[32m", "2026-03-01T10:00:00.000Z "])
@pytest.mark.parametrize("version", ["2026", "2024", "first"])
def test_every_form_gives_the_same_figures(write, runs, version, prefix, sign):
    run = runs["Tiny-Q4_K_M"]
    found = read_llama_perplexity([write(log(run, version=version, prefix=prefix, sign=sign))])
    row = found.quants.iloc[0]
    assert row["label"] == "Tiny-Q4_K_M"
    assert row["kl_mean"] == pytest.approx(run.kl.mean(), abs=6e-7)
    assert row["kl_mean_se"] == pytest.approx(run.kl.mean() / 10, abs=6e-7)
    assert row["kl_min"] == -0.000002
    assert row["kl_max"] == 3.1
    assert row["kl_median"] == 0.005
    assert row["kl_p99"] == 0.1
    assert len(found.windows) == WINDOWS
    if version == "2026":
        assert (row["kl_p99_9"], row["kl_p5"], row["ppl"]) == (
            1.2,
            1e-5,
            pytest.approx(np.exp(run.nll.mean()), abs=1e-6),
        )
        assert row["ppl_reference_se"] == pytest.approx(0.3)
        assert row["log_ppl_ratio"] == pytest.approx((run.nll - run.nll_base).mean(), abs=6e-7)
        assert row["log_ppl_correlation"] == pytest.approx(0.9987)
        shares = {"dp_mean": -0.0012, "dp_mean_se": 0.0002, "dp_max": 0.6125, "dp_p0_1": -0.355, "dp_rms": 0.032}
        assert row[list(shares)].to_dict() == pytest.approx(shares)
    if version != "first":
        assert (row["top1_agreement"], row["top1_agreement_se"]) == pytest.approx((0.945, 0.001))


def test_model_context_and_build_are_those_of_the_log(write, runs):
    row = read_llama_perplexity([write(log(runs["Tiny-Q4_K_M"]))]).quants.iloc[0]
    assert (row["name"], row["file_type"], row["build"]) == ("Tiny", "Q4_K - Medium", "7001 (0a1b2c3d)")
    assert (row["context"], row["windows"], row["size_bytes"], row["bits_per_weight"]) == (512, WINDOWS, 2 << 30, 4.5)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("models\\sub dir\\Qwen3-IQ4_XS-00001-of-00003.gguf", "Qwen3-IQ4_XS"),
        ("Q2_K.GGUF", "Q2_K"),
        (None, "night-run"),
    ],
)
def test_a_quant_is_named_by_its_file_else_by_its_log(write, runs, text, label):
    path = write(log(runs["Tiny-Q4_K_M"], model=text), "night-run.txt.log")
    assert read_llama_perplexity([path]).quants["label"].tolist() == [label]


@pytest.mark.parametrize(
    "packed",
    [
        lambda text: text.encode("utf-16"),
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: gzip.compress(text.encode()),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.encode("cp1252", errors="replace"),
    ],
    ids=["UTF-16 of a shell of Windows", "byte order mark", "gzip", "CRLF", "Windows-1252"],
)
def test_encodings(write, runs, packed):
    run = runs["Tiny-Q4_K_M"]
    found = read_llama_perplexity([write(packed(log(run)))])
    assert found.quants["kl_mean"].item() == pytest.approx(run.kl.mean(), abs=6e-7)
    assert found.quants["dp_rms"].item() == pytest.approx(0.032)


def test_a_head_before_every_row_and_a_block_on_one_line_are_read(write, runs):
    run = runs["Tiny-Q4_K_M"]
    rows = log(run).splitlines()
    head = next(line for line in rows if line.startswith("chunk"))
    again = "\n".join(f"\n{head}\n{row}" if row[:4].strip().isdigit() else row for row in rows)
    pasted = " ".join(" ".join(line.split()) for line in log(run, rows=0).splitlines())
    for text in (again, pasted):
        found = read_llama_perplexity([write(text)]).quants.iloc[0]
        assert found["kl_mean"] == pytest.approx(run.kl.mean(), abs=6e-7)
        assert (found["kl_p99_9"], found["top1_agreement"]) == pytest.approx((1.2, 0.945))


def test_one_file_may_hold_several_runs(write, runs):
    path = write("".join(log(run, model=f"{label}.gguf") for label, run in runs.items()))
    found = read_llama_perplexity([path])
    assert found.quants["label"].tolist() == list(runs)
    assert found.quants["kl_mean"].tolist() == pytest.approx([run.kl.mean() for run in runs.values()], abs=6e-7)


def test_a_shortened_table_keeps_its_closing_figures(write, runs):
    lines = log(runs["Tiny-Q4_K_M"]).splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("   5 "))
    found = read_llama_perplexity([write("\n".join([*lines[:first], "...", *lines[first + 50 :]]))])
    assert found.windows is None
    assert found.quants["kl_mean"].item() == pytest.approx(runs["Tiny-Q4_K_M"].kl.mean(), abs=6e-7)
    assert "rows of the running table are missing" in found.notes[0]


# --- windows and pairs ------------------------------------------------------------------------------------------------


def test_each_window_lies_within_the_bound_of_the_rounding(write, runs):
    found = read_llama_perplexity(logs(write, runs)).windows
    for label, own in found.groupby("label"):
        apart = np.abs(own["kl_mean"].to_numpy() - runs[label].kl)
        assert (apart <= own["bound"] * (1 + 1e-9)).all()
        assert apart.max() > own["bound"].max() / 100, "the bound is of the rounding's size"


def test_window_means_are_differences_of_sums():
    means, bounds = window_means(np.array([0.2, 0.3, 0.25]), 1e-2)
    assert means == pytest.approx([0.2, 0.4, 0.15])
    assert bounds == pytest.approx([0.005, 0.015, 0.025])


@pytest.mark.parametrize("windows", [40, 300, 1200])
def test_blocks_are_large_enough_for_the_rounding_and_no_larger(windows):
    true = measured(np.random.default_rng(3), windows, 0.02).kl
    running = np.cumsum(true) / np.arange(1, windows + 1)
    blocks = blocks_of(np.round(running, 5), 1e-5)
    assert blocks.bound < 0.2 * blocks.error
    exact = np.add.reduceat(true, np.arange(0, windows - windows % blocks.size, blocks.size))[: len(blocks.means)]
    exact = exact / blocks.size
    assert abs(blocks.error - stats.sem(exact)) <= blocks.bound
    if blocks.size > 1:
        smaller = blocks_of(np.round(running[: windows // blocks.size], 5), 1e-5)
        assert smaller is None or smaller.size <= blocks.size


def test_differences_below_the_rounding_have_no_error():
    assert blocks_of(np.round(np.full(400, 1e-5), 5), 1e-5) is None
    assert blocks_of(np.array([0.1, 0.2, 0.3]), 1e-5) is None


def test_neighbours_are_tested_in_pairs(write, runs):
    found = read_llama_perplexity(logs(write, runs)).pairs
    assert found[["label_a", "label_b"]].to_numpy().tolist() == [
        ["Tiny-Q8_0", "Tiny-Q5_K_M"],
        ["Tiny-Q5_K_M", "Tiny-Q4_K_M"],
    ]
    for row in found.itertuples():
        true = runs[row.label_b].kl - runs[row.label_a].kl
        assert row.kld_difference == pytest.approx(true.mean(), abs=2e-6)
        assert row.low < true.mean() < row.high
        assert row.t_p == pytest.approx(stats.ttest_1samp(true, 0).pvalue, rel=0.5)
        assert row.t_p_holm >= row.t_p


def test_the_error_over_windows_is_that_of_their_scatter(write, runs):
    row = read_llama_perplexity(logs(write, runs)).quants.set_index("label").loc["Tiny-Q4_K_M"]
    kl = runs["Tiny-Q4_K_M"].kl
    assert row["kl_mean_se_windows"] == pytest.approx(stats.sem(kl), rel=0.2)
    assert row["kl_mean_low"] < row["kl_mean"] < row["kl_mean_high"]


# --- logs that do not go together -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2026", "2024", "first"])
def test_logs_of_two_texts_are_refused(write, version):
    rng = np.random.default_rng(1)
    other = [measured(rng, WINDOWS, 0.01, text=t) for t in (0, 1)]
    paths = [write(log(r, version=version, model=f"q{i}.gguf"), f"{i}.log") for i, r in enumerate(other)]
    with pytest.raises(TableError, match="different references or texts") as error:
        read_llama_perplexity(paths)
    assert all(label in error.value.found for label in ("q0", "q1"))


def test_a_log_of_another_version_on_the_same_text_belongs(write, runs):
    paths = [
        write(log(run, version=v, model=f"{label}.gguf"), f"{v}.log")
        for (label, run), v in zip(runs.items(), ("2026", "2024", "first"), strict=True)
    ]
    assert len(read_llama_perplexity(paths).quants) == 3


def test_a_log_that_was_cut_off_is_refused_and_its_windows_can_be_compared(write, runs):
    whole, cut = (log(runs[label], model=f"{label}.gguf", rows=rows, closing=rows is None) for label, rows in (
        ("Tiny-Q8_0", None), ("Tiny-Q4_K_M", 33)))  # fmt: skip
    paths = [write(whole, "a.log"), write(cut, "b.log")]
    with pytest.raises(TableError, match="log is incomplete") as error:
        read_llama_perplexity(paths)
    assert "--windows 33" in error.value.do
    found = read_llama_perplexity(paths, windows=33).quants.set_index("label")
    for label, row in found.iterrows():
        assert row["kl_mean"] == pytest.approx(runs[label].kl[:33].mean(), abs=6e-6)
    with pytest.raises(TableError, match="Some logs do not reach window 34"):
        read_llama_perplexity(paths, windows=34)


def test_figures_that_the_program_lost_at_its_end_come_from_the_table(write, runs):
    found = read_llama_perplexity([write(log(runs["Tiny-Q4_K_M"], closing=False))])
    assert found.quants["kl_mean"].item() == pytest.approx(runs["Tiny-Q4_K_M"].kl.mean(), abs=6e-6)
    assert "no closing figures" in found.notes[0]


def test_other_numbers_of_windows_are_refused(write, runs):
    whole = runs["Tiny-Q8_0"]
    short = Measured(whole.kl[:20], whole.nll[:20], whole.nll_base[:20])
    paths = [write(log(runs["Tiny-Q4_K_M"]), "a.log"), write(log(short, model="other.gguf"), "b.log")]
    with pytest.raises(TableError, match="different windows") as error:
        read_llama_perplexity(paths)
    assert "--windows 20" in error.value.do


@pytest.mark.parametrize("how", ["rows in turn", "one inside the other", "closing figures swapped"])
def test_runs_that_wrote_into_one_file_at_once_are_refused(write, runs, how):
    one, two = (log(runs[label], model=None).splitlines() for label in ("Tiny-Q8_0", "Tiny-Q4_K_M"))
    if how == "rows in turn":
        text = "\n".join(line for pair in zip(one, two, strict=True) for line in pair)
    elif how == "one inside the other":
        text = "\n".join([*one[:30], *two, *one[30:]])
    else:
        end = one.index("====== Perplexity statistics ======")
        text = "\n".join([*one[:end], *two[end:]])
    with pytest.raises(TableError) as error:
        read_llama_perplexity([write(text)])
    assert "log" in error.value.do


def test_two_logs_of_one_quant(write, runs):
    text = log(runs["Tiny-Q4_K_M"])
    found = read_llama_perplexity([write(text, "a.log"), write(text, "b.log")])
    assert len(found.quants) == 1
    assert "counts once" in found.notes[0]
    other = log(runs["Tiny-Q8_0"])
    with pytest.raises(TableError, match="have different figures"):
        read_llama_perplexity([write(text, "a.log"), write(other, "b.log")])
    named = read_llama_perplexity([write(text, "a.log"), write(other, "b.log")], labels=["a", "b"])
    assert named.quants["label"].tolist() == ["a", "b"]


def test_runs_without_names_in_one_file_are_refused(write, runs):
    text = "".join(log(run, model=None) for run in runs.values())
    with pytest.raises(TableError, match="does not name their models"):
        read_llama_perplexity([write(text)])


def test_labels_and_files_have_to_go_together(write, runs):
    with pytest.raises(ParameterError, match="numbers of labels and files differ"):
        read_llama_perplexity([write(log(runs["Tiny-Q8_0"]))], labels=["a", "b"])


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\x00\x01" * 4000, "PPL ± 0.1\n".encode(), b"\x1f\x8b broken"])
def test_files_without_a_result_are_refused(write, content):
    with pytest.raises(TableError):
        read_llama_perplexity([write(content)])


def test_a_mean_below_zero_is_kept_and_said(write):
    run = measured(np.random.default_rng(2), 20, 0.0)
    text = log(run).replace("Mean    KLD:   0.000000", "Mean    KLD:  -0.000004")
    found = read_llama_perplexity([write(text)])
    assert found.quants["kl_mean"].item() == -0.000004
    assert "below 0" in found.notes[0]


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_writes_tables_that_analyse_reads(write, runs, tmp_path, capsys):
    paths = [str(p) for p in logs(write, runs)]
    assert cli.main(["import", "llama-perplexity", *paths, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert all(label in said for label in runs)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "pairs.parquet",
        "quants.parquet",
        "windows.parquet",
    ]
    table = tmp_path / "out" / "quants.parquet"
    assert cli.main(["analyse", str(table), "--scores", "dp_max", "--out", str(tmp_path / "a")]) == 0
    assert "'kl_mean' is taken as a KL divergence in nats" in capsys.readouterr().out
    one = tmp_path / "one.parquet"
    assert cli.main(["import", "llama-perplexity", *paths, "--out", str(one)]) == 0
    assert (tmp_path / "one_windows.parquet").exists()


def test_a_folder_of_logs_is_found_and_said(write, runs, tmp_path, capsys):
    logs(write, runs)
    write("nothing here", "README.md")
    write(bytes(8192), "core")
    assert cli.main(["import", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert said.count("KL divergence, 60 windows") == 3
    assert cli.main(["import", str(tmp_path / "out" / "quants.parquet"), "--out", str(tmp_path / "no")]) == 2
    assert "name the format first" in capsys.readouterr().err
