"""A number that a rule chose on validation images.

A rule is frozen: it stands in the choices file with its reason, and a test holds its words. Whoever changes one after
test results were seen says so among the earlier analyses of the report.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


def above_zero(rates: Iterable[float]) -> set[float]:
    """The rates at which there is something to choose."""
    return {rate for rate in rates if rate > 0}


@dataclass(frozen=True)
class Choice:
    """A number that a rule chose on validation images.

    value : what the rule says; None where no setting meets it. rule : in words, with what it does in a tie. tried : a
    row per setting tried, with the figures that the rule looks at. narrow : the choice would be another if one or two
    images had come out otherwise. reason : why this rule and no other, in words; it rests on no test result.
    """

    value: float | None
    rule: str
    tried: Sequence[Mapping[str, Any]]
    narrow: bool = False
    reason: str = ""

    def end(self, parameter: str, eligible: Callable[[set[float]], Collection[float]] = set) -> str | None:
        """Whether the value is the "smallest" or "largest" of what was tried of the parameter; None in between.

        eligible : those of the tried values that the rule may take.
        """
        tried = eligible({row[parameter] for row in self.tried if isinstance(row.get(parameter), int | float)})
        if self.value is None or len(tried) < 2:
            return None
        return {min(tried): "smallest", max(tried): "largest"}.get(self.value)
