"""What a defense has learned, and its pictures: stored, read back, and refused when broken."""

import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.artifacts.curves import read_curves
from pipeline.artifacts.learning import (
    check_defended,
    load_defended,
    load_learned,
    read_choices,
    trainings_in,
    write_choices,
    write_examined,
    write_learned,
)
from pipeline.artifacts.pictures import read_picture, write_picture
from pipeline.artifacts.weights import load_any, save_model, save_nothing
from pipeline.defenses.autoencoder_ensemble import autoencoder_ensemble
from pipeline.defenses.gaussian_blur import gaussian_blur
from pipeline.defenses.protocol import Choice, Examined, Learned
from pipeline.defenses.shared.pictures import Generated, Restorations
from pipeline.errors import PipelineError
from pipeline.models.autoencoder import Autoencoder, RestoringClassifier
from pipeline.models.cnn import Classifier
from pipeline.models.mlp import FullyConnectedClassifier
from pipeline.training.classifier import Epoch


@dataclass(frozen=True)
class Tried:
    strength: float
    accuracy: float


def networks(*seeds: int) -> list[Classifier]:
    models = []
    for seed in seeds:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            models.append(Classifier((1, 8, 8), 3, channels=(4,), dropout=0.0).eval())
    return models


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_what_was_learned_comes_back(tmp_path: Path) -> None:
    own, control, again, generator = networks(0, 1, 2, 3)
    choice = Choice(0.2, "the largest", [{"rate": 0.2, "accuracy": 1 / 3, "status": "ok"}], narrow=True)
    learned = Learned(
        models={"": own, "control": control},
        choices={"rate": choice, "other.sigma": Choice(None, "none", [])},
        trials=[Tried(0.1, 0.5)],
        curves=[Epoch(1, "train", 0.1, 0.9)],
        tables={"more": [Tried(1, 2)], "nothing": []},
        trainings={0: {"": own, "generator": generator}, 2: {"": again}},
    )
    weights, curves, folder = tmp_path / "d/a.safetensors", tmp_path / "c/a.csv", tmp_path / "l/a"
    write_learned(weights, curves, folder, Learned(trials=[Tried(0, 0)], tables={"old": [Tried(1, 2)]}))
    assert curves.read_text() == "epoch,split,loss,accuracy\n"
    attacked = networks(9)[0]
    classifier = tmp_path / "c.safetensors"
    save_model(classifier, attacked)
    assert same(load_defended(weights, folder, classifier), attacked)  # it learned nothing
    assert load_learned(weights, folder).models == {}

    write_learned(weights, curves, folder, learned)
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*")) == [
        "choices.json",
        "control.safetensors",
        "more.csv",
        "trainings/0/generator.safetensors",
        "trainings/0/own.safetensors",
        "trainings/2/own.safetensors",
        "trials.csv",
    ]
    found = load_learned(weights, folder)
    assert found.choices["rate"] == Choice(
        0.2, "the largest", [{"rate": 0.2, "accuracy": 0.333333, "status": "ok"}], True
    )
    assert found.choices["other.sigma"].value is None
    assert same(found.models[""], own)
    assert same(found.models["control"], control)
    assert same(found.trainings[2][""], again)
    assert set(found.trainings[0]) == {"", "generator"}
    assert trainings_in(folder) == [0, 2]
    for arguments, expected in (
        ({}, own),
        ({"role": "control"}, control),
        ({"role": None}, attacked),
    ):
        assert same(load_defended(weights, folder, classifier, **arguments), expected)
    with pytest.raises(PipelineError, match=r"expected a model 'noise', .*found control: name one of these"):
        load_defended(weights, folder, classifier, role="noise")
    assert read_curves(folder / "trials.csv", Tried.__dataclass_fields__)["accuracy"].tolist() == [0.5]
    before = {path: path.read_bytes() for path in (weights, curves, *folder.rglob("*.*"))}
    write_learned(weights, curves, folder, learned)
    assert before == {path: path.read_bytes() for path in (weights, curves, *folder.rglob("*.*"))}


