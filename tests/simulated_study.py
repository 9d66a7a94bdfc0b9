"""A cohort and its items drawn from a margin model, for tests and for looking at figures; nothing is measured here.

An item's margin under the reference is normal; a quant adds noise of standard deviation 1.18 √KLD and a quarter of it
as loss, so that KLD ranks the quants truly and scores are noisy only through the number of items.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from zlib import crc32

import numpy as np
import pandas as pd
import yaml
from scipy import special
from simulated_tokens import tokens_of_quant

from qkld.analysis import build_tables
from qkld.analysis.evidence import Evidence, Settings
from qkld.analysis.score_tables import probability_table, two_scores_table
from qkld.analysis.study import load_study
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.correlation.comparison import differences_table
from qkld.statistics.correlation.metric_correlations import correlation_table
from qkld.statistics.correlation.partial import partial_table
from qkld.statistics.flips.decision import decision_table, pair_table
from qkld.statistics.flips.flips import direction_table, flip_table
from qkld.statistics.flips.self_flips import self_flip_table
from qkld.statistics.flips.thinning import thinning_table
from qkld.statistics.items.answers import answers_by_task
from qkld.statistics.items.covariance import noise_by_benchmark
from qkld.statistics.items.scores import benchmark_scores, composite, composite_tasks
from qkld.statistics.noise.noise_and_verdict import leave_one_out_table, noise_table, verdict_table
from qkld.statistics.prompts.cross_fit import task_shifts
from qkld.statistics.prompts.directional import directional_table
from qkld.statistics.prompts.failed_and_passed import prompt_table
from qkld.statistics.prompts.prompt_rows import prompt_items
from qkld.statistics.prompts.router_tables import router_table
from qkld.statistics.prompts.signals import baseline_table, flip_signal_table, within_table
from qkld.statistics.tokens.breakdown import breakdown_table
from qkld.statistics.tokens.differences import paired_table
from qkld.statistics.zone.break_point import break_table
from qkld.statistics.zone.edge import zone_edge_table
from qkld.statistics.zone.split_zone import split_halves, split_table
from qkld.statistics.zone.variants import variants_table
from qkld.statistics.zone.zone import compared_rules, members_table, rules_table, zone_members, zone_table
from qkld.statistics.zone.zone_curve import zone_curve
from qkld.study.provenance import made_by
from qkld.study.schemas import COHORT, ITEMS, write_table

RECIPES = {
    "torchao": [(8, 32, 0.0028), (8, 64, 0.0032), (8, 128, 0.0041), (7, 32, 0.0075), (7, 64, 0.0096), (6, 32, 0.026),
                (6, 64, 0.031), (5, 32, 0.11), (5, 64, 0.14), (4, 64, 0.47), (3, 64, 2.16), (2, 64, 11.8)],
    "hqq": [(8, 64, 0.0032), (6, 64, 0.022), (5, 64, 0.072), (4, 64, 0.227), (3, 64, 2.32), (2, 64, 10.0)],
    "bitsandbytes": [(8, 0, 0.006), (4, 64, 0.39), (4, 32, 0.61)],
    "float8": [(8, 1, 0.019)],
}  # fmt: skip
"""Family → (bits, group, mean KLD): the figures that a prototype measured on SmolLM2-135M-Instruct, and between."""

BENCHMARKS = {"arc_easy": (400, 0.0), "openbookqa": (300, -0.2), "sciq": (300, 0.9)}
"""Task → items and the mean margin of the reference."""

VARIANTS = ("kl_mean", "kl_median", "kl_p90", "kl_p99", "kl_p99_9", "kl_max", "ppl_ratio", "abs_log_ppl_ratio",
            "dp_rms", "top1_agreement", "kl_mean_code", "kl_mean_chat", "kl_mean_128", "kl_mean_1024")  # fmt: skip


def items_of_model(label: str, kld: float, base: dict[str, np.ndarray], rng: np.random.Generator) -> pd.DataFrame:
    tables = []
    for task, margins in base.items():
        n = len(margins)
        margin = margins + 1.18 * np.sqrt(kld) * rng.normal(-0.25, 1, n) if kld else margins
        correct = (margin > 0).astype("int8")
        right = np.arange(n) % 4
        scores = _choice_scores(margin, right)
        missing = label == "reference"
        spread = np.exp(rng.normal(np.log(max(kld, 1e-12)), 0.8, n) + 0.1 * (1 - correct))
        tables.append(pd.DataFrame({
            "model": label, "benchmark": task, "item": [str(i) for i in range(n)],
            "request": [f"{task}{i}" for i in range(n)], "correct": correct,
            "answer": np.where(correct == 1, right, (right + 1) % 4), "right": right, "margin": margin,
            "kl_prompt": np.nan if missing else spread, "kl_choice_right": np.nan if missing else 1.3 * spread,
            "kl_choice_mean": np.nan if missing else 1.1 * spread, "prompt_tokens": 20 + right,
            "choice_tokens": 12, "nll_reference": 2.0, "entropy_reference": 2.5,
            "probability_right": special.softmax(scores, axis=1)[np.arange(n), right],
            "choice_scores": list(scores.astype(np.float32)),
        }))  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def _choice_scores(margin: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Scores of four choices, nats: the right one's lies the margin above the best wrong one's."""
    n = len(margin)
    scores = np.tile(np.array([[-20.0, -20.5, -21.0, -22.0]]), (n, 1))
    scores = np.take_along_axis(scores, (np.arange(4) - right[:, None] - 1) % 4, axis=1)
    scores[np.arange(n), right] = -20.0 + margin
    return scores


