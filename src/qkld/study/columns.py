"""What each column of the result tables means and in which unit it is; a name means the same in every table."""

from __future__ import annotations

from collections.abc import Mapping

from qkld.study.build_columns import OF_BUILDS
from qkld.study.column import WORDS, Column, columns_of

_WORDS = columns_of(
    WORDS,
    {
        "baseline": "metric that the others are compared with",
        "bases": "whether a pair's KLDs are against the `same` reference or `different` ones",
        "benchmark": "task, or `composite`: the unweighted mean of the tasks that enter it",
        "by": "what the tokens are split by: `corpus` (all tokens), `entropy` of the reference, `position`, or `half`: "
        "the later half of the positions, whose mean KLD `kl_ratio` divides by that of the earlier half",
        "cochran_test": "how its p was found: `hotelling` (F, one benchmark) or `satterthwaite` (F, several) "
        "where items are many for the quants and clusters near equal, else `sign-flip` of whole items or clusters",
        "control": "column held equal: a partial correlation is at equal bits per weight",
        "corpus": "corpus of the study",
        "decision": "`equivalent` to the reference within the margin, else `worse`, `better` or `undecided`; "
        "after Holm over the quants and both tests of each",
        "decision_accuracy": "the decision by accuracy, the other score",
        "decision_alone": "the decision if this quant were the only one tested",
        "family": "quantizer family",
        "form": "`as measured`, or `centred by quant`: ln KLD less the quant's mean",
        "kind": "`direction`: signed by the right answers; `volume`: says only how far answers move",
        "label": "model; `all quants` pools them",
        "label_a": "first model of a pair; `all pairs` pools them",
        "label_b": "second model of a pair",
        "left_out": "the quant left out; in `builds_left_out` the recipe, empty where none is",
        "method": "`spearman` (midranks), `kendall` (τ_b) or `pearson_log` (of ln metric)",
        "metric": "fidelity metric or measurement variant; of `scores`, `composite` and `flips` what says that an "
        "answer is right: `acc`, `acc_norm`, `exact_match`, …",
        "note": "why something is empty, or why an interval is rough",
        "order": "`a above b`, `b above a`, or `not ordered` by these items after Holm over all pairs",
        "predictor": "column of the item table: KLD, or what it has to beat",
        "primary_score": "the score that decides, named beforehand: `accuracy`, or `probability` of the right choice",
        "quantity": "what the metric is correlated with: a column of `flips`",
        "reading": "what a difference of probabilities is: `scale; no choice changed`, `flatter` or `sharper` where "
        "one temperature explains it, `choices` where the rest is significant; empty where neither is",
        "reason": "why a task does not enter the composite",
        "residual_test": "how `residual_p` was found, as for `cochran_test`",
        "rests_on": "quants without which the verdict would be different: those left out, or one with at least "
        "half of the leverage on √KLD; the headline is undetermined then",
        "role": "`composite` or `control`",
        "rule": "how the zone is chosen",
        "same_ranks_as": "variants that rank these quants exactly alike, or exactly the other way round",
        "says": "the answer by both scores where they differ, and which of them the error rate refers to",
        "selection": "what the rule does to the correlation inside",
        "set_aside": "outliers from the line in √KLD",
        "settles_as": "the verdict that the estimate points to",
        "subset": "`full` cohort or `zone`",
        "verdict": "`noise-limited`, `direction missing`, `carried` or `undetermined`; empty where there can be "
        "none; a claim holds on all quants, without those left out, and with 1.1 times the noise variance; error "
        "rates are simulated for zones, not for full cohorts",
        "verdict_accuracy": "the verdict by accuracy",
        "verdict_all": "verdict on all quants of the subset",
        "verdict_inflated": "verdict with 1.3 times the noise variance",
        "verdict_kept": "verdict without the quants left out",
        "verdict_probability": "the verdict by the probability of the right choice; empty where items lack it",
    },
    empty="",
)

