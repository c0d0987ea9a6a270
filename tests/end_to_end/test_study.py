"""A finished study: what it holds, and that it is made again, byte by byte, whatever a person's settings are."""

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.artifacts.checkpoint import load_classifier
from pipeline.perturbation_stats import PerturbationStats
from tests.end_to_end.conftest import Finished
from tests.tree import Tree

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(finished: Finished) -> Path:
    return finished.tree.folder / "data"


def test_the_report_is_whole_and_offline(finished: Finished) -> None:
    page = (finished.tree.folder / "reports/tiny.html").read_text(encoding="utf-8")
    for words in ("Table 1", "Figure 1", "Figure 2", "Figure 3", "Figure 4", "scikit-learn", "Adversarial training"):
        assert words in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    metrics = json.loads((finished.tree.folder / "reports/metrics/tiny.json").read_text())
    assert metrics["attacks"]["minimal"]["examples"] == 100 * 9
    assert metrics["attacks"]["minimal"]["success_rate"]["value"] >= 0.99
    assert metrics["run"]["study"] == "tiny"
    assert {"train_classifier", "minimal", "attack-fgsm", "learn-dropout_ensemble"} <= set(metrics["run"]["devices"])
    for device in set(metrics["run"]["devices"].values()):
        assert f"computed on {device}" in page
    assert metrics["families"]["dropout_ensemble"] == ["dropout_ensemble", "gaussian_noise_ensemble"]
    assert set(metrics["labels"]) == set(metrics["defenses"]) == set(metrics["adaptive"])


def test_artifacts_keep_the_contract(data: Path) -> None:
    """Names, types and keys as data/README.md fixes them, on a real run's files."""
    with h5py.File(data / "images/tiny.h5") as file:
        assert {
            "schema", "schema_version", "dataset", "class_names", "source", "source_checksum", "repeated_train_images",
            "test_images_in_train",
        } == set(file.attrs)  # fmt: skip
        for split in ("train", "test"):
            assert file[f"{split}/images"].dtype == file[f"{split}/labels"].dtype == "uint8"
    for attack in ("minimal", "extended", "fgsm", "ddn"):
        with h5py.File(data / f"adversarial/tiny/{attack}.h5") as file:
            assert {name: str(file[name].dtype) for name in file} == {
                "images": "float32", "originals": "uint8", "original_row": "int32", "source_split": "uint8",
                "source_index": "int32", "labels": "uint8", "target_labels": "uint8", "is_adversarial": "bool",
                "steps": "int16", "margin": "float32",
            }  # fmt: skip
            originals = file["originals"][:][file["original_row"][:]].astype("float32") / 255
            l2 = np.sqrt(((file["images"][:] - originals) ** 2).sum((1, 2, 3)))
            assert (file["is_adversarial"][:] == (file["margin"][:] > 0)).all()
        folder = data / f"perturbations/tiny/{attack}"
        examples = pd.read_parquet(folder / "examples.parquet")
        np.testing.assert_allclose(examples["l2"], l2, rtol=1e-4)
        moved = examples[examples["backward_error"] > 0]
        np.testing.assert_allclose(moved["sensitivity"], moved["forward_error"] / moved["backward_error"])
        assert {
            "row", "label", "target_label", "source_split", "is_adversarial", "steps", "margin", "pixel_mean",
            "pixel_std", "pixel_min", "pixel_max", "l0", "l1", "l2", "linf", "forward_error", "backward_error",
            "sensitivity",
        } <= set(examples)  # fmt: skip
        pairs = pd.read_parquet(folder / "pairs.parquet")
        assert len(pairs) == 90
        assert {f"{q}_{s}" for q in ("pixel", "l1", "l2", "linf") for s in ("mean", "std", "min", "max")} <= set(pairs)
        pixels = pd.read_parquet(folder / "pixels.parquet")
        assert pixels["count"].sum() == examples["is_adversarial"].sum() * 64
        assert (folder / "success.parquet").is_file() == (attack not in ("minimal", "extended"))
    evaluation = pd.read_parquet(data / "evaluations/tiny/dropout_ensemble.parquet")
    assert set(evaluation["split"]) == {"test", "validation"}
    assert set(evaluation["training"]) == {0}
    judged = pd.read_parquet(data / "replicates/tiny/judged.parquet")
    assert list(judged) == [
        "replicate", "defense", "attack", "training", "row", "original_row", "label", "target_label", "predicted",
        "thwarted", "recovered",
    ]  # fmt: skip
    assert set(judged["defense"]) == {"undefended", "dropout_ensemble", "adversarial_training"}
    assert set(judged["replicate"]) == {0, 1}
    assert list(pd.read_parquet(data / "replicates/tiny/examples.parquet")) == [
        "replicate", "attack", "source_index", "label", "target_label", "is_adversarial", "steps", "l1", "l2", "linf",
    ]  # fmt: skip
    assert {
        "attack", "setting", "row", "label", "target_label", "predicted", "thwarted", "recovered", "passes", "votes",
        "vote_variance", "score_variance", "predictive_entropy", "mutual_information",
    } <= set(evaluation)  # fmt: skip
    assert evaluation["votes"].map(sum).eq(evaluation["passes"]).all()
    assert evaluation.loc[evaluation["attack"] == "clean", "target_label"].isna().all()
    assert (data / "evaluations/tiny/dropout_ensemble/gaussian_noise_ensemble.parquet").is_file()
    for model in ("classifier", "adversarial_training", "undefended"):
        curves = pd.read_csv(data / f"curves/tiny/{model}.csv")
        assert list(curves)[:4] == ["epoch", "split", "loss", "accuracy"]
    choices = json.loads((data / "calibrations/tiny/choices.json").read_text())
    assert set(choices) == {"step_size", "extra_steps"}
    for choice in choices.values():
        assert {"rule", "value", "tried", "narrow", "reason"} == set(choice)
    classifier = load_classifier(data / "defenses/tiny/adversarial_training.safetensors")
    with torch.inference_mode():
        assert classifier(torch.rand(2, 1, 8, 8)).shape == (2, 10)


def test_metrics_equal_a_computation_from_the_images(finished: Finished, data: Path) -> None:
    metrics = json.loads((finished.tree.folder / "reports/metrics/tiny.json").read_text())
    with PerturbationStats(data / "adversarial/tiny/minimal.h5") as stats:
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


def test_a_second_run_does_nothing(tree: Tree) -> None:
    assert tree.repro() == set()
    assert tree.changed() == set()


def test_a_fresh_run_gives_the_same_bytes_whatever_the_settings(finished: Finished, tmp_path: Path) -> None:
    """Another folder, threads, locale, Matplotlib backend and style: the same outputs, figures and report included."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/matplotlibrc").write_text("figure.facecolor: red\nfont.size: 30\nimage.cmap: jet\n")
    again = Tree(tmp_path / "again")
    again.repro(
        MPLCONFIGDIR=str(tmp_path / "config"),
        MPLBACKEND="module://matplotlib_inline.backend_inline",
        OMP_NUM_THREADS="2",
        LC_ALL="en_US.ISO-8859-1",
        PYTHONHASHSEED="7",
    )
    assert again.hashes() == finished.tree.hashes()
