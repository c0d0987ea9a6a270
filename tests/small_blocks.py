"""A stage with small blocks that take their time: `python -m tests.small_blocks <rows> <seconds> <stage> <word>...`

So that a stage of the tiny study has several, and an interrupted one some to keep.
"""

import dataclasses
import functools
import runpy
import sys
from collections.abc import Callable
from typing import Any

from pipeline import devices
from pipeline.artifacts import judging, shards
from tests.tasks import slowly

if __name__ == "__main__":
    rows, seconds, *words = sys.argv[1:]
    devices.TABLE["cpu"] = dataclasses.replace(devices.TABLE["cpu"], block=int(rows))
    judging.BATCHES = 1
    fill = shards.ShardStore.fill

    def fill_slowly(store: shards.ShardStore, count: int, task: Callable[..., Any], *rest: Any) -> int:
        return fill(store, count, functools.partial(slowly, task, float(seconds)), *rest)

    shards.ShardStore.fill = fill_slowly  # type: ignore[method-assign]
    sys.argv = words
    runpy.run_module(f"pipeline.stages.{words[0]}", run_name="__main__")
