"""Whatever is killed, lost or spoiled on the way, the bytes are the same.

A round of each fault on the tiny study's 900 images. More rounds, on 9,000, added to the record of
benchmarks/README.md:

    export FAULTS=benchmarks/results/faults.json
    ROUNDS=20 IMAGES=9000 python -m pytest tests/end_to_end/test_faults.py -k again
    ROUNDS=20 IMAGES=9000 python -m pytest tests/end_to_end/test_faults.py -k node
    ROUNDS=50 python -m pytest tests/end_to_end/test_faults.py -k two_runs
"""

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.drivers import LEARNING, LONG, PARAMS, SHORT, cluster, replace_a_node, said, stages, start, wait_for, workers
from tests.end_to_end.conftest import Finished
from tests.root import ROOT
from tests.tree import Tree

pytestmark = pytest.mark.slow
ROUNDS, IMAGES = int(os.environ.get("ROUNDS", "1")), int(os.environ.get("IMAGES", "900"))
RECORD = Path(os.environ["FAULTS"]).resolve() if "FAULTS" in os.environ else None
SET = "data/adversarial/tiny/minimal.h5"
ROWS = 90  # of a block
BLOCKS = IMAGES // ROWS
LEAST = max(0.2, 5 / BLOCKS)  # seconds that a block takes: a stage must not end before what is to befall it


def recorded() -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = json.loads(RECORD.read_text()) if RECORD and RECORD.is_file() else {}
    return found


def rounds(fault: str) -> Iterator[random.Random]:
    """What each draws its chances from: numbers that no recorded round has had."""
    first = recorded().get(fault, {}).get("rounds", 0)
    yield from (random.Random(first + number) for number in range(ROUNDS))


def note(fault: str, **counts: int) -> None:
    """A round has ended well: add to the record what happened in it."""
    if RECORD:
        found = recorded()
        before = found.setdefault(fault, {})
        for name, count in {"rounds": 1, "images": IMAGES, **counts}.items():
            before[name] = before.get(name, 0) + count
        RECORD.write_text(json.dumps(found, indent=1) + "\n")


def digest(tree: Tree) -> str:
    return hashlib.sha256((tree.folder / SET).read_bytes()).hexdigest()


