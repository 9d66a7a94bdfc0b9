"""What a person reads: the answer in words, ten lines, the table of quants, and a report without internal words."""

import re

import numpy as np
import pandas as pd
import pytest
from simulated_study import BENCHMARKS

from qkld.analysis.own_table.checked_table import read_own_table
from qkld.errors import TableError
from qkld.report import analyse_table, lines_of
from qkld.report.own_table.answer_in_words import relation_of
from qkld.statistics.core.resampling import Resampling
from qkld.workflow.cli import main

QUICK = Resampling(confidence=0.95, resamples=100, permutations=99, seed=1)
OWN = list(BENCHMARKS)


@pytest.fixture(scope="module")
def whole(own, tmp_path_factory):
    """A table with items and reference, analysed into a folder once."""
    out = tmp_path_factory.mktemp("read")
    options = {"items": own.items, "size": "bits_per_weight", "margin": 0.03, "resampling": QUICK}
    return analyse_table(own.table, "kl_mean", OWN, "reference", "kl_mean<=0.05", out, **options), out


def table(tmp_path, rows, header="quant,kld,mmlu", name="t.csv"):
    (tmp_path / name).write_text("\n".join([header, *rows]) + "\n")
    return tmp_path / name


# --- words ------------------------------------------------------------------------------------------------------------


def test_ten_lines_say_what_is_asked(whole):
    summary, out = whole
    lines = lines_of(summary, report=str(out / "report.html"))
    assert len(lines) == 10
    said = {line[:10].strip(): line[10:] for line in lines}
    assert re.match(r"Over all 22 quants KLD ranks the quants by score .*ρ −0\.\d\d, 95 % interval", said["answer"])
    assert "near the reference (kl_mean<=0.05, 11 quants)" in said["answer"]
    assert said["zone"] == "kl_mean<=0.05: 11 quants"
    assert "items behind the scores" in said["decides"]
    assert summary["decision"]["smallest"][0] in said["smallest"]
    assert "within 3 points of the reference" in said["smallest"]
    assert sum(map(int, re.findall(r"(\d+) (?:equivalent|worse|better|undecided)", said["decisions"]))) == 22
    assert said["report"] == str(out / "report.html")
    assert not any("nan" in line.lower().split() or "None" in line for line in lines)


@pytest.mark.parametrize(
    ("rho", "p", "falling", "words"),
    [
        (-0.95, 0.001, False, "KLD ranks the quants by score almost without exception"),
        (-0.75, 0.01, False, "ranks the quants by score well"),
        (-0.45, 0.04, False, "ranks the quants by score roughly"),
        (-0.3, 0.04, False, "ranks the quants by score weakly"),
        (-0.9, 0.2, False, "no relation of KLD and score is shown"),
        (0.6, 0.01, False, "farther from the reference by KLD score higher"),
        (0.6, 0.01, True, "ranks the quants by score roughly"),
        (np.nan, np.nan, False, "nothing can be said of KLD and score"),
    ],
)
def test_a_relation_in_words(tmp_path, rho, p, falling, words):
    own = read_own_table(table(tmp_path, ["a,0.1,50", "b,0.2,40"]), "kld", ["mmlu"])
    object.__setattr__(own, "falling", falling)
    row = {"estimate": rho, "p": p, "low": rho, "high": rho, "n": 9}
    assert words in relation_of(own, row)


def test_four_quants_can_not_show_a_relation(tmp_path):
    own = read_own_table(table(tmp_path, ["a,0.1,50", "b,0.2,40"]), "kld", ["mmlu"])
    row = {"estimate": -1.0, "p": 0.083, "low": np.nan, "high": np.nan, "n": 4}
    assert "4 quants are too few (Spearman's ρ −1.00, p 0.083)" in relation_of(own, row)


def test_too_few_quants_are_said_to_be_too_few(tmp_path):
    path = table(tmp_path, ["ref,0,0.5", "a,0.1,0.5", "b,0.2,0.4"])
    summary = analyse_table(path, "kld", ["mmlu"], "ref", resampling=QUICK)
    assert "a correlation needs at least 4" in summary["answer"]["headline"]


