"""What a study says of its models: entries, parsed once into frozen, checked objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

LONGEST_LABEL = 80
"""Characters."""

Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=LONGEST_LABEL)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Revision = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]

Seed = Annotated[int, Field(ge=0)]

DESCRIPTIVE = frozenset({"family", "maker", "recipe", "recipe_id", "nominal_bits", "to_be_checked"})
"""Keys of a model's entry that describe it and change no number of stages 01 to 03."""


class Strict(BaseModel):
    """Unknown keys are refused, values are not coerced across kinds, and nothing changes after parsing."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Basis(Strict):
    """A basis of the reference's given weights: the same function in other numbers, which a quantizer rounds otherwise.

    Exactly one seed: ``rotate`` of a random orthogonal matrix, ``permute`` of signed permutations, which keep outliers
    (see `qkld.models.transforms.transforms`). They are two kinds of draws, never counted as one.
    """

    rotate: Seed | None = None
    permute: Seed | None = None

    @model_validator(mode="after")
    def _one_seed(self) -> Basis:
        if (self.rotate is None) == (self.permute is None):
            raise ValueError("expected the seed of rotate or that of permute, and not both")
        return self

    @property
    def kind(self) -> Literal["rotate", "permute"]:
        """Which of the two."""
        return "rotate" if self.permute is None else "permute"

    @property
    def name(self) -> str:
        """Kind and seed: ``rotate-3``."""
        return f"{self.kind}-{getattr(self, self.kind)}"

    @property
    def floor_label(self) -> str:
        """Reserved label of the reference itself in this basis: ``floor-rotate-3``."""
        return f"floor-{self.name}"

    def of(self, reference: StoredModel) -> StoredModel:
        """The reference's given weights in this basis, padded as the reference is; its own basis does not count."""
        return reference.model_copy(update={"rotate": self.rotate, "permute": self.permute})


class Builds(Strict):
    """Replicates of one recipe, each made of the same function in another basis: the seeds of one of the two kinds."""

    rotate: tuple[Seed, ...] = ()
    permute: tuple[Seed, ...] = ()

    @model_validator(mode="after")
    def _distinct_seeds_of_one_kind(self) -> Builds:
        if bool(self.rotate) == bool(self.permute):
            raise ValueError("expected seeds of rotate or of permute, such as rotate: [1, 2], and not of both")
        seeds = self.rotate or self.permute
        doubled = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        if doubled:
            raise ValueError(f"a seed twice is the same build twice: {', '.join(map(str, doubled))}")
        return self

    @property
    def bases(self) -> tuple[Basis, ...]:
        """The basis of each build."""
        return (*(Basis(rotate=seed) for seed in self.rotate), *(Basis(permute=seed) for seed in self.permute))


class ModelEntry(Strict):
    """What every model of a study states about itself. Quants are keyed by repository, file and hash.

    ``recipe_id`` groups the builds of one recipe, by default the label of the entry that asks for them. ``builds``
    stands for an entry a basis (see `each_build`), ``basis`` is that of one; only what is made here can have them.
    """

    label: Label
    family: Label
    maker: str = Field(min_length=1)
    recipe: str = Field(min_length=1)
    recipe_id: Label | None = None
    nominal_bits: float = Field(gt=0, le=32)
    basis: Basis | None = None
    builds: Builds | None = None
    to_be_checked: tuple[str, ...] = ()

    @property
    def is_made_here(self) -> bool:
        """Whether the quant is made from the reference's weights, and so can be made in any basis of them."""
        return False

    @model_validator(mode="after")
    def _bases_of_what_is_made_here(self) -> ModelEntry:
        asked = [key for key in ("basis", "builds") if getattr(self, key) is not None]
        if asked and not self.is_made_here:
            raise ValueError(
                f"{asked[0]}: only what is made here from the reference's weights has other bases (a quantizer of "
                "torch, or made of a GGUF type); given files have the one they were made in"
            )
        if len(asked) > 1:
            raise ValueError("expected builds, or the basis of one build, and not both")
        return self

    @model_validator(mode="after")
    def _builds_have_names_and_no_stated_weights(self) -> ModelEntry:
        labels = [build_label(self, basis) for basis in self.builds.bases] if self.builds else []
        too_long = [label for label in labels if len(label) > LONGEST_LABEL]
        if too_long:
            raise ValueError(f"label of a build is longer than {LONGEST_LABEL} characters: {too_long[0]}")
        if labels and getattr(self, "weights_sha256", None):
            raise ValueError("weights_sha256 is that of one build; leave it out beside builds")
        return self

    @model_validator(mode="after")
    def _only_own_keys_to_be_checked(self) -> ModelEntry:
        unknown = sorted(set(self.to_be_checked) - set(type(self).model_fields))
        if unknown:
            raise ValueError(f"to_be_checked names what is no key of this entry: {', '.join(unknown)}")
        return self


