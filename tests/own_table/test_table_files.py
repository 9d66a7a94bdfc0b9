"""Tables in the files that people have: CSV and its kin, Markdown, JSON, folders."""

import json

import pandas as pd
import pytest

from qkld.analysis.own_table.checked_table import read_own_table
from qkld.analysis.own_table.measure import Columns
from qkld.analysis.own_table.table_files import read_table_file
from qkld.analysis.own_table.zone_and_item_counts import parse_zone
from qkld.errors import StatisticsError, TableError

KLD = [0.0, 0.001, 0.004, 0.03]
MMLU = [65.2, 65.1, 64.9, 61.5]
LABELS = ["BF16", "Q8_0", "Q6_K", "Q4_K_M"]


def check(own, *, size=None):
    assert own.cohort["label"].tolist() == LABELS
    assert own.cohort[own.fidelity].tolist() == pytest.approx(KLD)
    assert own.cohort["composite"].tolist() == pytest.approx([m / 100 for m in MMLU])
    if size:
        assert own.cohort["size"].tolist() == pytest.approx(size)


SCOREBOARD = """# Model
Text, with | a bar.

| Quantization | Model size [GiB] | KLD | MMLU |
|:-------------|-----------------:|----:|:----:|
| BF16 | 16.1 | 0 | 65.2 |
| **Q8_0** | 8.5 | 0.001 ± 0.00001 | **65.1** |
| [Q6_K](https://a.b/c) | 6.6 | 0.004 ± 0.00003 | 64.9\\* |
| Q4_K_M | 4.9 | 0.03 ± 0.0002 | 61.5 |

More text.
"""
FORMS = {
    "scoreboard.md": (SCOREBOARD, "Model size [GiB]"),
    "bare.md": ("Quant | Size | KLD | MMLU\n--- | --- | --- | ---\nBF16 | 16.1 | 0 | 65.2\nQ8_0 | 8.5 | 0.001 | 65.1\n"
                "Q6_K | 6.6 | 0.004 | 64.9\nQ4_K_M | 4.9 | 0.03 | 61.5\n", "Size"),
    "excel.csv": ("\ufeffQuant;Größe;KLD;MMLU\r\nBF16;16,1;0;65,2\r\nQ8_0;8,5;0,001;65,1\r\nQ6_K;6,6;0,004;64,9\r\n"
                  "Q4_K_M;4,9;0,03;61,5\r\n;;;\r\n", "Größe"),
    "sep.csv": ("sep=;\nQuant;Size;KLD;MMLU\nBF16;16.1;0;65.2\nQ8_0;8.5;0.001;65.1\nQ6_K;6.6;0.004;64.9\n"
                "Q4_K_M;4.9;0.03;61.5\n", "Size"),
    "tabs.tsv": ("rank\tQuant\tSize\tKLD ↓\tMMLU ↑\n1\tBF16\t16.1 GB\t-\t65.2%\n2\tQ8_0\t8.5 GB\t1e-3\t65.1%\n"
                 "3\tQ6_K\t6.6 GB\t4.0e-3\t64.9%\n4\tQ4_K_M\t4.9 GB\t3×10⁻²\t61.5%\n", "Size"),
    "turned.csv": ("metric,BF16,Q8_0,Q6_K,Q4_K_M\nSize,16.1,8.5,6.6,4.9\nKLD,0,0.001,0.004,0.03\n"
                   "MMLU,65.2,65.1,64.9,61.5\n", "Size"),
    "commas.csv": ('quant,size,kld,mmlu,tokens\nBF16,"16.1",0,65.2,"8,500"\nQ8_0,8.5,0.001,65.1,"8,500"\n'
                   'Q6_K,6.6,0.004,64.9,"8,500"\nQ4_K_M,4.9,0.03,61.5,"8,500"\n', "size"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_one_table_in_many_forms(tmp_path, name):
    text, size = FORMS[name]
    (tmp_path / name).write_bytes(text.encode())
    own = read_own_table(tmp_path / name, "kld", ["mmlu"], reference="BF16", size=size)
    cohort = own.cohort.fillna({"kld": 0.0})
    assert cohort["label"].tolist() == LABELS
    assert cohort["kld"].tolist() == pytest.approx(KLD)
    assert cohort["size"].tolist() == pytest.approx([16.1, 8.5, 6.6, 4.9])
    assert cohort["composite"].tolist() == pytest.approx([m / 100 for m in MMLU])


ROWS = [{"name": x, "fidelity": {"kld": k}, "mmlu": m} for x, k, m in zip(LABELS, KLD, MMLU, strict=True)]
AS_JSON = {
    "list": ROWS,
    "wrapped": {"model": "Llama", "results": ROWS},
    "by label": {row["name"]: {"fidelity": row["fidelity"], "mmlu": row["mmlu"]} for row in ROWS},
}


@pytest.mark.parametrize("shape", AS_JSON)
def test_json_of_several_quants(tmp_path, shape):
    (tmp_path / "t.json").write_text(json.dumps(AS_JSON[shape]))
    check(read_own_table(tmp_path / "t.json", "fidelity.kld", ["mmlu"], reference="BF16"))


def test_json_lines(tmp_path):
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    check(read_own_table(tmp_path / "t.jsonl", "fidelity.kld", ["mmlu"], reference="BF16"))


def test_a_folder_with_a_file_a_quant(tmp_path):
    for row in ROWS:
        (tmp_path / f"{row['name']}.json").write_text(json.dumps({k: v for k, v in row.items() if k != "name"}))
    (tmp_path / "README.txt").write_text("not a quant")
    own = read_own_table(tmp_path, "fidelity.kld", ["mmlu"], reference="BF16")
    assert sorted(own.cohort["label"]) == sorted(LABELS)
    assert "the label is 'file'" in own.read


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("t.json", "[1, 2]", "JSON that is no quant"),
        ("t.json", "{", "Expecting property name"),
        ("t.csv", "", "empty"),
        ("t.csv", "quant,kld,mmlu\n", "empty"),
        ("t.csv", "quant,kld,mmlu\nQ8,0,001,65,1\n", "line 2(?s:.*)3 cells, as the header has"),
        ("t.csv", "quant,kld,kld,mmlu\nQ8,0.1,0.1,65.1\n", r"a column twice(?s:.*)twice \['kld'\]"),
        ("t.parquet", "quant,kld,mmlu\n", "cannot be read"),
        ("t.csv", "quant;kld;mmlu\nQ8;0.1;65.1", r"missing \['arc'\]"),
    ],
)
def test_files_that_are_no_table(tmp_path, name, content, found):
    (tmp_path / name).write_text(content)
    scores = ["arc"] if "arc" in found else ["mmlu"]
    with pytest.raises(TableError, match=found):
        read_own_table(tmp_path / name, "kld", scores)


