"""A project whose classifier somebody else has made."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML
from torch import Tensor, nn

from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.images import Description, write_images
from pipeline.errors import PipelineError
from pipeline.models.inference import for_inference
from pipeline.models.outside import Outside
from pipeline.stages import train_classifier
from pipeline.studies import Study
from tests.root import ROOT
from tests.study import NAMES, bands

NETS = """
import torch
from torch import nn
from torch.nn import functional


class Net(nn.Module):
    def __init__(self, dropped):
        super().__init__()
        self.dropped, self.first, self.norm = dropped, nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.last = nn.Linear(96, 3)

    def forward(self, images):
        assert images.shape[1:] == (1, 8, 8), "not my size"
        images.mul_(2)
        values = functional.relu(self.norm(self.first(images)), inplace=True)
        values = functional.max_pool2d(values, 2).view(len(images), -1)
        return self.last(functional.dropout(values, 0.5, self.training) if self.dropped else values)


class Behind(nn.Module):
    def __init__(self, net, function):
        super().__init__()
        self.net, self.function = net, function

    def forward(self, images):
        return self.function(self.net(images))


def make(dropped=True):
    return Net(dropped)


def wide(): return Behind(make(), lambda logits: torch.cat([logits, logits], 1))
def softmax(): return Behind(make(), lambda logits: logits.softmax(1))
def sigmoid(): return Behind(make(), lambda logits: logits.sigmoid())
def random(): return Behind(make(), lambda logits: logits + torch.rand_like(logits))
def infinite(): return Behind(make(), lambda logits: logits / 0)
def detached(): return Behind(make(), lambda logits: logits.detach())
def turned(): return Behind(make(), lambda logits: logits.roll(1, 1))
def constant(): return Behind(make(), lambda logits: logits * 0 + 2)
def failing(): raise RuntimeError("no\\nsuch thing")
def leaving(): raise SystemExit(3)
def lazy(): return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
def double(): return make().double()
def nothing(): return 3
def empty(): return nn.ReLU()
def tied():
    net = make()
    net.again = net.last
    return net
number = 3
"""
numbers = itertools.count()


class Project:
    """A folder with one study of three classes, which brings `nets<n>:make`, trained."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "studies/tiny"
        self.folder.mkdir(parents=True)
        self.nets = f"nets{next(numbers)}"  # modules are loaded once a process
        (self.folder / f"{self.nets}.py").write_text(NETS)
        self.params = YAML(typ="safe").load(ROOT / "tests/tiny.yaml")
        write_images(folder / "data/images/tiny.h5", Description("toy", NAMES, "toy", "0"),
                     {"train": bands(300, 1), "test": bands(30, 2)})  # fmt: skip
        self.module = self.trained()
        self.save(self.module.state_dict())
        self.bring()

    def trained(self) -> nn.Module:
        space: dict[str, Any] = {}
        exec(NETS, space)
        split = bands(300, 1)
        images, labels = torch.from_numpy(split.images) / 255, torch.from_numpy(split.labels).long()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model: nn.Module = space["make"]()
            optimizer = torch.optim.Adam(model.parameters(), 0.01)
            for _ in range(15):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(images.clone()), labels).backward()
                optimizer.step()
        return model.eval()

    def save(self, weights: Any, name: str = "weights.pt") -> None:
        torch.save(weights, self.folder / name)

    def bring(self, build: str = "make", weights: str = "weights.pt", **more: Any) -> None:
        build = build if ":" in build else f"{self.nets}:{build}"
        self.params["classifier"] = {"build": build, "weights": weights, **more}
        YAML().dump(self.params, self.folder / "params.yaml")

    def take(self) -> Outside:
        train_classifier.main(Study("tiny"))
        model = load_classifier("data/classifiers/tiny.safetensors")
        assert isinstance(model, Outside)
        return for_inference(model, torch.device("cpu"))

    def refused(self) -> str:
        """One line, and nothing is written."""
        with pytest.raises(PipelineError) as caught:
            self.take()
        assert not Path("data/classifiers").exists()
        assert "\n" not in str(caught.value)
        return str(caught.value)


def project_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """It, and the work goes on there."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder / "none"))  # what is appended to it goes again
    return Project(folder)


def images() -> Tensor:
    return torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(3))