_TRUTHS = columns_of(
    "yes or no",
    {
        "beats_kld": "whether the lower end of the gain's band lies above 0",
        "in_composite": "whether the task enters the composite",
        "in_zone": "whether the quant is in the zone",
        "smallest": "whether it is the smallest of the equivalent quants",
    },
)

_QUANTS_KNOWN = columns_of(
    "quants",
    {
        "n": "quants used; in `build_correlations` recipes, or builds",
    },
    empty=0,
)

_ITEMS_KNOWN = columns_of(
    "items",
    {
        "items": "benchmark items",
        "ties": "items on which both models have the same KLD",
    },
    empty=0,
)

_COUNTS_KNOWN = columns_of(
    "",
    {
        "distinct_metric": "different values of the metric: fewer than n where there are ties",
        "distinct_score": "different values of the score",
        "undefined_resamples": "bootstrap resamples with a constant column",
        "zeros": "items with a KLD of 0; of a correlation, quants with a metric of 0, which are in ranks but not in "
        "logarithms",
    },
    empty=0,
)

_QUANTS = columns_of(
    "quants",
    {
        "n_full": "quants of the cohort",
        "n_high": "most quants in the zone of a split",
        "n_low": "fewest quants in the zone of a split",
        "n_median": "median number of quants in the zone over splits",
        "n_zone": "quants in the zone",
    },
)

_ITEMS = columns_of(
    "items",
    {
        "choices_changed": "items on which another choice is the most probable than under the reference",
        "drops": "items that the reference has right and the quant wrong",
        "failed": "items that the model has wrong",
        "items_at_least": "items to settle the verdict even if R²_true is as far from ½ as the data allow",
        "items_for_reliability": "items of the same kind that give a reliability of 0.8, by Spearman and Brown",
        "items_half_point": "items that find a true difference of 0.5 points to the reference with power .8; "
        "empty where the flip rate is below it",
        "items_needed": "items in all that would decide an undecided quant, or order a pair that is not, with "
        "power .8 after Holm, were the difference seen the true one",
        "items_point": "items that find a true difference of 1 point to the reference with power .8",
        "items_to_settle_accuracy": "items to settle by accuracy",
        "items_to_settle_probability": "items to settle by the probability of the right choice",
        "items_to_settle": "items with which the verdict is expected with power 0.8, were the estimates true",
        "leapfrogs": "items that the quant has right and the reference wrong",
        "missing": "items without a KLD",
        "model_right": "items that the model has right",
        "passed": "items that the model has right",
        "reference_right": "items that the reference has right",
        "right": "items answered right; of the router, ties one half",
        "self_flips": "items that the two runs of the reference answer differently",
        "stayed_right": "items that reference and quant have right",
        "stayed_wrong": "items that reference and quant have wrong",
        "volume": "leapfrogs + drops",
    },
)

_CLUSTERS = columns_of(
    "clusters",
    {
        "clusters": "clusters used for the interval: documents or windows; of scores, what is drawn: items, "
        "or clusters of them such as several answers to one item",
        "clusters_right": "clusters with a right answer",
        "clusters_wrong": "clusters with a wrong answer",
        "lower_a": "clusters in which label_a has the lower mean KLD",
        "lower_b": "clusters in which label_b has the lower mean KLD",
        "tied_clusters": "clusters in which both have the same mean KLD",
    },
)

_TOKENS = columns_of(
    "tokens",
    {
        "context": "context length in tokens; 0 where every window has its own",
        "nonfinite": "scored tokens left out because a model's logits were not finite",
        "tokens": "scored tokens used",
    },
)

_WINDOWS = columns_of(
    "windows",
    {
        "windows": "windows of the compared tokens",
        "windows_needed": "windows that tell the two apart with power 0.8, were difference and spread those found "
        "here; inf where there is no difference",
    },
)

