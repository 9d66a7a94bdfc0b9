"""One JSON a quant as four tools write it, with numbers made here; read, held against each other, and refused."""

from __future__ import annotations

import json

import pytest

from qkld.analysis.importing.results import Asked, import_folder, import_results
from qkld.errors import ParameterError, TableError
from qkld.workflow import cli


def apex(label: str, kl: float, **more: object) -> dict:
    scores = {"hellaswag": 60.5, "winogrande": 55.25, "mmlu": 30.125}
    figures = {"perplexity": 9.5, "ppl_error": 0.06, "kl_mean": kl, "kl_max": 4.0, "kl_99_9": 1.0, "kl_median": kl / 2}
    return {"model": label, "size_gb": 1.25, **figures, **scores, "pp512_ts": 900.0, **more}


def mlx(label: str, kl: float, **corpus: object) -> dict:
    text = {"name": "own-text", "split": "test", "chunk_length": 256, "stride": 256, "n_tokens": 5120} | corpus
    return {
        "corpus": {**text, "normalization": "raw", "bos_policy": "none"},
        "kl": {"mean": kl, "median": kl / 2, "p99": 8 * kl, "max": 20 * kl},
        "flip_rate": 0.0625,
        "n_positions": 5100,
        "n_chunks": 20,
        "perplexity_quant": 10.5,
        "perplexity_ref": 10.0,
        "quant_model_id": f"own/{label}",
        "quant_model_bytes": 700_000,
        "reference_model_id": "own/bf16",
        "reference_revision": "a" * 40,
        "quant_bits_per_weight": 4.5,
    }


def suite(label: str, kl: float, **more: object) -> dict:
    return {
        "schema": "own.fidelity-comparison.v1",
        "candidate": {"label": label, "weights": {"declared_bits": 4}},
        "reference": {"capture_content_digest": "c" * 64},
        "estimator": {"head_policy": "native_head"},
        "kl": {"mean": kl, "median": kl / 2, "max": 3.0, "p95": 4 * kl, "p99": 9 * kl, "p99_9": 20 * kl},
        "measurement_scope": {"contexts": 12, "scored_positions": 12 * 255},
        "metric": {"direction": "reference_to_candidate", "units": "nats", **more},
        "panel": {"panel_id": "own", "context_length": 256, "suite_token_hash_sha256": "d" * 64},
        "top1_agreement": 0.9375,
        "uncertainty": {"ci95_low": kl * 0.9, "ci95_high": kl * 1.1},
    }


def qbench(*quants: tuple[str, str, float | None]) -> list[dict]:
    return [
        {"label": label, "group": group, "ppl": 8.5, "bpw_layer": 4.0, "bpw_head": 6.0, "vram_gb": 0.5}
        | ({} if kl is None else {"kld": kl, "kld_median": kl / 3, "kld_p90": 2 * kl, "kld_buckets": []})
        for label, group, kl in quants
    ]


def write(folder, **values):
    for name, value in values.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


def test_apex(tmp_path):
    folder = write(tmp_path, a=apex("small", 0.08), b=apex("large", 0.01, truthfulqa=41.5))
    found = import_results("quants", [folder]).quants.set_index("label")
    small = found.loc["small"]
    assert small[["kl_mean", "kl_median", "kl_p99_9", "ppl", "ppl_se"]].tolist() == [0.08, 0.04, 1, 9.5, 0.06]
    assert small[["hellaswag", "winogrande", "mmlu", "size_bytes"]].tolist() == [60.5, 55.25, 30.125, 1.25e9]
    assert found.loc["large", "truthfulqa"] == 41.5
    assert "arc_challenge" not in found


def test_mlx(tmp_path):
    folder = write(tmp_path, four=mlx("4bit", 0.125), eight=mlx("8bit", 0.004))
    row = import_results("quants", [folder]).quants.set_index("label").loc["own/4bit"]
    assert row[["kl_mean", "kl_p99", "kl_max", "top1_agreement"]].tolist() == [0.125, 1.0, 2.5, 0.9375]
    assert row[["ppl", "ppl_reference", "context", "windows", "tokens"]].tolist() == [10.5, 10.0, 256, 20, 5100]


