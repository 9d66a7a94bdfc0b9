"""``qkld quantize``: a list of GGUF types from one model, and what each file turned out to be."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from qkld.errors import ParameterError
from qkld.models import OpenedModel, open_model
from qkld.models.gguf.gguf_files import fact
from qkld.models.making.gguf import Made, Values, check_types, equal_tensors, quantize_file
from qkld.models.making.importance import SCORE_FROM, check_disjoint, importance_of, measured_documents, noted
from qkld.models.making.importance_files import read_importance, write_importance
from qkld.models.making.study_files import IN_TORCH, header_of, source_file
from qkld.models.names import model_entry
from qkld.sources.corpora import read_documents, text_windows
from qkld.study.entries import GgufModel
from qkld.study.params import Corpus, Study, load_params
from qkld.study.text_table import table_of_words

COMPUTE = "compute"
"""Value of ``--imatrix`` that asks for one computed from ``--text``."""


def run_quantize(options: argparse.Namespace) -> str:
    """Make the files that the options of ``qkld quantize`` ask for; returns the text to print.

    Raises
    ------
    QkldError
        If an option, the model, a type, a text or an importance matrix cannot be used.
    """
    types = [name.strip() for name in options.types.split(",") if name.strip()]
    check_types(types)
    study = load_params(options.study) if options.study else None
    entry = _gguf_entry(options.model, study)
    opened = cache(lambda: open_model(entry, reference=entry, compute=IN_TORCH))
    importance = _importance(options, study, entry, opened)
    source = source_file(entry, opened, options.out)
    made = []
    for name in types:
        target = options.out / f"{entry.label}-{name}{'-imatrix' if importance else ''}.gguf"
        made.append(quantize_file(source, target, name, importance=importance, threads=options.threads))
    return shown(made)


def shown(made: Sequence[Made]) -> str:
    """A line a file, every figure read from it; then the types that fell back, and the files that are equal."""
    header = ("file", "asked", "is", "bits", "trunk bits", "tensor types", "sha256")
    rows = tuple(
        (
            one.file.name,
            one.asked,
            one.contents.name,
            f"{one.contents.bits.bits_per_weight:.2f}",
            f"{one.contents.bits.bits_per_trunk_weight:.2f}",
            one.contents.shares,
            one.sha256[:16],
        )
        for one in made
    )
    lines = table_of_words(header, rows).lines()
    lines += [f"{b.asked} is equal to {a.asked}, tensor by tensor" for a, b in equal_tensors(made)]
    return "\n".join(lines) + "\n"


def _gguf_entry(text: str, study: Study | None) -> GgufModel:
    entry = model_entry(text, study=study)
    if not isinstance(entry, GgufModel):
        raise ParameterError(
            f"No GGUF files can be made from '{text}'.",
            expected="a GGUF file, or a study's reference that is one",
            found=f"a model of method {entry.method}",
            do="convert it with llama.cpp's convert_hf_to_gguf.py",
        )
    return entry.model_copy(update={"engine": "torch", "cache_k": None, "cache_v": None, "flash_attention": None})


def _importance(
    options: argparse.Namespace, study: Study | None, entry: GgufModel, opened: Callable[[], OpenedModel]
) -> Values | None:
    """The importance matrix that is asked for: read, or computed and kept beside the files."""
    if options.imatrix is None:
        return None
    if options.imatrix != COMPUTE:
        return read_importance(Path(options.imatrix))
    if options.text is None:
        raise ParameterError(
            "An importance matrix is computed from text.",
            expected="--text FILE, plain text or .jsonl",
            found="no --text",
            do="give text that no KLD is measured on; --study refuses what a study measures",
        )
    model, taken = opened(), []
    corpus = Corpus(name="text", path=str(options.text), context_lengths=(options.context,), windows=options.windows)
    windows = text_windows(corpus, noted(read_documents(options.text), taken), model.tokenizer, SCORE_FROM).windows
    if study is not None:
        check_disjoint(taken, measured_documents(study, model.tokenizer))
    tokens = [w.tokens for w in windows]
    values = importance_of(model, tokens, architecture=fact(header_of(entry), "general.architecture"))
    kept = options.out / f"{entry.label}-imatrix.gguf"
    write_importance(kept, values, tokens=sum(map(len, tokens)), chunk=options.context, texts=[options.text.name])
    return read_importance(kept)
