"""Progress bars with rates on standard error."""

from collections.abc import Iterable, Mapping
from threading import RLock
from typing import Any, TypeVar

from tqdm import tqdm

from pipeline.mapper import workers_alive

Item = TypeVar("Item")

# Of one process: by default tqdm has a lock between several, which a worker that is ended leaves behind with a warning.
tqdm.set_lock(RLock())


class Bar(tqdm):  # type: ignore[type-arg]
    """A bar over all workers, if there are any: how many are alive stands beside the rate."""

    @property
    def format_dict(self) -> Any:
        found = super().format_dict
        found["postfix"] = ", ".join(filter(None, (found["postfix"], workers_alive()))) or None
        return found

    def advance(self, count: int, shown: Mapping[str, str] | None = None) -> None:
        """What a task of the mapper calls with how much is done, and what to show of it."""
        if shown:
            self.set_postfix(shown, refresh=False)
        self.update(count)


def bar(total: int, what: str, unit: str) -> Bar:
    """A bar to `update(n)` by hand; `set_postfix` shows more beside the rate."""
    return Bar(total=total, desc=what, unit=unit, mininterval=1.0, smoothing=0.1, dynamic_ncols=True)


def each(items: Iterable[Item], what: str, unit: str, total: int | None = None) -> Iterable[Item]:
    """The items, one by one, behind a bar."""
    return tqdm(items, desc=what, unit=unit, total=total, mininterval=1.0, dynamic_ncols=True)
