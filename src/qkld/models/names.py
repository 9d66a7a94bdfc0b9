"""What a model is called on the command line → its entry, as a study would state it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from qkld.errors import ParameterError, SourceError
from qkld.study.entries import AnyModel, GgufModel, MadeModel, ModelEntry, StoredModel
from qkld.study.params import FLOORS, Study

FORMS = (
    "a folder, a .gguf file, owner/name[@revision] or owner/name/file.gguf[@revision] of a hub, a label of --study, "
    "a quantizer such as torchao:int8,group=32, bitsandbytes:nf4 or hqq:4,group=64, "
    "or, for a quant, a server's http://host:port#model"
)
"""How a model may be given."""

FAMILIES = ("torchao", "bitsandbytes", "hqq")

DEFAULT_HQQ_GROUP = 64
"""HQQ's own default group size."""

_HUB = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(/(?P<file>.+\.gguf))?(@(?P<revision>[\w./-]+))?")
_SPLIT = re.compile(r"(.+)-00001-of-(\d{5})\.gguf")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def model_entry(text: str, *, study: Study | None = None) -> ModelEntry:
    """The entry of a model as it is given on the command line; see `FORMS`.

    A label of the study comes first, then a quantizer, then a file or folder of this machine, then a hub.

    Raises
    ------
    ParameterError
        If it is none of these, or a quantizer has an unknown or impossible setting.
    SourceError
        If a hub does not know the repository, or cannot be reached.
    """
    if study is not None and text in (study.reference.label, *(q.label for q in study.quants)):
        return study.entry(text)
    if text.split(":")[0] in FAMILIES:
        return made_entry(text)
    path = Path(text).expanduser()
    if path.exists():
        return local_entry(path.resolve() if path.is_dir() else path.parent.resolve() / path.name)  # a link's own name
    hub = _HUB.fullmatch(text)
    if hub is None:
        known = [] if study is None else [study.reference.label, *(q.label for q in study.quants)]
        raise ParameterError(
            f"'{text}' is not a model.",
            expected=FORMS + (f"; the study's labels are {', '.join(known)}" if known else ""),
            found="no such file or folder, and none of these forms",
            do="correct the path or the name",
        )
    return hub_entry(text, **hub.groupdict())


def distinct_labels(entries: Sequence[ModelEntry], taken: Sequence[str]) -> list[ModelEntry]:
    """The entries, each with a label of its own: a second model of one name gets ``-2``.

    Raises
    ------
    ParameterError
        If the same model is given twice.
    """
    labels, made = {*taken, *FLOORS}, []
    for entry in entries:
        if any(entry == other.model_copy(update={"label": entry.label}) for other in made):
            raise ParameterError(
                f"--quant '{entry.recipe}' is given twice.",
                expected="different quants",
                found="the same one",
                do="drop one of them",
            )
        label = next(n for n in _numbered(entry.label) if n not in labels)
        labels.add(label)
        made.append(entry.model_copy(update={"label": label}))
    return made


def _numbered(label: str) -> Any:
    yield label
    yield from (f"{label}-{i}" for i in range(2, 1000))


def made_entry(text: str) -> MadeModel:
    """A quantizer's entry: ``torchao:int4,group=64,mapping=asymmetric``, ``bitsandbytes:nf4,double_quant=true``."""
    family, _, rest = text.partition(":")
    scheme, *settings = rest.split(",")
    values: dict[str, Any] = {"method": family, **_scheme(family, scheme)}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not (key and equals and value):
            raise _bad_quantizer(text, f"'{setting}' instead of key=value")
        values[{"group": "group_size"}.get(key, key)] = _value(value)
    if values.get("scheme") == "int8" and "group_size" in values:
        values |= {"scheme": "intx", "bits": 8}
    if family == "hqq":
        values.setdefault("group_size", DEFAULT_HQQ_GROUP)
    bits = values.get("bits") or {"nf4": 4, "fp4": 4}.get(scheme, 8)
    facts = _facts(
        text.replace("group=", "g"), family, recipe=text, nominal_bits=float(bits) if isinstance(bits, int) else 8.0
    )
    try:
        return TypeAdapter(AnyModel).validate_python(facts | values)
    except ValidationError as error:
        problems = {f"{'.'.join(map(str, e['loc'][1:])) or 'settings'}: {e['msg']}" for e in error.errors()}
        raise _bad_quantizer(text, "; ".join(sorted(problems))) from error


