"""Real figures in the forms of earlier versions, and as shells, editors and accidents leave them: right, or refused."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from analysis.importing.older_logs import of_january, of_may
from conftest import REPOSITORY

from qkld.analysis.importing.llama_perplexity import read_llama_perplexity
from qkld.analysis.importing.results import import_results
from qkld.errors import TableError

LOGS = REPOSITORY / "tests" / "data" / "llama_logs"
TODAY = LOGS / "kld-Q4_0.log"

JANUARY = ("kl_mean", "kl_mean_se", "kl_median", "kl_max", "kl_p99", "kl_p95", "kl_p90", "kl_min", "kl_p1", "kl_p10")
MAY = ("kl_mean", "kl_max", "kl_p99", "kl_median", "ppl", "ppl_reference", "log_ppl_correlation", "dp_rms", "dp_p0_1")


def whole(log: tuple[list[str], list[str]]) -> str:
    return "\n".join(chain(*log)) + "\n"


def interleaved(log: tuple[list[str], list[str]], block: int = 1024) -> str:
    """One file for both streams: the output is written in blocks, and lines of the error fall into its rows."""
    said, printed = log
    output = ("\n".join(printed) + "\n").encode()
    blocks = [output[i : i + block] for i in range(0, len(output), block)]
    timings = b"llama_print_timings:        load time =     120.51 ms\n"
    return (("\n".join(said) + "\n").encode() + timings.join(blocks)).decode(errors="replace")


def progress(log: tuple[list[str], list[str]]) -> str:
    """A bar of a shell script before every row, which returns to the beginning of its line."""
    return whole(log).replace("\n   ", "\n 12%|█▏        | 3/24 [00:07<00:52]\r   ")


def stamped(text: str) -> str:
    """0.3.16 with prefixes: time and level before lines that have a level."""
    lines = text.splitlines()
    table = next(i for i, line in enumerate(lines) if line.startswith("chunk"))
    return "\n".join([*(f"0.00.0{i:02d}.060 I {line}" for i, line in enumerate(lines[:table])), *lines[table:]]) + "\n"


def with_commas(text: str) -> str:
    """As a C library prints that was told a locale of decimal commas."""
    head, table = text[: text.index("chunk  ")], text[text.index("chunk  ") :]
    return head + "\n".join(_commas(line) for line in table.splitlines()) + "\n"


def _commas(line: str) -> str:
    label, colon, numbers = line.rpartition(":")
    return label + colon + numbers.replace(".", ",")


FORMS: dict[str, Callable[[], bytes]] = {
    "0.2.38": lambda: whole(of_january(TODAY, "Q4_0")).encode(),
    "0.2.38, UTF-16 with CRLF": lambda: whole(of_january(TODAY, "Q4_0")).replace("\n", "\r\n").encode("utf-16"),
    "0.2.38, a progress bar": lambda: progress(of_january(TODAY, "Q4_0")).encode(),
    "0.2.38, decimal commas": lambda: with_commas(whole(of_january(TODAY, "Q4_0"))).encode(),
    "0.2.76": lambda: of_may(TODAY, "Q4_0").encode(),
    "0.2.76, gzip": lambda: gzip.compress(of_may(TODAY, "Q4_0").encode()),
    "0.2.76, decimal commas": lambda: with_commas(of_may(TODAY, "Q4_0")).encode(),
    "0.3.16, prefixes": lambda: stamped(of_may(TODAY, "Q4_0")).encode(),
    "0.3.16, prefixes of a service and CRLF": lambda: "".join(
        f"2025-08-15T10:00:00.000Z | {line}\r\n" for line in stamped(of_may(TODAY, "Q4_0")).splitlines()
    ).encode(),
}


@pytest.fixture(scope="module")
def today() -> pd.Series:
    return read_llama_perplexity([TODAY]).quants.iloc[0]


@pytest.fixture
def write(tmp_path) -> Callable[..., Path]:
    def put(content: str | bytes, name: str = "Q4_0.log") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return put


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_figures_of_today(write, today, form):
    found = read_llama_perplexity([write(FORMS[form]())])
    row = found.quants.iloc[0]
    assert row["label"] == "Q4_0"
    own = list(JANUARY if form.startswith("0.2.38") else MAY)
    assert row[own].to_dict() == pytest.approx(today[own].to_dict())
    assert (row["windows"], len(found.windows)) == (24, 24)
    assert row["top1_agreement"] == pytest.approx(today["top1_agreement"], abs=1e-5)
    assert row["kl_mean_se_windows"] == pytest.approx(today["kl_mean_se_windows"])
    assert ("kl_p95" in row) == form.startswith("0.2.38"), "0.2.76 and 0.3.16 print the 99 % in its place"


def test_a_log_of_each_version_is_one_table(write):
    paths = [
        write(whole(of_january(LOGS / "kld-Q8_0.log", "Q8_0")), "a.log"),
        write(of_may(TODAY, "Q4_0"), "b.log"),
        LOGS / "kld-Q2_K.log",
    ]
    found = read_llama_perplexity(paths)
    assert found.quants["label"].tolist() == ["Q8_0", "Q4_0", "Q2_K"]
    assert found.pairs["t_p"].notna().all()


def test_streams_that_fell_into_each_other_keep_the_closing_figures(write, today):
    found = read_llama_perplexity([write(interleaved(of_january(TODAY, "Q4_0")))])
    own = list(JANUARY)
    assert found.quants.iloc[0][own].to_dict() == pytest.approx(today[own].to_dict())
    assert found.windows is None
    assert "rows of the running table are missing" in found.notes[0]


# --- accidents --------------------------------------------------------------------------------------------------------


def cuts(text: str) -> Iterator[int]:
    """Every place inside the last row of the table, and inside each closing figure's line."""
    end = text.index("\n", text.index("\n  24 ") + 1)
    yield from range(text.index("\n  24 ") + 6, end)
    for line in ("Maximum", "Minimum"):
        start = text.index(f"{line}")
        yield from range(start + 4, text.index("\n", start))


