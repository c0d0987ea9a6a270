"""Killed in between, it goes on with the same bytes; training and choosing never see the test split."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from pipeline.params import read_yaml
from tests.drivers import LEARNING, LONG, PARAMS, SHORT, start, wait_for
from tests.end_to_end.conftest import Finished
from tests.root import ROOT
from tests.tree import Tree

pytestmark = pytest.mark.slow


def test_killed_while_generating_it_goes_on_and_gives_the_same_bytes(tree: Tree) -> None:
    path = tree.folder / "data/adversarial/tiny/minimal.h5"
    command = [sys.executable, "-m", "tests.small_blocks", "90", "0.5", "minimal", "tiny"]
    path.unlink()
    tree.run(*command, PYTHONPATH=str(ROOT))
    expected = path.read_bytes()
    path.unlink()
    shutil.rmtree(tree.folder / ".work", ignore_errors=True)
    process = subprocess.Popen(
        command, cwd=tree.folder, stderr=subprocess.DEVNULL, env=tree.environment(PYTHONPATH=str(ROOT)),
        start_new_session=True,
    )  # fmt: skip
    while not list(tree.folder.glob(".work/*/00001.safetensors")):
        time.sleep(0.005)
        assert process.poll() is None, "it finished before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not path.exists()
    done = tree.start(*command, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    assert "of 10 blocks were there from an interrupted run" in done.stdout + done.stderr
    assert path.read_bytes() == expected


def test_killed_while_learning_the_pipeline_finishes_with_the_same_bytes(finished: Finished, tmp_path: Path) -> None:
    tree = finished.tree.copied(tmp_path / "tree")
    expected = tree.hashes()
    weights = tree.folder / "data/defenses/tiny/adversarial_training.safetensors"
    tree.edit(PARAMS, SHORT, LONG)
    command = [sys.executable, "-m", "dvc", "repro", "--force", "--single-item"]
    process = subprocess.Popen(
        [*command, tree.target("learn@adversarial_training")], cwd=tree.folder, env=tree.environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    wait_for(tree.folder / LEARNING, process)
    time.sleep(1)
    assert process.poll() is None, "it finished before it could be killed"
    assert (tree.folder / LEARNING).exists(), "the stage ended by itself"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not weights.exists()
    tree.edit(PARAMS, LONG, SHORT)
    tree.repro()
    assert tree.hashes() == expected
    assert tree.repro() == set()


def test_killed_while_attacking_a_family_it_goes_on_with_the_next_defense(finished: Finished, tmp_path: Path) -> None:
    tree = finished.tree.copied(tmp_path / "tree")
    expected, there = tree.hashes(), set(tree.folder.glob(".work/*/*.safetensors"))
    command = [sys.executable, "-m", "pipeline.stages.attack_defense", "tiny", "dropout_ensemble"]
    process = start(tree, command)
    while not set(tree.folder.glob(".work/*/00000.safetensors")) - there:
        time.sleep(0.01)
        assert process.poll() is None, "it finished before it could be killed"
    process.kill()
    process.communicate()
    again = start(tree, command)
    said = again.communicate(timeout=300)[1]
    assert again.returncode == 0, said
    assert "attack gaussian_noise_ensemble" in said
    assert "attack dropout_ensemble" not in said
    assert tree.hashes() == expected
    assert set(tree.folder.glob(".work/*/*.safetensors")) == there


def spoil(tree: Tree) -> None:
    """Replace all of the test split by noise, in the images and in the sets."""
    random = np.random.default_rng(0)
    for name in ("adversarial/tiny/minimal.h5", "adversarial/tiny/extended.h5", "images/tiny.h5"):
        path = tree.folder / "data" / name
        whole = path.read_bytes()
        path.unlink()  # it may be linked into the cache
        path.write_bytes(whole)
        with h5py.File(path, "r+") as file:
            if name.startswith("images"):
                file["test/images"][:] = random.integers(0, 256, file["test/images"].shape)
                file["test/labels"][:] = random.integers(0, 10, file["test/labels"].shape)
                continue
            test = file["source_split"][:] == 1
            assert 0 < test.sum() < len(test)
            file["originals"][test] = random.integers(0, 256, (test.sum(), 1, 8, 8))
            file["source_index"][test] = random.permutation(test.sum())
            rows = test[file["original_row"][:]]
            file["images"][rows] = random.uniform(size=(rows.sum(), 1, 8, 8))
            file["is_adversarial"][rows] = True
            file["steps"][rows] = random.integers(0, 9, rows.sum())
            file["margin"][rows] = random.normal(size=rows.sum())
            labels = random.integers(0, 10, rows.sum())
            file["labels"][rows] = labels
            file["target_labels"][rows] = (labels + 1) % 10


def learned(tree: Tree) -> dict[str, bytes]:
    """Whatever was trained or chosen, by path; of learning curves without what says how the test split does."""
    folders = ("classifiers", "calibrations", "defenses", "learning", "curves")
    data = tree.folder / "data"
    found = {}
    for path in sorted(path for folder in folders for path in (data / folder).rglob("*") if path.is_file()):
        found[path.relative_to(data).as_posix()] = path.read_bytes()
        if path.name in ("gac_vanilla.csv", "mean_curves.csv"):
            table = pd.read_csv(path)
            if "split" in table:
                table = table[~table["split"].str.endswith("test")]
            shown = table[[name for name in table if not name.endswith("_test")]]
            assert 0 < shown.size < pd.read_csv(path).size
            found[path.relative_to(data).as_posix()] = shown.to_csv().encode()
    return found


def small_families() -> dict[str, Any]:
    """The demo's other families, shortened."""
    families = read_yaml(ROOT / "studies/demo/params.yaml")["defenses"]
    autoencoder, gac = families["autoencoder_ensemble"], families["gac_vanilla"]
    autoencoder["learn"]["training"]["epochs"] = autoencoder["learn"]["trials"]["epochs"] = 1
    autoencoder["learn"]["trials"]["originals"] = 10
    gac["learn"]["training"]["epochs"] = gac["learn"]["trial_epochs"] = 2
    return {"autoencoder_ensemble": autoencoder, "gac_vanilla": gac}


def test_nothing_of_the_test_split_is_seen_in_training_or_choosing(finished: Finished, tmp_path: Path) -> None:
    found = []
    for name in ("clean", "spoiled"):
        tree = finished.tree.copied(tmp_path / name)
        tree.change(lambda params: params["defenses"].update(small_families()))
        if name == "spoiled":
            spoil(tree)
        for folder in ("defenses", "learning"):
            shutil.rmtree(tree.folder / "data" / folder)
        for stage in ("train_classifier", "choose_steps"):
            tree.stage(stage)
        for family in tree.params()["defenses"]:
            tree.stage("learn", family)
        found.append(learned(tree))
    assert len(found[0]) > 15
    assert "defenses/tiny/gac_vanilla.safetensors" in found[0]
    assert found[0].keys() == found[1].keys()
    assert [path for path in found[0] if found[0][path] != found[1][path]] == []