class Tries:
    """Each try of a block of a stage, as a file of the folder that `slowly` of tests/tasks.py leaves it in."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.folder, self.environment = folder, {"TRIES": str(folder)}

    def count(self) -> int:
        return len(list(self.folder.iterdir()))

    def again(self) -> int:
        """How many blocks were begun again; all must have been begun once."""
        tried = [path.name.partition("-")[0] for path in self.folder.iterdir()]
        assert len(set(tried)) == BLOCKS
        return len(tried) - BLOCKS


@pytest.fixture(scope="module")
def expected(tree: Tree) -> str:
    """The minimal set as one process makes it, in blocks of ROWS rows."""
    if IMAGES != 900:
        tree.change(lambda params: params["sources"].update(train=IMAGES // 9 - 200, test=200))
    tree.run(*stages(ROWS, 0, "minimal", "tiny"), PYTHONPATH=str(ROOT))
    return digest(tree)


def test_killed_workers_blocks_alone_are_done_again(tree: Tree, expected: str, tmp_path: Path) -> None:
    """One of two, again and again: each after some further blocks were begun."""
    for chances in rounds("killed workers"):
        (tree.folder / SET).unlink()
        tries = Tries(tmp_path / "tries")
        process = start(tree, stages(ROWS, LEAST, "minimal", "tiny"), WORKERS="2", **tries.environment)
        killed, begun = 0, chances.randint(1, 3)
        while process.poll() is None:
            time.sleep(0.02)
            if tries.count() >= begun and (found := workers(process.pid)):
                chances.choice(found).kill()
                killed += 1
                begun = tries.count() + chances.randint(3, max(4, BLOCKS // 3))
        text = process.communicate()[1]
        assert process.returncode == 0, text
        assert digest(tree) == expected
        assert tries.again() <= killed > 0
        note("killed workers", killed=killed, again=tries.again())


def test_a_node_that_is_lost_costs_its_block(tree: Tree, expected: str, tmp_path: Path) -> None:
    with cluster() as nodes:
        address = said(nodes)
        for chances in rounds("lost node"):
            (tree.folder / SET).unlink()
            tries = Tries(tmp_path / "tries")
            command = stages(ROWS, LEAST, "minimal", "tiny")
            process = start(tree, command, RAY_ADDRESS=address, **tries.environment)
            begun = chances.randrange(3, 2 * BLOCKS // 3)
            while tries.count() < begun:
                assert process.poll() is None
                time.sleep(0.05)
            replace_a_node(nodes)
            text = process.communicate(timeout=300)[1]
            assert process.returncode == 0, text
            assert said(nodes) == "replaced"
            assert digest(tree) == expected
            assert tries.again() <= 1  # a worker a node
            note("lost node", killed=1, again=tries.again())


def test_two_runs_at_once_after_dvc_was_killed_and_shards_spoiled(tree: Tree, expected: str) -> None:
    """DVC killed alone, shards of its stage truncated, flipped and foreign, DVC again and the stage beside it."""
    plain = "cmd: python -m pipeline.stages.minimal ${study}"
    slow = f"cmd: python -m tests.small_blocks {ROWS} {LEAST} minimal ${{study}}"
    for path in ("studies/pipeline.yaml", "studies/tiny/dvc.yaml"):
        tree.edit(path, plain, slow)
    repro = [sys.executable, "-m", "dvc", "repro", "--force", "--single-item", tree.target("minimal")]
    kept = set(tree.folder.glob(".work/*/*.safetensors"))  # finished replicates
    for chances in rounds("two runs"):
        first = start(tree, repro, WORKERS=chances.choice("12"), SHELL=chances.choice(["/bin/bash", "/bin/sh"]))
        while len(shards := sorted({*tree.folder.glob(".work/*/*.safetensors")} - kept)) < 4:
            assert first.poll() is None
            time.sleep(0.02)
        stage = psutil.Process(first.pid).children(recursive=True)
        first.kill()
        first.communicate()
        assert not psutil.wait_procs(stage, timeout=20)[1]
        assert not (tree.folder / SET).exists()
        content = [path.read_bytes() for path in shards]
        place = chances.randrange(200, len(content[1]) - 1)
        shards[0].write_bytes(content[0][: chances.randrange(len(content[0]))])
        shards[1].write_bytes(content[1][:place] + bytes([content[1][place] ^ 1]) + content[1][place + 1 :])
        shards[2].write_bytes(content[3])
        alone = stages(ROWS, 0.05, "minimal", "tiny")
        both = [start(tree, repro), start(tree, alone, WORKERS="2")]
        texts = [process.communicate(timeout=300)[1] for process in both]
        assert [process.returncode for process in both] == [0, 0], texts
        waited = sum("waiting for process" in text for text in texts)
        assert digest(tree) == expected
        assert {*tree.folder.rglob("*.part"), *tree.folder.glob(".work/*/*.safetensors")} <= kept
        note("two runs", killed=1, spoiled=3, waited=waited)
    for path in ("studies/pipeline.yaml", "studies/tiny/dvc.yaml"):
        tree.edit(path, slow, plain)


@pytest.mark.parametrize("stage", ["learn", "evaluate", "attack_defense"])
def test_a_second_run_takes_no_folder_away_that_dvc_reads(finished: Finished, tmp_path: Path, stage: str) -> None:
    """It waits for the first one, and ends while DVC keeps what that has made."""
    tree, key = finished.tree.copied(tmp_path / "tree"), "dropout_ensemble"
    before = tree.hashes()
    repro = [sys.executable, "-m", "dvc", "repro", "--force", "--single-item", tree.target(f"{stage}@{key}")]
    alone = [sys.executable, "-m", f"pipeline.stages.{stage}", "tiny", key]
    first = start(tree, repro)
    wait_for(tree.folder / f".work/{stage}-tiny-{key}.lock", first)
    held = psutil.Process(first.pid).children(recursive=True)
    for process in held:
        process.suspend()
    second = start(tree, alone)
    assert second.stderr is not None
    assert second.stderr.readline().startswith("waiting for process")
    for process in held:
        process.resume()
    texts = [process.communicate(timeout=300)[1] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], texts
    assert tree.hashes() == before
    assert tree.repro() == set()


def test_a_stage_ends_with_dvc(finished: Finished, tmp_path: Path) -> None:
    """One that keeps no shards as it goes: it begins anew."""
    tree = finished.tree.copied(tmp_path / "tree")
    before = tree.hashes()
    weights = tree.folder / "data/defenses/tiny/adversarial_training.safetensors"
    command = [sys.executable, "-m", "dvc", "repro", "--force", "--single-item"]
    tree.edit(PARAMS, SHORT, LONG)
    process = start(tree, [*command, tree.target("learn@adversarial_training")], SHELL="/bin/sh")  # may stay beside it
    wait_for(tree.folder / LEARNING, process)
    time.sleep(0.5)
    assert (tree.folder / LEARNING).exists(), "the stage ended by itself"
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)  # alone: its stage is not told
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    assert not weights.exists()
    tree.edit(PARAMS, LONG, SHORT)
    tree.repro()
    assert tree.hashes() == before