def test_of_several_markdown_tables_the_one_that_fits_is_read(tmp_path):
    other = "| File | Bits |\n|---|---|\n| a | 4 |\n\n"
    (tmp_path / "t.md").write_text(other + SCOREBOARD)
    assert len(read_table_file(tmp_path / "t.md", ["KLD", "MMLU"]).cells) == 4
    (tmp_path / "t.md").write_text(SCOREBOARD + "\n" + SCOREBOARD)
    with pytest.raises(TableError, match=r"holds 2 tables(?s:.*)line 4: Quantization"):
        read_table_file(tmp_path / "t.md", ["KLD", "MMLU"])


def test_lines_above_the_header_and_columns_twice_that_are_not_asked_for_are_passed_over(tmp_path):
    text = "# Llama 3\nmade in June\n\nquant,kld,mmlu,note,note\nQ8,0.001,65,a,b\nQ4,0.03,64,c,d\n"
    assert own_table(tmp_path, text).quants == ["Q8", "Q4"]


TITLES = {
    "title": "Quants of June,,,\n,,,\nQuant,Mean KLD,MMLU,GSM8K\n",
    "groups": ",Fidelity,Scores,Scores\nQuant,Mean KLD,MMLU,GSM8K\n",
    "groups beside": "Quant,Fidelity,Scores,\n,Mean KLD,MMLU,GSM8K\n",
    "frame with two levels": ",fid,acc,acc\n,Mean KLD,MMLU,GSM8K\nquant,,,\n",
}


