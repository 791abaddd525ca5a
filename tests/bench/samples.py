"""Figures from samples."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the least value that so many in a hundred do not exceed (nearest rank)."""
    rank = max(1, math.ceil(percent / 100 * len(values)))
    return sorted(values)[rank - 1]


def milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    """Return median, 99th in a hundred and worst of some times; and how many there were.

    The 99th is left out where there are fewer than a hundred: it would be the worst once more.
    """
    found = {"p50": 1e3 * statistics.median(seconds)}
    if len(seconds) >= 100:
        found["p99"] = 1e3 * percentile(seconds, 99)
    return {**found, "max": 1e3 * max(seconds), "rounds": len(seconds)}


def merged(before: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Return figures with those that were found now in the place of those before."""
    both = {
        key: merged(before[key], found[key])
        for key in before.keys() & found.keys()
        if isinstance(before[key], dict) and isinstance(found[key], dict)
    }
    return {**before, **found, **both}
