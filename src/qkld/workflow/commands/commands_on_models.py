"""Commands on models, without a study's notebooks: ``compare``, ``quantize``, ``pick`` and ``served``."""

from __future__ import annotations

import argparse
from pathlib import Path

from qkld.workflow.commands.arguments import names, positive_number, whole_number
from qkld.workflow.commands.command import Command

A_MODEL = (
    "A model is a folder, a .gguf file, owner/name[@revision] or owner/name/file.gguf[@revision] on a "
    "model hub, or a label of --study. A quant can also be a quantizer that is applied to the reference "
    "(torchao:int8,group=32, bitsandbytes:nf4, hqq:4,group=64), or a model behind a server "
    "(http://host:port#model); for a served model, only bounds of the KLD are reported."
)
"""What a model can be, for `qkld compare --help`."""


def _compare_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--reference", help="a model, a store of notebook 01, or (for bounds) a llama.cpp base file or a top-k store"
    )
    parser.add_argument(
        "--quant", action="append", required=True, help="a model; give it several times for paired tests"
    )
    parser.add_argument("--study", help="study whose labels can be used")
    parser.add_argument("--text", type=Path, help="plain text, or .jsonl of texts (default: English prose)")
    parser.add_argument(
        "--windows", type=whole_number, help="windows to measure (default 40; fewer if the text is short)"
    )
    parser.add_argument("--context", type=whole_number, help="tokens per window, the second half scored (default 512)")
    parser.add_argument(
        "--packing", choices=("packed", "documents"), default="packed", help="texts back to back, or a window per text"
    )
    parser.add_argument(
        "--engine", choices=("torch", "llamacpp"), help="how GGUF quants run: dequantized in torch, or in llama.cpp"
    )
    parser.add_argument("--device", choices=("auto", "cuda", "mps", "cpu"), default="auto")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16", "float16"), default="auto")
    parser.add_argument("--device-map", choices=("none", "auto"), default="none", help="auto: for large models")
    parser.add_argument(
        "--weights",
        choices=("native", "dequantized"),
        default="dequantized",
        help="run the quantizer's own layers, or its dequantized weights in ordinary layers (default)",
    )
    parser.add_argument("--no-floor", dest="floor", action="store_false", help="skip the noise floor of the dtype")
    parser.add_argument(
        "--second-walk", action="store_true", help="also measure acceptance rate and Jensen–Shannon divergence"
    )
    parser.add_argument(
        "--floor-k", type=whole_number, help="top tokens kept by the top-k estimate of the KLD (default 64)"
    )
    parser.add_argument(
        "--floor-log-p",
        type=float,
        default=-16.0,
        help="log-probability that this estimate gives to other tokens (default -16)",
    )
    parser.add_argument(
        "--cache-k", type=names, default=(), help="types of llama.cpp's key cache to measure, such as f16,q8_0"
    )
    parser.add_argument(
        "--cache-v", type=names, default=(), help="types of its value cache; every combination is measured"
    )
    _result_options(parser)


def _result_options(parser: argparse.ArgumentParser) -> None:
    """Which tokens of a window are scored, and what is printed and written."""
    parser.add_argument(
        "--score-from", type=float, help="share of each window that is context and not scored (default 0.5)"
    )
    parser.add_argument("--breakdown", action="store_true", help="also print mean KLD by entropy and position")
    parser.add_argument(
        "--positions", type=whole_number, help="number of position ranges within the window (default 4)"
    )
    parser.add_argument(
        "--figure", type=Path, help="figure of mean KLD by position, one line per quant: .png, .pdf or .svg"
    )
    parser.add_argument("--confidence", type=float, default=0.95, help="confidence of every interval (default 0.95)")
    parser.add_argument("--bootstrap", type=whole_number, default=1000, help="resamples of windows (default 1000)")
    parser.add_argument(
        "--power", type=float, default=0.8, help="statistical power for the number of windows needed (default 0.8)"
    )
    parser.add_argument("--seed", type=int, default=2606, help="seed of the resampling (default 2606)")
    parser.add_argument("--json", type=Path, help="file for all results")


def _compare(options: argparse.Namespace) -> None:
    from qkld.workflow.commands.work.compare import run_compare

    print(run_compare(options), end="")


