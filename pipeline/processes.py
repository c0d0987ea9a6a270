"""A process that does not outlive who started it."""

import os
import threading
import time

LOOK_EVERY = 0.5  # seconds


def end_with_parent() -> None:
    """From now on this process ends as soon as its parent has ended, however that was; a thread looks for it."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_EVERY)
        os._exit(1)  # nothing is tidied up: what is half written is a part, and the next run deletes it

    threading.Thread(target=watch, daemon=True, name="end with parent").start()
