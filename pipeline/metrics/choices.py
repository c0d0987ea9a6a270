"""A number that a rule chose on validation images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Choice:
    """A number that a rule chose on validation images.

    value : what the rule says; None where no setting meets it. rule : in words, with what it does in a tie. tried : a
    row per setting tried, with the figures that the rule looks at. narrow : the choice would be another if one or two
    images had come out otherwise.
    """

    value: float | None
    rule: str
    tried: Sequence[Mapping[str, Any]]
    narrow: bool = False
