"""What the values of the program's arguments may be: texts to what they mean, or an error."""

from __future__ import annotations

import argparse
import csv
import math
import os

from metaopt_fast.metrics import METRICS
from metaopt_fast.objectives import losses

PICTURES = ("png", "svg", "pdf")
LOSSES = {
    "logistic": losses.LogisticLoss,
    "squared-hinge": losses.SquaredHingeLoss,
    "hinge": losses.HingeLoss,
    "squared": losses.SquaredLoss,
}
# The metrics of counts by the names that they have here.
COUNTED = {name.replace("_", "-"): name for name in METRICS}
OBJECTIVES = (*LOSSES, *COUNTED)
# The bound of the whole numbers of --integers: points of a scorecard have few digits.
MAX_INTEGER = 10**6


def integer(low: int, high: int, text: str) -> int:
    """Return an integer within bounds, also as 1e6."""
    try:
        value = int(text)
    except ValueError:
        real = _as_float(text)  # 1e6
        value = int(real) if real.is_integer() else low - 1
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(
            f"{text!r} given, but an integer from {low} to {high} wanted"
        )
    return value


def number(low: float, inclusive: bool, text: str) -> float:
    """Return a finite number from a bound on."""
    value = _as_float(text)
    if not math.isfinite(value) or value < low or (value == low and not inclusive):
        wanted = f"a finite number {'>=' if inclusive else '>'} {low:g}"
        raise argparse.ArgumentTypeError(f"{text!r} given, but {wanted} wanted")
    return value


def _as_float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def objective(text: str) -> str:
    """Return a name of an objective, or cost=FP:FN."""
    if text in OBJECTIVES or costs(text) is not None:
        return text
    raise argparse.ArgumentTypeError(
        f"{text!r} given, but one of {', '.join(OBJECTIVES)}, or cost=FP:FN with two costs >= 0 "
        "wanted"
    )


def costs(objective: str) -> tuple[float, float] | None:
    """Return the costs of a false positive and of a false negative, of cost=FP:FN alone."""
    name, _, rest = objective.partition("=")
    numbers = [_as_float(cost) for cost in rest.split(":")]
    if name == "cost" and len(numbers) == 2 and all(0 <= cost < math.inf for cost in numbers):
        return numbers[0], numbers[1]
    return None


def box(text: str) -> tuple[int, int]:
    """Return the bounds of LOW:HIGH."""
    try:
        low, high = map(int, text.split(":"))
    except ValueError:
        low, high = 1, 0
    if not -MAX_INTEGER <= low <= high <= MAX_INTEGER:
        raise argparse.ArgumentTypeError(
            f"{text!r} given, but LOW:HIGH, two integers up to {MAX_INTEGER} wanted"
        )
    return low, high


def shard(text: str) -> tuple[int, int]:
    """Return the number of a part and how many there are, of I/N."""
    try:
        number, count = map(int, text.split("/"))
    except ValueError:
        number, count = 0, 0
    if not 1 <= number <= count:
        raise argparse.ArgumentTypeError(
            f"{text!r} given, but I/N wanted, part I of N, from 1/N to N/N"
        )
    return number, count


def columns(text: str) -> list[str]:
    """Return names separated by commas; one that has a comma itself is quoted."""
    try:
        (row,) = csv.reader([text], strict=True)
    except (ValueError, csv.Error):
        row = []
    if not row or not all(row):
        raise argparse.ArgumentTypeError(
            f"{text!r} given, but names of columns, separated by commas, wanted"
        )
    return row


def part(text: str) -> float:
    """Return a number between 0 and 1, exclusive."""
    value = _as_float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} given, but a number between 0 and 1 wanted")
    return value


def path(text: str) -> str:
    """Return what may be a path."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} given, but the path of a file wanted")
    return text


def picture(text: str) -> str:
    """Return the path of a picture."""
    if kind_of(path(text)) not in PICTURES:
        wanted = ", ".join(f".{kind}" for kind in PICTURES)
        raise argparse.ArgumentTypeError(f"{text!r} given, but a file of {wanted} wanted")
    return text


def kind_of(path: str) -> str:
    """Return what the suffix of a picture says: "png"."""
    return os.path.splitext(path)[1].lower().removeprefix(".")