_COUNTS = columns_of(
    "",
    {
        "bucket": "bucket, counted from 0",
        "draws": "random subsets of the items",
        "flips_left": "flips of all quants that are kept on average; the thinned ρ rests on these alone",
        "pairs": "pairs of a quant that fails and one that passes the same prompt",
        "prompts": "prompts that some quants fail and others pass",
        "rank": "place by falling estimate within the subset",
        "splits": "random halves of the items: one chooses the zone or gives the metric, the other judges it",
        "undefined_splits": "splits with too few quants or one score in the zone",
    },
)

_NATS = columns_of(
    "nats",
    {
        "detectable": "smallest true difference of mean KLD that these windows find with power 0.8",
        "edge": "KLD at which half of the subsets tell a quant from the reference",
        "floor_kld": "mean KLD of `floor-dtype` on the same corpus and context; never subtracted",
        "kl_mean": "mean KLD on the headline corpus, per token",
        "kld_a": "mean KLD of label_a over the tokens that are finite for both",
        "kld_b": "the same of label_b",
        "kld_difference": "kld_b − kld_a",
    },
)

_FRACTIONS = columns_of(
    "fraction of 1",
    {
        "accuracy": "share of items on which the model with the lower KLD is the right one of the two; ties count "
        "one half",
        "always_better": "accuracy of always taking the model with the higher score",
        "by_scale": "part of `net` that one refitted temperature of the reference explains: the reference at the "
        "quant's mean entropy of choices, less the reference; fitted on other items",
        "by_scale_se": "its standard error over items, including that of the temperature",
        "chance": "score of guessing by the benchmark's metric; of the router ½",
        "composite": "unweighted mean of the scores of the tasks that enter it",
        "difference": "score of label_a − score of label_b",
        "excess": "flip_rate − self_flip_rate: how much more a quant flips than the reference with itself",
        "excess_high": "upper end of its interval, paired by item and clustered where items are",
        "excess_low": "lower end of its interval; above 0 where a quant disagrees beyond the reference's own noise",
        "expected_reliability": "by Spearman and Brown from that of all items",
        "flip_rate": "volume / items; of several benchmarks the mean of their rates",
        "improvement_fraction": "leapfrogs / volume, of several benchmarks by their mean rates: net = flip_rate "
        "(2 improvement_fraction − 1) in every row; empty where the volume is 0",
        "item_weight": "what one item weighs in the score: the most that an item, or a cluster of items, of one of its "
        "benchmarks does; in `composite` of its own benchmark, empty where that does not enter",
        "kept": "share of flips kept, so that the flip rate is as reliable as the net",
        "least_tau": "smallest τ that the test of residual differences finds with power 0.8",
        "margin": "difference of scores that does not matter",
        "margins_only": "accuracy expected from how often each is routed to and right, were the two unrelated",
        "mean_change": "mean over items of the absolute change of the right choice's probability",
        "mean_change_se": "its standard error",
        "mean_se_accuracy": "mean_se of accuracy",
        "mean_se_probability": "mean_se of the probability of the right choice",
        "mean_se": "root mean squared standard error of the net scores over items",
        "net": "score − reference's score; of answers (leapfrogs − drops) / items",
        "net_se": "standard error of net over items, or clusters of them",
        "one_item": "share of the difference to the reference that one item, or cluster of items, makes: above ½ "
        "`note` says so, above 1 the rest points the other way; empty where there is no difference",
        "r2": "R²_true: share of the true differences between these quants that lies along √KLD; empty where none is "
        "seen",
        "r2_accuracy": "R²_true by accuracy",
        "r2_kept": "R²_true without the quants left out",
        "r2_probability": "R²_true by the probability of the right choice",
        "reference_score": "the reference's score",
        "reliability": "share of the variance between quants that is no item noise; negative where quants differ "
        "less than chance would make them",
        "reliability_accuracy": "reliability of accuracy",
        "reliability_net": "reliability of the net",
        "reliability_probability": "reliability of the mean probability of the right choice",
        "reliability_volume": "reliability of the flip rate",
        "score": "share of items answered right; in `probability` the mean probability of the right choice",
        "rest": "net less by_scale",
        "rest_se": "its standard error, which includes that of the fitted scale",
        "score_se": "root mean squared standard error of the quants' scores, from the number of items: √(p(1 − p)/N)",
        "se": "standard error of the score over items, or clusters of them",
        "self_flip_rate": "f₀, self_flips / items: the flip rate of the reference with itself in another batch shape",
        "share_stronger": "share of resamples in which `stronger_by` is above 0",
        "share_zero": "zeros / items",
        "slope_above": "change of the score for an e-fold of KLD above the break",
        "slope_below": "the same below the break",
        "tau": "standard deviation of true differences beyond noise and that shape (Paule and Mandel)",
        "told_apart": "share of quants and subsets distinguished from the reference at the 5 % level",
    },
    intervals={
        "equivalence": "the 90 % interval that equivalence rests on",
        "improvement": "its Wilson interval",
        "net": "its interval (Tango's score interval; of probabilities Student's t)",
        "r2": "its 90 % interval",
        "reliability": "its interval (Feldt)",
        "tau": "its Q-profile interval",
    },
)

