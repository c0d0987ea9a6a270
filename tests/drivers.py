"""Stages as processes that tests watch, kill and start again; their workers; a Ray cluster of two nodes."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.root import ROOT
from tests.tree import Tree

PARAMS = "studies/tiny/params.yaml"
# Of adversarial training's block: one that takes so long that it is met at its work.
SHORT, LONG = "epochs: 2\n    predict: {}", "epochs: 1000\n    predict: {}"

LEARNING = ".work/learn-tiny-adversarial_training.lock"  # there while it is trained


def wait_for(path: Path, process: "subprocess.Popen[Any]") -> None:
    """Until a file is there, of a process that still runs."""
    while not path.exists():
        time.sleep(0.01)
        assert process.poll() is None, "it finished before it could be killed"


def stages(rows: int, seconds: float, *words: str) -> list[str]:
    """The command that runs them in blocks of so many rows, each at least so long."""
    return [sys.executable, "-m", "tests.small_blocks", str(rows), str(seconds), *words]


def start(tree: Tree, command: list[str], **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command, cwd=tree.folder, env=tree.environment(PYTHONPATH=str(ROOT), **environment), text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def workers(driver: int) -> list[psutil.Process]:
    """Of a driver, those that live."""
    found: list[psutil.Process] = []
    with suppress(psutil.Error):  # the driver has just ended
        for child in psutil.Process(driver).children():
            with suppress(psutil.Error):  # one that has just died
                if "spawn_main" in " ".join(child.cmdline()):
                    found.append(child)
    return found


@contextmanager
def cluster() -> Iterator["subprocess.Popen[str]"]:
    """A Ray cluster of two nodes; its address is the first line that it says."""
    pytest.importorskip("ray")
    command = [sys.executable, "-m", "tests.ray_cluster"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.communicate(timeout=60)


def said(process: "subprocess.Popen[str]") -> str:
    """The next line of a cluster: its address, or that it has replaced a node."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def replace_a_node(process: "subprocess.Popen[str]") -> None:
    """Kill the second node of a cluster; another takes its place."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
