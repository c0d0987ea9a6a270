"""What is added touches what it says and nothing else: an attack, a defense, each through to the report."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.tree import Tree

pytestmark = pytest.mark.slow

ATTACK = '''"""Gray images: not much of an attack."""

from typing import Annotated

import torch
from torch import Tensor, nn

from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.protocol import Attack
from pipeline.ranges import Range


def toy(model: nn.Module, images: Tensor, goal: Goal, *, gray: Annotated[float, Range(0, 1)]) -> tuple[Tensor, Tensor]:
    """Images, and one step each."""
    return images * (1 - gray) + 0.5 * gray, torch.ones_like(goal.labels)


attack = Attack(run=toy)
'''
DEFENSE = '''"""Rounded images, and a classifier of its own

It tries how many shades it may leave, and trains a linear classifier on what is left.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.defenses.protocol import Defense, Learned, Materials
from pipeline.metrics.choices import Choice
from pipeline.params import AUTO
from pipeline.ranges import Range


class Flat(nn.Module):
    def __init__(self, *, pixels: int, class_count: int) -> None:
        super().__init__()
        self.architecture = {"pixels": pixels, "class_count": class_count}
        self.layer = nn.Linear(pixels, class_count)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.flatten(1))


@dataclass(frozen=True, kw_only=True)
class Training:
    epochs: Annotated[int, Range(1, 100)]
    learning_rate: Annotated[float, Range(0, 1)]


@dataclass(frozen=True)
class Tried:
    shades: int
    accuracy: float


@dataclass(frozen=True)
class Epoch:
    epoch: int
    split: str
    loss: float
    accuracy: float


def rounded(classifier: nn.Module, images: Tensor, generator: torch.Generator, *, shades: int) -> Tensor:
    steps = images * (shades - 1)
    return classifier((steps + (steps.round() - steps).detach()) / (shades - 1))[:, None]


def learn_rounded(materials: Materials, *, shades: tuple[int, ...], training: Training) -> Learned:
    images, labels = (torch.from_numpy(part) for part in materials.split("train"))
    held_out = torch.from_numpy(materials.held_out)
    images, labels = images.float() / 255, labels.long()
    model = Flat(pixels=images[0].numel(), class_count=len(materials.class_names))
    with torch.no_grad():
        model.layer.weight.normal_(0, 0.01, generator=materials.generator("start"))
        model.layer.bias.zero_()
    optimizer = torch.optim.Adam(model.parameters(), training.learning_rate)
    curves = []
    for epoch in range(training.epochs):
        optimizer.zero_grad()
        logits = model(images[~held_out])
        loss = functional.cross_entropy(logits, labels[~held_out])
        loss.backward()
        optimizer.step()
        right = (logits.argmax(1) == labels[~held_out]).float().mean()
        curves.append(Epoch(epoch + 1, "train", float(loss), float(right)))
    with torch.inference_mode():
        draws = materials.generator("unused")
        tried = [
            Tried(count, float((rounded(model, images[held_out], draws, shades=count)[:, 0].argmax(1)
                                == labels[held_out]).float().mean()))
            for count in shades
        ]
    best = max(tried, key=lambda one: (one.accuracy, -one.shades))
    choice = Choice(best.shades, "the shades of the best accuracy; of equal ones the fewest", [vars(t) for t in tried])
    return Learned(models={"": model}, choices={"shades": choice}, trials=tried, curves=curves)


