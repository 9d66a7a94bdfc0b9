"""What can be concluded from what was given, and what it would take for the rest."""

from __future__ import annotations

from typing import Any

ITEMS = "--items: each model's answers, item by item"
COUNTS = "--n-items: how many items are behind each score"
FAMILIES = "a column 'family': no families given"
REFERENCE = "--reference: the row of the reference"


def conclusions(
    *, items: bool, reference: bool, counts: bool, zone: bool, divergence: bool, families: bool
) -> list[dict[str, Any]]:
    """One entry a conclusion: whether it is ``available``, what it rests on, and what it ``needs`` where it is not.

    ``reference`` is whether the reference's row has what the rest asks of it: a label in the table, and items where
    there are items. ``divergence`` is whether the fidelity metric is a KL divergence.
    """
    with_items = [] if items else [ITEMS]
    with_reference = with_items + ([] if reference else [REFERENCE])
    noise = [] if items or counts else [f"{ITEMS}; or {COUNTS}, for a range"]
    verdict = with_items + ([] if divergence else ["a KL divergence as --fidelity: the rule is for √KLD"])
    rows = (
        ("correlation of fidelity with scores", [], "table"),
        ("the same in the silent zone", [] if zone else ["--zone: a cut fixed beforehand"], "table"),
        ("permutation p within families of quants", [] if families else [FAMILIES], "table"),
        ("standard error of scores, largest |ρ| that any metric could reach", noise, "items" if items else "table"),
        ("interval that holds for other items too", with_items, "items"),
        ("noise or missing direction: the verdict", verdict, "items"),
        ("volume and direction of disagreement with the reference", with_reference, "items"),
        ("equivalence to the reference, the smallest equivalent quant", with_reference, "items"),
        ("which of two quants is the better", with_items, "items"),
    )
    return [
        {"conclusion": what, "available": not needs, "from": source if not needs else None, "needs": needs}
        for what, needs, source in rows
    ]
