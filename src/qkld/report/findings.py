"""What a study found, in five generated sentences: what the README, the first page and notebook 08 say of it.

They are made of a few of the study's numbers, which the repository keeps of every study in ``headline.json``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from qkld.report.numbers import printed
from qkld.report.sentences import VERDICTS

NOT_SHOWN = "not available"


def headline_numbers(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a study's numbers (`qkld.report.numbers.flat_numbers`) that `finding_lines` reads."""
    score = _score(numbers)
    begins = ("study/", "withdrawn/", f"zone/kl_mean/{score}/", f"verdict/{score}/zone/")
    begins += (f"volume_direction/flip_rate/{score}/zone/", f"two_scores/{score}/zone/")
    decision = f"/{score}/decision"
    return {
        key: value
        for key, value in numbers.items()
        if key.startswith(begins) or (key.startswith("decision/") and key.endswith(decision))
    }


def finding_lines(numbers: Mapping[str, Any]) -> list[str]:
    """Five sentences from a study's `headline_numbers`, whatever they say.

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
    return f"Noise or missing direction: *{verdict}*: {said.format(metric='KLD')}.{_by_both(numbers, score)}"


def _by_both(numbers: Mapping[str, Any], score: str) -> str:
    """Where the two scores' verdicts differ, the sentence that says so and whose error rate is meant; else nothing."""
    pair = [numbers.get(f"two_scores/{score}/zone/verdict_{which}") for which in ("accuracy", "probability")]
    return f" {numbers[f'two_scores/{score}/zone/says']}" if all(pair) and pair[0] != pair[1] else ""


def _decisions(numbers: Mapping[str, Any], score: str) -> str:
    if "withdrawn/decision" in numbers:
        return f"Which quants are as good as the reference: withdrawn, {_reason(numbers['withdrawn/decision'])}."
    ends = f"/{score}/decision"
    found = {
        key.split("/")[1]: str(value)
        for key, value in numbers.items()
        if key.startswith("decision/") and key.endswith(ends)
    }
    counts = {word: sum(1 for value in found.values() if value == word) for word in sorted(set(found.values()))}
    told = ", ".join(f"{count} {word}" for word, count in counts.items()) or NOT_SHOWN
    return f"Compared with the reference, one error rate for all quants together: {told}."


def _reason(text: str) -> str:
    """The part of a withdrawal's reason that tells when: the changelog has the rest."""
    return text.split(":")[0]


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _whole(value: Any) -> str:
    return NOT_SHOWN if value is None else str(int(value))