def _scheme(family: str, scheme: str) -> dict[str, Any]:
    if family == "hqq":
        return {"bits": _value(scheme)}
    intx = re.fullmatch(r"int([1-7])", scheme) if family == "torchao" else None
    return {"scheme": "intx", "bits": int(intx[1])} if intx else {"scheme": scheme}


def _value(text: str) -> int | bool | str:
    if text in ("true", "false"):
        return text == "true"
    return int(text) if text.isdecimal() else text


def _bad_quantizer(text: str, found: str) -> ParameterError:
    return ParameterError(
        f"'{text}' is not a quantizer that qkld supports.",
        expected="torchao:int1 … int8 or float8 [,group=N][,mapping=asymmetric]; bitsandbytes:int8, nf4 or fp4 "
        "[,double_quant=true]; hqq:8, 6, 5, 4, 3 or 2 [,group=N]",
        found=found,
        do="correct the setting",
    )


def local_entry(path: Path) -> StoredModel:
    """A folder of safetensors, or a GGUF file with the further parts of a split one."""
    if path.is_dir():
        return _stored("transformers", path.name, str(path), path=str(path))
    if path.suffix != ".gguf":
        raise ParameterError(
            f"{path} is not a model.", expected="a folder or a .gguf file", found=path.name, do="correct the path"
        )
    return _stored("gguf", path.stem, str(path), path=str(path.parent), **_gguf_files(path.name))


def _gguf_files(name: str) -> dict[str, Any]:
    split = _SPLIT.fullmatch(name)
    parts = int(split[2]) if split else 1
    more = tuple(f"{split[1]}-{i:05d}-of-{split[2]}.gguf" for i in range(2, parts + 1)) if split else ()
    return {"file": name, "more_files": more, "to_be_checked": ("sha256",)}


def hub_entry(text: str, repository: str, file: str | None, revision: str | None) -> StoredModel:
    """A repository of a hub at a pinned revision; without 40 hex digits the hub is asked for today's."""
    pinned = revision if revision and _COMMIT.fullmatch(revision) else _today(text, repository, revision)
    place = {"repository": repository, "revision": pinned}
    if file is None:
        return _stored("transformers", repository.split("/")[1], text, **place)
    return _stored("gguf", Path(file).stem, text, **place, **_gguf_files(file))


def _today(text: str, repository: str, revision: str | None) -> str:
    from huggingface_hub import HfApi

    try:
        return HfApi().model_info(repository, revision=revision).sha
    except Exception as error:  # the hub raises many kinds: no network, no such repository, gated, offline
        raise SourceError(
            f"'{text}' was found neither on this machine nor on a reachable hub.",
            expected=FORMS,
            found=f"{type(error).__name__}: {error}"[:400],
            do="correct the path or the name; without a network, give a cached revision as owner/name@<40 hex digits>",
        ) from error


def _stored(method: str, name: str, text: str, **more: Any) -> StoredModel:
    model = GgufModel if method == "gguf" else TypeAdapter(AnyModel).validate_python
    values = _facts(name, method, recipe=text, nominal_bits=16) | more
    return model(**values) if method == "gguf" else model({"method": method, **values})


def _facts(name: str, family: str, *, recipe: str, nominal_bits: Any) -> dict[str, Any]:
    """What an entry states that no number depends on; ``nominal_bits`` of a stored model is not known and not shown."""
    label = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:80] or "model"
    return {"label": label, "family": family, "maker": "unknown", "recipe": recipe, "nominal_bits": nominal_bits}
