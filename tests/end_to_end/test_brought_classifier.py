"""A classifier of a kind that nothing here knows, brought to a study with its weights, through to the report."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from tests.end_to_end.test_own_images import write
from tests.tree import Tree

pytestmark = pytest.mark.slow
CLASSES = {"daisy": 90, "rose": 60, "tulip": 40}


# What follows is written into the study as a file of its own.
class Net(nn.Module):
    """No sequence; in-place activations, dropout as a function, batch normalization, a view, a check of its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.last = nn.Linear(width * 24, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.shape[1:] != (3, 40, 24):
            raise ValueError(f"images of {tuple(images.shape[1:])}")
        images.sub_(0.3)
        values = functional.relu(self.norm(self.first(images)), inplace=True)
        values = functional.adaptive_avg_pool2d(values, (6, 4)).view(len(images), -1)
        return self.last(functional.dropout(values, 0.2, self.training))


def make(width: int = 8) -> nn.Module:
    return Net(width)


# As far as here.


def written(path: Path) -> None:
    """The part above as a module."""
    text = Path(__file__).read_text(encoding="utf-8")
    inside = text[text.index("class Net") : text.index("# As far as here.")]
    path.write_text(f"import torch\nfrom torch import nn\nfrom torch.nn import functional\n\n\n{inside}")


def trained(model: nn.Module, folder: Path) -> nn.Module:
    """On the images of a folder, by somebody who knows nothing of us; they are taken in [-1, 1]."""
    files = [(path, label) for label, name in enumerate(CLASSES) for path in sorted((folder / name).iterdir())]
    pixels = np.stack([np.asarray(Image.open(path)).transpose(2, 0, 1) for path, _ in files])
    images, labels = torch.from_numpy(pixels).float() / 127.5 - 1, torch.tensor([label for _, label in files])
    optimizer, random = torch.optim.Adam(model.parameters(), 3e-3), torch.Generator().manual_seed(0)
    for _ in range(8):
        for rows in torch.randperm(len(images), generator=random).split(16):
            optimizer.zero_grad()
            functional.cross_entropy(
                model(images[rows].clone(memory_format=torch.contiguous_format)), labels[rows]
            ).backward()
            optimizer.step()
    return model


def brought(tree: Tree, theirs: Path) -> Tree:
    """A study of images in a folder and a classifier; of its other attacks one is its own, and not for such images."""
    write(theirs / "flowers", CLASSES, (40, 24, 3))
    written(theirs / "nets.py")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = trained(make(), theirs / "flowers")
    weights = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"epoch": 8, "state_dict": weights}, theirs / "weights.pt")
    given = {"images": "flowers", "classifier": "nets.py:make", "weights": "weights.pt"}
    words = [word for name, file in given.items() for word in (f"--{name}", str(theirs / file))]
    said = tree.run(sys.executable, "-m", "pipeline.new_study", "mine", "tiny", *words)
    assert "nets:make: 811 weights; takes these images, and gives logits of 3 classes" in said
    new = Tree.at(tree.folder, "mine")
    (new.params_file.parent / "small.py").write_text(SMALL)

    def edit(params: Any) -> None:
        params["classifier"]["normalization"] = {"mean": [0.5] * 3, "std": [0.5] * 3}
        params["other_attacks"] = {"fgsm": {}, "small": {}}

    new.change(edit)
    return new


SMALL = '''"""Noise, on small images alone."""

import torch

from pipeline.attacks.shared.protocol import Attack


def small(model, images, goal):
    return (images + 0.01).clamp(0, 1), torch.ones_like(goal.labels)


attack = Attack(run=small, largest=10)
'''


def metrics_of(tree: Tree) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tree.folder / f"reports/metrics/{tree.study}.json").read_text())
    return found


def test_a_classifier_that_is_brought_gets_the_whole_study(tmp_path: Path) -> None:
    """All but what would train it anew; with `retrain: true` that too, and nothing that was made is made again."""
    (tmp_path / "theirs").mkdir()
    tree = brought(Tree(tmp_path / "tree"), tmp_path / "theirs")
    tree.repro()
    metrics, report = metrics_of(tree), (tree.folder / "reports/mine.html").read_text(encoding="utf-8")
    assert metrics["classifier"]["test_accuracy"]["value"] > 0.8
    assert metrics["classifier"]["parameters"] == 8 * 27 + 16 + 8 * 24 * 3 + 3
    assert metrics["classifier"]["trained_by"] == "somebody else: nets:make, weights weights.pt"
    assert metrics["attacks"]["minimal"]["success_rate"]["value"] > 0.95
    assert set(metrics["defenses"]) == {"undefended", "dropout_ensemble", "gaussian_noise_ensemble"}
    assert metrics["defenses"]["dropout_ensemble"]["minimal"]["vote_variance_mean"] > 0
    assert set(metrics["left_out"]["defenses"]) == {"adversarial_training"}
    assert set(metrics["left_out"]["parts"]) == {"sizes", "replicates"}
    assert metrics["left_out"]["attacks"] == {"small": "small: expected images of at most 10 pixels, found 40 x 24"}
    assert set(metrics["attacks"]) == {"minimal", "extended", "fgsm"}
    for words in ("somebody else", "What is left out", "classifier.retrain: true", "Adversarial training"):
        assert words in report
    assert tree.repro() == set()
    # With leave to train, what trains is made again and nothing else.
    before = tree.hashes()
    tree.change(lambda params: params["classifier"].update(retrain=True))
    tree.change(lambda params: params["sizes"].update(classifiers={"narrow": {"width": 4}, "standard": {}}))
    tree.repro("sizes")
    assert set(pd.read_parquet(tree.folder / "data/sizes/mine/sizes.parquet")["width"]) == {4, 8}
    after = tree.hashes()
    assert {path for path in before if before[path] != after[path]} <= {
        path for path in before if "code/" in path or "sizes/" in path or ".words" in path
    }
