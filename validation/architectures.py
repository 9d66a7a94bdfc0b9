"""Compare the KLD of every causal language model in transformers with that of plain transformers.

    .venv/bin/python -m validation.architectures --out docs/architectures.md

Of each model type a random model of its smallest configuration (validation/small_configurations.py) is saved in
bfloat16 with a small tokenizer, and `qkld compare` measures NF4 of bitsandbytes against it in float32, with the floor.
The same mean KLD is computed without qkld: the model with its own eager attention and full logits, every linear layer
but the head through bitsandbytes' own quantization and back, log-probabilities in float64. The two must be equal up to
the rounding of float32 (`TOLERANCE`), or `qkld compare` must refuse the model for one of `REASONS`. Anything else, such
as a traceback or another number, is reported in the table, and the command ends with exit status 1.
"""

from __future__ import annotations

import argparse
import gc
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bitsandbytes.functional
import tokenizers
import torch
import transformers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from tqdm import tqdm
from transformers.pytorch_utils import Conv1D

from qkld.compare.compare_request import Request
from qkld.compare.measured_comparison import compare
from qkld.errors import QkldError
from qkld.models.transformers_library import quiet_loading
from qkld.study.params import FLOOR_DTYPE
from qkld.study.provenance import written_whole
from validation.small_configurations import class_name, model_types, small_configuration

CONTEXT, WINDOWS, SEED = 32, 2, 2606

TOLERANCE = 1e-6
"""Largest difference of two mean KLDs computed from float32 logits, in nats, for each nat of KLD and at least for one.

Logits of these models differ by about 1e-6 from those in float64, and the mean KLD by less than that.
"""

REASONS = {
    "not built": "transformers cannot build it here from its class's default configuration",
    "calls its output head with other states": "it predicts several tokens at once, from several states per token",
}
"""Words of the refusal → the reason in one sentence."""

NAMED = (
    *(
        "llama",
        "qwen2",
        "qwen3",
        "qwen3_moe",
        "qwen3_next",
        "qwen3_5",
        "qwen3_5_text",
        "qwen3_5_moe",
        "gemma2",
        "gemma3",
    ),
    *("gemma3_text", "gemma4", "gemma4_text", "gpt_oss", "mamba", "mamba2", "falcon_mamba", "falcon_h1", "mixtral"),
    *("mistral", "ministral3", "glm4_moe", "deepseek_v3", "phi", "phi3", "granite", "granitemoehybrid", "cohere"),
    *("cohere2", "olmo2", "olmo3", "smollm3", "lfm2", "exaone4", "nemotron", "nemotron_h", "jamba", "gpt_neox", "opt"),
    *("starcoder2", "ernie4_5", "stablelm"),
)
"""Families in wide use: none of them may be refused."""

LARGEST_SHARE_REFUSED = 0.15

WORDS = [
    f"The {age} {who} saw {boats} boats on the river near town {boats % 17}."
    for boats in range(40)
    for age, who in (("old", "man"), ("young", "woman"))
]


@dataclass(frozen=True)
class Outcome:
    """What became of a model type: its mean KLD both ways in nats, or why it was refused, or what went wrong."""

    model_type: str
    kld: float = math.nan
    plain: float = math.nan
    floor: float | str = ""
    refused: str = ""
    wrong: str = ""

    @property
    def kind(self) -> str:
        """``equal``, ``refused: `` and a key of `REASONS`, or ``wrong: `` and what was found."""
        if self.refused or self.wrong:
            return f"refused: {self.refused}" if self.refused else f"wrong: {self.wrong}"
        near = abs(self.kld - self.plain) <= TOLERANCE * max(1.0, self.plain)
        return "equal" if near else f"wrong: {self.kld:.9g} for {self.plain:.9g}"


