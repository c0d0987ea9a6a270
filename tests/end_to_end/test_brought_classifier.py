"""A classifier of a kind that nothing here knows, brought to a study with its weights, through to the report."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from pipeline.artifacts.left_out import reason_left_out
from tests.end_to_end.test_own_images import write
from tests.root import ROOT
from tests.tree import Tree, yaml

pytestmark = pytest.mark.slow
CLASSES = {"daisy": 90, "rose": 60, "tulip": 40}


# What follows is written into the study as a file of its own.
class Net(nn.Module):
    """No sequence; in-place activations, dropout as a function, batch normalization, a view, a check of its input."""

    def __init__(self, width: int, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.first = nn.Conv2d(shape[0], width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.last = nn.Linear(width * 24, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.shape[1:] != self.shape:
            raise ValueError(f"images of {tuple(images.shape[1:])}")
        images.sub_(0.3)
        values = functional.relu(self.norm(self.first(images)), inplace=True)
        values = functional.adaptive_avg_pool2d(values, (6, 4)).view(len(images), -1)
        return self.last(functional.dropout(values, 0.2, self.training))


def make(width: int = 8, shape: tuple[int, ...] = (3, 40, 24), classes: int = 3) -> nn.Module:
    return Net(width, shape, classes)


# As far as here.


def written(path: Path) -> None:
    """The part above as a module."""
    text = Path(__file__).read_text(encoding="utf-8")
    inside = text[text.index("class Net") : text.index("# As far as here.")]
    path.write_text(f"import torch\nfrom torch import nn\nfrom torch.nn import functional\n\n\n{inside}")


def pictures(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The images of a folder, and their labels."""
    files = [(path, label) for label, name in enumerate(CLASSES) for path in sorted((folder / name).iterdir())]
    pixels = np.stack([np.asarray(Image.open(path)).transpose(2, 0, 1) for path, _ in files])
    return pixels, np.array([label for _, label in files])


def trained(model: nn.Module, pixels: NDArray[np.uint8], numbers: NDArray[np.int64]) -> nn.Module:
    """By somebody who knows nothing of us; images are taken in [-1, 1]."""
    images, labels = torch.from_numpy(pixels).float() / 127.5 - 1, torch.from_numpy(numbers)
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
        model = trained(make(), *pictures(theirs / "flowers"))
    weights = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"epoch": 8, "state_dict": weights}, theirs / "weights.pt")
    given = {"images": "flowers", "classifier": "nets.py:make", "weights": "weights.pt"}
    words = [word for name, file in given.items() for word in (f"--{name}", str(theirs / file))]
    scaling = ["--mean", *["0.5"] * 3, "--std", *["0.5"] * 3]
    said = tree.run(sys.executable, "-m", "pipeline.new_study", "mine", "tiny", *words, *scaling)
    assert "nets:make: 811 weights; takes these images, and gives logits of 3 classes" in said
    new = Tree.at(tree.folder, "mine")
    (new.params_file.parent / "small.py").write_text(SMALL)

    def edit(params: Any) -> None:
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
    tree.change(lambda params: params["classifier"].update(retrain=True, training={"epochs": 2}))
    tree.change(lambda params: params["sizes"].update(classifiers={"narrow": {"width": 4}, "standard": {}}))
    tree.repro("sizes")
    assert set(pd.read_parquet(tree.folder / "data/sizes/mine/sizes.parquet")["width"]) == {4, 8}
    after = tree.hashes()
    assert {path for path in before if before[path] != after[path]} <= {
        path for path in before if "code/" in path or "sizes/" in path or ".words" in path
    }


