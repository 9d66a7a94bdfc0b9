"""The tokenizer that a GGUF file's header describes, as llama.cpp reads it: for files that are a study's reference.

Tokens are those of the header's list and no others: transformers' own conversion adds tokens that its classes expect,
and cuts text as GPT-2 does wherever it does not know the name of the pre-tokenizer. In two of its patterns (``tekken``,
``gpt-4o`` and their likes) llama.cpp comes near the models' own only, with marks and with capitals beyond ASCII; there
text is cut as the models were published.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qkld.errors import TokenizerError
from qkld.models.gguf.gguf_files import fact
from qkld.models.gguf.same_model import TOKENIZER_MODEL, header_tokens
from qkld.models.transformers_library import transformers_library

UNKNOWN, CONTROL, USER_DEFINED = 2, 3, 4
"""Types of the tokens that are found in a text before it is cut, as ``gguf`` numbers them."""

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
"""Words as GPT-2 cuts them."""

DIGIT = r"\p{N}"

DEEPSEEK3 = (
    r"\p{N}{1,3}",
    r"[一-龥぀-ゟ゠-ヿ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
)

FALCON = (r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]")

CUTS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4"), (GPT2,)),
    **dict.fromkeys(("gigachat", "a.x-4.0", "mellum"), (GPT2,)),
    **dict.fromkeys(("starcoder", "refact", "command-r", "smollm", "codeshell", "exaone"), (DIGIT, GPT2)),
    **dict.fromkeys(("minerva-7b", "mellum2"), (DIGIT, GPT2)),
    **dict.fromkeys(("deepseek-v3", "hunyuan-dense", "joyai-llm"), DEEPSEEK3),
    "falcon": FALCON,
}
"""Name of a pre-tokenizer in llama.cpp → the patterns that it cuts text by, one after the other.

Further names are transformers' (`_cuts`).
"""

SAME_CUTS: Mapping[str, str] = {
    **dict.fromkeys(("stablelm2", "hunyuan", "solar-open"), "qwen2"),
    **dict.fromkeys(("glm4", "chatglm-bpe"), "llama-bpe"),
}
"""Names that transformers does not know → one that it knows with the same patterns."""

TAKES_WORDS_WHOLE = frozenset(
    ("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano", "tekken")
)
"""Pre-tokenizers of vocabularies in which a word that is a token is one, whatever its merges, and a text begins with
BOS unless the header says otherwise."""


def header_tokenizer(file: Path, *, label: str) -> Any:
    """A tokenizer of transformers made from the header of a GGUF file (its first part, where it is split).

    Texts begin with BOS where llama.cpp adds it; nothing is put behind them.

    Raises
    ------
    TokenizerError
        If the header has no vocabulary, or one of a kind, or cut in a way, that is not known here.
    """
    tokens = header_tokens(file, label=label)
    while tokens and tokens[-1] is None:  # placeholders of rows beyond the last token
        tokens.pop()
    kind = fact(file, TOKENIZER_MODEL)
    makers = {"gpt2": _byte_level, "llama": _sentencepiece}
    if kind not in makers:
        raise _unknown(label, f"a vocabulary of kind {' or '.join(makers)}", f"kind {kind}")
    made = makers[kind](file, {token: i for i, token in enumerate(tokens) if token is not None}, label)
    made.add_tokens(_added(file, tokens))
    return _wrapped(file, made, tokens)


def _unknown(label: str, expected: str, found: str) -> TokenizerError:
    return TokenizerError(
        f"The header of '{label}' does not define a tokenizer that qkld supports.",
        expected=expected,
        found=found,
        do="give the model's Hugging Face folder as the reference; this file can then be a quant",
    )


def _byte_level(file: Path, vocabulary: dict[str, int], label: str) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    name = fact(file, "tokenizer.ggml.pre")
    merges = [_pair(merge) for merge in fact(file, "tokenizer.ggml.merges") or []]
    made = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=name in TAKES_WORDS_WHOLE))
    cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in _cuts(name, label)]
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    return made


def _pair(merge: str) -> tuple[str, str]:
    """Both parts of a merge; the first may itself begin with a space."""
    place = merge.index(" ", 1)
    return merge[:place], merge[place + 1 :]


def _cuts(name: str | None, label: str) -> tuple[str, ...]:
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    if name in CUTS:
        return CUTS[name]
    pattern = GGUF_PRE_TOKENIZER_SPLITS.get(SAME_CUTS.get(name, name))
    if pattern is None:
        known = sorted({*CUTS, *SAME_CUTS, *GGUF_PRE_TOKENIZER_SPLITS})
        raise _unknown(label, f"tokenizer.ggml.pre one of {', '.join(known)}", f"tokenizer.ggml.pre {name}")
    return (pattern,)


def _sentencepiece(file: Path, vocabulary: dict[str, int], label: str) -> Any:
    """BPE by scores over characters, spaces written as U+2581, what is in no token as bytes."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers.tokenization_utils_base import generate_merges

    scores = fact(file, "tokenizer.ggml.scores")
    if not scores:
        raise _unknown(label, "tokenizer.ggml.scores", "none")
    unknown = next(
        (token for token, i in vocabulary.items() if i == fact(file, "tokenizer.ggml.unknown_token_id")), None
    )
    merges = generate_merges(vocabulary, {token: scores[i] for token, i in vocabulary.items()})
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    begins = fact(file, "tokenizer.ggml.add_space_prefix") is not False
    prefix = [normalizers.Prepend("\u2581")] if begins else []
    made.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", "\u2581")])
    spaces = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    made.decoder = decoders.Sequence([*spaces, *([decoders.Strip(" ", 1, 0)] if begins else [])])
    return made


def _added(file: Path, tokens: list[str | None]) -> list[Any]:
    """Control tokens, the unknown one and user-defined ones, which are found in a text before it is cut."""
    from tokenizers import AddedToken

    types = fact(file, "tokenizer.ggml.token_type") or []
    return [
        AddedToken(token, special=kind != USER_DEFINED, normalized=False)
        for token, kind in zip(tokens, types, strict=False)
        if token is not None and kind in (UNKNOWN, CONTROL, USER_DEFINED)
    ]


def _wrapped(file: Path, made: Any, tokens: list[str | None]) -> Any:
    """The tokenizer as transformers', with the special tokens, the chat template and the BOS of the header."""
    from tokenizers import processors

    names = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    ids = {name: fact(file, f"tokenizer.ggml.{key}_token_id") for name, key in names.items()}
    special = {f"{name}_token": tokens[i] for name, i in ids.items() if i is not None and i < len(tokens)}
    if _begins_with_bos(file) and special.get("bos_token"):
        begin = special["bos_token"]
        made.post_processor = processors.TemplateProcessing(
            single=[begin, "$A"], pair=[begin, "$A", begin, "$B"], special_tokens=[(begin, ids["bos"])]
        )
    more = {"chat_template": template} if (template := fact(file, "tokenizer.chat_template")) else {}
    library = transformers_library()
    return library.PreTrainedTokenizerFast(
        tokenizer_object=made, **special, **more, clean_up_tokenization_spaces=False, name_or_path=str(file)
    )


def _begins_with_bos(file: Path) -> bool:
    """Whether llama.cpp puts BOS before a text: as the header says, or as it does for this kind of vocabulary."""
    said = fact(file, "tokenizer.ggml.add_bos_token")
    if said is not None:
        return bool(said)
    return fact(file, TOKENIZER_MODEL) == "llama" or fact(file, "tokenizer.ggml.pre") in TAKES_WORDS_WHOLE