def test_an_autoencoder_stands_before_the_attacked_classifier(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        autoencoder = Autoencoder((1, 8, 8), channels=(4, 8), dropout=0.1, residual=True).eval()
    classifier = networks(0)[0]
    save_model(tmp_path / "c.safetensors", classifier)
    weights, folder = tmp_path / "a.safetensors", tmp_path / "a"
    write_learned(weights, tmp_path / "a.csv", folder, Learned(models={"": autoencoder}))
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    defended = load_defended(weights, folder, tmp_path / "c.safetensors")
    assert isinstance(defended, RestoringClassifier)
    with torch.inference_mode():
        assert torch.equal(defended(images), classifier(autoencoder(images)))
    check_defended(autoencoder_ensemble, defended, "defenses.a")
    check_defended(gaussian_blur, classifier, "defenses.b")
    for predict, model, message in (
        (autoencoder_ensemble, classifier, "x: autoencoder_ensemble predicts with an autoencoder, found a classifier"),
        (gaussian_blur, defended, "x: gaussian_blur predicts with a classifier, found an autoencoder"),
    ):
        with pytest.raises(PipelineError, match=message):
            check_defended(predict, model, "x")


def test_broken_files_of_what_was_learned_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(PipelineError, match="no such file; expected what"):
        load_any(path, "what was learned")
    path.write_bytes(b"nonsense")
    with pytest.raises(PipelineError, match="expected a safetensors file"):
        load_any(path, "what was learned")
    for architecture in ({"model": "Unknown"}, {"model": "Classifier", "module": "os"}, {"model": "Classifier"}):
        model = networks(0)[0]
        model.architecture = {"model": "x", **architecture}
        save_model(path, model)
        with pytest.raises(PipelineError, match="expected the weights and architecture of what was learned"):
            load_any(path, "what was learned")
    save_nothing(path)
    assert load_any(path, "what was learned") is None
    choices = tmp_path / "choices.json"
    with pytest.raises(PipelineError, match="no such file; expected what rules chose"):
        read_choices(choices)
    for text in ("{", "[1]", '{"rate": {"value": 1, "unknown": 2}}'):
        choices.write_text(text)
        with pytest.raises(PipelineError, match=r"expected JSON \(what rules chose\), found .*run dvc repro"):
            read_choices(choices)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_choices(choices, {"rate": Choice(float("nan"), "", [])})
    assert choices.read_text() == text  # as it was


def test_a_model_of_a_defenses_own_file_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("pipeline.defenses.toy")
    module.__spec__ = ModuleSpec("pipeline.defenses.toy", None)

    class Scale(nn.Module):
        def __init__(self, *, size: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(size))
            self.architecture = {"size": size}

        def forward(self, images: Tensor) -> Tensor:
            return images * self.weight

    Scale.__module__ = module.__name__
    module.Scale = Scale  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    save_model(tmp_path / "a.safetensors", Scale(size=3))
    found = load_any(tmp_path / "a.safetensors", "a model")
    assert isinstance(found, Scale)
    assert found.weight.shape == (3,)


def test_pictures_come_back_and_broken_files_are_refused(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    written = Restorations(
        ("clean", "minimal"), ("a", "b", "c"), np.arange(4, dtype=np.uint8), np.ones(4, np.uint8),
        random.random((2, 4, 1, 8, 8), np.float32), random.random((3, 2, 4, 1, 8, 8), np.float32),
    )  # fmt: skip
    generated = Generated(
        names=("a", "b"),
        originals=random.random((3, 1, 4, 4), np.float32),
        labels=np.arange(3, dtype=np.uint8),
        generated=random.random((2, 3, 1, 4, 4), np.float32),
        predicted_before=np.zeros((2, 3), np.uint8),
        predicted_after=np.ones((2, 3), np.uint8),
    )
    for picture in (written, generated):
        write_examined(tmp_path / "e", Examined(tables={"t": [Tried(1, 2)]}, pictures={"p": picture}))
        found = read_picture(tmp_path / "e/p.h5", type(picture))
        for name, hint in get_type_hints(type(picture)).items():
            if hint == tuple[str, ...]:
                assert getattr(found, name) == getattr(picture, name)
            else:
                np.testing.assert_array_equal(getattr(found, name), getattr(picture, name))
    assert (tmp_path / "e/t.csv").is_file()
    path = tmp_path / "p.h5"
    write_picture(path, written)
    with pytest.raises(PipelineError, match="expected schema generated version 1, found restorations"):
        read_picture(path, Generated)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(PipelineError, match="expected an HDF5 file"):
        read_picture(path, Restorations)


def test_models_of_every_kind_are_found_by_name(tmp_path: Path) -> None:
    model = FullyConnectedClassifier((1, 8, 8), 3, hidden=(4,))
    save_model(tmp_path / "a.safetensors", model)
    assert isinstance(load_any(tmp_path / "a.safetensors", "a model"), FullyConnectedClassifier)
