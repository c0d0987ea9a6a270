"""Classifiers that somebody else has made and that cannot be taken: refused in one line, naming what is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.artifacts.images import Description, write_images
from pipeline.errors import PipelineError
from pipeline.models.outside import check_outside
from tests.brought import Project, images, project_in
from tests.study import NAMES, bands


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return project_in(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        ("wide", "expected logits (30, 3) of 30 images 1x8x8, found (30, 6)"),
        ("softmax", "found what looks like probabilities (all in [0, 1]): leave out the softmax"),
        ("sigmoid", "found what looks like probabilities (all in [0, 1]): leave out the sigmoid"),
        ("random", "expected the same logits of the same images, found others: is it random in eval()?"),
        ("infinite", "expected finite logits, found NaN or infinity among them"),
        ("detached", "expected logits that depend on the images by gradients, found none"),
        ("turned", "found 0.0% of 30 validation images right, no better than chance (33.3%): are these logits of"),
        ("constant", "no better than chance (33.3%)"),
    ],
)  # fmt: skip
def test_outputs_that_are_no_logits_of_the_images(project: Project, build: str, expected: str) -> None:
    project.save({f"net.{name}": value for name, value in project.module.state_dict().items()})
    project.bring(build)
    message = project.refused()
    assert message.startswith(f"studies/tiny/params.yaml: classifier: {project.nets}:{build}: ")
    assert expected in message


def test_a_few_images_all_right_are_not_taken_for_chance(project: Project) -> None:
    """Four images can show no more than that."""
    model, some = project.take(), images()[:4]
    right = model(some).argmax(1).numpy()
    assert check_outside(model, (some * 255).to(torch.uint8), right, 3, "it") == 1
    with pytest.raises(PipelineError, match="no better than chance"):
        check_outside(model, (some * 255).to(torch.uint8), np.array([*right[:2], *(2 - right[2:])]), 3, "it")


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        ("failing", "{nets}:failing raised RuntimeError: no such thing"),
        ("nothing", "expected {nets}:nothing to return a torch.nn.Module, found int"),
        ("empty", "expected a module with weights, found none in ReLU"),
        ("leaving", "{nets}:leaving raised SystemExit: 3"),
        ("lazy", "expected a module that knows its shapes, found lazy layers: give it its widths"),
        ("number", "expected a function 'number' in {nets}, found 3"),
        ("gone", "expected a function 'gone' in {nets}, found None"),
        ("nowhere.at_all:make", "needs the module nowhere, which is neither in studies/tiny nor installed"),
        ("json:loads", "raised TypeError: loads() missing 1 required positional argument: 's'"),
    ],
)
def test_what_builds_nothing(project: Project, build: str, expected: str) -> None:
    project.bring(build)
    message = project.refused()
    assert message.startswith("studies/tiny/params.yaml: classifier.build: ")
    assert expected.format(nets=project.nets) in message


def test_arguments_and_blocks_that_do_not_fit(project: Project) -> None:
    project.bring(arguments={"depth": 3})
    assert "raised TypeError: make() got an unexpected keyword argument 'depth'" in project.refused()
    project.bring(normalization={"mean": [0.5, 0.5, 0.5], "std": [1, 1, 1]})
    assert "classifier.normalization.mean: expected 1 numbers, one a channel, found 3" in project.refused()
    project.bring(architecture={"channels": [4]})
    assert "classifier.architecture: unknown parameter; expected one of: build, weights" in project.refused()
    project.bring("make me")
    assert "classifier.build: expected 'package.module:function', found" in project.refused()


def test_a_model_of_another_size(project: Project) -> None:
    project.save(project.module.state_dict())
    write_images(Path("data/images/tiny.h5"), Description("toy", NAMES, "toy", "0"),
                 {split: type(bands(1, 1))(np.repeat(bands(60, 1).images, 2, 3), bands(60, 1).labels)
                  for split in ("train", "test")})  # fmt: skip
    assert "expected a model of images 1x8x16, it raised AssertionError: not my size" in project.refused()


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda w: w | {"last.bias": torch.full((3,), torch.nan)}, "expected finite weights, found NaN or "),
        (lambda w: {k: v for k, v in w.items() if k != "last.bias"}, "missing: last.bias"),
        (lambda w: w | {"head.bias": torch.zeros(3)}, "not of the model: head.bias"),
        (lambda w: w | {"last.weight": torch.zeros(5, 96)}, "of another shape: last.weight (5, 96) for (3, 96)"),
        (lambda w: {"a": w, "b": w}, "expected one state_dict, found 'a', 'b'"),
        (lambda w: [1, 2], "expected a state_dict, names to tensors, found a list"),
        (lambda w: {"epoch": 3}, "expected a state_dict, names to tensors, found the keys epoch"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit(project: Project, spoil: Callable[[Any], Any], expected: str) -> None:
    project.save(spoil(dict(project.module.state_dict())))
    message = project.refused()
    assert message.startswith("studies/tiny/weights.pt: ")
    assert expected in message


def test_a_pickled_model_is_refused_without_being_loaded(project: Project) -> None:
    project.save(nn.Linear(2, 2))
    message = project.refused()
    assert "expected a state_dict, found a pickle of other things (a whole model?)" in message
    assert "torch.save(model.state_dict(), file)" in message
    for name, content in {"weights.safetensors": b"no such thing", "weights.pt": b"none"}.items():
        (project.folder / name).write_bytes(content)
        project.bring(weights=name)
        assert project.refused().startswith(f"studies/tiny/{name}: expected a ")


@pytest.mark.parametrize("path", ["../../weights.pt", "/etc/passwd", "gone.pt", "."])
def test_weights_lie_in_the_studys_folder(project: Project, path: str) -> None:
    project.bring(weights=path)
    message = project.refused()
    assert "classifier.weights: " in message
    assert "expected " in message
