"""Columns of the result tables of notebooks 04 to 07, ``runs/<study>/analysis/*.csv``, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qkld.breakdown import BREAKDOWN
from qkld.errors import TableError, explain
from qkld.paired import PAIRED

CORRELATION = (
    *("metric", "benchmark", "subset", "method", "n", "estimate", "low", "high", "zmax_low", "zmax_high"),
    *("bca_low", "bca_high", "twoway_low", "twoway_high", "p"),
    *("p_within_families", "without_family_low", "without_family_high", "distinct_metric", "distinct_score"),
    *("zeros", "range_metric", "range_score", "undefined_resamples", "note"),
)
"""What stands in every row of a correlation."""

RESULTS: Mapping[str, tuple[str, ...]] = {
    "scores": (
        *("label", "benchmark", "metric", "items", "clusters", "right", "clusters_right", "clusters_wrong"),
        *("score", "se"),
    ),
    "composite": (
        *("benchmark", "metric", "role", "items", "clusters", "chance", "reference_score", "se", "above_chance_se"),
        *("in_composite", "item_weight", "reason"),
    ),
    "correlation": CORRELATION,
    "partial": (
        *("metric", "benchmark", "subset", "control", "n", "estimate", "partial", "p_partial", "p_ranks"),
        *("rho_metric_control", "rho_score_control", "inflation", "note"),
    ),
    "paired_fidelity": PAIRED,
    "fidelity_breakdown": BREAKDOWN,
    "zone_members": ("label", "family", "kl_mean", "composite", "in_zone", "rule", "cut"),
    "zone": ("rule", "cut", "selection", "n_full", "n_zone", *CORRELATION),
    "variants": (
        *(*CORRELATION, "p_adjusted", "p_adjusted_within_families", "critical", "band_low", "band_high"),
        "same_ranks_as",
    ),
    "differences": (
        *("metric", "baseline", "benchmark", "subset", "n", "estimate", "estimate_baseline", "stronger_by"),
        *("stronger_low", "stronger_high", "share_stronger", "note"),
    ),
    "zone_rules": ("rule", "cut", "selection", "n_full", "n_zone", *CORRELATION),
    "zone_split": (
        *("rule", "cut", "metric", "benchmark", "splits", "undefined_splits", "n_low", "n_median", "n_high"),
        *("estimate", "split_low", "split_high", "same_half", "selection_effect", "note"),
    ),
    "zone_break": (
        *("metric", "benchmark", "n", "zeros", "cut", "slope_below", "slope_above", "p_break", "hinge_gain", "note"),
    ),
    "zone_curve": (
        *("metric", "benchmark", "cut", "n", "estimate", "low", "high", "distinct_score", "range_metric"),
        *("null_low", "null_median", "null_high", "note"),
    ),
    "flips": (
        *("label", "benchmark", "metric", "items", "reference_right", "model_right", "leapfrogs", "drops", "volume"),
        *("flip_rate", "net", "improvement_fraction", "improvement_low", "improvement_high", "z"),
        *("net_low", "net_high", "p_midp", "p_exact", "items_half_point", "items_point", "item_weight", "note"),
    ),
    "self_flips": (
        *("label", "benchmark", "items", "self_flips", "self_flip_rate", "flip_rate", "excess", "excess_low"),
        *("excess_high", "run_variance", "note"),
    ),
    "volume_direction": ("metric", "quantity", *CORRELATION[1:], "reliability"),
    "thinning": (
        *("metric", "benchmark", "subset", "n", "reliability_volume", "reliability_net", "rho_volume", "rho_net"),
        *("gap", "gap_low", "gap_high", "kept", "flips_left", "rho_thinned", "rho_thinned_low"),
        *("rho_thinned_high", "thinned_gap", "thinned_gap_low", "thinned_gap_high", "note"),
    ),
    "prompts": (
        *("label", "benchmark", "items", "failed", "passed", "zeros", "share_zero", "missing", "ratio", "low", "high"),
        *("sd_log", "auroc", "auroc_low", "auroc_high", "note"),
    ),
    "prompt_baselines": (
        *("benchmark", "predictor", "items", "failed", "passed", "auroc", "low", "high"),
        *("gain", "gain_low", "gain_high", "note"),
    ),
    "prompt_within": ("benchmark", "form", "prompts", "pairs", "auroc", "low", "high", "note"),
    "prompt_flips": (
        *("label", "benchmark", "drops", "stayed_right", "leapfrogs", "stayed_wrong"),
        *("auroc_drop", "auroc_drop_low", "auroc_drop_high"),
        *("auroc_leapfrog", "auroc_leapfrog_low", "auroc_leapfrog_high"),
        *("drop_less_leapfrog", "drop_less_leapfrog_low", "drop_less_leapfrog_high", "note"),
    ),
    "router": (
        *("benchmark", "label_a", "label_b", "bases", "items", "ties", "right", "accuracy", "low", "high", "chance"),
        *("margins_only", "always_better", "entropy", "fisher_p", "auroc", "auroc_low", "auroc_high"),
        *("z_accuracy", "z_low", "z_high", "z_fisher_p", "note"),
    ),
    "directional": (
        *("metric", "kind", "benchmark", "subset", "n", "items", "splits", "rank", "estimate", "low", "high"),
        *("split_low", "split_high", "p", "p_adjusted", "p_adjusted_within_families", "critical"),
        *("gain", "gain_low", "gain_high", "gain_band_low", "gain_band_high", "beats_kld", "note"),
    ),
    "decision": (
        *("label", "benchmark", "items", "design_effect", "size", "flip_rate", "net", "net_low", "net_high"),
        "equivalence_low",
        *("equivalence_high", "margin", "p_difference", "p_difference_holm", "p_equivalent", "p_equivalent_holm"),
        *("decision", "decision_alone", "items_needed", "item_weight", "one_item", "note", "smallest"),
    ),
    "pairs": (
        *("benchmark", "label_a", "label_b", "items", "design_effect", "flip_rate", "difference", "low", "high", "p"),
        *("p_holm", "order", "metric_right", "items_needed"),
    ),
    "noise": (
        *("metric", "benchmark", "subset", "n", "items", "zeros", "estimate", "mean_se"),
        *("reliability", "reliability_low", "reliability_high", "attainable", "attainable_low", "attainable_high"),
        *("items_for_reliability", "disattenuated", "disattenuated_low", "disattenuated_high"),
        *("cochran_q", "cochran_p", "cochran_test", "residual_p_linear", "residual_p_sqrt", "residual_p_log"),
        *("residual_p", "residual_test"),
        *("tau", "tau_low", "tau_high", "least_tau", "predictive_low", "predictive_high", "predictive_p", "note"),
    ),
    "verdict": (
        *("metric", "benchmark", "subset", "n", "items", "verdict", "verdict_all", "verdict_kept"),
        *("verdict_inflated", "set_aside", "settles_as", "direction_z", "slope_z", "r2", "r2_low", "r2_high"),
        *("cochran_p", "cochran_test", "direction_z_kept", "r2_kept", "items_to_settle", "items_at_least", "note"),
    ),
    "leave_one_out": (
        *("metric", "benchmark", "subset", "n", "left_out", "verdict", "estimate", "reliability", "cochran_p"),
        *("cochran_test", "residual_p", "residual_test", "tau", "predictive_low", "predictive_high", "direction_z"),
        *("r2", "r2_low", "r2_high", "note"),
    ),
    "zone_edge": (
        *("metric", "benchmark", "n", "items", "draws", "told_apart", "edge", "reliability", "expected_reliability"),
        *("edge_slope", "edge_slope_low", "edge_slope_high", "note"),
    ),
}
"""Result table → its columns, in order."""

MEANINGS: Mapping[str, str] = {
    "above_chance_se": "standard errors by which the reference's score lies above chance; 5 are needed",
    "accuracy": "share of items on which the model with the lower KLD is the right one of the two; ties count one half",
    "always_better": "accuracy of always taking the model with the higher score",
    "attainable": "largest |correlation| that a perfect predictor of the true scores is expected to show: √reliability",
    "attainable_high": "the same at the upper end of the reliability's interval",
    "attainable_low": "the same at its lower end; 0 where that is not above 0",
    "auroc": "P(KLD of a failed item > KLD of a passed item) + ½ P(equal), over items of one quant and benchmark; of a "
    "baseline, its value in place of KLD; within a prompt, over quants; of the router, of ln KLD_a − ln KLD_b where b "
    "is the right one",
    "auroc_drop": "AUROC of KLD for answers that became wrong, over items that the reference has right",
    "auroc_drop_high": "upper end of its interval",
    "auroc_drop_low": "lower end of the same",
    "auroc_high": "upper end of its interval (DeLong's, clustered by prompt); empty where every pair goes one way",
    "auroc_leapfrog": "AUROC of KLD for answers that became right, over items that the reference has wrong",
    "auroc_leapfrog_high": "upper end of its interval",
    "auroc_leapfrog_low": "lower end of the same",
    "auroc_low": "lower end of the same",
    "band_high": "upper end of the simultaneous band: it holds for all variants of the subset together",
    "band_low": "lower end of the same",
    "baseline": "metric that the others are compared with",
    "bases": "whether a pair's KLDs are against the `same` reference or `different` ones",
    "beats_kld": "whether the lower end of the gain's band lies above 0",
    "bca_high": "upper end of the bias-corrected and accelerated bootstrap interval over quants",
    "bca_low": "lower end of the same",
    "benchmark": "task, or `composite`: the unweighted mean of the tasks that enter it",
    "bootstrap_high": "upper end of the same",
    "bootstrap_low": "lower end of the cluster bootstrap's percentile interval",
    "bucket": "bucket, counted from 0",
    "bucket_from": "its lower edge: nats of the reference's entropy, or position in the window; empty for all tokens",
    "bucket_to": "its upper edge, which belongs to the next bucket",
    "by": "what the tokens are split by: `corpus` (all tokens), `entropy` of the reference, or `position`",
    "chance": "score of guessing by the benchmark's metric; of the router ½",
    "clusters": "clusters that the interval rests on: documents or windows; of scores, what is drawn: items, or "
    "clusters of them such as several answers to one item",
    "clusters_right": "those of them with a right answer",
    "clusters_wrong": "those of them with a wrong answer",
    "cochran_p": "p of Cochran's Q",
    "cochran_q": "Cochran's Q of equal true scores, under the covariance of the items' noise; by sign flips the sum of "
    "squared standardised differences from the mean",
    "cochran_test": "how its p was found: `hotelling` (F, one benchmark) or `satterthwaite` (F, several) where items "
    "are many for the quants and clusters near equal, else `sign-flip` of whole items or clusters",
    "composite": "unweighted mean of the scores of the tasks that enter it",
    "context": "context length in tokens; 0 where every window has its own",
    "control": "column held equal: a partial correlation is at equal bits per weight",
    "corpus": "corpus of the study",
    "critical": "|ρ| at which a variant is significant among all (max-T over all quants)",
    "cut": "mean KLD at or below which a quant is counted, nats; for `score_margin` and `equivalence` a fraction of 1",
    "decision": "`equivalent` to the reference within the margin, else `worse`, `better` or `undecided`; after "
    "Holm over the quants and both tests of each",
    "decision_alone": "the same for a quant that was the only one asked about",
    "detectable": "smallest true difference of mean KLD that these windows find with power 0.8, nats",
    "design_effect": "variance of the score difference with clusters of items over that without; 1 where items name no "
    "cluster, and never below",
    "difference": "score of label_a − score of label_b",
    "direction_z": "standard errors by which R²_true lies above ½; beyond ±1.645 it decides the verdict",
    "direction_z_kept": "the same without the quants set aside",
    "disattenuated": "the correlation corrected for the scores' noise; empty unless the reliability's interval "
    "lies above 0.3",
    "disattenuated_high": "upper end of its interval, which leaves the reliability's own error out",
    "disattenuated_low": "lower end of the same",
    "distinct_metric": "different values of the metric: fewer than n where there are ties",
    "distinct_score": "different values of the score",
    "draws": "random subsets of the items",
    "drops": "items that the reference has right and the quant wrong",
    "drop_less_leapfrog": "auroc_drop − auroc_leapfrog: 0 where displacement has no direction, above 0 where it has",
    "drop_less_leapfrog_high": "upper end of its interval, clustered by prompt",
    "drop_less_leapfrog_low": "lower end of the same",
    "edge": "KLD at which half of the subsets tell a quant from the reference, nats",
    "edge_slope": "slope of ln edge on ln items: −2/3 to −0.8 for a smooth loss, −1.2 and below for drift",
    "edge_slope_high": "largest with one quant left out",
    "edge_slope_low": "smallest with one quant left out",
    "entropy": "accuracy of a router to the model with the lower entropy of its own (of the choices, else of the "
    "reference that its KLD is against); empty where the two are equal everywhere",
    "equivalence_high": "upper end of the 90 % interval that equivalence rests on",
    "equivalence_low": "lower end of the same",
    "estimate": "the correlation; in `fidelity_breakdown` the metric",
    "estimate_baseline": "the baseline's correlation over the same quants",
    "expected_reliability": "by Spearman and Brown from that of all items",
    "failed": "items that the model has wrong",
    "family": "quantizer family",
    "fisher_p": "Fisher's exact test of who is routed to against who is right",
    "flip_rate": "volume / items; of several benchmarks the mean of their rates",
    "excess": "flip_rate − self_flip_rate: how much more a quant flips than the reference with itself",
    "excess_high": "upper end of its interval, paired by item and clustered where items are",
    "excess_low": "lower end of the same; above 0 where a quant disagrees with the reference beyond its own noise",
    "flips_left": "flips of all quants that are kept on average; the thinned ρ rests on these alone",
    "floor_kld": "mean KLD of `floor-dtype` there, nats; subtracted from nothing",
    "form": "`as measured`, or `centred by quant`: ln KLD less the quant's mean",
    "gain": "AUROC of KLD less the baseline's; of a metric, its ρ less that of −mean KLD",
    "gain_band_high": "upper end of the gain's simultaneous band: it holds for all metrics together",
    "gain_band_low": "lower end of the same",
    "gain_high": "upper end of its interval, paired",
    "gain_low": "lower end of the same",
    "gap": "|rho_volume| − |rho_net|",
    "gap_high": "upper end of its paired bootstrap interval over quants",
    "gap_low": "lower end of the same",
    "high": "upper end of the interval: percentile bootstrap over quants for a correlation (the paper's)",
    "hinge_gain": "AICc of a score linear in KLD less AICc of the hinge in ln KLD: at 0 or below the break is none",
    "improvement_fraction": "leapfrogs / volume, of several benchmarks by their mean rates: net = flip_rate (2 "
    "improvement_fraction − 1) in every row; empty where the volume is 0",
    "improvement_high": "upper end of its Wilson interval",
    "improvement_low": "lower end of its Wilson interval",
    "in_composite": "whether the task enters the composite",
    "in_zone": "whether the quant is in the zone",
    "inflation": "variance inflation of the metric beside the control, 1/(1 − ρ²): above 5 a partial correlation "
    "near 0 says nothing",
    "items": "benchmark items",
    "item_weight": "what one item weighs in the score, a fraction of 1: the most that an item, or a cluster of items, "
    "of one of its benchmarks does; in `composite` of its own benchmark, empty where that does not enter",
    "items_at_least": "items that it takes even if R²_true is as far from ½ as the data allow",
    "items_for_reliability": "items of the same kind that give a reliability of 0.8, by Spearman and Brown",
    "items_half_point": "items that find a true difference of 0.5 points to the reference with power .8; empty where "
    "the flip rate is below it",
    "items_needed": "items in all that would decide an undecided quant, or order a pair that is not, with power .8 "
    "after Holm, were the difference seen the true one",
    "items_point": "the same for 1 point",
    "items_to_settle": "items with which the verdict is expected with power 0.8, were the estimates true",
    "kept": "share of flips kept, so that the flip rate is as reliable as the net",
    "kind": "`direction`: signed by the right answers; `volume`: says only how far answers move",
    "kl_mean": "mean KLD on the headline corpus, nats a token",
    "kld_a": "mean KLD of label_a over the tokens that are finite for both, nats",
    "kld_b": "the same of label_b",
    "kld_difference": "kld_b − kld_a",
    "label": "model; `all quants` pools them",
    "label_a": "first model of a pair; `all pairs` pools them",
    "label_b": "second model of a pair",
    "leapfrogs": "items that the quant has right and the reference wrong",
    "least_tau": "smallest τ that the test of residual differences finds with power 0.8, a fraction of 1",
    "left_out": "the quant left out",
    "low": "lower end of the interval",
    "lower_a": "clusters in which label_a has the lower mean KLD",
    "lower_b": "clusters in which label_b has",
    "pairs": "pairs of a quant that fails and one that passes the same prompt",
    "margins_only": "accuracy expected from how often each is routed to and right, were the two unrelated",
    "margin": "difference of scores that does not matter, a fraction of 1",
    "mean_se": "root mean squared standard error of the net scores over items, a fraction of 1",
    "method": "`spearman` (midranks), `kendall` (τ_b) or `pearson_log` (of ln metric)",
    "metric": "fidelity metric or measurement variant; of `scores`, `composite` and `flips` what says that an answer "
    "is right: `acc`, `acc_norm`, `exact_match`, …",
    "metric_right": "1 where the better quant of an ordered pair has the lower metric, 0 where the higher",
    "missing": "items without a KLD",
    "model_right": "items that the model has right",
    "n": "quants that enter",
    "n_full": "quants of the cohort",
    "n_high": "most quants in the zone of a split",
    "n_low": "fewest quants in the zone of a split",
    "n_median": "median of the same",
    "n_zone": "quants in the zone",
    "net": "score − reference's score = (leapfrogs − drops) / items",
    "net_high": "upper end of its interval (Tango's score interval)",
    "net_low": "lower end of the same",
    "nonfinite": "scored tokens left out because a model's logits were not finite",
    "note": "why something is empty, or why an interval is rough",
    "null_high": "upper end of where ρ would lie were true scores monotone in the metric: 95 % of redrawn scores",
    "null_low": "lower end of the same: 5 % of redrawn scores",
    "null_median": "median of the same",
    "one_item": "share of the difference to the reference that one item, or cluster of items, makes: above ½ `note` "
    "says so, above 1 the rest points the other way; empty where there is no difference",
    "p": "two-sided permutation p, the observed arrangement counted",
    "p_adjusted": "permutation p adjusted for choosing among all variants (single-step max-T)",
    "p_adjusted_within_families": "the same with scores changing places within a family only",
    "p_break": "wild bootstrap p of one straight line in ln KLD against a hinge",
    "p_difference": "two-sided p of no difference to the reference (Tango's score test)",
    "p_difference_holm": "the same after Holm over the quants and both tests of each (Shaffer's form)",
    "p_equivalent": "p of a difference of the margin or more, either way (TOST by Tango's score test)",
    "p_equivalent_holm": "the same after Holm over the quants and both tests of each (Shaffer's form)",
    "p_holm": "p after Holm over all pairs",
    "p_exact": "two-sided exact McNemar p of as many leapfrogs as drops",
    "p_midp": "two-sided mid-p of the same: the headline, less conservative at few flips",
    "p_partial": "p of no correlation at an equal control",
    "p_within_families": "the same with scores changing places within a family only",
    "order": "`a above b`, `b above a`, or `not ordered` by these items after Holm over all pairs",
    "p_ranks": "p of the partial correlation on ranks alone, which rejects .06 to .08 at .05; `p_partial` is the "
    "larger of it and the one on normal scores",
    "partial": "Spearman's ρ at an equal control",
    "passed": "items that the model has right",
    "predictive_high": "upper end, 95 %",
    "predictive_low": "lower end, 5 %, of the ρ that new items show if true scores are the fitted monotone curve "
    "of KLD",
    "predictive_p": "share of such ρ at or above the observed one, that one counted",
    "predictor": "column of the item table: KLD, or what it has to beat",
    "prompts": "prompts that some quants fail and others pass",
    "quantity": "what the metric is correlated with: a column of `flips`",
    "r2": "R²_true: share of the true differences between these quants that lies along √KLD; empty where none is seen",
    "r2_high": "upper end of its 90 % interval",
    "r2_kept": "R²_true without the quants set aside",
    "r2_low": "lower end of its 90 % interval",
    "rank": "place by falling estimate within the subset",
    "range_metric": "standard deviation of the metric among these quants / in the full cohort, of ln KLD where it is a "
    "KLD: below 1 the range is restricted, which weakens a correlation",
    "range_score": "the same for the score",
    "ratio": "geometric mean KLD of failed items / of passed items, with an interval clustered by item",
    "reason": "why a task does not enter the composite",
    "reference_right": "items that the reference has right",
    "reference_score": "the reference's score, a fraction of 1",
    "reliability": "share of the variance between quants that is no item noise; negative where quants differ "
    "less than chance would make them",
    "reliability_high": "upper end of its interval (Feldt)",
    "reliability_low": "lower end of the same",
    "reliability_net": "reliability of the net",
    "reliability_volume": "reliability of the flip rate",
    "residual_p": "the largest p of the three shapes",
    "residual_test": "how that p was found, as for `cochran_test`",
    "residual_p_linear": "p of no differences beyond noise and a line in KLD",
    "residual_p_log": "the same for a line in ln KLD; empty where a KLD is 0",
    "residual_p_sqrt": "the same for a line in √KLD",
    "rho_metric_control": "ρ of metric and control",
    "rho_net": "Spearman's ρ of the metric with the net",
    "rho_score_control": "ρ of score and control",
    "rho_thinned": "median ρ of the metric with the flip rate after thinning",
    "rho_thinned_high": "upper end of its interval over ways of thinning",
    "rho_thinned_low": "lower end of the same",
    "rho_volume": "Spearman's ρ of the metric with the flip rate",
    "right": "items answered right; of the router, ties one half",
    "role": "`composite` or `control`",
    "rule": "how the zone is chosen",
    "same_half": "median correlation in the zone on the items that chose it; `estimate` is on the others",
    "same_ranks_as": "variants that rank these quants exactly alike, or exactly the other way round",
    "run_variance": "variance of a score from run to run, (f₀ − net₀²)/(2 items), a squared fraction; the item "
    "noise behind `noise` and `verdict` holds it already",
    "score": "share of items answered right",
    "sd_log": "standard deviation of ln KLD over items",
    "se": "standard error of the score over items, or clusters of them",
    "self_flip_rate": "f₀, self_flips / items: the flip rate of the reference with itself in another batch shape",
    "self_flips": "items that the two runs of the reference answer differently",
    "selection": "what the rule does to the correlation inside",
    "selection_effect": "median over splits of the correlation on the items that chose it less that on the others",
    "set_aside": "quants that stand apart from the line in √KLD",
    "settles_as": "the verdict that the estimate points to",
    "share_stronger": "share of resamples in which it is above 0",
    "share_zero": "zeros / items",
    "sign_p": "exact two-sided p of as many such clusters for either",
    "slope_above": "change of the score, a fraction of 1, for an e-fold of KLD above the break",
    "slope_below": "the same below the break",
    "slope_z": "standard errors by which scores rise with √KLD; below −1.645 for `carried`",
    "size": "what the smallest quant is smallest in: bits a weight as stored, or the table's own column",
    "smallest": "whether it is the smallest of the equivalent quants",
    "split_high": "97.5 % of the correlations over splits of the items; no confidence interval",
    "split_low": "2.5 % of the same",
    "splits": "random halves of the items: one chooses the zone or gives the metric, the other judges it",
    "stayed_right": "items that reference and quant have right",
    "stayed_wrong": "items that reference and quant have wrong",
    "stronger_by": "|estimate| − |estimate_baseline|",
    "stronger_high": "upper end of its paired bootstrap interval over quants",
    "stronger_low": "lower end of the same",
    "subset": "`full` cohort or `zone`",
    "t_p": "two-sided p of no difference, by t on clusters − 1 degrees of freedom and the standard error CR1",
    "t_p_holm": "the same after Holm over the pairs of that corpus and context",
    "tau": "standard deviation of true differences beyond noise and that shape, a fraction of 1 (Paule and Mandel)",
    "tau_high": "upper end of its Q-profile interval",
    "tau_low": "lower end of the same",
    "thinned_gap": "|rho_thinned| − |rho_net|",
    "thinned_gap_high": "upper end of its interval over quants and ways of thinning",
    "thinned_gap_low": "lower end of the same",
    "tied_clusters": "clusters in which both have the same",
    "ties": "items on which both models have the same KLD",
    "tokens": "scored tokens that entered",
    "told_apart": "share of quants and subsets told from the reference at 5 %",
    "twoway_high": "upper end of the two-way bootstrap interval: quants and items drawn anew; empty without items",
    "twoway_low": "lower end of the same",
    "undefined_resamples": "bootstrap resamples with a constant column",
    "undefined_splits": "splits with too few quants or one score in the zone",
    "verdict": "`noise-limited`, `direction missing`, `carried` or `undetermined`; empty where there can be none; a "
    "claim holds on all quants, without those set aside, and with 1.1 times the noise variance; error rates are "
    "simulated for zones, not for full cohorts",
    "verdict_all": "verdict on all quants of the subset",
    "verdict_inflated": "verdict with 1.3 times the noise variance",
    "verdict_kept": "verdict without the quants set aside",
    "volume": "leapfrogs + drops",
    "windows": "windows that they lie in",
    "windows_needed": "windows that tell the two apart with power 0.8, were difference and spread those found here; "
    "inf where there is no difference",
    "without_family_high": "largest correlation with one family left out",
    "without_family_low": "smallest correlation with one family left out",
    "z": "(leapfrogs − drops) / √volume, the signed root of McNemar's statistic; of several benchmarks the net in "
    "standard errors of no direction",
    "z_accuracy": "accuracy of a router to the lower ln KLD after standardising it within each model",
    "z_fisher_p": "Fisher's exact test of the same",
    "z_high": "upper end of its interval",
    "z_low": "lower end of the same",
    "zeros": "items with a KLD of 0; of a correlation, quants with a metric of 0: in ranks, in no logarithm",
    "zmax_high": "upper end of the interval on the z scale (larger of Bonett–Wright's and the jackknife's error)",
    "zmax_low": "lower end of the same",
}
"""Column → meaning; a name means the same in every table."""


def check_columns(name: str, columns: Sequence[str]) -> None:
    """Refuse a result table that is unknown or has other columns than `RESULTS` says.

    Raises
    ------
    TableError
        With both lists.
    """
    if tuple(columns) != RESULTS.get(name):
        raise TableError(
            explain(
                f"Result table '{name}' has other columns than its schema.",
                expected=RESULTS.get(name, f"one of {list(RESULTS)}"),
                found=list(columns),
                do="bring qkld.results.RESULTS and the notebook together",
            )
        )


def describe_results() -> str:
    """Markdown: each result table's columns, then each column's meaning."""
    tables = [f"- `{name}.csv`: {', '.join(f'`{c}`' for c in columns)}" for name, columns in RESULTS.items()]
    rows = [f"| `{column}` | {MEANINGS[column]} |" for column in sorted({c for cs in RESULTS.values() for c in cs})]
    return "\n".join([*tables, "", "| column | meaning |", "|---|---|", *rows])
