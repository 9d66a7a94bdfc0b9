"""``qkld served``: a served model's answers to a study's items."""

from __future__ import annotations

import argparse
import shutil

from qkld.compare.served.address import served_model
from qkld.compare.served.asking import open_asker
from qkld.compare.served.served_items import score_served
from qkld.errors import ParameterError
from qkld.models.gguf.same_model import rows_of_folder
from qkld.models.opening import stored_folder, stored_tokenizer
from qkld.sources.tokenizer import vocabulary_size
from qkld.study.params import load_params
from qkld.study.paths import data_folder
from qkld.study.provenance import made_by
from qkld.study.schemas import ITEMS, write_table


def run_served(options: argparse.Namespace) -> str:
    """Score the model of ``--quant`` on the benchmarks of ``--study``; returns what to print.

    Raises
    ------
    QkldError
        If the address, the study or the server cannot be used; nothing is written then, and finished items are kept.
    """
    if options.out.suffix != ".parquet":
        raise ParameterError(
            "--out needs a Parquet file.", expected="a name in .parquet", found=options.out, do="rename it"
        )
    study, model = load_params(options.study), served_model(options.quant)
    if options.label:
        model = model.model_copy(update={"label": options.label})
    tokenizer = stored_tokenizer(study.reference)
    vocabulary = vocabulary_size(tokenizer, rows_of_folder(stored_folder(study.reference)))
    partial = data_folder() / "served" / f"items-{model.label}"
    with open_asker(model, tokenizer, vocabulary) as asker:
        items = score_served(asker, study.benchmarks, partial)
        facts = {"given_as": model.recipe, "server": asker.facts, "top_k": model.top_k}
    write_table(options.out, items, ITEMS, made_by(study=study.study, model=facts))
    shutil.rmtree(partial)
    shares = items.groupby("benchmark", sort=False)["correct"].agg(["sum", "size"])
    lines = [f"{name}: {row['sum']} of {row['size']} right" for name, row in shares.iterrows()]
    return "\n".join([f"{options.out}: {model.label}", *lines]) + "\n"
