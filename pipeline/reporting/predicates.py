"""What the verdicts of the report rest on, each with a name; the words stand in the templates.

Intervals are of 95 %: a verdict wants them apart, and says "not shown" otherwise, never "the same".
"""

from collections.abc import Mapping
from typing import Any

from pipeline.reporting.formats import flat

Interval = Mapping[str, float]  # {value, low, high}

# Draws cost no step: an attack that averages over more of them does not look harder for a way through.
_DRAWN = {"draws", "scored_draws", "quiet", "queries"}


def better(one: Interval, other: Interval) -> bool:
    """The whole interval of `one` lies above that of `other`."""
    return one["low"] > other["high"]


def gains(difference: Interval) -> bool:
    """The interval of a difference lies above zero."""
    return difference["low"] > 0


def loses(difference: Interval) -> bool:
    """The interval of a difference lies below zero."""
    return difference["high"] < 0


def same_effort(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Two defenses were attacked with the same numbers but for those of their randomness."""

    def steps(entry: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in flat(entry["settings"]).items() if key.split(".")[-1] not in _DRAWN}

    return steps(one) == steps(other)


def looks_cut(longest: float) -> bool:
    """A largest norm that is a whole number looks like a limit, and not like what was found."""
    return float(longest).is_integer()


def size_against(gain: Interval, claim: tuple[float, float]) -> str:
    """Whether a gain is "less than", "within" or "more than" a claimed range."""
    low, high = claim
    return "more than" if gain["value"] > high else "within" if gain["value"] >= low else "less than"
