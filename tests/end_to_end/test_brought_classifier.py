"""A classifier of a kind that nothing here knows, brought to a study with its weights, through to the report."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pipeline.artifacts.raw_images import read_digits
from torch import nn
from torch.nn import functional

from tests.root import ROOT
from tests.tree import Tree

pytestmark = pytest.mark.slow
THEIRS = "theirs/nets.py"
LINEAR = "theirs.nets:linear"


# What follows is written into the study as a file of its own.
class Net(nn.Module):
    """No sequence; in-place activations, dropout as a function, batch normalization, a view, a check of its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.last = nn.Linear(width * 16, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.shape[1:] != (1, 8, 8):
            raise ValueError(f"images of {tuple(images.shape[1:])}")
        images.sub_(0.3)
        values = functional.relu(self.norm(self.first(images)), inplace=True)
        values = functional.adaptive_avg_pool2d(values, 4).view(len(images), -1)
        return self.last(functional.dropout(values, 0.2, self.training))


def make(width: int) -> nn.Module:
    return Net(width)


def linear() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


# As far as here.


def written(path: Path) -> None:
    """The part above as a module."""
    text = Path(__file__).read_text(encoding="utf-8")
    inside = text[text.index("class Net") : text.index("# As far as here.")]
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"import torch\nfrom torch import nn\nfrom torch.nn import functional\n\n\n{inside}")


def trained(model: nn.Module) -> nn.Module:
    """On digits, by somebody who knows nothing of us; images are taken in [-1, 1]."""
    _, splits = read_digits(0.2, np.random.default_rng(5))
    images = torch.from_numpy(splits["train"].images) / 127.5 - 1
    labels = torch.from_numpy(splits["train"].labels).long()
    optimizer, random = torch.optim.Adam(model.parameters(), 3e-3), torch.Generator().manual_seed(0)
    for _ in range(8):
        for rows in torch.randperm(len(images), generator=random).split(64):
            optimizer.zero_grad()
            functional.cross_entropy(
                model(images[rows].clone(memory_format=torch.contiguous_format)), labels[rows]
            ).backward()
            optimizer.step()
    return model


def bring(tree: Tree, model: nn.Module, classifier: dict[str, Any]) -> None:
    """Into the tiny study, with two other attacks; one is the study's own, and not for images of its size."""
    written(tree.params_file.parent / THEIRS)
    (tree.params_file.parent / "small.py").write_text(SMALL)
    weights = {f"module.{name}": value for name, value in trained(model).state_dict().items()}
    torch.save({"epoch": 8, "state_dict": weights}, tree.params_file.parent / "weights.pt")

    def edit(params: Any) -> None:
        params["classifier"] = {
            **classifier,
            "weights": "weights.pt",
            "normalization": {"mean": [0.5], "std": [0.5]},
        }
        params["other_attacks"] = {"fgsm": {}, "small": {}}

    tree.change(edit)


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
    tree = Tree(tmp_path / "tree", ROOT / "tests/tiny.yaml")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        bring(tree, make(8), {"build": "theirs.nets:make", "arguments": {"width": 8}})
    tree.repro()
    metrics, report = metrics_of(tree), (tree.folder / "reports/tiny.html").read_text(encoding="utf-8")
    assert metrics["classifier"]["test_accuracy"]["value"] > 0.8
    assert metrics["classifier"]["parameters"] == 8 * 9 + 16 + 8 * 16 * 10 + 10
    assert metrics["classifier"]["trained_by"] == "somebody else: theirs.nets:make, weights weights.pt"
    assert metrics["attacks"]["minimal"]["success_rate"]["value"] > 0.95
    assert set(metrics["defenses"]) == {"undefended", "dropout_ensemble", "gaussian_noise_ensemble"}
    assert metrics["defenses"]["dropout_ensemble"]["minimal"]["vote_variance_mean"] > 0
    assert set(metrics["left_out"]["defenses"]) == {"adversarial_training"}
    assert set(metrics["left_out"]["parts"]) == {"sizes"}
    assert metrics["left_out"]["attacks"] == {"small": "small: expected images of at most 10 pixels, found 8 x 8"}
    assert set(metrics["attacks"]) == {"minimal", "extended", "fgsm"}
    for words in ("somebody else", "What is left out", "classifier.retrain: true", "Adversarial training"):
        assert words in report
    assert tree.repro() == set()
    # With leave to train, what trains is made again and nothing else.
    before = tree.hashes()
    tree.change(lambda params: params["classifier"].update(retrain=True))
    tree.change(lambda params: params["sizes"].update(classifiers={"narrow": {"width": 4}, "standard": {}}))
    tree.repro("sizes")
    assert set(pd.read_parquet(tree.folder / "data/sizes/tiny/sizes.parquet")["width"]) == {4, 8}
    after = tree.hashes()
    assert {path for path in before if before[path] != after[path]} <= {
        path for path in before if "code/" in path or "sizes/" in path or ".words" in path
    }