def test_few_quants_are_said_to_decide_little(tmp_path):
    rows = [f"q{i},{0.01 * i},{score}" for i, score in enumerate((64, 65, 63, 62, 61), start=1)]
    said = analyse_table(table(tmp_path, rows), "kld", ["mmlu"], resampling=QUICK)["answer"]["decides"]
    assert "with 5 quants only an almost perfect order is more than chance" in said
    said = analyse_table(table(tmp_path, rows[:4]), "kld", ["mmlu"], resampling=QUICK)["answer"]["decides"]
    assert said.startswith("Too few quants over all quants: with 4")


def test_a_relation_that_is_shown_leaves_the_noise_unknown_without_items(tmp_path):
    rows = [f"q{i},{0.01 * i},{70 - i}" for i in range(1, 10)]
    bare = analyse_table(table(tmp_path, rows), "kld", ["mmlu"], resampling=QUICK)["answer"]["decides"]
    assert "exceeds chance" in bare
    assert "without --items or --n-items the size of that noise is unknown" in bare
    counted = analyse_table(table(tmp_path, rows), "kld", ["mmlu"], n_items={"mmlu": 4000}, resampling=QUICK)
    assert "unknown" not in counted["answer"]["decides"]


def test_a_zone_is_offered_in_the_table_s_own_name(tmp_path):
    path = table(tmp_path, ["a,10,50", "b,20,40", "c,300,30"], header="quant,KLD (mnats),mmlu")
    summary = analyse_table(path, None, ["mmlu"], resampling=QUICK)
    assert '--zone "KLD (mnats)<=20"' in lines_of(summary, report=None)[2]
    again = analyse_table(path, None, ["mmlu"], zone="KLD (mnats)<=20", resampling=QUICK)
    assert again["zone_quants"] == ["a", "b"]


NAMES = ["$Q_8$", "<b>Q6</b> & {x} %s", "量化 Q5", 'Q4 "best" $^{$', "Q3 " + 40 * "long", "🥇 Q2"]


def test_names_of_any_letters_are_drawn_without_a_warning(tmp_path, recwarn):
    rows = ["\t".join((name, f"{0.01 * (i + 1)}", f"{60 - i}")) for i, name in enumerate(NAMES)]
    path = table(tmp_path, rows, header="名\tkld\t准确率 $^{$", name="t.tsv")
    analyse_table(path, "kld", ["准确率 $^{$"], out=tmp_path / "o", resampling=QUICK)
    page = (tmp_path / "o" / "report.html").read_text(encoding="utf-8")
    assert "量化 Q5" in page
    assert (tmp_path / "o" / "kld_score.png").stat().st_size > 0
    assert not [w for w in recwarn if "Glyph" in str(w.message)]


def test_sizes_in_bytes_are_whole_numbers_and_no_table_is_names_alone(tmp_path):
    rows = ["a,8.5 GB,0.01,62", "b,4000 MiB,0.02,61", "c,3.1 GiB,0.03,60", "d,900 MB,0.1,50"]
    path = table(tmp_path, rows, header="quant,size,kld,mmlu")
    analyse_table(path, "kld", ["mmlu"], size="size", out=tmp_path / "o", resampling=QUICK)
    page = (tmp_path / "o" / "report.html").read_text(encoding="utf-8")
    assert "8,500,000,000" in page
    assert "sizes in bytes" in page
    assert "<h3>Fidelity against scores at equal size</h3>" not in page


def test_without_items_what_it_takes_is_said(tmp_path):
    rows = [f"q{i},{0.01 * i},{60 + (i * 7) % 5}" for i in range(1, 10)]
    summary = analyse_table(table(tmp_path, rows), "kld", ["mmlu"], resampling=QUICK)
    assert "--items" in summary["answer"]["decides"]
    assert "--items" in summary["answer"]["smallest"]
    assert "--reference" in summary["answer"]["smallest"]
    counted = analyse_table(table(tmp_path, rows), "kld", ["mmlu"], n_items={"mmlu": 400}, resampling=QUICK)
    assert "with 400 items" in counted["answer"]["decides"]


def test_what_would_decide_is_said_where_nothing_is_equivalent(own):
    summary = analyse_table(own.table, "kl_mean", OWN, "reference", items=own.items, margin=0.001, resampling=QUICK)
    assert re.search(r"No quant is shown .* would take about [\d,]+ items", summary["answer"]["smallest"])


# --- the report -------------------------------------------------------------------------------------------------------


