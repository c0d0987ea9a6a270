"""What the verdicts of the report rest on, each with a name; the words stand in the templates.

Intervals are of 95 %: a verdict wants them apart, and says "not shown" otherwise, never "the same".
"""

from collections.abc import Mapping
from typing import Any

from pipeline.reporting.formats import flat

Interval = Mapping[str, Any]  # {value, low, high}; of a difference also its `verdict`, `metrics.comparisons` gives it

# Draws cost no step: an attack that averages over more of them does not look harder for a way through.
_DRAWN = {"draws", "scored_draws", "quiet", "queries"}


def better(one: Interval, other: Interval) -> bool:
    """The whole interval of `one` lies above that of `other`."""
    return bool(one["low"] > other["high"])


def gains(difference: Interval) -> bool:
    """A difference's verdict is "gain"; of one without a verdict, its interval lies above zero."""
    if "verdict" in difference:
        return bool(difference["verdict"] == "gain")
    return bool(difference["low"] > 0)


def loses(difference: Interval) -> bool:
    """A difference's verdict is "loss"; of one without a verdict, its interval lies below zero."""
    if "verdict" in difference:
        return bool(difference["verdict"] == "loss")
    return bool(difference["high"] < 0)


def too_few(difference: Interval) -> bool:
    """There is no verdict: of two trained rivals, from too few trainings."""
    return bool(difference.get("verdict") == "too few trainings")


def stands(difference: Interval) -> str:
    """Whether the one of a difference on the same images is "better", "worse" or "not shown"."""
    return "better" if gains(difference) else "worse" if loses(difference) else "not shown"


def verdict(found: Interval, claim: tuple[float, float]) -> str:
    """Whether what was found "holds", "partly", is "not shown" or "fails", against a claimed range, its ends included.

    holds : the whole interval lies within the claim. partly : only the value does. not shown : the value does not, but
    the interval reaches into the claim. fails : the whole interval lies outside.
    """
    low, high = claim
    if low <= found["low"] and found["high"] <= high:
        return "holds"
    if low <= found["value"] <= high:
        return "partly"
    return "fails" if found["high"] < low or found["low"] > high else "not shown"


def same_effort(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Two defenses were attacked with the same numbers but for those of their randomness."""

    def steps(entry: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in flat(entry["settings"]).items() if key.split(".")[-1] not in _DRAWN}

    return steps(one) == steps(other)


def looks_cut(longest: float) -> bool:
    """A largest norm that is a whole number looks like a limit, and not like what was found."""
    return float(longest).is_integer()


def among(own: Interval, others: Mapping[str, Any]) -> bool:
    """A figure lies between the lowest and the highest of `each` of the others, both included."""
    return bool(min(others["each"]) <= own["value"] <= max(others["each"]))


def size_against(gain: Interval, claim: tuple[float, float]) -> str:
    """Whether a gain is "less than", "within" or "more than" a claimed range."""
    low, high = claim
    return "more than" if gain["value"] > high else "within" if gain["value"] >= low else "less than"