class StoredModel(ModelEntry):
    """A model that lies in files: exactly one of ``asset`` (fetched by pinned hash), ``repository`` and ``path``.

    A reference may be padded to widths of a multiple of ``pad``, then put into another basis: rotated by the random
    matrix of seed ``rotate``, or reordered by the signed permutations of seed ``permute``.
    """

    asset: str | None = None
    repository: str | None = None
    path: str | None = None
    revision: Revision | None = None
    pad: int | None = Field(default=None, ge=2)
    rotate: Seed | None = None
    permute: Seed | None = None

    @model_validator(mode="after")
    def _one_basis(self) -> StoredModel:
        if self.rotate is not None and self.permute is not None:
            raise ValueError("expected rotate or permute, and not both")
        return self

    @model_validator(mode="after")
    def _one_place(self) -> StoredModel:
        possible = [k for k in ("asset", "repository", "path", "made") if k in type(self).model_fields]
        places = [k for k in possible if getattr(self, k) is not None]
        if len(places) != 1:
            raise ValueError(
                f"expected exactly one of asset, repository and path{', or made' * ('made' in possible)}; "
                f"found {places or 'none'}"
            )
        if self.repository and not self.revision and "revision" not in self.to_be_checked:
            raise ValueError("a repository needs its revision (40 hex digits), or 'revision' among to_be_checked")
        return self


def identity(entry: ModelEntry) -> dict[str, Any]:
    """The part of a model's entry that decides its numbers, as JSON; family, maker and the like only describe it.

    Engine torch is left out, so that stores that were made before there was another one keep their identity.
    """
    values = entry.model_dump(mode="json", exclude_none=True, exclude=set(DESCRIPTIVE))
    return {k: v for k, v in values.items() if (k, v) != ("engine", "torch")}


def source_of(entry: ModelEntry, reference: StoredModel) -> StoredModel:
    """The stored model that a quant is made from: the study's reference, or its given weights in the entry's basis."""
    return reference if entry.basis is None else entry.basis.of(reference)


def build_label(entry: ModelEntry, basis: Basis) -> str:
    """Label of one build: the entry's with the basis's name, ``q4_0-rotate-3``."""
    return f"{entry.label}-{basis.name}"


def each_build(quants: Iterable[Any]) -> tuple[Any, ...]:
    """The quants, each that asks for builds replaced by one a build, with its own label and basis and one recipe_id.

    One that names several types of cache is replaced by one a pair before.
    """
    return tuple(build for quant in quants for cached in each_cache(quant) for build in _builds_of(cached))


def _builds_of(entry: ModelEntry) -> tuple[ModelEntry, ...]:
    if entry.builds is None:
        return (entry,)
    of_all = {"recipe_id": entry.recipe_id or entry.label, "builds": None}
    return tuple(
        entry.model_copy(update={**of_all, "label": build_label(entry, basis), "basis": basis})
        for basis in entry.builds.bases
    )


class TransformersModel(StoredModel):
    """A Hugging Face folder with safetensors, in any quantization that transformers reads."""

    method: Literal["transformers"] = "transformers"
    sha256: Sha256 | None = None


class Importance(Strict):
    """Text of an importance matrix: windows from the *end* of each asset, where the corpora take its beginning."""

    assets: tuple[str, ...] = Field(min_length=1)
    windows: int = Field(ge=1)
    context: int = Field(ge=8)


class MadeGguf(Strict):
    """A GGUF file that llama.cpp makes here from the study's reference: the type asked for, and its importance matrix.

    What the file holds is read from it afterwards: a type that does not fit the model's widths falls back to others.
    """

    type: str = Field(pattern=r"^[A-Z0-9_]+$")
    importance: Importance | None = None


CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]

CacheTypes = Annotated[
    Annotated[CacheType, Tag("type")] | Annotated[tuple[CacheType, ...], Tag("types"), Field(min_length=1)],
    Discriminator(lambda given: "types" if isinstance(given, list | tuple) else "type"),
]
"""One type, or several, which stand for an entry each."""

CACHES = {"cache_k": "keys", "cache_v": "values"}
"""Keys of an entry that are types of llama.cpp's cache → what of."""

PLAIN_CACHES = (None, "f32", "f16", "bf16")
"""Types of cache that are not quantized; None is llama.cpp's own, f16."""


class GgufModel(StoredModel):
    """A GGUF file: a given one, or one ``made`` here from the reference.

    Engine ``torch`` runs its dequantized weights, and so measures the weights alone; ``llamacpp`` runs the file in
    llama.cpp, whose products quantize activations too. A split file is named by its first part. ``cache_k`` and
    ``cache_v`` are the types of llama.cpp's key and value cache (f16 where they are not given, as in llama.cpp); a list
    of them stands for an entry a pair of types (see `each_cache`).
    """

    method: Literal["gguf"] = "gguf"
    file: str | None = Field(default=None, pattern=r".*\.gguf$")
    more_files: tuple[str, ...] = ()
    made: MadeGguf | None = None
    sha256: Sha256 | None = None
    size_bytes: int | None = Field(default=None, gt=0)
    engine: Literal["torch", "llamacpp"] = "torch"
    cache_k: CacheTypes | None = None
    cache_v: CacheTypes | None = None
    flash_attention: bool | None = None

    @property
    def is_made_here(self) -> bool:
        """Whether llama.cpp makes the file here."""
        return self.made is not None

    @property
    def has_quantized_cache(self) -> bool:
        """Whether keys or values are kept in a quantized type."""
        return any(getattr(self, key) not in PLAIN_CACHES for key in CACHES)

    @model_validator(mode="after")
    def _file_with_hash_or_made(self) -> GgufModel:
        if (self.file is None) == (self.made is None):
            raise ValueError("expected a file, or made with the type to make, and not both")
        if self.file and self.sha256 is None and "sha256" not in self.to_be_checked:
            raise ValueError("a GGUF file needs its sha256, or 'sha256' among to_be_checked")
        return self

    @model_validator(mode="after")
    def _cache_belongs_to_llamacpp(self) -> GgufModel:
        given = [k for k in ("cache_k", "cache_v", "flash_attention") if getattr(self, k) is not None]
        if given and self.engine != "llamacpp":
            raise ValueError(f"{', '.join(given)}: only engine llamacpp has a cache of its own")
        needing = [kind for kind in _several(self.cache_v) if kind not in PLAIN_CACHES]
        if needing and self.flash_attention is False:
            raise ValueError(f"cache_v {needing[0]} needs flash attention, which flash_attention: false turns off")
        return self

    @model_validator(mode="after")
    def _each_cache_once_and_named(self) -> GgufModel:
        for key in CACHES:
            types = _several(getattr(self, key))
            if len(set(types)) < len(types):
                raise ValueError(f"{key} names a type twice: {', '.join(map(str, types))}")
        too_long = [entry.label for entry in each_cache(self) if len(entry.label) > LONGEST_LABEL]
        if too_long:
            raise ValueError(f"label of a pair of caches is longer than {LONGEST_LABEL} characters: {too_long[0]}")
        return self


def _several(given: Any) -> tuple[Any, ...]:
    return given if isinstance(given, tuple) else (given,)


def each_cache(entry: ModelEntry) -> tuple[ModelEntry, ...]:
    """An entry a pair of key and value types where lists of them are given, else the entry itself.

    Labels have what varies: ``q8-0-k-q4_0-v-f16``.
    """
    varied = [key for key in CACHES if isinstance(getattr(entry, key, None), tuple)]
    if not varied:
        return (entry,)
    return tuple(
        _with_caches(entry, dict(zip(varied, types, strict=True)))
        for types in product(*(getattr(entry, key) for key in varied))
    )