# All stages in one process, without DVC.
EVERY_STAGE = """
import sys
from importlib import import_module
from pipeline.params import read_yaml
from pipeline.registry import serve_own_files
from pipeline.studies import PIPELINE, Study
study = Study(sys.argv[1])
serve_own_files(study.folder)
for name, stage in read_yaml(PIPELINE)["stages"].items():
    keys = study.block(stage["foreach"][2:-1]) if "foreach" in stage else [None]
    if name != "check_params":
        for key in keys:
            import_module(f"pipeline.stages.{name}").main(study, *filter(None, [key]))
"""
SMALLER = {
    "sources": {"train": 60, "test": 30},
    "attack_trials.originals": 4,
    "other_sources": {"test": 10, "curve": 10},
    "defenses.autoencoder_ensemble.learn.trials.originals": 10,
    "defenses.gac_vanilla.learn.training.epochs": 1,
    "defenses.gac_vanilla.learn.trial_epochs": 1,
    # Numbers in place of rules, nothing tried for them; no control to compare with.
    "defenses.gac_vanilla.learn.lambda_": 1.0,
    "defenses.gac_vanilla.variants": {},
    "defenses.autoencoder_ensemble.variants.gaussian_blur.sigma": 0.33,
    "adaptive.all.originals": 4,
    "adaptive.all.sanity_originals": 4,
    "adaptive.all.others": {"square": {"queries": 5}},
    "adaptive.randomized.others": {"square": {"queries": 5}},
}


def test_the_demo_gives_all_artifacts_but_those_left_out(tmp_path: Path) -> None:
    """Each block of its params, some numbers smaller; what the pipeline file declares is there, or says why not."""
    tree = Tree(tmp_path, ROOT / "studies/demo/params.yaml")
    written(tree.params_file.with_name("nets.py"))
    digits, about = load_digits(), {"shape": [1, 8, 8], "classes": 10}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)[:, None]
        model = trained(make(**about), pixels, digits.target)
    torch.save(model.state_dict(), tree.params_file.with_name("weights.pt"))

    def edit(params: Any) -> None:
        half = {"mean": [0.5], "std": [0.5]}
        params["classifier"] = {
            "build": "nets:make",
            "arguments": about,
            "weights": "weights.pt",
            "normalization": half,
        }
        for key, value in SMALLER.items():
            *path, last = key.split(".")
            block = params
            for name in path:
                block = block[name]
            block[last] = value
        params["defenses"]["gac_vanilla"]["learn"].pop("lambdas")
        params["defenses"].move_to_end("undefended")  # whose figures are the classifier's, wherever it stands

    tree.change(edit)
    tree.run(sys.executable, "-c", EVERY_STAGE, "demo")
    params, stages = tree.params(), yaml().load(ROOT / "studies/pipeline.yaml")["stages"]
    left_out, home = set(), tree.params_file.parent
    for name, stage in stages.items():
        body = stage.get("do", stage)
        declared = [out if isinstance(out, str) else next(iter(out)) for out in body["outs"] + body.get("metrics", [])]
        for key in params[stage["foreach"][2:-1]] if "foreach" in stage else [""]:
            for out in declared if name != "check_params" else ():
                if out.startswith("data/devices/"):  # written by a stage's command, not by its main
                    continue
                path = home / body.get("wdir", "") / out.replace("${study}", "demo").replace("${key}", key)
                assert path.exists(), path
                if reason := reason_left_out(path):
                    assert "somebody else's" in reason
                    left_out.add(key or name)
    assert left_out == {"adversarial_training", "sizes", "replicates"}
    metrics = metrics_of(tree)
    assert set(metrics["left_out"]["defenses"]) == {"adversarial_training"}
    assert set(metrics["left_out"]["parts"]) == {"sizes", "replicates"}
    judged = {"undefended", "dropout_ensemble", "autoencoder_ensemble", "gaussian_blur", "gac_vanilla"}
    assert judged <= set(metrics["defenses"]) == set(metrics["adaptive"])
    assert metrics["classifier"]["test_accuracy"] == metrics["defenses"]["undefended"]["test_accuracy"]
    assert "gain" not in metrics["chosen_detection"]["undefended"]["minimal"]["clean_all"]
    assert (metrics["gac"]["gac_vanilla"]["lambda"]["by_rule"], metrics["defenses"]["gac_vanilla"]["lambda"]) == (
        None,
        1,
    )
    assert metrics["restorations"]["blur_sigma"]["used"] == 0.33 != metrics["restorations"]["blur_sigma"]["by_rule"]
    assert set(metrics["attacks"]) == {"minimal", "extended", *params["other_attacks"]}