_CORRELATIONS = columns_of(
    "",
    {
        "attainable": "largest |correlation| that a perfect predictor of the true scores is expected to show: "
        "√reliability",
        "attainable_high": "the same at the upper end of the reliability's interval",
        "attainable_low": "the same at its lower end; 0 where that is not above 0",
        "bootstrap_high": "upper end of the cluster bootstrap's percentile interval",
        "bootstrap_low": "lower end of the cluster bootstrap's percentile interval",
        "critical": "|ρ| at which a variant is significant among all (max-T over all quants)",
        "disattenuated": "the correlation corrected for the scores' noise; empty unless the reliability's "
        "interval lies above 0.3",
        "estimate": "the correlation; in `fidelity_breakdown` the metric; of builds Spearman's ρ of mean KLD and score",
        "estimate_accuracy": "the correlation with accuracy",
        "estimate_baseline": "the baseline's correlation over the same quants",
        "estimate_probability": "the correlation with the mean probability of the right choice",
        "gap": "|rho_volume| − |rho_net|",
        "high": "upper end of the interval: percentile bootstrap over quants for a correlation (the paper's), of 8 or "
        "more",
        "low": "lower end of the interval",
        "null_high": "upper end of ρ if true scores were monotone in the metric: 95 % of redrawn scores",
        "null_low": "lower end of ρ if true scores were monotone in the metric: 5 % of redrawn scores",
        "null_median": "median of ρ if true scores were monotone in the metric",
        "partial": "Spearman's ρ at an equal control",
        "predictive_high": "upper end of the range of predictive_low, 95 %",
        "predictive_low": "lower end, 5 %, of the ρ that new items show if true scores are the fitted monotone "
        "curve of KLD",
        "rho_metric_control": "ρ of metric and control",
        "rho_net": "Spearman's ρ of the metric with the net",
        "rho_score_control": "ρ of score and control",
        "rho_thinned": "median ρ of the metric with the flip rate after thinning",
        "rho_volume": "Spearman's ρ of the metric with the flip rate",
        "same_half": "median correlation in the zone on the items that chose it; `estimate` is on the others",
        "selection_effect": "median over splits of the correlation on the items that chose it less that on the others",
        "split_high": "97.5 % of the correlations over splits of the items; no confidence interval",
        "split_low": "2.5 % of the correlations over splits of the items",
        "stronger_by": "|estimate| − |estimate_baseline|",
        "thinned_gap": "|rho_thinned| − |rho_net|",
        "without_family_high": "largest correlation with one family left out",
        "without_family_low": "smallest correlation with one family left out",
    },
    intervals={
        "band": "the simultaneous band: it holds for all variants of the subset together",
        "bca": "the bias-corrected and accelerated bootstrap interval over quants",
        "disattenuated": "its interval, which leaves the reliability's own error out",
        "gap": "its paired bootstrap interval over quants",
        "rho_thinned": "its interval over ways of thinning",
        "stronger": "its paired bootstrap interval over quants",
        "thinned_gap": "its interval over quants and ways of thinning",
        "twoway": "the two-way bootstrap interval: quants and items drawn anew; empty without items",
        "zmax": "the interval on the z scale (larger of Bonett–Wright's and the jackknife's error); of fewer than 8 "
        "quants, or all in order, of the exact one for columns that are normal after a monotone transform",
    },
)