@pytest.mark.parametrize("above", TITLES)
def test_the_header_is_the_row_with_the_names(tmp_path, above):
    text = TITLES[above] + "Q8,0.001,65,70\nQ6,0.004,64,71\nQ4,0.03,63,68\n"
    own = own_table(tmp_path, text, fidelity=None, scores=("mmlu", "gsm8k"))
    assert own.quants == ["Q8", "Q6", "Q4"]
    assert own.cohort["composite"].tolist() == pytest.approx([0.675, 0.675, 0.655])
    assert any("the names of the columns are those of row" in line for line in own.read)


@pytest.mark.parametrize("last", ["Average", "**Mean**", "Total", "Mittelwert", "Std. dev.", "Moyenne :"])
def test_rows_that_sum_others_up_are_no_quants(tmp_path, last):
    own = own_table(tmp_path, f"quant,kld,mmlu\nQ8,0.001,65\nQ4,0.03,64\n{last},0.0155,64.5\n")
    assert own.quants == ["Q8", "Q4"]
    assert any("sums of others" in note for note in own.notes)


def test_headings_between_rows_are_no_quants_and_names_like_sums_may_be_meant(tmp_path):
    own = own_table(tmp_path, "quant,kld,mmlu\nK quants,,\nQ8,0.001,65\nQ4,0.03,64\nI quants,,\nIQ3,0.1,60\n")
    assert own.quants == ["Q8", "Q4", "IQ3"]
    assert any("K quants, I quants" in note for note in own.notes)
    own = own_table(tmp_path, "quant,kld,mmlu\nmean,0,65\nQ8,0.001,65\nQ4,0.03,64\n", reference="mean")
    assert own.reference == "mean"
    own = own_table(tmp_path, "quant,role,kld,mmlu\nmax,quant,0.1,65\nQ8,quant,0.001,65\nQ4,quant,0.03,64\n")
    assert own.quants == ["max", "Q8", "Q4"]


def test_a_table_of_the_reference_alone_has_no_quant(tmp_path):
    with pytest.raises(TableError, match="has no quant"):
        own_table(tmp_path, "quant,kld,mmlu\nbf16,0,65\n", reference="bf16")


def test_a_column_of_nearly_that_name_is_offered(tmp_path):
    with pytest.raises(TableError, match=r"perhaps 'MMLU \(5-shot\)'"):
        own_table(tmp_path, "quant,kld,MMLU (5-shot)\nQ8,0.001,65\nQ4,0.03,64\n")


def test_columns_that_look_like_scores_are_offered(tmp_path):
    text = "quant,size,ppl,kld,MMLU,mmlu_stderr,GSM8K,tool acc,top-1 agreement\nQ8,8,6,0.001,65,1,70,50,99\n"
    with pytest.raises(TableError, match='--scores "MMLU,GSM8K,tool acc"'):
        own_table(tmp_path, text, fidelity=None, scores=())


@pytest.mark.parametrize(
    ("header", "items"),
    [("MMLU (n=400)", 400), ("MMLU<br>(N = 1,319)", 1319), ("mmlu [400 items]", 400), ("MMLU, 250 questions", 250),
     ("MMLU (5-shot)", None), ("mmlu_2024", None), ("MMLU (len=400)", None)],
)  # fmt: skip
def test_headers_say_how_many_items(tmp_path, header, items):
    own = own_table(tmp_path, f"quant;kld;{header}\nQ8;0.001;65\nQ4;0.03;64\n", scores=(header,))
    assert own.behind == ({header: items} if items else {})