def cells(html, heading):
    """Header and rows of the first table below a heading."""
    part = html[html.index(heading) :]
    rows = re.findall(r"<tr>(.*?)</tr>", part[: part.index("</table>")], flags=re.DOTALL)
    return [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, flags=re.DOTALL) for row in rows]


def test_the_report_opens_with_the_answer_and_the_quants(whole):
    _, out = whole
    html = (out / "report.html").read_text()
    assert html.index("Does the metric tell good quants from bad?") < html.index('id="quants"') < html.index("<figure")
    header, *rows = cells(html, 'id="quants"')
    assert header[:2] == ["quant", "bits_per_weight"]
    assert header[-5:] == ["difference (points)", "changed", "gained", "lost", "decision"]
    assert len(rows) == 23
    flips = pd.read_csv(out / "flips.csv").query("benchmark == 'composite'").set_index("label")
    by_quant = {row[0]: row for row in rows}
    for label in ("torchao-8-g32", "hqq-2-g64"):
        counts = [int(cell) for cell in by_quant[label][-4:-1]]
        assert counts == flips.loc[label, ["volume", "leapfrogs", "drops"]].tolist()
        assert by_quant[label][-1] in ("equivalent", "worse", "better", "undecided")


def test_the_report_has_no_empty_column_and_no_internal_word(whole, tmp_path):
    _, out = whole
    path = table(tmp_path, [f"q{i},{0.01 * i},{60 - i}" for i in range(1, 10)])
    analyse_table(path, None, ["mmlu"], out=tmp_path / "o", resampling=QUICK)
    for html in ((out / "report.html").read_text(), (tmp_path / "o" / "report.html").read_text()):
        assert not re.search(r"\bNaN\b|\bnan\b|None|StatisticsError|not available", html)
        for body in re.findall(r"<table.*?</table>", html, flags=re.DOTALL):
            rows = [
                re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", body, flags=re.DOTALL)
            ]
            columns = list(zip(*[row for row in rows if row], strict=True))
            assert all(any(cell.strip() for cell in column) for column in columns)


def test_quants_at_a_kld_of_0_are_told_and_the_rest_is_drawn(tmp_path):
    path = table(tmp_path, ["a,0,65", "b,0,64.9", "c,0.01,64", "d,0.03,63", "e,0.1,60"])
    summary = analyse_table(path, "kld", ["mmlu"], out=tmp_path / "o", resampling=QUICK)
    assert any("kld is 0 for a, b" in note for note in summary["notes"])
    assert (tmp_path / "o" / "kld_score.png").exists()


def test_terms_are_only_those_that_the_report_uses(tmp_path):
    path = table(tmp_path, [f"q{i},{90 - i},{60 - i}" for i in range(1, 10)], header="quant,top1,mmlu")
    analyse_table(path, "top1", ["mmlu"], out=tmp_path / "o", resampling=QUICK)
    html = (tmp_path / "o" / "report.html").read_text()
    assert "<dt>ρ</dt>" in html
    assert not any(f"<dt>{term}</dt>" in html for term in ("KLD", "verdict", "zone", "leapfrogs and drops"))


def test_errors_stand_beside_their_figures(tmp_path):
    rows = ["F16,0.0001 ± 0.00001,65.0 ± 2.4", "Q8,0.001 ± 0.00002,64.5 ± 2.4", "Q4,0.03 ± 0.0004,60.0 ± 2.4"]
    analyse_table(table(tmp_path, rows), "kld", ["mmlu"], "F16", out=tmp_path / "o", resampling=QUICK)
    _, *shown = cells((tmp_path / "o" / "report.html").read_text(), 'id="quants"')
    assert shown[1] == ["Q8", "0.00100 ± 2.0e−5", "64.50 ± 2.40", "−0.50"]
    quants = pd.read_csv(tmp_path / "o" / "quants.csv").set_index("label")
    assert quants.loc["Q4", ["fidelity_se", "score_se"]].tolist() == pytest.approx([0.0004, 0.024])


