"""What a study found, in a few generated sentences: what the README, the first page and notebook 08 say of it.

They are made of a few of the study's numbers, which the repository keeps of every study in ``headline.json``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from qkld.report.numbers import printed
from qkld.report.sentences import VERDICTS, share_of_kld
from qkld.statistics.noise.two_scores import NAMES

NOT_SHOWN = "not available"

DECIDED = ("decision/", "probability/")
"""Tables of decisions: by the primary score, and by the probability of the right choice."""

READ_OF_ZONE = tuple(f"/{n}" for n in ("estimate", "low", "high", "n_full", "n_zone", "rule", "cut", "verdict", "says"))
READ_OF_ZONE += ("/verdict_accuracy", "/verdict_probability", "/r2", "/r2_low", "/r2_high")
READ_OF_BUILDS = tuple(f"/{name}" for name in ("builds", "recipes", "sd", "sd_low", "sd_high"))
"""Last parts of the keys that a sentence reads of ρ, the verdict and both scores, and of builds."""


def headline_numbers(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a study's numbers (`qkld.report.numbers.flat_numbers`) that `finding_lines` reads."""
    score = _score(numbers)
    zone = [f"zone/kl_mean/{score}/", f"verdict/{score}/zone/", f"two_scores/{score}/zone/"]
    zone.append(f"volume_direction/flip_rate/{score}/zone/")
    read = {
        key: value
        for key, value in numbers.items()
        if key.startswith(("study/", "withdrawn/"))
        or (key.startswith(tuple(zone)) and key.endswith(READ_OF_ZONE))
        or (key.startswith("builds/") and "/full/" in key and key.endswith(READ_OF_BUILDS))
    }
    for table in DECIDED:
        of_quants = {name: _keys(numbers, table, score, name) for name in ("decision", "margin", "smallest")}
        smallest = [key for key in of_quants["smallest"] if numbers[key] is True]
        read |= {key: numbers[key] for key in (*of_quants["decision"], *of_quants["margin"][:1], *smallest)}
    return read


def finding_lines(numbers: Mapping[str, Any]) -> list[str]:
    """Five sentences from a study's `headline_numbers`, whatever they say, and one for each kind of its builds.

    A number that is missing, or was withdrawn, is said to be so.
    """
    score = _score(numbers)
    zone = f"zone/kl_mean/{score}"
    n, inside = _whole(numbers.get(f"{zone}/full/n_full")), _whole(numbers.get(f"{zone}/full/n_zone"))
    return [
        f"Over the whole cohort of {n} quants, mean KLD and score: ρ = {_interval(numbers, f'{zone}/full')}.",
        f"Near the baseline, {inside} quants{_cut(numbers, f'{zone}/full')}: ρ = {_interval(numbers, f'{zone}/zone')}.",
        f"There, KLD and the share of answers that change: ρ = "
        f"{_interval(numbers, f'volume_direction/flip_rate/{score}/zone')}.",
        _verdict(numbers, score),
        *_builds(numbers),
        _decisions(numbers, score),
    ]


def _score(numbers: Mapping[str, Any]) -> str:
    return str(numbers.get("study/headline_benchmark", "composite"))


def _interval(numbers: Mapping[str, Any], key: str) -> str:
    estimate, low, high = (_number(numbers.get(f"{key}/{part}")) for part in ("estimate", "low", "high"))
    if math.isnan(estimate):
        return NOT_SHOWN
    return (
        f"{printed(estimate)} [{printed(low)}, {printed(high)}]" if low == low else f"{printed(estimate)} (no interval)"
    )


def _cut(numbers: Mapping[str, Any], key: str) -> str:
    is_cut = numbers.get(f"{key}/rule") == "kld_cut"
    return f" with a mean KLD of at most {numbers[f'{key}/cut']:g} nats" if is_cut else ""


