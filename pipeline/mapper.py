"""Blocks of work, done one after the other, by processes of this machine, or on a Ray cluster: the same bytes.

Which, the environment says, never a tracked parameter:

    (nothing)                 one block after the other, in this process
    WORKERS=auto|n            n processes of this machine; auto: one a GPU, or one a core where there is none
    RAY_ADDRESS=host:port     actors of that Ray cluster; `auto`: of the one that this machine belongs to

A task is a function or callable class at the top of a module (no script's own: no other process knows that), or a
`partial` of one, that takes a block and `advance`, which it calls with how much it has done. It reads and writes no
files; a replicate does, in folders of its own under .work. Whatever it needs beside its block is bound to it, models
too: that travels once to each worker.
"""

import atexit
import os
import pickle
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import PipelineError
from pipeline.registry import own_folders
from pipeline.workers import Event, LocalCrew

TRIES = 3  # of a block whose workers die
AHEAD = 2  # blocks a worker that are in flight at most: being done, or done and waiting for an earlier one
WAIT = 0.5  # seconds between looks at the crew
MOST = 4096  # workers; what asks for more is a slip

Advance = Callable[..., object]
Task = Callable[[Any, Advance], Any]


class Wanted(NamedTuple):
    """Who does the work: `workers` None: as many as there are GPUs or cores; 1 without an address: this process."""

    workers: int | None
    address: str


ALONE = Wanted(1, "")


def wanted() -> Wanted:
    """What the environment asks for.

    Raises PipelineError if WORKERS is neither `auto` nor a number from 1 to MOST, or RAY_ADDRESS neither `auto` nor
    host:port.
    """
    text, address = os.environ.get("WORKERS", "").strip(), os.environ.get("RAY_ADDRESS", "").strip()
    host, _, port = address.rpartition(":")
    if address not in ("", "auto") and not (host and "/" not in host and _is_number(port, 2**16 - 1)):
        raise PipelineError(f"RAY_ADDRESS: expected auto or host:port, found {address!r}")
    if text == "auto" or (address and not text):
        return Wanted(None, address)
    if text and not _is_number(text, MOST):
        raise PipelineError(f"WORKERS: expected auto, or a number from 1 to {MOST}, found {text!r}")
    return Wanted(int(text or 1), address)


def _is_number(text: str, most: int) -> bool:
    """Whether it is one from 1 to `most`; of thousands of digits `int` would not look at it."""
    return text.isascii() and text.isdigit() and len(text) <= len(str(most)) and 0 < int(text) <= most


def completed(
    what: str,
    task: Task,
    blocks: Iterable[tuple[int, Any]],
    advance: Advance = lambda *numbers: None,
    tensors: bool = True,
) -> Iterator[tuple[int, Any]]:
    """Numbers of blocks with what the task makes of them, in the order in which they are done.

    what : in words, for messages and Ray's dashboard. blocks : number and content of each, made when a worker is free.
    advance : called with what the tasks call theirs with; first the count, negative where a block is to be done again.
    tensors : whether the task computes with tensors; workers of one that does not need no GPU, and start without torch.

    A block whose worker dies is done again by another; after TRIES deaths a PipelineError names it. What a task itself
    raises is raised here, once. A single block is always done in this process.
    """
    return _mapped(what, task, blocks, advance, tensors, in_order=False)


def in_order(
    what: str,
    task: Task,
    contents: Iterable[Any],
    advance: Advance = lambda *numbers: None,
    tensors: bool = True,
) -> Iterator[Any]:
    """The results alone, in the order of the blocks; see `completed`."""
    return (result for _, result in _mapped(what, task, enumerate(contents), advance, tensors, in_order=True))


def _mapped(
    what: str, task: Task, blocks: Iterable[tuple[int, Any]], advance: Advance, tensors: bool, in_order: bool
) -> Iterator[tuple[int, Any]]:
    rest = iter(blocks)
    first = list(islice(rest, 2))
    packed = _packed(what, (tensors, own_folders(), task)) if wanted() != ALONE and len(first) > 1 else None
    crew = _crew(_gpus() if tensors else 0) if packed else None
    if crew:
        first += islice(rest, max(0, crew.most - len(first)))
        crew.grow(len(first))  # no worker without a block
    blocks = chain(first, rest)
    del first
    if crew and packed:
        yield from _scheduled(crew, what, packed, blocks, advance, in_order)
    else:
        for number, content in blocks:
            yield number, task(content, advance)