def model_row(label: str, role: str, family: str, bits: float, kld: float, rng: np.random.Generator) -> dict:
    row = {"label": label, "role": role, "family": family, "method": family, "maker": "simulated",
           "recipe": f"{bits:g} bit", "nominal_bits": bits, "bits_per_weight": bits, "bits_per_trunk_weight": bits,
           "plain_trunk_share": 0.004,
           "weights_sha256": f"{crc32(label.encode()):064x}", "at_floor": False}  # fmt: skip
    wobble = dict(zip(VARIANTS, np.exp(rng.normal(0, 0.12, len(VARIANTS))), strict=True))
    size = {"kl_median": 0.4, "kl_p90": 2.4, "kl_p99": 6.0, "kl_p99_9": 14.0, "kl_max": 30.0}
    row |= {v: kld * size.get(v, 1.0) * wobble[v] for v in VARIANTS}
    row |= {
        "kl_mean": kld,
        "kl_mean_low": kld * 0.93,
        "kl_mean_high": kld * 1.08,
        "dp_rms": 0.1 * np.sqrt(row["dp_rms"]),
    }
    row |= {
        "ppl_ratio": np.exp(kld * rng.uniform(-0.1, 0.9)),
        "top1_agreement": float(np.exp(-0.5 * np.sqrt(row["top1_agreement"]))),
    }
    row["abs_log_ppl_ratio"] = abs(np.log(row["ppl_ratio"]))
    return row