@pytest.mark.parametrize(
    ("header", "example"),
    [("Mean KLD", "Mean KLD<=0.02"), ("KLD (bits)", "KLD (bits)<=0.0289"), ("KLD ×10⁻³", "KLD ×10⁻³<=20"),
     ("top-1 agreement", "top-1 agreement>=NUMBER"), ("ppl", "ppl<=NUMBER")],
)  # fmt: skip
def test_a_zone_is_offered_in_the_column_s_own_name_and_unit(tmp_path, header, example):
    own = own_table(tmp_path, f"quant;{header};mmlu\nQ8;8.001;65\nQ4;7.03;64\n", fidelity=header)
    assert own.zone_example == example
    if "NUMBER" not in example:
        zone = parse_zone(example)
        again = own_table(tmp_path, f"quant;{header};mmlu\nQ8;0.001;65\nQ4;70.3;64\n", fidelity=header, zone=zone)
        assert again.cut == pytest.approx(0.02, rel=0.01)


def test_an_index_without_a_name_is_no_label(tmp_path):
    assert own_table(tmp_path, ",weights,kld,mmlu\n0,Q8,0.001,65\n1,Q4,0.03,64\n").quants == ["Q8", "Q4"]


def test_an_empty_folder_is_no_table(tmp_path):
    with pytest.raises(TableError, match="a folder without JSON files: nothing"):
        read_own_table(tmp_path, "kld", ["mmlu"])


# --- labels and the reference -----------------------------------------------------------------------------------------


def own_table(tmp_path, text, fidelity="kld", scores=("mmlu",), **options):
    (tmp_path / "t.csv").write_text(text)
    return read_own_table(tmp_path / "t.csv", fidelity, list(scores), **options)


def test_ranks_are_no_labels(tmp_path):
    own = own_table(tmp_path, "rank,Quant,kld,mmlu\n1,Q8,0.001,65\n2,Q4,0.03,64\n")
    assert own.quants == ["Q8", "Q4"]
    own = own_table(tmp_path, "model,weights,kld,mmlu\n1,Q8,0.001,65\n2,Q4,0.03,64\n", columns=Columns(("weights",)))
    assert own.quants == ["Q8", "Q4"]


def test_a_label_of_several_columns(tmp_path):
    text = "maker,type,kld,mmlu\na,Q8,0.001,65\nb,Q8,0.002,64.9\na,Q4,0.03,64\n"
    assert own_table(tmp_path, text, columns=Columns(("maker", "type"))).quants == ["a Q8", "b Q8", "a Q4"]
    with pytest.raises(TableError, match=r"Q8 twice(?s:.*)--label 'type,maker'"):
        own_table(tmp_path, text)


def test_marks_of_labels_are_read_where_labels_stay_apart(tmp_path):
    assert own_table(tmp_path, "quant,kld,mmlu\nQ8*,0.001,65\n**Q4**,0.03,64\n").quants == ["Q8", "Q4"]
    assert own_table(tmp_path, "quant,kld,mmlu\nQ8*,0.001,65\nQ8,0.03,64\n").quants == ["Q8*", "Q8"]
    medals = own_table(tmp_path, "quant,kld,mmlu\n🥇 Q8,0.001,65\n[Q6_K](https://a.b)<br>recommended ⭐,0.03,64\n")
    assert medals.quants == ["Q8", "Q6_K recommended"]


@pytest.mark.parametrize(
    ("one", "other"), [("Q4_K_M", "q4_k_m"), ("Q4 K", "Q4  K"), ("Q4K", "Q4 K"), ("Q8_0", "Q8_0\u00a0")]
)
def test_labels_that_differ_in_case_or_space_are_refused(tmp_path, one, other):
    with pytest.raises(TableError, match=r"differ in case or white space only|twice"):
        own_table(tmp_path, f"quant,kld,mmlu\n{one},0.001,65\n{other},0.03,64\n")


@pytest.mark.parametrize(
    ("label", "kld"),
    [("BF16", 0.0), ("fp16", 0.0005), ("F32", 0.0), ("Llama-3-8B-F16.gguf", 0.0001), ("whatever", 0.0),
     ("Baseline", 0.0002), ("unquantized", 0.0)],
)  # fmt: skip
def test_what_looks_like_the_reference_is_named(tmp_path, label, kld):
    own = own_table(tmp_path, f"quant,kld,mmlu\n{label},{kld},65\nQ8,0.001,64.9\nQ4,0.03,64\n")
    assert any(f"'{label}' looks like the reference" in note for note in own.notes)
    assert own.quants[0] == label
    named = own_table(
        tmp_path, f"quant,kld,mmlu\n{label},{kld},65\nQ8,0.001,64.9\nQ4,0.03,64\n", reference=label.lower()
    )
    assert named.reference == label
    assert not any("looks like" in note for note in named.notes)


