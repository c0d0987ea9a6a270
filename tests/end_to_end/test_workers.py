"""Whoever does the blocks, and whatever happens to them, the bytes are the same.

`ROUNDS` of each fault, one if it is not set. The cluster's tests are left out where Ray is not installed
(requirements-ray.txt, which `make test-slow` installs).
"""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.conftest import Finished
from tests.root import ROOT
from tests.tree import Tree

pytestmark = pytest.mark.slow
ROUNDS = int(os.environ.get("ROUNDS", "1"))
STAGES = (
    "choose_steps tiny", "minimal tiny", "extended tiny", "attack tiny ddn", "sizes tiny",
    "learn tiny dropout_ensemble", "evaluate tiny dropout_ensemble", "attack_defense tiny dropout_ensemble",
    "replicates tiny", "metrics tiny",
)  # fmt: skip
SET = "data/adversarial/tiny/minimal.h5"


def stages(rows: int, seconds: float, *words: str) -> list[str]:
    return [sys.executable, "-m", "tests.small_blocks", str(rows), str(seconds), *words]


def sums(tree: Tree) -> dict[str, str]:
    """Of all that stages have written."""
    paths = [path for path in (tree.folder / "data").rglob("*") if path.is_file()]
    return {path.as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def digest(tree: Tree) -> str:
    return hashlib.sha256((tree.folder / SET).read_bytes()).hexdigest()


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


def address(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture(scope="module")
def expected(tree: Tree) -> str:
    """The minimal set as one process makes it, in blocks of 90 rows."""
    tree.run(*stages(90, 0, "minimal", "tiny"), PYTHONPATH=str(ROOT))
    return digest(tree)


def test_this_process_workers_and_a_cluster_give_the_same_bytes(finished: Finished, tmp_path: Path) -> None:
    tree = finished.tree.copied(tmp_path / "tree")
    tree.run(*stages(90, 0, *" -- ".join(STAGES).split()), PYTHONPATH=str(ROOT))
    alone = sums(tree)
    tree.run(*stages(90, 0, *" -- ".join(STAGES).split()), PYTHONPATH=str(ROOT), WORKERS="2")
    assert sums(tree) == alone
    with cluster() as nodes:
        tree.run(*stages(90, 0, *" -- ".join(STAGES).split()), PYTHONPATH=str(ROOT), RAY_ADDRESS=address(nodes))
    assert sums(tree) == alone


def test_killed_workers_blocks_alone_are_done_again(tree: Tree, expected: str) -> None:
    for number in range(ROUNDS):
        (tree.folder / SET).unlink()
        process = start(tree, stages(90, 0.5, "minimal", "tiny"), WORKERS="2")
        killed = 0
        chosen = random.Random(number)
        while process.poll() is None:
            time.sleep(0.7)
            found = workers(process.pid)
            if len(found) == 2 and killed < 3:
                chosen.choice(found).kill()
                killed += 1
        said = process.communicate()[1]
        assert process.returncode == 0, said
        assert killed
        assert digest(tree) == expected


def test_a_node_that_is_lost_costs_its_blocks(tree: Tree, expected: str) -> None:
    (tree.folder / SET).unlink()
    with cluster() as nodes:
        process = start(tree, stages(90, 0.5, "minimal", "tiny"), RAY_ADDRESS=address(nodes))
        while not list(tree.folder.glob(".work/*/00003.safetensors")):
            assert process.poll() is None
            time.sleep(0.1)
        assert nodes.stdin is not None
        nodes.stdin.write("\n")
        nodes.stdin.flush()
        said = process.communicate(timeout=120)[1]
    assert process.returncode == 0, said
    assert digest(tree) == expected


def test_two_runs_at_once_and_spoiled_shards(tree: Tree, expected: str) -> None:
    for number in range(ROUNDS):
        (tree.folder / SET).unlink()
        command = stages(90, 0.05, "minimal", "tiny")
        first = start(tree, command)
        while len(list(tree.folder.glob(".work/*/*.safetensors"))) < 4:
            assert first.poll() is None
            time.sleep(0.02)
        first.kill()
        first.communicate()
        shards = sorted(tree.folder.glob(".work/*/*.safetensors"))
        content = [path.read_bytes() for path in shards]
        place = random.Random(number).randrange(200, len(content[1]) - 1)
        shards[0].write_bytes(content[0][: len(content[0]) // 2])
        shards[1].write_bytes(content[1][:place] + bytes([content[1][place] ^ 1]) + content[1][place + 1 :])
        shards[2].write_bytes(content[3])
        both = [start(tree, command), start(tree, command, WORKERS="2")]
        said = [process.communicate(timeout=120)[1] for process in both]
        assert [process.returncode for process in both] == [0, 0], said
        assert sum("waiting for process" in text for text in said) == 1
        assert digest(tree) == expected
        assert not list(tree.folder.rglob("*.part"))


def test_a_stage_ends_with_dvc(finished: Finished, tmp_path: Path) -> None:
    tree = finished.tree.copied(tmp_path / "tree")
    before = tree.hashes()
    weights = tree.folder / "data/defenses/tiny/adversarial_training.safetensors"
    command = [sys.executable, "-m", "dvc", "repro", "--force", "--single-item"]
    for _ in range(ROUNDS):
        process = start(tree, [*command, tree.target("learn@adversarial_training")])
        while weights.exists() or not (children := psutil.Process(process.pid).children(recursive=True)):
            time.sleep(0.01)
            assert process.poll() is None, "it finished before it could be killed"
        time.sleep(0.5)
        process.send_signal(signal.SIGKILL)  # alone: its stage is not told
        process.communicate()
        _, alive = psutil.wait_procs(children, timeout=20)
        assert not alive
        tree.repro()
        assert tree.hashes() == before
    shutil.rmtree(tree.folder / ".work", ignore_errors=True)
