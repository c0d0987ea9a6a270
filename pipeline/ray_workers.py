"""Workers that are actors of a Ray cluster: a CPU core each, or a GPU where the driver has one."""

import importlib.metadata
import math
import pickle
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.errors import PipelineError
from pipeline.ray_cluster import Head, connect, in_words
from pipeline.workers import Event, Hand

RECOVERY = 300.0  # seconds without any worker, as where all nodes are replaced
CHECKED = ("torch", "numpy")  # packages whose version bytes depend on


def versions() -> dict[str, str]:
    """Of Python (without its last part), and of CHECKED; "none" where it is not installed."""
    found = {"Python": ".".join(platform.python_version_tuple()[:2])}
    for package in CHECKED:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "none"
    return found


def check_versions(node: str, found: dict[str, str], expected: dict[str, str]) -> None:
    """Raise PipelineError if a node has another version of something than this process."""
    for name, version in expected.items():
        if found.get(name) != version:
            raise PipelineError(
                f"node {node}: expected {name} {version}, as here, found {found.get(name)}: install the same there"
            )


def check_installed(node: str, error: Exception) -> None:
    """Raise PipelineError if what a node's worker has raised is that a package is missing there."""
    if isinstance(error, ModuleNotFoundError):
        raise PipelineError(
            f"node {node}: expected the package {error.name}, as here, found none: install what requirements.txt lists"
        )


class Actor:
    """A worker on some node."""

    def __init__(self, messages: Any) -> None:
        self._hand, self._messages = Hand(), messages

    def about(self) -> tuple[str, dict[str, str]]:
        """Its node's name, and the versions there."""
        return platform.node(), versions()

    def run(self, task: bytes, block: bytes, key: int) -> tuple[str, Any]:
        """As `Hand.run`; how far it is goes to the driver once a second."""
        kept: list[tuple[Any, ...]] = []
        told = time.monotonic()

        def advance(*numbers: Any) -> None:
            nonlocal told
            kept.append(numbers)
            if time.monotonic() - told > 1:
                self._messages.add.remote(key, list(kept))
                kept.clear()
                told = time.monotonic()

        found = self._hand.run(task, block, advance)
        return found[0], (found[1], kept)


class Messages:
    """What the workers say on the way, until the driver fetches it."""

    def __init__(self) -> None:
        self._kept: list[tuple[int, list[tuple[Any, ...]]]] = []

    def add(self, key: int, numbers: list[tuple[Any, ...]]) -> None:
        self._kept.append((key, numbers))

    def take(self) -> list[tuple[int, list[tuple[Any, ...]]]]:
        kept, self._kept = self._kept, []
        return kept


@dataclass(eq=False)
class Remote:
    """An actor, what it has been asked last, and with which key its messages come; `ready` with nothing to do."""

    actor: Any
    asked: Any
    node: str = ""
    ready: bool = False
    key: int = -1


class RayCrew:
    """Actors of the cluster at `address`.

    most : how many at most, `grow` starts them; None: one a GPU, or one a core. gpu : whether each needs a GPU, or with
    more workers than GPUs a share of one. Raises PipelineError where there is no Ray, no answer, no GPU, or another
    version.
    """

    def __init__(self, address: str, most: int | None, gpu: bool) -> None:
        self._ray = ray = connect(address, gpu)
        self._head = Head(address, ray.get_runtime_context().gcs_address)
        resources = ray.cluster_resources()
        there = int(resources.get("GPU" if gpu else "CPU", 0))
        if not there:
            what = "a GPU, as this process has one" if gpu else "a CPU"
            close = "" if not gpu else "; without GPUs, set CUDA_VISIBLE_DEVICES= (empty) here"
            ray.shutdown()
            raise PipelineError(f"RAY_ADDRESS {address}: expected {what}, found a cluster without{close}")
        self.most = most or there
        # A worker's share is of one GPU: with three on two, half of one each.
        self._share = {"num_gpus": 1 / math.ceil(self.most / there), "num_cpus": 0} if gpu else {"num_cpus": 1}
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=True
        )
        self._messages = ray.remote(Messages).options(num_cpus=0, scheduling_strategy=here).remote()
        self._workers: list[Remote] = []
        self._told: tuple[bytes, Any] = (b"", None)  # the task, and where it lies in the object store
        self._keys = 0
        self._seen = time.monotonic()

    @property
    def size(self) -> int:
        """How many have been started; who has died is replaced."""
        return len(self._workers)

    def grow(self, size: int) -> None:
        """Start as many as that, but no more than `most`, where there are fewer."""
        for _ in range(self.size, min(size, self.most)):
            self._start()

    @property
    def alive(self) -> int:
        return sum(worker.ready or worker.key >= 0 for worker in self._workers)

    def _start(self) -> None:
        actor = self._ray.remote(Actor).options(**self._share).remote(self._messages)
        self._workers.append(Remote(actor, actor.about.remote()))

    def idle(self) -> list[Remote]:
        """Those that have nothing to do."""
        return [worker for worker in self._workers if worker.ready]

    def give(self, worker: Remote, name: str, task: bytes, block: bytes) -> None:
        """Let an idle worker do a block, under a name that the dashboard shows; a task travels to each node once."""
        if self._told[0] is not task:
            self._told = task, self._ray.put(task)
        worker.ready, worker.key = False, self._keys
        self._keys += 1
        worker.asked = worker.actor.run.options(name=name).remote(self._told[1], self._ray.put(block), worker.key)

    def events(self, seconds: float) -> Iterator[Event]:
        """What has happened; waits for it at most so long. A worker that has died is replaced."""
        ray = self._ray
        self._head.listen()
        asked = {worker.asked: worker for worker in self._workers if not worker.ready}
        finished, _ = ray.wait(list(asked), num_returns=1, timeout=seconds)
        yield from self._said()
        for reference in finished:
            worker = asked[reference]
            try:
                found = ray.get(reference)
            except ray.exceptions.RayError as error:
                self._workers.remove(worker)
                self._start()
                yield worker, "died", in_words(error)
                continue
            born, worker.ready = worker.key < 0, True
            worker.key = -1
            self._seen = time.monotonic()
            if born:
                worker.node = found[0]
                check_versions(found[0], found[1], versions())
                yield worker, "ready", None
            else:
                kind, (value, numbers) = found
                for each in numbers:
                    yield worker, "advance", each
                if kind == "failed":
                    check_installed(worker.node, pickle.loads(value[0]))
                yield worker, kind, value
        if self.alive:
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > RECOVERY:
            raise PipelineError(f"Ray: no worker could be started for {RECOVERY:.0f} s: see `ray status`")

    def _said(self) -> Iterator[Event]:
        """What the workers have said on the way."""
        by_key = {worker.key: worker for worker in self._workers if worker.key >= 0}
        try:
            messages = self._ray.get(self._messages.take.remote(), timeout=5)
        except self._ray.exceptions.RayError:  # a bar that stands still is no reason to fail
            return
        for key, numbers in messages:
            if key in by_key:  # else of a block that is done, or whose worker has died
                for each in numbers:
                    yield by_key[key], "advance", each

    def close(self) -> None:
        """End the connection, and with it all actors."""
        self._workers.clear()
        self._ray.shutdown()