def test_no_quant_is_taken_for_the_reference(tmp_path):
    own = own_table(tmp_path, "quant,kld,mmlu\nQ8_0,0.0005,65\nfp8,0.001,64.9\nQ4,0.03,64\n")
    assert not any("looks like" in note for note in own.notes)


# --- the fidelity column ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["Mean KLD", "mean_kld", "D_KL", "KL-divergence", "**KLD** ↓"])
def test_a_kl_divergence_is_said_to_be_one(tmp_path, header):
    own = own_table(tmp_path, f"quant,{header},mmlu\nQ8,0.001,65\nQ4,0.03,64\n", fidelity=header)
    assert any("taken as a KL divergence in nats" in line for line in own.read)
    with pytest.raises(StatisticsError, match="is negative"):
        own_table(tmp_path, f"quant,{header},mmlu\nQ8,-0.001,65\nQ4,0.03,64\n", fidelity=header)


@pytest.mark.parametrize(
    ("header", "cell", "columns"),
    [("KLD (bits)", "0.01", None), ("kld_bits", "0.01", None), ("KLD", "0.01 bits", None),
     ("KLD", "0.01", Columns(unit="bits")), ("D", "0.01", Columns(unit="bits", divergence=True))],
)  # fmt: skip
def test_bits_become_nats(tmp_path, header, cell, columns):
    more = cell.removeprefix("0.01")
    text = f"quant,{header},mmlu\nQ8,{cell},65\nQ4,0.03{more},64\n"
    own = own_table(tmp_path, text, fidelity=header, columns=columns, zone=parse_zone(f"{header}<=0.01"))
    assert own.cohort[own.fidelity].iloc[0] == pytest.approx(0.01 * 0.6931471805599453)
    assert list(own.cohort.loc[own.members, "label"]) == ["Q8"]
    assert own.cut == pytest.approx(0.006931471805599453)
    assert any("converted from bits" in line for line in own.read)


@pytest.mark.parametrize(
    "header",
    ["KLD (x1e-3)", "KLD ×10⁻³", "KL x 1000", "mean_kld [10^-3]", r"KLD $\times 10^{-3}$", "KLD (×10<sup>3</sup>)",
     "KLD [millinats]", "KLD (mnats)", "KLD, milli-nats", "KLD (x 1,000)", "KLD·10**3"],
)  # fmt: skip
def test_thousandths_become_nats_however_the_header_says_it(tmp_path, header):
    own = own_table(tmp_path, f"quant;{header};mmlu\nQ8;1.5;65\nQ4;30;64\n", fidelity=header, zone=None)
    assert list(own.cohort[own.fidelity]) == pytest.approx([0.0015, 0.03], rel=1e-12)
    assert "10" not in own.fidelity
    assert any("times 10^-3 as the header says" in line or "converted from mnats" in line for line in own.read)


@pytest.mark.parametrize("header", ["KLD (1000 chunks)", "KLD per 1e6 tokens", "kl_mean 10", "99.9% KLD", "KLD x2"])
def test_other_numbers_in_a_header_are_no_factor(tmp_path, header):
    own = own_table(tmp_path, f"quant,{header},mmlu\nQ8,0.0015,65\nQ4,0.03,64\n", fidelity=header)
    assert list(own.cohort[own.fidelity]) == [0.0015, 0.03]


def test_a_divergence_in_percent_is_refused(tmp_path):
    with pytest.raises(TableError, match="not a KL divergence, judging by its unit"):
        own_table(tmp_path, "quant,KLD (%),mmlu\nQ8,0.15,65\nQ4,3,64\n", fidelity="KLD (%)")