def _quantize_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a .gguf file, owner/name/file.gguf[@revision], or a label of --study")
    parser.add_argument("--types", required=True, help="llama.cpp's type names, separated by commas: Q8_0,Q4_K_M,IQ3_S")
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    parser.add_argument("--imatrix", help="a file written by llama-imatrix, or `compute` to compute one from --text")
    parser.add_argument("--text", type=Path, help="plain text, or .jsonl with one text per line")
    parser.add_argument(
        "--windows", type=whole_number, default=32, help="windows of --text for the imatrix (default 32)"
    )
    parser.add_argument("--context", type=whole_number, default=512, help="tokens per window (default 512)")
    parser.add_argument("--study", help="study whose labels can be used; --text must not overlap with its texts")
    parser.add_argument("--threads", type=whole_number, default=1, help="CPU threads of the quantizer (default 1)")


def _quantize(options: argparse.Namespace) -> None:
    from qkld.workflow.commands.work.quantize import run_quantize

    print(run_quantize(options), end="")


def _pick_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", help="a folder of GGUF files or of checkpoints; a hub's owner/name; a study; or with --items a table"
    )
    parser.add_argument(
        "--items", type=Path, help="item results of the quants in a table; formats as for `qkld analyse`"
    )
    parser.add_argument(
        "--scores", type=names, help="score columns of a table (default: columns named after benchmarks)"
    )
    parser.add_argument("--reference", help="the unquantized model (default: the full-precision file in the folder)")
    parser.add_argument("--fit", help="memory limit for weights and key-value cache, such as 12GB")
    parser.add_argument("--context", type=whole_number, default=4096, help="tokens in that cache (default 4096)")
    parser.add_argument(
        "--max-kld", type=positive_number, help="mean KLD in nats above which a file is not tested on items"
    )
    parser.add_argument(
        "--margin", type=positive_number, default=0.02, help="equivalence margin of accuracy, a fraction (default 0.02)"
    )
    parser.add_argument(
        "--probability-margin",
        type=positive_number,
        default=0.01,
        help="equivalence margin of the probability of the right choice (default 0.01)",
    )
    parser.add_argument(
        "--primary-score",
        choices=("probability", "accuracy"),
        default="probability",
        help="the score that decides (default probability)",
    )
    parser.add_argument("--hours", type=positive_number, help="time limit (default: until every file is decided)")
    parser.add_argument("--tasks", type=names, help="benchmarks, separated by commas")
    parser.add_argument("--limit", type=whole_number, help="largest number of items per benchmark")
    parser.add_argument("--windows", type=whole_number, help="windows of text for the KLD (default 40)")
    parser.add_argument("--text", type=Path, help="plain text, or .jsonl of texts (default: English prose)")
    parser.add_argument("--engine", choices=("torch", "llamacpp"), help="how GGUF files run; as in `qkld compare`")
    parser.add_argument("--speed", action="store_true", default=None, help="also measure each file's tokens per second")
    parser.add_argument(
        "--remove", action="store_true", default=None, help="delete files downloaded from a hub after use"
    )
    parser.add_argument("--seed", type=int, default=2606, help="seed for the order of the items (default 2606)")
    parser.add_argument("--out", type=Path, help="output folder (default runs/pick/NAME); a run begun there is resumed")
    parser.add_argument("--json", type=Path, help="file for all results")


def _pick(options: argparse.Namespace) -> None:
    from qkld.workflow.commands.work.pick import run_pick

    print(run_pick(options), end="")


def _served_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--study", required=True, help="study whose items and tokenizer are used")
    parser.add_argument("--quant", required=True, help="the served model: http://host:port#model[,top_k=N][,api=vllm]")
    parser.add_argument("--label", help="label of the model (default: its name)")
    parser.add_argument(
        "--out", type=Path, required=True, help="Parquet file to write; `qkld import csv` merges several"
    )


def _served(options: argparse.Namespace) -> None:
    from qkld.workflow.commands.work.served import run_served

    print(run_served(options), end="")


COMMANDS = (
    Command(
        "compare",
        "measure quants against a reference, without a study; compare several by paired tests",
        _compare_options,
        _compare,
        description=A_MODEL,
    ),
    Command(
        "quantize", "quantize a GGUF file to several types, with llama.cpp", _quantize_options, _quantize, out="folder"
    ),
    Command("pick", "recommend one of a model's files, by KLD and benchmark items", _pick_options, _pick, out="folder"),
    Command("served", "score a model behind a server on a study's multiple-choice items", _served_options, _served),
)
