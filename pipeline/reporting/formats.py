"""Numbers as a reader sees them."""

import re
from collections.abc import Mapping
from typing import Any

NORMS = {"linf": "L\u221e", "l2": "L2", "l1": "L1", "l0": "L0"}


def percent(value: float, digits: int = 1) -> str:
    """0.123 as 12.3 %."""
    return f"{100 * value:.{digits}f} %"


def rate(entry: Mapping[str, float], digits: int = 1) -> str:
    """A {value, low, high} as "12.3 % [11.0, 13.5]"."""
    low, high = (f"{100 * entry[end]:.{digits}f}" for end in ("low", "high"))
    return f"{percent(entry['value'], digits)} [{low}, {high}]"


def number(value: float) -> str:
    """Three significant digits, as in the paper's Table 1."""
    return "0" if value == 0 else f"{value:.3g}" if abs(value) >= 1e-3 else f"{value:.2e}"


def points(entry: Mapping[str, float]) -> str:
    """A difference of rates {value, low, high} as "-1.2 points [-2.0, -0.4]"."""
    # As many digits as tell an end from the zero that it leaves out; + 0: no "-0.0".
    nearest = min(abs(entry["low"]), abs(entry["high"])) if entry["low"] * entry["high"] > 0 else 1.0
    digits = next((count for count in (1, 2, 3) if round(100 * nearest, count)), 4)
    value, low, high = (f"{round(100 * entry[end], digits) + 0:+.{digits}f}" for end in ("value", "low", "high"))
    return f"{value} points [{low}, {high}]"


def length_of(entry: Mapping[str, float | None]) -> str:
    """A norm {value, low, high}; None is infinite."""
    value, low, high = (
        ("\u221e" if entry[end] is None else number(entry[end] or 0.0)) for end in ("value", "low", "high")
    )
    return f"{value} [{low}, {high}]"


def area(entry: Mapping[str, float]) -> str:
    """An area under a ROC curve {value, low, high} as "0.950 [0.940, 0.960]"."""
    return f"{entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]"


def times(entry: Mapping[str, float | None]) -> str:
    """A ratio {value, low, high}, its interval where it has one."""
    value = f"{entry['value']:.2f}"
    return value if entry["low"] is None else f"{value} [{entry['low']:.2f}, {entry['high']:.2f}]"


def budget(settings: Mapping[str, Any]) -> str:
    """The threat model of an attack on a whole defense: its norm and its budget."""
    return f"{NORMS.get(settings['norm'], settings['norm'])} {settings['budget']:g}"


def in_words(value: Any) -> str:
    """A params block in one line: "epochs = 8, batch_size = 128"."""
    if not isinstance(value, Mapping):
        return str(value)
    return "; ".join(
        f"{key}: {in_words(entry)}" if isinstance(entry, Mapping) else f"{key} = {entry}"
        for key, entry in value.items()
    )


def flat(block: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested block as one level, keys joined by dots."""
    found: dict[str, Any] = {}
    for key, value in block.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def unbroken(cell: str) -> str:
    """No line may end within an interval or between a number and its percent sign."""
    return re.sub(r"(?<=\d) %|, (?=[^\[\]]*\])", lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), cell)


def sentence(words: str) -> str:
    """The words as the beginning of a sentence; what is capital stays so."""
    return words[:1].upper() + words[1:]