defense = Defense(predict=rounded, setting="transfer", learn=learn_rounded)
'''
FAMILY = {
    "learn": {"shades": [2, 4, 8], "training": {"epochs": 5, "learning_rate": 0.1}},
    "predict": {"shades": "auto"},
    "variants": {},
}
PARAMS = "studies/tiny/params.yaml"
OUTCOME = ("studies/tiny/dvc.lock", "reports/metrics/tiny.json", "reports/figures/")


def metrics_of(tree: Tree, study: str = "tiny") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tree.folder / f"reports/metrics/{study}.json").read_text())
    return found


def report_of(tree: Tree, study: str = "tiny") -> str:
    return (tree.folder / f"reports/{study}.html").read_text(encoding="utf-8")


def touched(tree: Tree) -> set[str]:
    """What git sees beside what a run leaves."""
    return {path for path in tree.changed() if not path.startswith(OUTCOME)}


def made_elsewhere(tree: Tree) -> Path:
    """An .npz of noisy test images, made of what the contract says is in the images file."""
    with h5py.File(tree.folder / "data/images/tiny.h5") as file:
        rows = np.arange(40)
        originals = file["test/images"][rows] / 255
    noise = np.random.default_rng(0).normal(0, 0.4, originals.shape)
    path = tree.folder / "studies/tiny/theirs.npz"
    np.savez(path, images=(originals + noise).clip(0, 1), original_rows=rows)
    return path


def test_an_attack_takes_one_file_and_one_block(tree: Tree) -> None:
    """Its set, statistics, curve, every defense's figures and the report's columns follow.

    Images that were made elsewhere take the file that they are in.
    """
    before = tree.hashes()
    (tree.folder / "pipeline/attacks/toy.py").write_text(ATTACK)
    theirs = made_elsewhere(tree)
    blocks = {"toy": {"gray": 0.9}, "theirs": {"method": "imported", "file": theirs.name}}
    tree.change(lambda params: params["other_attacks"].update(blocks))
    judged = {f"evaluate_others@{family}" for family in ("undefended", "dropout_ensemble", "adversarial_training")}
    assert tree.repro() == {"fingerprint_code", "attack@toy", "attack@theirs", *judged, "metrics", "report"}
    assert touched(tree) == {"pipeline/attacks/toy.py", "studies/tiny/theirs.npz", PARAMS}
    metrics = metrics_of(tree)
    assert metrics["attacks"]["toy"]["params"] == {"gray": 0.9}
    about = {"method": "imported", "file": "theirs.npz", "targeted": False}
    assert metrics["attacks"]["theirs"]["params"].items() >= about.items()
    assert 0 < metrics["attacks"]["theirs"]["success_rate"]["value"] < 1
    assert all({"toy", "theirs"} <= set(defense) for defense in metrics["defenses"].values())
    assert "toy" in report_of(tree)
    assert "The images of theirs were made elsewhere (theirs.npz)" in report_of(tree)
    after = tree.hashes()
    assert all(after[path] == before[path] for path in before if "adversarial/tiny/" in path)
    tree.commit("A toy attack, and images made elsewhere")


def test_a_defense_with_trials_and_training_takes_one_file_and_one_block(tree: Tree) -> None:
    """That file may lie in the study's own folder."""
    (tree.folder / "studies/tiny/rounded.py").write_text(DEFENSE)
    tree.change(lambda params: params["defenses"].update(rounded=FAMILY))
    own = {f"{stage}@rounded" for stage in ("learn", "evaluate", "evaluate_others", "attack_defense")}
    assert tree.repro() == {"fingerprint_code", *own, "replicates", "metrics", "report"}
    assert touched(tree) == {"studies/tiny/rounded.py", PARAMS}
    metrics, label = metrics_of(tree), "Rounded images, and a classifier of its own"
    assert metrics["labels"]["rounded"] == label
    choice = metrics["choices"]["rounded"]["shades"]
    assert choice["used"] == choice["by_rule"] in (2, 4, 8)
    assert metrics["defenses"]["rounded"]["arguments"]["shades"] == choice["used"]
    assert metrics["defenses"]["rounded"]["minimal"]["setting"] == "transfer"
    assert {"minimal", "extended", *metrics["attacks"]} <= set(metrics["defenses"]["rounded"])
    assert metrics["adaptive"]["rounded"]["setting"] == "adaptive"
    assert label in report_of(tree)
    # A number in place of "auto": nothing is trained again.
    tree.change(lambda params: params["defenses"]["rounded"]["predict"].update(shades=16))
    assert tree.repro() == {*(own - {"learn@rounded"}), "replicates", "metrics", "report"}
    assert metrics_of(tree)["choices"]["rounded"]["shades"] == {**choice, "used": 16}


def test_other_images_made_elsewhere_are_taken_in_again(tree: Tree) -> None:
    """The set that they are, and none of the others."""
    theirs = tree.folder / "studies/tiny/theirs.npz"
    with np.load(theirs) as file:
        fewer = {name: file[name][:30] for name in file.files}
    np.savez(theirs, **fewer)
    assert tree.repro("attack@theirs") == {"fingerprint_code", "attack@theirs"}
    with h5py.File(tree.folder / "data/adversarial/tiny/theirs.h5") as file:
        assert len(file["images"]) <= 30
