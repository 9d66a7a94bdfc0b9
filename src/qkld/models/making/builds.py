"""Stage 00 for builds: the reference's given weights in another basis, what is made of them, and its removal after use.

A basis takes a folder of weights, and for GGUF files a source, an importance matrix and the files: more than a disk
holds of many. So each is made when its builds are to be measured, and removed after the last of them was.
"""

from __future__ import annotations

import copy
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qkld.errors import ModelError, ParameterError
from qkld.models.folders import local_folder, read_json
from qkld.models.gguf.gguf_files import PLAIN_TYPES, fact, tensors
from qkld.models.gguf.open_in_torch import converted_place, gguf_files, made_folder
from qkld.models.opening import given_folder, stored_folder
from qkld.models.quantizers.quantized import quantize_trunk
from qkld.models.transformers import load_module
from qkld.models.transforms.transformed import place_of_transformed
from qkld.models.transforms.transforms import MODEL_TYPES, transform
from qkld.study.entries import Basis, GgufModel, MadeModel, StoredModel, identity
from qkld.study.locks import locked
from qkld.study.params import Study
from qkld.study.paths import StudyPaths, data_folder
from qkld.study.provenance import key_of, write_json

SMALLEST_DIFFERENCE = 0.3
"""Of two builds' weights, over what quantizing changes, in the 2-norm; below it their errors correlate above 0.95.

Errors that are independent differ by √2 of it.
"""

OTHERS = "_others"
"""Stands among the users of a basis for whatever had made it before builds asked for it: it is kept then."""


def basis_named(study: Study, name: str) -> Basis:
    """A basis of the study's builds by its name, such as ``rotate-3``.

    Raises
    ------
    ParameterError
        If no quant of the study has builds in it.
    """
    known = {basis.name: basis for basis in study.bases}
    if name not in known:
        raise ParameterError(
            f"Study '{study.study}' has no builds in basis '{name}'.",
            expected=list(known) or "builds among the study's quants",
            found=name,
            do="use one of these names, or add the seed to a quant's builds",
        )
    return known[name]


# --- a reference without other bases ----------------------------------------------------------------------------------


def check_has_bases(study: Study) -> None:
    """Refuse builds of a reference whose architecture has no other basis, from its header alone and before any work.

    A repository that is yet to be downloaded is looked at when its first basis is made.

    Raises
    ------
    ModelError
        Naming the architecture.
    """
    reference = study.reference
    if not study.bases or reference.repository is not None:
        return
    found = architecture_of(reference)
    if found not in MODEL_TYPES:
        raise ModelError(
            f"'{reference.label}' cannot be put into another basis, so builds cannot be made.",
            expected=f"an architecture that can be rotated and permuted: {' or '.join(MODEL_TYPES)}",
            found=found,
            do="take the builds out of the study's quants, or add the architecture to qkld.models.transforms",
        )


def architecture_of(entry: StoredModel) -> str:
    """The architecture that a stored model's header, or its ``config.json``, states."""
    if isinstance(entry, GgufModel):
        return str(fact(gguf_files(entry)[0], "general.architecture"))
    return str(read_json(local_folder(entry) / "config.json").get("model_type"))


# --- builds that are no replicates ------------------------------------------------------------------------------------


def check_builds_differ(study: Study, basis: Basis) -> None:
    """Refuse torch quantizers whose error comes along when the basis changes: all their builds are one quant.

    Tried on the first block, in float32. A scale a channel comes along under signed permutations, or changes for a few
    rows where the largest weight's sign counts; so does a group as wide as the row, and what quantizes nothing always.

    Raises
    ------
    ModelError
        Naming the recipe.
    """
    made = [quant for quant in study.quants if quant.basis == basis and isinstance(quant, MadeModel)]
    if not made:
        return
    given = study.reference.model_copy(update={"rotate": None, "permute": None})
    block = first_block(load_module(stored_folder(given), label=study.reference.label, dtype=torch.float32))
    for quant in made:
        found = difference_of_builds(quant, block, basis)
        if found < SMALLEST_DIFFERENCE:
            said = f"weights that differ by {found:.2f} of what quantizing changes; independent builds do by about 1.4"
            raise equal_builds(quant.recipe_id or quant.label, basis, said)


