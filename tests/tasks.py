"""Tasks for the mapper's tests: in a module, so that workers find them; without torch, so that these start quickly."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError

Advance = Callable[..., object]


def square(block: int, advance: Advance) -> int:
    advance(1)
    return block**2


def slower_first(block: float, advance: Advance) -> tuple[float, float]:
    """Sleeps so long as the block says; when it began."""
    began = time.monotonic()
    time.sleep(block)
    return block, began


def where(block: int, advance: Advance) -> tuple[int, int, str]:
    """Its process, threads and the variable that says so."""
    import torch

    time.sleep(0.2)
    return os.getpid(), torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS", "")


def sums(weights: Any, block: Any, advance: Advance) -> Any:
    """Of tensors; the bytes depend on the order of additions."""
    return block @ weights


def setting_of(name: str, advance: Advance) -> str:
    """Of a defense, found by its name."""
    from pipeline.defenses.protocol import load_defense

    return load_defense(name).setting


def killed_at_first(folder: Path, block: int, advance: Advance) -> int:
    """Block 2 kills its worker at the first try."""
    (folder / f"{block}-{time.monotonic_ns()}").touch()
    advance(5)
    if block == 2 and len(list(folder.glob("2-*"))) == 1:
        time.sleep(0.3)  # long enough for the message to be on its way
        os.kill(os.getpid(), signal.SIGKILL)
    return block


def always_killed(block: int, advance: Advance) -> int:
    if block == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return block


def asks_for_much(folder: Path, block: int, advance: Advance) -> int:
    """Block 2 finds no memory at the first try, block 3 never."""
    import torch

    (folder / f"{block}-{time.monotonic_ns()}").touch()
    if block == 3 or (block == 2 and len(list(folder.glob("2-*"))) == 1):
        torch.empty(2**50)
    return block


def refuses(folder: Path, block: int, advance: Advance) -> int:
    (folder / f"{block}-{time.monotonic_ns()}").touch()
    if block == 1:
        raise PipelineError("block 1: expected another, found this")
    return block


class CannotTravel(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def fails_oddly(block: int, advance: Advance) -> int:
    raise CannotTravel(1, 2)


def waits(folder: Path, block: int, advance: Advance) -> int:
    """Behind a bar, as a replicate is trained."""
    from pipeline.progress import bar

    with bar(1, "it", "block"):
        (folder / f"{block}-{os.getpid()}").touch()
        time.sleep(60)
    return block


def slowly(task: Any, seconds: float, tries: str, block: Any, advance: Advance) -> Any:
    """The task, later; in the folder `tries`, if it is named, a file says that the block was begun."""
    if tries:
        (Path(tries) / f"{block.number}-{time.monotonic_ns()}").touch()
    time.sleep(seconds)
    return task(block, advance)
