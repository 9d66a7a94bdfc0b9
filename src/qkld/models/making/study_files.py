"""Stage 00: every GGUF file that a study's quants ask to have made from its reference, in its basis or another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from qkld.errors import ModelError
from qkld.models import OpenedModel, open_model
from qkld.models.gguf.gguf_files import fact
from qkld.models.gguf.llama_as_gguf import write_gguf
from qkld.models.gguf.open_in_torch import checked_files, importance_key, made_file, made_folder
from qkld.models.making.builds import basis_named, check_builds_differ, check_file_differs, note_use
from qkld.models.making.gguf import Made, Values, described, equal_tensors, quantize_file
from qkld.models.making.importance import check_disjoint, importance_of, importance_windows, measured_documents
from qkld.models.making.importance_files import read_importance, write_importance
from qkld.models.opening import stored_folder, stored_tokenizer
from qkld.models.transforms.transformed import is_transformed
from qkld.study.entries import Basis, GgufModel, Importance, StoredModel, identity
from qkld.study.locks import locked
from qkld.study.params import Compute, Study
from qkld.study.paths import StudyPaths
from qkld.study.provenance import write_json
from qkld.study.taken import read_taken

IN_TORCH = Compute(
    device="cpu",
    compute_dtype="float32",
    head_dtype="compute_dtype",
    device_map="none",
    weights="dequantized",
    vocabulary_tile=8192,
)
"""How the reference is opened to be exported or to give an importance matrix: files are the same on every machine."""


REFERENCE = "reference"
"""Stands for the reference's own basis, where the others are those of builds."""


def wanted_files(study: Study, basis: Basis | None = None) -> dict[Path, GgufModel]:
    """Each file to make in a basis, with the first quant that asks for it: several engines or caches may share one.

    None is the reference's own basis. Quants whose tables were taken from what the repository keeps need no file.
    """
    found: dict[Path, GgufModel] = {}
    taken = read_taken(StudyPaths(study.study)).models
    for quant in study.quants:
        if isinstance(quant, GgufModel) and quant.made and quant.basis == basis and quant.label not in taken:
            found.setdefault(made_file(quant, study.reference), quant)
    return found


def make_study_files(study: Study, *, threads: int, basis: str = REFERENCE) -> pd.DataFrame:
    """Make what a study's quants ask for in one basis and is not there yet, and seal it; a row for each file, as it is.

    ``basis`` is that of builds by its name, such as ``rotate-3``: then the folder of the weights is made as well.

    Columns: quant, asked, is (the type by its tensors), tensor types, bits per weight with and without embeddings and
    head, imatrix, bytes, sha256, tensor_data_sha256. Everything but ``asked`` is read from the file.

    Raises
    ------
    ModelError
        If two files are equal tensor by tensor, because a type fell back to another, or two builds up to the change of
        basis: a cohort counts a quant once. If the reference's architecture has no other basis.
    CorpusError
        If text of an importance matrix is measured too.
    ParameterError
        If no quant of the study has builds in this basis.
    """
    if basis == REFERENCE:
        return _made_files(study, None, threads, seal=StudyPaths(study.study).quants_seal)
    own = basis_named(study, basis)
    note_use(study, own)
    stored_folder(own.of(study.reference))
    check_builds_differ(study, own)
    return _made_files(study, own, threads, seal=StudyPaths(study.study).basis_seal(basis))


def _made_files(study: Study, basis: Basis | None, threads: int, *, seal: Path) -> pd.DataFrame:
    """The files of one basis, made where they are missing and checked, and their seal."""
    source = basis.of(study.reference) if basis else study.reference
    folder, wanted = made_folder(source), wanted_files(study, basis)
    _check_texts(study, wanted)
    with locked(folder / ".lock"):
        makes = _Maker(source, folder, threads)
        made = {quant.label: makes.file(path, quant) for path, quant in tqdm(wanted.items(), unit="file")}
    for path, quant in wanted.items():
        if basis:
            check_file_differs(path, str(quant.recipe_id), basis)
    _check_distinct(made)
    rows = [{"quant": label, "is": one.contents.name, **one.as_json()} for label, one in made.items()]
    write_json(seal, {"reference": identity(source), "files": rows})
    return pd.DataFrame(rows)