def simulated_study(seed: int = 7) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cohort of 22 quants in four families, with reference and floor rows, and all their items."""
    rng = np.random.default_rng(seed)
    base = {task: rng.normal(mean, 1, n) for task, (n, mean) in BENCHMARKS.items()}
    rows = [model_row("reference", "reference", "reference", 32.0, 0.0, rng)]
    rows.append(model_row("floor-batch", "floor", "reference", 32.0, 0.0, rng))
    rows.append(model_row("floor-dtype", "floor", "reference", 32.0, 8.6e-4, rng))
    items = [items_of_model("reference", 0.0, base, rng)]
    for family, recipes in RECIPES.items():
        for bits, group, kld in recipes:
            label = f"{family}-{bits}-g{group}"
            overhead = 32 / group if group > 1 else 0.0
            rows.append(model_row(label, "quant", family, bits + overhead, kld, rng))
            items.append(items_of_model(label, kld, base, rng))
    cohort, items = pd.DataFrame(rows), pd.concat(items, ignore_index=True)
    scores = benchmark_scores(items)
    for task in BENCHMARKS:
        for name, column in (("score", "score"), ("se", "se")):
            of_task = scores[scores["benchmark"] == task].set_index("label")[column]
            cohort[f"{name}_{task}"] = cohort["label"].map(of_task)
    cohort = cohort.merge(composite(scores, list(BENCHMARKS)), on="label", how="left")
    cohort["at_floor"] = (cohort["role"] == "quant") & (cohort["kl_mean"] < 3 * 8.6e-4 * 1.15)
    return COHORT.checked(cohort), ITEMS.checked(items)


RESAMPLING = Resampling(confidence=0.95, resamples=100, permutations=99, seed=1)


def simulated_analysis(cohort: pd.DataFrame, items: pd.DataFrame, cut: float = 0.05) -> dict[str, pd.DataFrame]:
    """The result tables of notebooks 04 to 07 by name, as `qkld.statistics` makes them."""
    members = zone_members(cohort, rule="kld_cut", cut=cut)
    labels = list(cohort.loc[cohort["role"] == "quant", "label"])
    tasks = list(BENCHMARKS)
    benchmarks = ["composite", *tasks]
    flips = flip_table(items, reference="reference", benchmarks=tasks, tasks=tasks, confidence=0.95)
    about = {"benchmarks": tasks, "divergence": "kl_choice_mean", "reference": "reference"}
    prompts, pairs = (prompt_items(items, models=models, **about) for models in (labels, labels[:4]))
    return {
        "scores": benchmark_scores(items),
        "composite": composite_tasks(
            benchmark_scores(items), reference="reference", chance=dict.fromkeys(BENCHMARKS, 0.25)
        ),
        "correlation": correlation_table(cohort, ["kl_mean", "kl_p99"], benchmarks, resampling=RESAMPLING),
        "zone": zone_table(cohort, members, benchmarks, rule="kld_cut", cut=cut, resampling=RESAMPLING),
        "zone_members": members_table(cohort, members, rule="kld_cut", cut=cut),
        "zone_curve": zone_curve(cohort, least=5, resampling=RESAMPLING),
        "variants": variants_table(cohort, members, VARIANTS, resampling=RESAMPLING),
        "flips": flips,
        "self_flips": self_flip_table(
            items, reference="reference", again=None, quants=labels, benchmarks=tasks, tasks=tasks, confidence=0.95
        ),
        "volume_direction": direction_table(flips, cohort, members, resampling=RESAMPLING),
        **simulated_evidence(cohort, items, members, flips, cut),
        **simulated_token_evidence(cohort),
        "prompts": prompt_table(prompts, minimum_failed=5, epsilon=1e-7, confidence=0.95),
        "prompt_baselines": baseline_table(prompts, minimum_failed=5, confidence=0.95),
        "prompt_within": within_table(prompts, epsilon=1e-7, confidence=0.95),
        "prompt_flips": flip_signal_table(prompts, minimum_failed=5, confidence=0.95),
        "router": router_table(pairs, confidence=0.95),
        "directional": simulated_directional(cohort, items, members, labels),
    }


def simulated_directional(
    cohort: pd.DataFrame, items: pd.DataFrame, members: pd.Series, labels: list[str]
) -> pd.DataFrame:
    """Metrics that may carry direction, by few halves of the items."""
    what = {"reference": "reference", "quants": labels, "divergence": "kl_choice_mean"}
    tasks = {task: task_shifts(items, task, **what) for task in BENCHMARKS}
    drawn = {"splits": 5, "resampling": RESAMPLING, "rng": np.random.default_rng(1)}
    return directional_table(tasks, cohort, members, labels, divergence="kl_choice_mean", **drawn)


def simulated_token_evidence(cohort: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Neighbours told apart and the breakdown, on a few drawn tokens of smoke's headline corpus."""
    kld = cohort[cohort["role"] == "quant"].set_index("label")["kl_mean"].sort_values()
    how = {"confidence": 0.95, "bootstrap": 50, "seed": 1}

    def tokens(label: str) -> pd.DataFrame:
        return tokens_of_quant(label, {("prose", 64): kld[label]})

    return {
        "paired_fidelity": paired_table(tokens, list(pairwise(kld.index)), power=0.8, **how),
        "fidelity_breakdown": breakdown_table(tokens, list(kld.index[:3]), **how),
    }


