"""The range of a parameter, written where the parameter is declared."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Range:
    """Allowed numbers, both ends included unless said otherwise: `Annotated[float, Range(0, 1)]`."""

    low: float
    high: float
    low_open: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.low_open else value >= self.low
        return above and value <= self.high

    def __str__(self) -> str:
        return f"{'(' if self.low_open else '['}{self.low:g}, {self.high:g}]"

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """What pydantic checks, and what stands in the JSON Schema of the params files."""
        schema = handler(source)
        schema.update({"gt" if self.low_open else "ge": self.low, "le": self.high})
        return schema