def test_a_metric_that_is_no_kl_divergence_by_its_name_is_said(tmp_path):
    own = own_table(tmp_path, "quant,distance,mmlu\nQ8,0.001,65\nQ4,0.03,64\n", fidelity="distance")
    assert any("--divergence" in line for line in own.read)
    told = own_table(
        tmp_path,
        "quant,distance,mmlu\nQ8,0.001,65\nQ4,0.03,64\n",
        fidelity="distance",
        columns=Columns(divergence=True),
    )
    assert told.fidelity == "KLD (distance)"


def test_a_divergence_in_another_unit_is_refused(tmp_path):
    with pytest.raises(TableError, match="not a KL divergence, judging by its unit"):
        own_table(tmp_path, "quant,kld,mmlu\nQ8,8.5 GB,65\nQ4,4.5 GB,64\n")


@pytest.mark.parametrize("values", [("0.01", "0.01"), ("0", "0"), ("1e-2", "0.01")])
def test_a_fidelity_of_one_value_is_refused(tmp_path, values):
    with pytest.raises(TableError, match="has the same value for all quants"):
        own_table(tmp_path, f"quant,kld,mmlu\nQ8,{values[0]},65\nQ4,{values[1]},64\n")


# --- scores -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    ["**KLD** ↓", r"KLD $\downarrow$", "KLD&nbsp;(↓)", "<b>kld</b>", "  Kld ", r"\textbf{KLD}", "KLD (&#8595;)"],
)
def test_headers_are_found_without_their_clothes(tmp_path, header):
    assert own_table(tmp_path, f"quant,{header},mmlu\nQ8,0.001,65\nQ4,0.03,64\n").fidelity == "kld"


@pytest.mark.parametrize(
    "name",
    [
        "ppl",
        "Same top p",
        "agreement",
        "wikitext2_ppl",
        "Perplexity",
        "C4",
        "nll",
        "size_gb",
        "MT-Bench",
        "kl_mean",
        "loss",
    ],
)
def test_what_is_no_accuracy_by_its_name_is_refused(tmp_path, name):
    with pytest.raises(TableError, match="are not accuracies"):
        own_table(tmp_path, f"quant,kld,{name}\nQ8,0.001,6.5\nQ4,0.03,6.9\n", scores=[name])


@pytest.mark.parametrize("cells", [("-0.1", "0.5"), ("101", "50"), ("0.5", "50%"), ("1200", "1100")])
def test_what_can_be_no_accuracy_by_its_values_is_refused(tmp_path, cells):
    with pytest.raises(TableError, match=r"unit of the scores|two ways"):
        own_table(tmp_path, f"quant,kld,mmlu\nQ8,0.001,{cells[0]}\nQ4,0.03,{cells[1]}\n")


def test_percent_signs_are_believed(tmp_path):
    own = own_table(tmp_path, "quant,kld,gsm8k\nQ8,0.001,0.9%\nQ4,0.03,0.4%\n", scores=["gsm8k"])
    assert own.cohort["score_gsm8k"].tolist() == pytest.approx([0.009, 0.004])


def test_errors_beside_scores_say_how_many_items(tmp_path):
    header = "quant,kld,kld_se,mmlu,mmlu_stderr\n"
    text = header + "Q8,0.001,1e-5,0.65,0.0238\nQ6,0.01,1e-5,0.64,0.0240\nQ4,0.03,2e-5,0.5,0.0250\n"
    own = own_table(tmp_path, text)
    assert own.behind["mmlu"] == pytest.approx(400, rel=0.01)
    assert own.cohort["kld_se"].tolist() == [1e-5, 1e-5, 2e-5]
    apart = own_table(tmp_path, text.replace("0.0250", "0.0500"))
    assert apart.behind == {}
    assert any("of no one number of items" in line for line in apart.read)


def test_frames_of_numbers_are_read_as_they_are(tmp_path):
    pd.DataFrame({"quant": LABELS, "kld": KLD, "mmlu": MMLU}).to_parquet(tmp_path / "t.parquet")
    check(read_own_table(tmp_path / "t.parquet", "kld", ["mmlu"], reference="BF16"))