def check_file_differs(file: Path, recipe: str, basis: Basis) -> None:
    """Refuse a GGUF file whose matrices no quantizer touched: permuted it rounds as before, in float32 not at all.

    Raises
    ------
    ModelError
        Naming the recipe.
    """
    types = {tensor.tensor_type.name for tensor in tensors([file]) if len(tensor.shape) > 1}
    exact = PLAIN_TYPES if basis.kind == "permute" else ("F32", "F64")
    if types <= set(exact):
        raise equal_builds(recipe, basis, f"matrices in {', '.join(sorted(types))} alone")


def difference_of_builds(quant: MadeModel, module: nn.Module, basis: Basis) -> float:
    """‖Q(T(W)) − T(Q(W))‖ / ‖Q(T(W)) − T(W)‖ over a module's weights W, quantizer Q and change of basis T.

    It is 0 where quantizing commutes with the change of basis, or changes nothing.
    """
    plain = changed(module, basis)
    after, before = copy.deepcopy(plain), copy.deepcopy(module)
    quantize_trunk(after, quant, dense=True)
    quantize_trunk(before, quant, dense=True)
    between = distance(after, changed(before, basis))
    return between / distance(after, plain) if between else 0.0


def distance(first: nn.Module, second: nn.Module) -> float:
    """2-norm of the difference of two modules' weights, all tensors together."""
    states = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return torch.stack([(a - b).double().square().sum() for a, b in states]).sum().sqrt().item()


def changed(module: nn.Module, basis: Basis) -> nn.Module:
    """The module in the basis."""
    return transform(module, multiple=None, seed=basis.rotate, permutation=basis.permute)


def first_block(module: nn.Module) -> nn.Module:
    """The same module with its first block alone."""
    module.model.layers = module.model.layers[:1]
    module.config.num_hidden_layers = 1
    return module


def equal_builds(recipe: str, basis: Basis, found: str) -> ModelError:
    """What is said of builds that are one quant."""
    return ModelError(
        f"Builds of '{recipe}' are equal, tensor by tensor, apart from the change of basis.",
        expected=f"a quantizer whose error differs in basis {basis.name}",
        found=found,
        do="use builds of rotate for this quant, or none" if basis.kind == "permute" else "leave its builds out",
    )


# --- use and removal --------------------------------------------------------------------------------------------------


def note_use(study: Study, basis: Basis) -> None:
    """Note the study as a user of a basis's folder and files, which are kept as long as there is one."""
    source = basis.of(study.reference)
    users = _users(source)
    with locked(users / ".lock"):
        if not _names(users) and any(place.exists() for place in _places(source)):
            (users / OTHERS).touch()
        (users / study.study).touch()


def forget_basis(study: Study, basis: Basis) -> dict[str, Any]:
    """Remove a basis's folder, GGUF files and importance matrices, unless another study uses them; what was removed.

    They are made anew where a build is to be measured again.
    """
    source = basis.of(study.reference)
    users = _users(source)
    with locked(users / ".lock"):
        (users / study.study).unlink(missing_ok=True)
        places = [] if _names(users) else [place for place in _places(source) if place.exists()]
        freed = sum(file.stat().st_size for place in places for file in place.rglob("*") if file.is_file())
        for place in places:
            _remove(place)
    removed = {"basis": basis.name, "used_by_others": _names(users), "removed": len(places), "bytes": freed}
    write_json(StudyPaths(study.study).basis_removed(basis.name), removed)
    return removed


def _users(source: StoredModel) -> Path:
    """The folder that names the users of a basis, a file each."""
    users = data_folder() / "bases" / key_of(identity(source))
    users.mkdir(parents=True, exist_ok=True)
    return users


def _names(users: Path) -> list[str]:
    return sorted(file.name for file in users.iterdir() if not file.name.startswith("."))


def _places(source: StoredModel) -> list[Path]:
    """Folders of a basis: its weights, its GGUF files with importance matrices, and each file as torch reads it."""
    made = made_folder(source)
    converted = [converted_place(read_json(record)["sha256"]) for record in sorted(made.glob("*.json"))]
    return [place_of_transformed(source, given_folder(source)), *converted, made]


def _remove(folder: Path) -> None:
    """Remove a folder; under its own name it is whole or not there at any time."""
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".removed-"))
    folder.rename(aside / folder.name)
    shutil.rmtree(aside)
