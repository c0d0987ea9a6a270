"""`dvc repro` on digits: what it makes, and that it makes it again."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from pipeline.artifacts.defenses import load_autoencoder
from ruamel.yaml import YAML

from pipeline.perturbation_stats import PerturbationStats
from tests.tree import Tree


def test_report_is_whole_and_offline(tree: Tree) -> None:
    page = (tree.folder / "reports/digits.html").read_text()
    for words in ("Table 1", "Figure 1", "Figure 2", "Figure 3", "Figure 4", "scikit-learn"):
        assert words in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    metrics = json.loads((tree.folder / "reports/metrics/digits.json").read_text())
    assert metrics["attacks"]["minimal"]["examples"] == 70 * 9
    assert metrics["attacks"]["minimal"]["success_rate"]["value"] >= 0.999


def test_artifacts_keep_the_contract(tree: Tree) -> None:
    """Names, types and keys as data/README.md and the project's guides fix them, on a real run's files."""
    data = tree.folder / "data"
    with h5py.File(data / "images/digits.h5") as file:
        assert {"schema", "schema_version", "dataset", "class_names", "source", "source_checksum"} == set(file.attrs)
        for split in ("train", "test"):
            assert file[f"{split}/images"].dtype == file[f"{split}/labels"].dtype == "uint8"
    for attack in ("minimal", "extended"):
        with h5py.File(data / f"adversarial/digits/{attack}.h5") as file:
            assert {name: str(file[name].dtype) for name in file} == {
                "images": "float32", "originals": "uint8", "original_row": "int32", "source_split": "uint8",
                "source_index": "int32", "labels": "uint8", "target_labels": "uint8", "is_adversarial": "bool",
                "steps": "int16", "margin": "float32",
            }  # fmt: skip
            originals = file["originals"][:][file["original_row"][:]].astype("float32") / 255
            l2 = np.sqrt(((file["images"][:] - originals) ** 2).sum((1, 2, 3)))
            assert (file["is_adversarial"][:] == (file["margin"][:] > 0)).all()
        examples = pd.read_parquet(data / f"perturbations/digits/{attack}/examples.parquet")
        np.testing.assert_allclose(examples["l2"], l2, rtol=1e-4)
        np.testing.assert_allclose(examples["sensitivity"], examples["forward_error"] / examples["backward_error"])
        assert {
            "row", "label", "target_label", "source_split", "is_adversarial", "steps", "margin", "pixel_mean",
            "pixel_std", "pixel_min", "pixel_max", "l0", "l1", "l2", "linf", "forward_error", "backward_error",
            "sensitivity",
        } <= set(examples)  # fmt: skip
        pairs = pd.read_parquet(data / f"perturbations/digits/{attack}/pairs.parquet")
        assert len(pairs) == 90
        assert {f"{q}_{s}" for q in ("pixel", "l1", "l2", "linf") for s in ("mean", "std", "min", "max")} <= set(pairs)
        assert (pairs["count"] == 7).all()
        pixels = pd.read_parquet(data / f"perturbations/digits/{attack}/pixels.parquet")
        assert pixels["count"].sum() == examples["is_adversarial"].sum() * 64
    evaluation = pd.read_parquet(data / "evaluations/digits/dropout_ensemble.parquet")
    assert {
        "attack", "setting", "row", "label", "target_label", "predicted", "thwarted", "recovered", "passes", "votes",
        "vote_variance", "score_variance", "predictive_entropy", "mutual_information",
    } <= set(evaluation)  # fmt: skip
    assert evaluation["votes"].map(sum).eq(evaluation["passes"]).all()
    assert evaluation.loc[evaluation["attack"] == "clean", "target_label"].isna().all()
    for model in (
        "classifier",
        "autoencoder_ensemble",
        "autoencoder_ensemble_tuned",
        "gac_dcgan",
        "adversarial_training",
    ):
        curves = pd.read_csv(data / f"curves/digits/{model}.csv")
        assert list(curves)[:4] == ["epoch", "split", "loss", "accuracy"]
    autoencoder = load_autoencoder(data / "defenses/digits/autoencoder_ensemble.safetensors")
    with torch.inference_mode():
        assert autoencoder(torch.rand(2, 1, 8, 8)).shape == (2, 1, 8, 8)


def test_metrics_equal_a_computation_from_the_images(tree: Tree) -> None:
    metrics = json.loads((tree.folder / "reports/metrics/digits.json").read_text())
    with PerturbationStats(tree.folder / "data/adversarial/digits/minimal.h5") as stats:
        perturbations = stats.perturbations().astype(np.float64)
        summary = stats.summary()
    found = metrics["attacks"]["minimal"]["pixel"]
    expected = [perturbations.mean(), perturbations.std(), perturbations.min(), perturbations.max()]
    np.testing.assert_allclose([found[name] for name in ("mean", "std", "min", "max")], expected, rtol=1e-4)
    for norm in ("l1", "l2"):
        for name in ("mean", "std", "min", "max"):
            assert metrics["attacks"]["minimal"][norm][name] == pytest.approx(summary.loc[norm, name], rel=1e-4)
    detection = metrics["detection"]["dropout_ensemble"]["vote_variance"]["minimal"]["clean"]
    assert {"auc", "tpr_at_fpr_0.01", "tpr_at_fpr_0.05"} <= set(detection)


def test_second_run_does_nothing_and_quickly(tree: Tree) -> None:
    started = time.perf_counter()
    assert tree.repro() == set()
    assert time.perf_counter() - started < 12  # 5 s on 2 idle cores: DVC reads params.yaml anew for each stage


def test_killed_in_between_the_pipeline_finishes_with_the_same_bytes(tree: Tree) -> None:
    expected = tree.hashes()
    weights = tree.folder / "data/defenses/digits/gac_dcgan.safetensors"
    kill_once_gone(
        weights, [sys.executable, "-m", "dvc", "repro", "--force", "measure_gac@digits-gac_dcgan"], tree.folder
    )
    tree.repro()
    assert tree.hashes() == expected
    assert tree.repro() == set()


def test_every_kind_of_stage_gives_the_same_bytes_again(tree: Tree) -> None:
    expected = tree.hashes()
    stages = YAML(typ="safe").load((tree.folder / "dvc.lock").read_text())["stages"]
    one_of_each = {name.split("@")[0]: name for name in stages}
    ran = re.findall(r"Running stage '(.+?)'", tree.dvc("repro", "--force", "--single-item", *one_of_each.values()))
    assert set(ran) == set(one_of_each.values())
    assert tree.hashes() == expected


def kill_once_gone(path: Path, command: list[str], folder: Path) -> None:
    """Start a command with all its children; kill them all without warning while `path` is being made anew."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while path.exists():  # DVC removes a stage's outputs before it runs
        time.sleep(0.01)
        assert process.poll() is None, "it finished before it could be killed"
    time.sleep(2)
    assert process.poll() is None, "it finished before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not path.exists()
