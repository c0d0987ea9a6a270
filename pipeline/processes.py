"""A process that does not outlive who started it."""

import os
import threading
import time
from collections.abc import Callable

LOOK_EVERY = 0.5  # seconds
last_words: list[Callable[[], object]] = []  # called by a process that ends with another, before it does


def end_with_parent() -> None:
    """From now on this process ends as soon as its parent has ended, however that was; a thread looks for it."""
    parent = os.getppid()
    _end_when(lambda: os.getppid() != parent)


def end_with_dvc() -> None:
    """The same of a stage and the DVC that runs it: its parent, or the parent of a shell between them.

    DVC runs a command in $SHELL: some shells become the command, others (dash) stay beside it and outlive DVC.
    """
    import psutil  # here: workers need none

    shell = psutil.Process().parent()
    if shell is None or not shell.name().endswith("sh"):
        end_with_parent()
        return
    dvc = shell.ppid()

    def over() -> bool:
        try:
            return bool(shell.ppid() != dvc)
        except psutil.NoSuchProcess:
            return True

    _end_when(over)


def _end_when(over: Callable[[], bool]) -> None:
    def watch() -> None:
        while not over():
            time.sleep(LOOK_EVERY)
        try:
            for say in last_words:
                say()
        finally:
            os._exit(1)  # nothing is tidied up: what is half written is a part, and the next run deletes it

    threading.Thread(target=watch, daemon=True, name="end with parent").start()
