"""Progress bars with rates on standard error."""

from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def bar(total: int, what: str, unit: str) -> "tqdm[Any]":
    """A bar to `update(n)` by hand; `set_postfix` shows more beside the rate."""
    return tqdm(total=total, desc=what, unit=unit, mininterval=1.0, smoothing=0.1, dynamic_ncols=True)


def each(items: Iterable[Item], what: str, unit: str, total: int | None = None) -> Iterable[Item]:
    """The items, one by one, behind a bar."""
    return tqdm(items, desc=what, unit=unit, total=total, mininterval=1.0, dynamic_ncols=True)