@pytest.mark.parametrize("version", ["0.2.38", "0.2.76"])
def test_a_log_that_was_cut_anywhere_gives_no_wrong_number(write, today, version):
    """Cut in the middle of a row or a figure: what is read is right, or four lines say what is missing."""
    text = FORMS[version]().decode()
    refused = 0
    for place in cuts(text):
        try:
            row = read_llama_perplexity([write(text[:place])]).quants.iloc[0]
        except TableError as error:
            refused += len(str(error).splitlines()) == 4
            continue
        assert row["windows"] == 24
        for name in {*JANUARY, *MAY, "top1_agreement"} & set(row.dropna().index):
            bound = 6e-5 if name.startswith("ppl") else 6e-6  # decimals of the running table
            assert row[name] == pytest.approx(today[name], abs=bound), (name, text[place - 30 : place])
    assert refused > 40


def test_two_texts_in_one_file_are_refused(write):
    both = whole(of_january(TODAY, "Q4_0")) + whole(of_january(LOGS / "tiny-output.log", "Q2_K"))
    with pytest.raises(TableError, match="from different references or texts") as error:
        read_llama_perplexity([write(both)])
    assert "Q4_0" in error.value.found
    assert "Q2_K" in error.value.found


def test_two_runs_at_once_in_one_file_are_refused(write):
    one, two = (of_january(LOGS / f"kld-{kind}.log", kind)[1] for kind in ("Q4_0", "Q8_0"))
    with pytest.raises(TableError) as error:
        read_llama_perplexity([write("\n".join(line for pair in zip(one, two, strict=True) for line in pair))])
    assert "write one log per run" in error.value.do


def test_a_quant_whose_logits_are_not_finite_is_named_with_its_window(write):
    """As the program prints a broken quant: no number from one window on, and to the end."""
    said, printed = of_january(TODAY, "Q4_0")
    rows = [line if line[:4].strip() not in {str(i) for i in range(9, 25)} else _broken(line) for line in printed]
    rows = [line.split(":")[0] + ":        nan ±       nan" if line.startswith("Average") else line for line in rows]
    found = read_llama_perplexity([write(whole((said, rows))), LOGS / "kld-Q8_0.log"])
    quants = found.quants.set_index("label")
    assert np.isnan(quants.at["Q4_0", "kl_mean"])
    assert quants.at["Q8_0", "kl_mean"] > 0
    assert any("no number from window 9 on" in note for note in found.notes)


def _broken(row: str) -> str:
    return f"{row[:4]}           nan           nan ±        nan           nan ±        nan    0.00000 ± 0.00000"


def test_items_of_january(write):
    """0.2.32 prints HellaSwag without percent sign and interval, and the multiple choice's result after a space."""
    for name in ("hellaswag-Q4_0.log", "arc-Q4_0.log"):
        text = (LOGS / name).read_text(encoding="utf-8")
        lines = [line.split(" I ", 1)[-1].split("%\t[")[0] for line in text.splitlines()]
        older = "\n".join(lines).replace("\t95% confidence interval", "").replace("Final result", " Final result")
        items = [import_results("llama-perplexity", [p]).items for p in (LOGS / name, write(older, name))]
        assert items[0]["correct"].tolist() == items[1]["correct"].tolist()
        assert items[0]["benchmark"].tolist() == items[1]["benchmark"].tolist()
