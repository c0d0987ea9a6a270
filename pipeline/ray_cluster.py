"""The connection to a Ray cluster (https://docs.ray.io), and whether its head still answers.

The package travels with the job; Python, torch and what else requirements.txt lists is installed on each node. No node
needs the driver's disk.
"""

import logging
import math
import os
import shutil
import socket
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.errors import PipelineError
from pipeline.registry import own_folders, own_sources
from pipeline.workers import ENVIRONMENT, VISIBLE

PATIENCE = 30.0  # seconds for a cluster to answer
SILENCE = 20.0  # seconds without an answer of a head that has answered before
INSTALL = "pip install -r requirements-ray.txt"


class Head:
    """The head of a cluster, `called` in messages, at host:port; it has answered once."""

    def __init__(self, called: str, address: str) -> None:
        self._called, self._address = called, address
        self._asked, self._silent_since = time.monotonic(), math.inf

    def listen(self) -> None:
        """Raise PipelineError if it has been silent for SILENCE; after a minute Ray ends the process itself."""
        now = time.monotonic()
        if now - self._asked < SILENCE / 4:
            return
        self._asked = now
        try:
            _call(self._address, SILENCE / 4)
            self._silent_since = math.inf
        except OSError:  # once is nothing, however long ago it was asked before
            self._silent_since = min(self._silent_since, now)
            if now - self._silent_since >= SILENCE:
                silent = f"{now - self._silent_since:.0f} s"
                raise PipelineError(
                    f"RAY_ADDRESS {self._called}: the cluster's head has not answered for {silent}: start the cluster "
                    "again, then the same command"
                ) from None


def connect(address: str, gpu: bool) -> Any:
    """Ray, connected to the cluster at `address`, which is `auto` or host:port."""
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError:
        raise PipelineError(f"RAY_ADDRESS is set, and the package ray is not installed: {INSTALL}") from None
    if address != "auto":
        try:
            _call(address, PATIENCE)
        except (OSError, UnicodeError) as error:  # no name of a host is an error of its encoding
            reason = getattr(error, "strerror", None) or error
            raise PipelineError(f"RAY_ADDRESS {address}: no answer: {reason}") from None
    environment = {**ENVIRONMENT, **({} if gpu else {VISIBLE: ""})}
    # The package, and of the study's own folder each file and package.
    modules = [str(Path(__file__).parent), *sorted({str(Path(*path.parts[:3])) for path in own_sources()})]
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    outcome: list[BaseException | None] = []

    def connect(folder: str) -> None:
        try:
            ray.init(
                address=address,
                runtime_env={
                    "working_dir": folder,
                    "py_modules": modules,
                    "env_vars": environment,
                    "excludes": ["__pycache__"],
                },
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
            outcome.append(None)
        except BaseException as error:  # also SystemExit: Ray's way of giving up
            outcome.append(error)

    # In a thread: whoever answers and is no Ray is waited for without end.
    with TemporaryDirectory() as folder:
        _copy_own(Path(folder))
        thread = threading.Thread(target=connect, args=(folder,), daemon=True)
        thread.start()
        thread.join(PATIENCE)
    if not outcome or outcome[0] is not None:
        reason = in_words(outcome[0]) if outcome and outcome[0] else f"no answer of a Ray cluster in {PATIENCE:.0f} s"
        raise PipelineError(f"RAY_ADDRESS {address}: {reason}")
    return ray


def _call(address: str, seconds: float) -> None:
    """Open a connection to host:port and close it again; an OSError if nobody answers in so many seconds."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), seconds).close()


def _copy_own(folder: Path) -> None:
    """Into a worker's working directory: of the study's own folder, by the path that it has here, code and params."""
    for path in [*own_sources(), *(own / "params.yaml" for own in own_folders())]:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / path)


def in_words(error: BaseException) -> str:
    """An error of Ray's in one line."""
    return " ".join(str(error).split())[:500] or type(error).__name__