def _check_texts(study: Study, wanted: Mapping[Path, GgufModel]) -> None:
    """Refuse an importance matrix of text that KLD is measured on."""
    texts = {quant.made.importance for quant in wanted.values() if quant.made.importance}
    if texts:
        tokenizer = stored_tokenizer(study.reference)
        measured = measured_documents(study, tokenizer)
        for text in texts:
            check_disjoint(importance_windows(text, tokenizer)[1], measured)


class _Maker:
    """Opens what is quantized, exports it and computes importance matrices at most once each, and only if needed."""

    def __init__(self, reference: StoredModel, folder: Path, threads: int) -> None:
        self.reference, self.folder, self.threads = reference, folder, threads
        self._reference: OpenedModel | None = None

    def file(self, path: Path, quant: GgufModel) -> Made:
        """The file of a quant, made where it is missing or its record is."""
        record, made = path.with_suffix(".json"), quant.made
        if path.is_file() and record.is_file():
            return described(path, made.type, importance=made.importance is not None)
        importance = self.importance(made.importance) if made.importance else None
        one = quantize_file(self.source(), path, made.type, importance=importance, threads=self.threads)
        write_json(record, one.as_json())
        return one

    def source(self) -> Path:
        """What is quantized: the reference's own file, or one written of it padded or in another basis."""
        return source_file(self.reference, self.opened, self.folder)

    def importance(self, wanted: Importance) -> Values:
        """The importance matrix of the reference over this text, computed once and kept as a file."""
        path = self.folder / f"imatrix-{importance_key(wanted)}.gguf"
        if not path.is_file():
            model = self.opened()
            windows, _ = importance_windows(wanted, model.tokenizer)
            architecture = fact(header_of(self.reference), "general.architecture")
            values = importance_of(model, windows, architecture=architecture)
            tokens = sum(map(len, windows))
            write_importance(path, values, tokens=tokens, chunk=wanted.context, texts=wanted.assets)
        return read_importance(path)

    def opened(self) -> OpenedModel:
        """The reference in torch."""
        if self._reference is None:
            self._reference = open_model(self.reference, reference=self.reference, compute=IN_TORCH)
        return self._reference


def source_file(reference: StoredModel, opened: Callable[[], OpenedModel], folder: Path) -> Path:
    """What is quantized: a reference's own file, or ``reference.gguf``, written of it padded or in another basis."""
    if not is_transformed(reference):
        return header_of(reference)
    path = folder / "reference.gguf"
    return path if path.is_file() else write_gguf(opened().module, header_of(reference), path)


def header_of(reference: StoredModel) -> Path:
    """The GGUF file that gives a reference's header.

    Raises
    ------
    ModelError
        If it came from no GGUF file.
    """
    if not isinstance(reference, GgufModel):
        raise ModelError(
            f"No GGUF files can be made from '{reference.label}'.",
            expected="a reference of method gguf",
            found=f"method {reference.method}",
            do="convert it with llama.cpp's convert_hf_to_gguf.py, and use the F32 or BF16 file as the reference",
        )
    return checked_files(reference)[0]


def _check_distinct(made: dict[str, Made]) -> None:
    labels: dict[Any, str] = {one.file: label for label, one in made.items()}
    for first, second in equal_tensors(made.values()):
        raise ModelError(
            f"Quants '{labels[first.file]}' and '{labels[second.file]}' are identical, tensor by tensor.",
            expected=f"a {first.asked} and a {second.asked} file",
            found=f"twice {first.contents.name}: {first.contents.shares}",
            do="remove one of them from the study, or pad the reference so that the types fit its widths",
        )