_P_VALUES = columns_of(
    "",
    {
        "cochran_p": "p of Cochran's Q",
        "fisher_p": "Fisher's exact test of who is routed to against who is right",
        "p": "two-sided permutation p, the observed arrangement counted; exact up to 7 quants",
        "p_adjusted": "permutation p adjusted for choosing among all variants (single-step max-T)",
        "p_adjusted_within_families": "the same, permuting scores only within a family",
        "p_break": "wild bootstrap p of one straight line in ln KLD against a hinge",
        "p_difference": "two-sided p of no difference to the reference (Tango's score test; of probabilities "
        "Student's t)",
        "p_difference_holm": "the same after Holm over the quants and both tests of each (Shaffer's form)",
        "p_equivalent": "p of a difference of the margin or more, either way (TOST by Tango's score test; of "
        "probabilities by t)",
        "p_equivalent_holm": "the same after Holm over the quants and both tests of each (Shaffer's form)",
        "p_exact": "two-sided exact McNemar p of as many leapfrogs as drops",
        "p_holm": "p after Holm over all pairs",
        "p_midp": "two-sided mid-p of McNemar's test: the headline, less conservative at few flips",
        "p_partial": "p of no correlation at an equal control",
        "p_ranks": "p of the partial correlation on ranks alone, which rejects .06 to .08 at .05; `p_partial` is "
        "the larger of it and the one on normal scores",
        "p_within_families": "two-sided permutation p, permuting scores only within a family",
        "predictive_p": "share of the ρ from new items at or above the observed one, which is counted too",
        "residual_p": "the largest p of the three shapes",
        "residual_p_linear": "p of no differences beyond noise and a line in KLD",
        "residual_p_log": "the same for a line in ln KLD; empty where a KLD is 0",
        "residual_p_sqrt": "the same for a line in √KLD",
        "sign_p": "exact two-sided p of the sign test of lower_a against lower_b",
        "t_p": "two-sided p of no difference, by t on clusters − 1 degrees of freedom and the standard error CR1",
        "t_p_holm": "the same after Holm over the pairs of that corpus and context",
        "z_fisher_p": "Fisher's exact test of who z_accuracy's router chooses against who is right",
    },
)