def outcome(model_type: str, *, floor: bool = True) -> Outcome:
    """Measure the smallest model of a type both ways, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="qkld-architecture-") as place, quiet_loading():
        folder, text = Path(place) / "model", Path(place) / "text.txt"
        text.write_text(" ".join(WORDS))
        try:
            save_small(model_type, folder)
        except Exception:  # packages that are not there, defaults that the class refuses: transformers' own affair
            return Outcome(model_type, refused="not built")
        try:
            kld, found = measured_by_qkld(folder, text, floor=floor)
            return Outcome(model_type, kld, measured_plainly(folder, text), found)
        except QkldError as error:
            reason = next((words for words in REASONS if words in str(error)), "")
            return Outcome(model_type, refused=reason, wrong="" if reason else " ".join(str(error).split())[:300])
        except Exception as error:  # what must not be: it is written down, and ends the command with status 1
            return Outcome(model_type, wrong=f"{type(error).__name__}: {error}"[:300])


# --- a model in a folder ----------------------------------------------------------------------------------------------


def small_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of 300 tokens that begins every text with BOS; heads have some rows more."""
    core = tokenizers.Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<pad>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(WORDS, trainer)
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def save_small(model_type: str, folder: Path) -> None:
    """Save a random model of the type in bfloat16; every matrix has the spread that keeps the size of its inputs."""
    torch.manual_seed(SEED)
    module = _whole_model(small_configuration(model_type))
    draw = torch.Generator().manual_seed(SEED)
    for parameter in module.parameters():
        if parameter.ndim > 1 and parameter.is_floating_point():
            parameter.data = 1.5 * parameter.shape[-1] ** -0.5 * torch.randn(parameter.shape, generator=draw)
        parameter.data = parameter.data.to(torch.bfloat16)
    module.save_pretrained(folder)
    small_tokenizer().save_pretrained(folder)


def _whole_model(configuration: Any) -> nn.Module:
    """The model that folders of the type hold: one that also sees, where transformers has one of the configuration."""
    sees = type(configuration) in transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    kind = transformers.AutoModelForImageTextToText if sees else transformers.AutoModelForCausalLM
    return kind.from_config(configuration)


# --- the same figure, twice -------------------------------------------------------------------------------------------


def measured_by_qkld(folder: Path, text: Path, *, floor: bool) -> tuple[float, float | str]:
    """Mean KLD by ``qkld compare``, and that of the floor or why there is none."""
    made = compare(
        Request(
            reference=str(folder),
            quants=("bitsandbytes:nf4",),
            text=text,
            context=CONTEXT,
            windows=WINDOWS,
            device="cpu",
            dtype="float32",
            bootstrap=100,
            floor=floor,
        )
    )
    means = made.fidelity[made.fidelity["metric"] == "kl_mean"].set_index("quant")["estimate"]
    without = made.made["without_floor"]
    return float(means["bitsandbytes-nf4"]), without if without else float(means[FLOOR_DTYPE])


def measured_plainly(folder: Path, text: Path) -> float:
    """Mean KLD of the same tokens from transformers' full logits, in nats; nothing of qkld in it."""
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = tokenizer.encode(text.read_text() + "\n\n", add_special_tokens=False).ids
    room, begin, rows = CONTEXT - 1, tokenizer.token_to_id("<s>"), tokenizer.get_vocab_size()
    windows = torch.tensor([[begin, *ids[i * room : (i + 1) * room]] for i in range(WINDOWS)])
    reference, quant = (_log_probabilities(plain(folder, quantized=q), windows, rows) for q in (False, True))
    return float((reference.exp() * (reference - quant)).sum(-1).mean())


def plain(folder: Path, *, quantized: bool) -> nn.Module:
    """transformers' own model in float32; the linear layers but the head through NF4 of bfloat16 and back if asked.

    Raises
    ------
    ValueError
        If the folder lacks one of the model's tensors, which would be random.
    """
    named = transformers.AutoConfig.from_pretrained(folder).architectures[0]
    module, report = getattr(transformers, named).from_pretrained(
        folder,
        dtype=torch.float32,
        attn_implementation="eager",
        experts_implementation="eager",
        output_loading_info=True,
    )
    if report["missing_keys"]:
        raise ValueError(f"no tensors for {sorted(report['missing_keys'])[:3]}")
    head = module.get_output_embeddings()
    for layer in module.modules() if quantized else ():
        if isinstance(layer, (nn.Linear, Conv1D)) and layer is not head:
            is_turned = isinstance(layer, Conv1D)
            values = _through_nf4(layer.weight.data.T if is_turned else layer.weight.data)
            layer.weight.data = values.T if is_turned else values
    return module.eval()


