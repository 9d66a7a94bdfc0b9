"""What a value typed on a command line has to be: readers for `argparse`, whose errors name expected and found."""

from __future__ import annotations

import argparse
import csv
import json
import math


def whole_number(text: str) -> int:
    """A whole number of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text!r}")
    return value


def positive_number(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text!r}")
    return value


def names(text: str) -> tuple[str, ...]:
    """Names separated by commas; one that holds a comma stands in quotes."""
    found = tuple(name.strip() for name in next(csv.reader([text], skipinitialspace=True), []))
    if not found or not all(found):
        raise argparse.ArgumentTypeError(f"expected names separated by commas, found {text!r}")
    return found


def parameter(text: str) -> tuple[str, object]:
    """``name=value``, the value read as JSON where it is JSON and as text elsewhere."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected name=value, found {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