_OTHER_NUMBERS = columns_of(
    "",
    {
        "above_chance_se": "standard errors by which the reference's score lies above chance; 5 are needed",
        "auroc": "P(KLD of a failed item > KLD of a passed item) + ½ P(equal), over items of one quant and "
        "benchmark; of a baseline, its value in place of KLD; within a prompt, over quants; of the router, of ln "
        "KLD_a − ln KLD_b where b is the right one",
        "auroc_drop": "AUROC of KLD for answers that became wrong, over items that the reference has right",
        "auroc_leapfrog": "AUROC of KLD for answers that became right, over items that the reference has wrong",
        "bucket_from": "lower edge of the bucket: nats of the reference's entropy, or position in the window; empty "
        "for all tokens",
        "bucket_to": "upper edge of the bucket, which belongs to the next bucket",
        "cochran_q": "Cochran's Q of equal true scores, under the covariance of the items' noise; by sign flips "
        "the sum of squared differences from the mean, each over its standard error and the mean one",
        "cut": "mean KLD at or below which a quant is counted, nats; for `score_margin` and `equivalence` a "
        "fraction of 1",
        "design_df": "degrees of freedom of the variance with clusters; empty where items are drawn one by one",
        "design_effect": "variance of the score difference with clusters of items over that without; 1 where "
        "items name no cluster, and never below",
        "direction": "net / mean_change: the share of the change of probabilities that points one way, −1 to 1",
        "direction_se": "its standard error",
        "direction_z": "standard errors by which R²_true lies above ½; beyond ±1.645 it decides the verdict",
        "direction_z_kept": "the same without the quants left out",
        "drop_less_leapfrog": "auroc_drop − auroc_leapfrog: 0 where displacement has no direction, above 0 where "
        "it has",
        "edge_slope": "slope of ln edge on ln items: −2/3 to −0.8 for a smooth loss, −1.2 and below for drift",
        "edge_slope_high": "largest edge_slope with one quant left out",
        "edge_slope_low": "smallest edge_slope with one quant left out",
        "entropy": "accuracy of a router to the model with the lower entropy of its own (of the choices, else of the "
        "reference that its KLD is against); empty where the two are equal everywhere",
        "gain": "AUROC of KLD less the baseline's; of a metric, its ρ less that of −mean KLD",
        "hinge_gain": "AICc of a score linear in KLD less AICc of the hinge in ln KLD: at 0 or below there is no break",
        "inflation": "variance inflation of the metric beside the control, 1/(1 − ρ²): above 5 a partial "
        "correlation near 0 says nothing",
        "metric_right": "1 where the better quant of an ordered pair has the lower metric, 0 where the higher",
        "range_metric": "standard deviation of the metric among these quants / in the full cohort, of ln KLD "
        "where it is a KLD: below 1 the range is restricted, which weakens a correlation",
        "range_score": "the same for the score",
        "ratio": "geometric mean KLD of failed items / of passed items, with an interval clustered by item",
        "run_variance": "variance of a score from run to run, (f₀ − net₀²)/(2 items), a squared fraction; the item "
        "noise behind `noise` and `verdict` holds it already",
        "scale": "what the reference's log-probabilities of choices are multiplied by to have the quant's mean "
        "entropy: below 1 the quant is flatter, above 1 sharper",
        "sd_log": "standard deviation of ln KLD over items",
        "size": "what the smallest quant is smallest in: bits per weight as stored, or the table's own column",
        "slope_z": "standard errors by which scores rise with √KLD; below −1.645 for `carried`",
        "z": "(leapfrogs − drops) / √volume, the signed root of McNemar's statistic; of several benchmarks the net in "
        "standard errors of no direction",
        "z_accuracy": "accuracy of a router to the lower ln KLD after standardising it within each model",
    },
    intervals={
        "auroc": "its interval (DeLong's, clustered by prompt); empty where every pair goes one way",
        "auroc_drop": "its interval",
        "auroc_leapfrog": "its interval",
        "drop_less_leapfrog": "its interval, clustered by prompt",
        "gain": "its interval, paired",
        "gain_band": "the gain's simultaneous band: it holds for all metrics together",
        "z": "the interval of z_accuracy",
    },
)

COLUMNS: Mapping[str, Column] = (
    _WORDS
    | _TRUTHS
    | _QUANTS_KNOWN
    | _ITEMS_KNOWN
    | _COUNTS_KNOWN
    | _QUANTS
    | _ITEMS
    | _CLUSTERS
    | _TOKENS
    | _WINDOWS
    | _COUNTS
    | _NATS
    | _FRACTIONS
    | _CORRELATIONS
    | _P_VALUES
    | _OTHER_NUMBERS
    | OF_BUILDS
)
"""Name → column, of every result table."""