def test_mlx_reports_inside_a_comparison(tmp_path):
    quants = (("4bit", 0.1), ("8bit", 0.01))
    results = [{"label": label, "status": "ok", "report": mlx(label, kl)} for label, kl in quants]
    write(tmp_path, ladder={"mode": "weight", "results": results})
    assert import_results("quants", [tmp_path / "ladder.json"]).quants["label"].tolist() == ["own/4bit", "own/8bit"]


def test_suite(tmp_path):
    folder = write(tmp_path, a=suite("q4", 0.0625), b=suite("q8", 0.001))
    row = import_results("quants", [folder]).quants.set_index("label").loc["q4"]
    assert row[["kl_mean", "kl_p95", "top1_agreement", "windows"]].tolist() == [0.0625, 0.25, 0.9375, 12]
    assert row[["kl_mean_low", "kl_mean_high"]].tolist() == pytest.approx([0.05625, 0.06875])


def test_qbench_says_what_is_reference_and_floor(tmp_path):
    rows = ("bf16", "reference", None), ("Noise floor", "noise_floor", 0.0005), ("4.0", "exl3", 0.02)
    write(tmp_path, r=qbench(*rows))
    found = import_results("quants", [tmp_path / "r.json"]).quants
    assert found["role"].tolist() == ["reference", "floor", "quant"]
    assert found["kl_p90"].tolist()[1:] == [0.001, 0.04]


def test_the_table_goes_into_analyse(tmp_path, capsys):
    quants = [(f"q{i}", 0.01 * i, 60 - i) for i in range(1, 7)]
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder, **{label: apex(label, kl, hellaswag=score) for label, kl, score in quants})
    assert cli.main(["import", "quants", str(folder), "--out", str(tmp_path / "out")]) == 0
    table = tmp_path / "out" / "quants.parquet"
    assert cli.main(["analyse", str(table), "--scores", "hellaswag,winogrande", "--out", str(tmp_path / "a")]) == 0
    assert "6 quants" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("one", "two", "what"),
    [
        (mlx("a", 0.1), mlx("b", 0.1, name="other-text"), "corpus.name"),
        (mlx("a", 0.1), mlx("b", 0.1, chunk_length=512), "corpus.chunk_length"),
        (mlx("a", 0.1), {**mlx("b", 0.1), "reference_model_id": "own/8bit"}, "reference_model_id"),
        (suite("a", 0.1), {**suite("b", 0.1), "reference": {"capture_content_digest": "e" * 64}}, "reference"),
        (mlx("a", 0.1), apex("b", 0.1), "tool"),
    ],
)
def test_what_was_not_measured_alike_is_refused(tmp_path, one, two, what):
    with pytest.raises(TableError, match="measured differently") as error:
        import_results("quants", [write(tmp_path, one=one, two=two)])
    assert what in error.value.problem


def test_a_divergence_in_the_other_direction_is_refused(tmp_path):
    with pytest.raises(TableError, match="cannot be imported") as error:
        import_results("quants", [write(tmp_path, a=suite("q4", 0.1, direction="candidate_to_reference"))])
    assert "reference_to_candidate" in error.value.expected


@pytest.mark.parametrize("value", [{}, [], {"kl_mean": 0.1}, {**apex("x", 0.1), "model": None}, "text", 3])
def test_other_json_is_refused(tmp_path, value):
    with pytest.raises(TableError):
        import_results("quants", [write(tmp_path, a=value)])


def test_a_label_twice_is_refused(tmp_path):
    with pytest.raises(TableError, match="same key twice"):
        import_results("quants", [write(tmp_path, a=apex("q", 0.1), b=apex("q", 0.2))])


def test_a_folder_with_nothing_says_what_is_there(tmp_path):
    (tmp_path / "notes.md").write_text("nothing")
    (tmp_path / "m_eval_results.json").write_text("{}")
    with pytest.raises(TableError, match="no results in a recognized format") as error:
        import_folder(tmp_path)
    assert "--label" in error.value.found


def test_options_of_logs_belong_to_logs(tmp_path):
    with pytest.raises(ParameterError, match="only be used with logs"):
        import_results("quants", [tmp_path], Asked(windows=3))
