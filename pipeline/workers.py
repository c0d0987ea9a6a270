"""What a worker does, wherever it runs; and the workers that are processes of this machine.

Tasks, blocks and results travel pickled, a block's in one piece. They go between processes that this project has
started itself; no file is ever unpickled.
"""

import os
import pickle
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from pipeline.processes import end_with_parent
from pipeline.registry import serve_own_files

# What a worker finds in its environment, before any library reads it. One thread: threads change bytes, and workers are
# what uses several cores. No bars: the driver has one over all.
ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TQDM_DISABLE"), "1")
GRACE = 5.0  # seconds for a worker to leave
NO_MEMORY = 12  # exit code of a worker that had too little; ENOMEM
VISIBLE = "CUDA_VISIBLE_DEVICES"
# What happens to a worker: (which, "ready" | "advance" | "done" | "failed" | "died", with what).
Event = tuple[Any, str, Any]


class Hand:
    """Does blocks of one task after the other; nothing that goes wrong in them escapes as an exception.

    Where memory runs out, the process ends.
    """

    def __init__(self) -> None:
        for name in ("WORKERS", "RAY_ADDRESS"):  # a task that maps blocks of its own does them itself
            os.environ.pop(name, None)
        self._packed = b""
        self._task: Callable[..., Any]

    def run(self, task: bytes, block: bytes, advance: Callable[..., object]) -> tuple[str, Any]:
        """("done", the pickled result) or ("failed", the pickled exception and its traceback as text).

        task : pickled, with whether it computes with tensors, and whose own files serve: the process is made ready as a
        stage's is.
        """
        try:
            if task != self._packed:
                self._packed, (tensors, own, self._task) = task, pickle.loads(task)
                serve_own_files(*own)
                if tensors:
                    from pipeline.devices import prepare_device

                    prepare_device()
            return "done", pickle.dumps(self._task(pickle.loads(block), advance), pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # whatever it is, the driver raises it
            if _is_out_of_memory(error):  # as where the system kills it: another may have the memory
                os._exit(NO_MEMORY)
            text = traceback.format_exc()
            try:
                packed = pickle.dumps(error)
                pickle.loads(packed)
            except Exception:  # one that cannot travel: its text does
                packed = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
            return "failed", (packed, text)


@dataclass(eq=False)
class Local:
    """A worker of this machine, and the end of the pipe to it; `ready` once it has nothing to do."""

    process: SpawnProcess
    pipe: Connection
    ready: bool = False
    told: bytes | None = None  # the task that it has


class LocalCrew:
    """Processes of this machine, each started afresh (`spawn`), so that none inherits threads, files or a GPU's state.

    Not concurrent.futures and not loky: with either, one dead worker takes the blocks of all others with it.

    most : how many at most; `grow` starts them. gpus : of this machine; the workers take them in turns. 0: the CPU's
    cores.
    """

    def __init__(self, most: int, gpus: int) -> None:
        self.most = most
        self._gpus = (os.environ.get(VISIBLE) or ",".join(map(str, range(gpus)))).split(",") if gpus else []
        self._workers: dict[int, Local] = {}  # by place

    @property
    def size(self) -> int:
        """How many have been started; who has died is replaced."""
        return len(self._workers)

    def grow(self, size: int) -> None:
        """Start as many as that, but no more than `most`, where there are fewer."""
        for place in range(self.size, min(size, self.most)):
            self._start(place)

    @property
    def alive(self) -> int:
        return sum(worker.process.is_alive() for worker in self._workers.values())

    def _start(self, place: int) -> None:
        here, there = get_context("spawn").Pipe()
        changed = dict(ENVIRONMENT)
        if self._gpus:
            changed[VISIBLE] = self._gpus[place % len(self._gpus)]
        process = get_context("spawn").Process(target=_work, args=(there,), daemon=True, name=f"worker {place}")
        with _environment(changed), _deaf():
            process.start()
        there.close()
        self._workers[place] = Local(process, here)

    def idle(self) -> list[Local]:
        """Those that have nothing to do."""
        return [worker for worker in self._workers.values() if worker.ready]

    def give(self, worker: Local, name: str, task: bytes, block: bytes) -> None:
        """Let an idle worker do a block; a task travels to each once. One that has died tells by its event."""
        worker.ready = False
        try:
            if worker.told is not task:
                worker.pipe.send_bytes(b"t" + task)
                worker.told = task
            worker.pipe.send_bytes(b"b" + block)
        except OSError:
            pass

    def events(self, seconds: float) -> Iterator[Event]:
        """What has happened; waits for it at most so long. A worker that has died is replaced."""
        places = {worker.pipe: place for place, worker in self._workers.items()}
        for pipe in wait(list(places), seconds):
            assert isinstance(pipe, Connection)
            worker = self._workers[places[pipe]]
            try:
                kind, value = pickle.loads(pipe.recv_bytes())
            except (EOFError, OSError):
                worker.process.join()
                pipe.close()
                self._start(places[pipe])
                yield worker, "died", _ending(worker.process.exitcode)
                continue
            worker.ready = kind != "advance"
            yield worker, kind, value

    def close(self) -> None:
        """End them all: who has nothing to do leaves when the pipe is closed, others are killed."""
        for worker in self._workers.values():
            worker.pipe.close()
            if not worker.ready:
                worker.process.kill()
        for worker in self._workers.values():
            worker.process.join(GRACE)
            worker.process.kill()
            worker.process.join()
        self._workers.clear()


def _is_out_of_memory(error: Exception) -> bool:
    """Python's, a GPU's or PyTorch's on a CPU, which is a RuntimeError like others."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)
    )


def _ending(code: int | None) -> str:
    if code == NO_MEMORY:
        return "out of memory"
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (", as where memory runs out" if name == "SIGKILL" else "")
    return f"exit code {code}"


def _work(pipe: Connection) -> None:
    """The life of a local worker."""
    end_with_parent()
    hand, task = Hand(), b""

    def tell(kind: str, value: Any) -> None:
        pipe.send_bytes(pickle.dumps((kind, value), pickle.HIGHEST_PROTOCOL))

    tell("ready", None)
    while True:
        try:
            message = pipe.recv_bytes()
        except EOFError:  # the driver is done
            return
        if message[:1] == b"t":
            task = message[1:]
        else:
            tell(*hand.run(task, message[1:], lambda *numbers: tell("advance", numbers)))


@contextmanager
def _deaf() -> Iterator[None]:
    """What is started inside the block never hears Ctrl-C, which reaches all of a terminal: its driver ends it.

    From the first moment on: importing takes seconds. This process hears it after the block.
    """
    resource_tracker.ensure_running()  # where it starts a process of its own, it listens again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment(changed: dict[str, str]) -> Iterator[None]:
    """Inside the block, what a process that is started finds in its environment."""
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
