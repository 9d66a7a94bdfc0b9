"""What a study says of its models: entries, parsed once into frozen, checked objects."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Revision = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]

DESCRIPTIVE = frozenset({"family", "maker", "recipe", "nominal_bits", "to_be_checked"})
"""Keys of a model's entry that describe it and change no number of stages 01 to 03."""


class Strict(BaseModel):
    """Unknown keys are refused, values are not coerced across kinds, and nothing changes after parsing."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelEntry(Strict):
    """What every model of a study states about itself. Quants are keyed by repository, file and hash."""

    label: Label
    family: Label
    maker: str = Field(min_length=1)
    recipe: str = Field(min_length=1)
    nominal_bits: float = Field(gt=0, le=32)
    to_be_checked: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _only_own_keys_to_be_checked(self) -> ModelEntry:
        unknown = sorted(set(self.to_be_checked) - set(type(self).model_fields))
        if unknown:
            raise ValueError(f"to_be_checked names what is no key of this entry: {', '.join(unknown)}")
        return self


class StoredModel(ModelEntry):
    """A model that lies in files: exactly one of ``asset`` (fetched by pinned hash), ``repository`` and ``path``.

    A reference may be padded to widths of a multiple of ``pad``, then rotated by the random matrix of seed ``rotate``.
    """

    asset: str | None = None
    repository: str | None = None
    path: str | None = None
    revision: Revision | None = None
    pad: int | None = Field(default=None, ge=2)
    rotate: int | None = Field(default=None, ge=0)

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


class GgufModel(StoredModel):
    """A GGUF file: a given one, or one ``made`` here from the reference.

    Engine ``torch`` runs its dequantized weights, and so measures the weights alone; ``llamacpp`` runs the file in
    llama.cpp, whose products quantize activations too. A split file is named by its first part. ``cache_k`` and
    ``cache_v`` are the types of llama.cpp's key and value cache (f16 where they are not given, as in llama.cpp).
    """

    method: Literal["gguf"] = "gguf"
    file: str | None = Field(default=None, pattern=r".*\.gguf$")
    more_files: tuple[str, ...] = ()
    made: MadeGguf | None = None
    sha256: Sha256 | None = None
    size_bytes: int | None = Field(default=None, gt=0)
    engine: Literal["torch", "llamacpp"] = "torch"
    cache_k: CacheType | None = None
    cache_v: CacheType | None = None
    flash_attention: bool | None = None

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
        if self.cache_v not in (None, "f32", "f16", "bf16") and self.flash_attention is False:
            raise ValueError(f"cache_v {self.cache_v} needs flash attention, which flash_attention: false turns off")
        return self


class MadeModel(ModelEntry):
    """A quant made here from the reference's weights; ``weights_sha256`` states the result where it is known."""

    weights_sha256: Sha256 | None = None


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