def test_two_quants_draw_no_reliability_and_say_why(tmp_path):
    path = table(tmp_path, ["ref,,0.5", "q8,0.001,0.5", "q4,0.03,0.25"], header="quant,kld,arc")
    answers = (("ref", "1100"), ("q8", "1100"), ("q4", "1000"))
    rows = [f"{m},arc,{i},{c}" for m, own in answers for i, c in enumerate(own)]
    items = table(tmp_path, rows, header="model,benchmark,item,correct", name="i.csv")
    analyse_table(path, "kld", ["arc"], "ref", items=items, out=tmp_path / "o", resampling=QUICK)
    assert not (tmp_path / "o" / "reliability.png").exists()
    assert "2 quants are too few" in (tmp_path / "o" / "report.html").read_text()


def test_a_metric_below_0_is_drawn_whole(tmp_path):
    path = table(tmp_path, [f"q{i},{i - 4},{60 - i}" for i in range(9)], header="quant,delta,mmlu")
    analyse_table(path, "delta", ["mmlu"], out=tmp_path / "o", resampling=QUICK)
    assert (tmp_path / "o" / "kld_score.png").exists()


# --- items alone ------------------------------------------------------------------------------------------------------


def test_items_alone_give_flips_decisions_and_pairs(own, tmp_path, capsys):
    items = own.with_items(tmp_path, lambda t: t.drop(columns="kl_prompt"))
    summary = analyse_table(None, reference="reference", items=items, out=tmp_path / "o", resampling=QUICK)
    assert summary["fidelity"] is None
    assert summary["correlations"] == []
    assert summary["scores"] == sorted(OWN)
    beside = analyse_table(own.table, "kl_mean", sorted(OWN), "reference", items=own.items, resampling=QUICK)
    same = ("equivalent", "worse", "better", "undecided")
    assert {d: sorted(summary["decision"][d]) for d in same} == {d: sorted(beside["decision"][d]) for d in same}
    assert summary["pairs"]["ordered"] == beside["pairs"]["ordered"]
    assert {"flips", "decision", "pairs", "quants"} == {p.stem for p in (tmp_path / "o").glob("*.csv")}
    assert main(["analyse", "--items", str(items), "--reference", "reference", "--out", str(tmp_path / "p")]) == 0
    assert "only the answers are compared" in capsys.readouterr().out


def test_items_with_a_kld_are_their_own_fidelity(own):
    summary = analyse_table(None, scores=["sciq"], reference="reference", items=own.items, resampling=QUICK)
    assert summary["fidelity"] == "mean KLD of the items"
    assert summary["verdict"] is not None
    assert summary["items"] == {"sciq": BENCHMARKS["sciq"][0]}


def test_items_alone_without_a_reference_name_what_looks_like_it(own, tmp_path):
    items = own.with_items(tmp_path, lambda t: t.drop(columns="kl_prompt"))
    summary = analyse_table(None, scores=["sciq"], items=items, resampling=QUICK)
    assert any("'reference' looks like the reference" in note for note in summary["notes"])
    assert summary["decision"] is None
    assert summary["pairs"]["pairs"] == 23 * 22 // 2


@pytest.mark.parametrize(
    ("call", "found"),
    [
        ({}, "No table"),
        ({"items": True, "fidelity": "kld"}, "--fidelity"),
        ({"items": True, "zone": "kld<=1"}, "--zone"),
        ({"items": True, "scores": ["mmlu"]}, "none of"),
        ({"items": True, "reference": "F16"}, "no row 'F16'"),
    ],
)
def test_what_items_alone_can_not_give_is_refused(own, call, found):
    options = {k: (own.items if v is True else v) for k, v in call.items()}
    with pytest.raises(TableError, match=found):
        analyse_table(None, **options, resampling=QUICK)


def test_a_table_without_fidelity_takes_its_one_mean_kld_or_none(own, tmp_path):
    rows = [f"q{i},{0.01 * i},{0.02 * i},{60 - i}" for i in range(1, 9)]
    path = table(tmp_path, rows, header="quant,Mean KLD,KLD p99,mmlu")
    assert analyse_table(path, None, ["mmlu"], resampling=QUICK)["fidelity"] == "Mean KLD"
    plain = own.with_table(tmp_path, lambda t: t.drop(columns="kl_mean"))
    options = {"items": own.items, "size": "bits_per_weight", "margin": 0.03, "resampling": QUICK}
    summary = analyse_table(plain, None, OWN, "reference", **options)
    assert summary["fidelity"] is None
    assert summary["decision"]["smallest"]