def simulated_evidence(
    cohort: pd.DataFrame, items: pd.DataFrame, members: pd.Series, flips: pd.DataFrame, cut: float
) -> dict[str, pd.DataFrame]:
    """The tables of notebooks 04 to 06 that rest on items, for the composite alone where that saves time."""
    labels = list(cohort.loc[cohort["role"] == "quant", "label"])
    tasks = list(BENCHMARKS)
    of_scores = {"reference": "reference", "benchmarks": tasks, "tasks": tasks}
    noises = noise_by_benchmark(items, quants=labels, **of_scores)
    composite_noise = {"composite": noises["composite"]}
    answers = answers_by_task(items, tasks, ["reference", *labels])
    halves = split_halves(
        {t: a[1:] for t, a in answers.items()},
        {t: a[0] for t, a in answers.items()},
        splits=20,
        rng=np.random.default_rng(1),
    )
    rules = compared_rules("kld_cut", cut, margin=0.01)
    evidence = Evidence(
        **{"cohort": cohort, "items": items, "reference": "reference", "metric": "kl_mean", "variants": ()},
        **{"benchmarks": tuple(tasks), "tasks": tuple(tasks), "resampling": RESAMPLING},
        **{"settings": Settings(equivalence_margin=0.05), "zone": frozenset(cohort.loc[members, "label"])},
    )
    kld = cohort.set_index("label").loc[labels, "kl_mean"]
    drawn = {"resampling": RESAMPLING}
    return {
        "partial": partial_table(cohort, ["kl_mean"], [*tasks, "composite"]),
        "zone_rules": rules_table(cohort, rules, flips=flips, tasks=tasks, **drawn),
        "zone_split": split_table(halves, kld, rules),
        "zone_break": break_table(cohort, ["composite"], **drawn),
        "differences": differences_table(cohort, members, VARIANTS, **drawn),
        "noise": noise_table(noises, cohort, members, draws=100, **drawn),
        "verdict": verdict_table(noises, cohort, members),
        "leave_one_out": leave_one_out_table(composite_noise, cohort, members, draws=100, **drawn),
        "zone_edge": zone_edge_table(
            items, cohort, reference="reference", tasks={"composite": tasks}, draws=10, rng=np.random.default_rng(1)
        ),
        "thinning": thinning_table(items, cohort, members, draws=10, **drawn, **of_scores),
        "decision": decision_table(items, cohort, margin=0.05, confidence=0.95, **of_scores),
        "two_scores": two_scores_table(evidence),
        "probability": probability_table(evidence),
        **{name: make([]) for name, make in build_tables.TABLES.items()},
        "pairs": pair_table(items, cohort, tasks=tasks, confidence=0.95),
    }


def write_simulated_project(root: Path, cut: float = 0.05) -> None:
    """A project folder with params/simulated.yaml and all tables of that study, as notebooks 01 to 07 leave them.

    ``QKLD_ROOT`` must name ``root`` before this is called.
    """
    repository = Path(__file__).resolve().parent.parent
    (root / "notebooks").mkdir(parents=True)
    (root / "params").mkdir()
    cohort, items = simulated_study()
    values = yaml.safe_load((repository / "params" / "smoke.yaml").read_text())
    values |= {"study": "simulated", "description": "Drawn from a margin model; nothing was measured."}
    values["self_flips"] = False
    values["benchmarks"] = [{"task": task, "chance": 0.25} for task in BENCHMARKS]
    values["silent_zone"] |= {"zone_cut": cut}
    values["quants"] = [
        {"label": row.label, "family": row.family, "maker": row.maker, "recipe": row.recipe,
         "nominal_bits": int(row.nominal_bits), "method": "hqq", "bits": 8, "group_size": 64}
        for row in cohort[cohort["role"] == "quant"].itertuples()
    ]  # fmt: skip
    (root / "params" / "simulated.yaml").write_text(yaml.safe_dump(values))
    study = load_study("simulated")
    write_table(study.paths.cohort, cohort, COHORT, made_by(study="simulated"))
    write_table(study.paths.all_items, items, ITEMS, made_by(study="simulated"))
    for name, table in simulated_analysis(cohort, items, cut).items():
        study.save_analysis(name, table)