def _with_caches(entry: ModelEntry, types: dict[str, str]) -> ModelEntry:
    suffix = "".join(f"-{key[-1]}-{kind}" for key, kind in types.items())
    said = ", ".join(f"{CACHES[key]} in {kind}" for key, kind in types.items())
    named = {"label": entry.label + suffix, "recipe": f"{entry.recipe}, {said}"}
    recipe_id = {} if entry.recipe_id is None else {"recipe_id": entry.recipe_id + suffix}
    return entry.model_copy(update={**types, **named, **recipe_id})


class MadeModel(ModelEntry):
    """A quant made here from the reference's weights; ``weights_sha256`` states the result where it is known."""

    weights_sha256: Sha256 | None = None

    @property
    def is_made_here(self) -> bool:
        """Always."""
        return True


class BitsandbytesModel(MadeModel):
    """bitsandbytes: LLM.int8, NF4 or FP4."""

    method: Literal["bitsandbytes"] = "bitsandbytes"
    scheme: Literal["int8", "nf4", "fp4"]
    double_quant: bool = False


class TorchaoModel(MadeModel):
    """torchao weight-only: ``intx`` of 1 to 8 bits by group, ``int8`` a channel, ``float8`` a channel."""

    method: Literal["torchao"] = "torchao"
    scheme: Literal["intx", "int8", "float8"]
    bits: int | None = Field(default=None, ge=1, le=8)
    group_size: int | None = Field(default=None, ge=8)
    mapping: Literal["symmetric", "asymmetric"] = "symmetric"

    @model_validator(mode="after")
    def _intx_needs_bits(self) -> TorchaoModel:
        if (self.scheme == "intx") != (self.bits is not None):
            raise ValueError("bits belongs to scheme intx, and intx needs it")
        return self


class HqqModel(MadeModel):
    """HQQ along axis 1."""

    method: Literal["hqq"] = "hqq"
    bits: Literal[8, 6, 5, 4, 3, 2]
    group_size: int = Field(ge=8)


AnyModel = Annotated[
    TransformersModel | GgufModel | BitsandbytesModel | TorchaoModel | HqqModel, Field(discriminator="method")
]
AnyStoredModel = Annotated[TransformersModel | GgufModel, Field(discriminator="method")]


# --- how a study's entries fit each other -----------------------------------------------------------------------------


def bases_of(quants: Iterable[ModelEntry]) -> tuple[Basis, ...]:
    """The different bases of these quants beside the reference's own, in the quants' order."""
    return tuple(dict.fromkeys(quant.basis for quant in quants if quant.basis))


def check_reference(reference: StoredModel) -> None:
    """Refuse, as a ValueError, a reference that is no given file run in torch."""
    if isinstance(reference, GgufModel) and (reference.engine != "torch" or reference.made):
        raise ValueError(
            "the reference is a given file run by engine torch: its store keeps hidden states, which llama.cpp does "
            "not give, and what is made here is made from it"
        )


def check_models(reference: StoredModel, quants: Sequence[ModelEntry]) -> None:
    """Refuse, as a ValueError, a reference and quants that do not fit each other."""
    check_reference(reference)
    check_bases(reference, quants)


def check_bases(reference: StoredModel, quants: Sequence[ModelEntry]) -> None:
    """Refuse, as a ValueError, given quants in another basis, and builds that are no replicates of each other."""
    stored = [q for q in quants if isinstance(q, StoredModel)]
    asking = [q.label for q in stored if any(v is not None for v in (q.pad, q.rotate, q.permute))]
    if asking:
        raise ValueError(
            f"pad, rotate and permute are keys of the reference alone; found on {', '.join(asking)}. "
            "Quants that are made here have builds"
        )
    own = [basis.name for basis in bases_of(quants) if basis.of(reference) == reference]
    if own:
        raise ValueError(f"builds {', '.join(own)}: the reference lies in this basis itself; take another seed")
    kinds: dict[str, set[str]] = {}
    for quant in quants:
        kinds.setdefault(quant.recipe_id or quant.label, set()).add(quant.basis.kind if quant.basis else "given")
    mixed = [f"{recipe} ({', '.join(sorted(found))})" for recipe, found in kinds.items() if len(found) > 1]
    if mixed:
        raise ValueError(f"builds of one recipe_id are of one kind of basis; found {'; '.join(mixed)}")
