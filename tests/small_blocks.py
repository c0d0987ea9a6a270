"""Stages with small blocks that take their time: `python -m tests.small_blocks <rows> <seconds> <stage> <word>...`

A stage with its words, then `--` and another one. So that a stage of the tiny study has several blocks, and an
interrupted one some to keep. Where TRIES names a folder, each try of a block leaves a file there.
"""

import dataclasses
import functools
import os
import runpy
import sys
from collections.abc import Callable
from itertools import groupby
from typing import Any

from pipeline import devices
from pipeline.artifacts import judging, shards
from tests.tasks import slowly

if __name__ == "__main__":
    rows, seconds, *words = sys.argv[1:]
    # The batch stays what it is in workers, which know nothing of this.
    devices.TABLE["cpu"] = dataclasses.replace(devices.TABLE["cpu"], block=int(rows))
    judging.BATCHES = 1
    fill = shards.ShardStore.fill

    def fill_slowly(store: shards.ShardStore, count: int, task: Callable[..., Any], *rest: Any, **more: Any) -> int:
        slow = functools.partial(slowly, task, float(seconds), os.environ.get("TRIES", ""))
        return fill(store, count, slow, *rest, **more)

    shards.ShardStore.fill = fill_slowly  # type: ignore[method-assign]
    for between, stage in groupby(words, "--".__eq__):
        if not between:
            sys.argv = list(stage)
            runpy.run_module(f"pipeline.stages.{sys.argv[0]}", run_name="__main__")