def _verdict(numbers: Mapping[str, Any], score: str) -> str:
    if "withdrawn/verdict" in numbers:
        return f"Noise or missing direction: withdrawn, {_reason(numbers['withdrawn/verdict'])}."
    verdict = numbers.get(f"verdict/{score}/zone/verdict")
    said = VERDICTS.get(str(verdict))
    if not said:
        return f"Noise or missing direction: {NOT_SHOWN}."
    columns = {name: numbers.get(f"verdict/{score}/zone/{name}") for name in ("verdict", "r2", "r2_low", "r2_high")}
    said = f"{said.format(metric='KLD')}.{share_of_kld(columns)}"
    return f"Noise or missing direction: *{verdict}*: {said}{_by_both(numbers, score)}"


def _by_both(numbers: Mapping[str, Any], score: str) -> str:
    """Where the two scores' verdicts differ, the sentence that says so and whose error rate is meant; else nothing."""
    pair = [numbers.get(f"two_scores/{score}/zone/verdict_{which}") for which in ("accuracy", "probability")]
    return f" {numbers[f'two_scores/{score}/zone/says']}" if all(pair) and pair[0] != pair[1] else ""


def _builds(numbers: Mapping[str, Any]) -> list[str]:
    """How far builds of one recipe, and recipes, lie apart at equal KLD by the primary score; of each kind of basis."""
    primary = numbers.get("study/primary_score", "accuracy")
    ends = f"/{primary}/full/within/sd"
    kinds = [
        key.split("/")[1]
        for key, sd in numbers.items()
        if key.startswith("builds/") and key.endswith(ends) and sd is not None
    ]
    return [_of_kind(numbers, kind, primary) for kind in kinds]


def _of_kind(numbers: Mapping[str, Any], kind: str, primary: str) -> str:
    place = f"builds/{kind}/{primary}/full"
    builds, recipes = (_whole(numbers[f"{place}/within/{count}"]) for count in ("builds", "recipes"))
    within, between = (_deviation(numbers, f"{place}/{part}") for part in ("within", "between"))
    return (
        f"At equal KLD, {builds} builds of {recipes} recipes: {NAMES[primary]} differs by a standard deviation of "
        f"{within} points between builds of one recipe, and of {between} between recipes."
    )


def _deviation(numbers: Mapping[str, Any], key: str) -> str:
    estimate, low, high = (printed(numbers.get(f"{key}/{part}"), percent=True) for part in ("sd", "sd_low", "sd_high"))
    return f"{estimate} [{low}, {high}]"


def _decisions(numbers: Mapping[str, Any], score: str) -> str:
    if "withdrawn/decision" in numbers:
        return f"Which quants are as good as the reference: withdrawn, {_reason(numbers['withdrawn/decision'])}."
    own = f"Compared with the reference, one error rate for all quants together{_counted(numbers, 'decision/', score)}."
    other = _counted(numbers, "probability/", score)
    if not other or numbers.get("study/primary_score") != "accuracy":
        return own
    return f"{own} By {NAMES['probability']}{other}."


def _counted(numbers: Mapping[str, Any], table: str, score: str) -> str:
    """What a table of decisions says of how many quants, its margin and the smallest quant that is equivalent."""
    columns = {
        name: {key.split("/")[1]: numbers[key] for key in _keys(numbers, table, score, name)}
        for name in ("decision", "margin", "smallest")
    }
    found = [str(value) for value in columns["decision"].values()]
    if not found:
        return "" if table == "probability/" else f": {NOT_SHOWN}"
    counts = ", ".join(f"{found.count(word)} {word}" for word in sorted(set(found)))
    margin = next(iter(columns["margin"].values()), None)
    within = "" if margin is None else f", within {printed(margin, 1, percent=True)} points"
    smallest = sorted(label for label, value in columns["smallest"].items() if value is True)
    return f"{within}: {counts}" + (f"; smallest equivalent: {', '.join(smallest)}" if smallest else "")


def _keys(numbers: Mapping[str, Any], table: str, score: str, column: str) -> list[str]:
    """Keys of one column of a table of decisions, one for each quant; all quants have one margin."""
    return [key for key in numbers if key.startswith(table) and key.endswith(f"/{score}/{column}")]


def _reason(text: str) -> str:
    """The part of a withdrawal's reason that tells when: the changelog has the rest."""
    return text.split(":")[0]


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _whole(value: Any) -> str:
    return NOT_SHOWN if value is None else str(int(value))
