"""A number that a rule chose on validation images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Choice:
    """What a rule says of one parameter.

    value : the number; None where no setting that was tried meets the rule. rule : in words. tried : a row per setting
    tried, with the figures that the rule looks at. narrow : one or two images would have changed the choice.
    """

    value: float | None
    rule: str
    tried: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    narrow: bool = False