def _packed(what: str, task: tuple[bool, tuple[Path, ...], Task]) -> bytes | None:
    """The task as it travels; None, with a line that says so once, where it cannot: a classifier of somebody's code."""
    try:
        return pickle.dumps(task, pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        _say(f"{what}: without workers, for it cannot be sent to them: {error}")
        return None


@cache
def _say(line: str) -> None:
    """On standard error, once: a training asks for its workers at each batch."""
    print(line, file=sys.stderr)


@dataclass
class _Job:
    """A block that is being done: its place in the order, what it is, how far it is, how many workers died of it."""

    place: int
    number: int
    content: bytes
    count: int = 0
    deaths: int = 0


def _scheduled(
    crew: Any, what: str, task: bytes, blocks: Iterable[tuple[int, Any]], advance: Advance, in_order: bool
) -> Iterator[tuple[int, Any]]:
    fresh = (
        _Job(place, number, pickle.dumps(content, pickle.HIGHEST_PROTOCOL))
        for place, (number, content) in enumerate(blocks)
    )
    again: deque[_Job] = deque()
    running: dict[Any, _Job] = {}
    done: dict[int, tuple[int, Any]] = {}  # by place
    following, unborn, more = 0, 0, True
    try:
        while True:
            for worker in crew.idle():
                if again:
                    job = again.popleft()
                elif more and len(running) + len(done) < AHEAD * crew.size:
                    more = (job := next(fresh, None)) is not None  # type: ignore[assignment]
                    if not more:
                        break
                else:
                    break
                running[worker] = job
                crew.give(worker, f"{what} {job.number}", task, job.content)
            for place in sorted(done):
                if not in_order or place == following:
                    following += 1
                    yield done.pop(place)
            if not (running or again or more):
                return
            for worker, kind, value in _events(crew):
                if kind == "advance":
                    running[worker].count += value[0]
                    advance(*value)
                elif kind == "done":
                    job = running.pop(worker)
                    done[job.place] = job.number, pickle.loads(value)
                elif kind == "failed":
                    job, (error, text) = running.pop(worker), value
                    raise pickle.loads(error) from RuntimeError(f"in a worker, at {what} {job.number}:\n{text}")
                elif kind == "ready":
                    unborn = 0
                elif worker in running:
                    again.append(_died(running.pop(worker), what, value, advance))
                else:
                    unborn += 1
                    if unborn > TRIES * crew.size:
                        raise PipelineError(f"{what}: workers end before they have begun: {value}")
    finally:
        if running:  # by an error, or because nobody wants the rest: what is being done is of no use
            close()


def _events(crew: Any) -> Iterator[Event]:
    yield from crew.events(WAIT)


def _died(job: _Job, what: str, why: str, advance: Advance) -> _Job:
    """The block as it is to be done again. Raises PipelineError if it has had its tries."""
    job.deaths += 1
    if job.deaths >= TRIES:
        raise PipelineError(f"{what}, block {job.number}: its worker died {TRIES} times, the last one {why}")
    advance(-job.count)
    job.count = 0
    return job


# --- the crew: kept from one task of a process to the next ------------------------------------------------------------
_current: tuple[tuple[Wanted, int], Any] | None = None


def _crew(gpus: int) -> Any:
    """The workers that the environment asks for, started if they are not there; None: this process itself.

    gpus : how many there are to compute on.
    """
    global _current
    asked = wanted()
    if _current and _current[0] == (asked, gpus):
        return _current[1]
    close()
    if asked.address:
        from pipeline.ray_workers import RayCrew  # Ray is an extra: nothing else imports it

        _current = (asked, gpus), RayCrew(asked.address, asked.workers, gpu=bool(gpus))
    else:
        size = asked.workers or gpus or len(os.sched_getaffinity(0))
        if size == 1:
            return None
        _current = (asked, gpus), LocalCrew(size, gpus)
    return _current[1]


def _gpus() -> int:
    """How many GPUs this process can compute on."""
    import torch  # here, so that a stage that needs none starts without it

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def workers_alive() -> str:
    """ "2 of 2 workers", for a bar; "" where this process does the work."""
    return f"{_current[1].alive} of {_current[1].size} workers" if _current and wanted() != ALONE else ""


def close() -> None:
    """End the workers, if there are any; the next task starts others."""
    global _current
    crew, _current = _current, None
    if crew:
        crew[1].close()


atexit.register(close)