def _through_nf4(weight: Tensor) -> Tensor:
    """A float32 weight, (out, in), quantized from bfloat16 by bitsandbytes and dequantized."""
    stored = weight.bfloat16().contiguous()
    integers, state = bitsandbytes.functional.quantize_4bit(stored, quant_type="nf4", blocksize=64)
    return bitsandbytes.functional.dequantize_4bit(integers, state).float()


@torch.inference_mode()
def _log_probabilities(module: nn.Module, windows: Tensor, vocabulary: int) -> Tensor:
    """Of the second half of every window, float64; a window at a time, each token's row cut to the tokenizer."""
    rows = slice(CONTEXT // 2 - 1, CONTEXT - 1)
    logits = [_logits(module, window[None])[0, rows, :vocabulary] for window in windows]
    return torch.log_softmax(torch.stack(logits).double(), dim=-1)


def _logits(module: nn.Module, ids: Tensor) -> Tensor:
    """As a class gives them by default; without its cache where that cannot be made of a small model."""
    try:
        return module(ids).logits
    except (ValueError, AttributeError):
        return module(ids, use_cache=False).logits


# --- the table --------------------------------------------------------------------------------------------------------


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as a page of Markdown, by model type."""
    counts = Counter(o.kind.partition(":")[0] for o in outcomes)
    reasons = "\n".join(
        f"- **{words}** ({sum(o.refused == words for o in outcomes)}): {sentence}."
        for words, sentence in REASONS.items()
    )
    return f"""# Model architectures

The result of `qkld compare` for every causal language model that transformers {transformers.__version__} registers, by
model type: a random model of its smallest configuration, NF4 against bfloat16, computed in float32. The list is made by
`make architectures`, as described in `validation/architectures.py`, and again for each new version of transformers.

{len(outcomes)} model types: {", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))}.

**equal**: mean KLD agrees with plain transformers (eager attention, full logits, log-probabilities in float64) within
{TOLERANCE:g} nats per nat of KLD, or {TOLERANCE:g} nats below one nat. **refused**: an error, for a reason below.

{reasons}

The floor is the mean KLD between the reference in float64 and itself in float32.

| model type | class | outcome | mean KLD, nats | difference | floor, nats |
|---|---|---|---|---|---|
{chr(10).join(map(_row, sorted(outcomes, key=lambda o: o.model_type)))}
"""


def _row(one: Outcome) -> str:
    measured = not math.isnan(one.kld)
    floor = one.floor if isinstance(one.floor, str) else f"{one.floor:.0e}"
    cells = (f"{one.kld:.4g}", f"{one.kld - one.plain:.0e}", floor) if measured else ("", "", "")
    return f"| {' | '.join((one.model_type, class_name(one.model_type), one.kind, *cells))} |"


def recorded(page: Path) -> dict[str, str]:
    """Model type → outcome, of a page that `table` made."""
    rows = [line.strip("| ").split(" | ") for line in page.read_text(encoding="utf-8").splitlines() if " | " in line]
    return {row[0]: row[2] for row in rows[1:]}


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m validation.architectures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--out", type=Path, required=True, help="Markdown file to write")
    return options


def main(arguments: Iterable[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    transformers.logging.set_verbosity_error()
    gc.freeze()  # each comparison collects what it let go of, among everything that torch imported
    outcomes = [outcome(model_type) for model_type in tqdm(model_types(), unit="model type")]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(options.out) as temporary:
        temporary.write_text(table(outcomes), encoding="utf-8")
    wrong = [f"{o.model_type}: {o.kind}" for o in outcomes if o.wrong or o.kind.startswith("wrong")]
    print("\n".join(wrong) or f"{options.out}: nothing wrong", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
