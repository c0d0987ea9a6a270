"""`make study` with a classifier of one's own: copied, looked at, and nothing left where it is wrong."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.errors import PipelineError
from pipeline.new_study import main, make_study
from pipeline.studies import Study
from tests.flowers import DARKER, beside_flowers

NETS = """
from torch import nn


def make():
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 3))


def wide():
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 3))


def sized():
    return nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(48, 3))


def turned():
    class Turned(nn.Sequential):
        def forward(self, images):
            return super().forward(images).roll(1, 1)

    return Turned(*make())


def failing():
    raise RuntimeError("no\\nsuch thing")
"""
# Of the mean of an image the nearest of three: its logits are twice the product with each, less the square of each.
MEANS = [0.5 / darker for darker in DARKER.values()]
WEIGHTS = {
    "2.weight": torch.tensor([[2 * mean / 48] * 48 for mean in MEANS]),
    "2.bias": torch.tensor([-(mean**2) for mean in MEANS]),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return beside_flowers(tmp_path, monkeypatch)


def test_a_classifier_of_ones_own_is_copied_and_looked_at(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = folder.parent / "theirs"
    theirs.mkdir()
    (theirs / "our_nets.py").write_text(NETS)
    torch.save(WEIGHTS, theirs / "w.pt")
    given = {"images": str(folder.parent / "flowers"), "weights": str(theirs / "w.pt")}
    make_study("mine", classifier=f"{theirs}/our_nets.py:make", **given)
    study = Study("mine")
    assert study.value("classifier") == {"build": "our_nets:make", "weights": "w.pt"}
    assert (study.folder / "our_nets.py").read_text() == NETS
    said = capsys.readouterr().out
    for words in (
        "our_nets:make: 147 weights; takes these images, and gives logits of 3 classes: 100.0% of 9 validation images",
        "images/s",
        "dvc repro studies/mine/dvc.yaml",
    ):
        assert words in said
    # Of images in [-1, 1] it takes another for each; two numbers are not enough.
    brought = {"classifier": f"{theirs}/our_nets.py:make", **given}
    with pytest.raises(PipelineError, match=r"normalization\.std: expected 3 numbers, one a channel, found 2"):
        make_study("other", **brought, mean=[0, 0, 0], std=[1, 1])
    assert not (folder / "studies/other").exists()
    shifted = WEIGHTS | {"2.bias": WEIGHTS["2.bias"] + torch.tensor(MEANS)}  # half of each weight's sum
    torch.save(shifted | {"2.weight": WEIGHTS["2.weight"] / 2}, theirs / "w.pt")
    make_study("other", **brought, mean=[0.5] * 3, std=[0.5] * 3)
    assert Study("other").value("classifier.normalization") == {"mean": [0.5] * 3, "std": [0.5] * 3}
    assert "100.0% of 9 validation images right" in capsys.readouterr().out


BAD: dict[str, tuple[str, Any, str]] = {
    "other weights": ("our_nets.py:wide", WEIGHTS, "expected the weights of the model that .*; missing: 1.weight"),
    "no module": ("gone.py:make", WEIGHTS, "CLASSIFIER: .*gone.py: no such file"),
    "at chance": (
        "our_nets.py:turned",
        WEIGHTS,
        "params.yaml: classifier: our_nets:turned: expected a classifier, found 0.0% of 9 validation images right, no "
        r"better than chance \(32.1%\): are these logits of these classes, in their order",
    ),
    "no such function": ("our_nets.py:gone", WEIGHTS, "classifier.build: expected a function 'gone' in our_nets, f"),
    "no function": ("our_nets.py", WEIGHTS, "CLASSIFIER: expected nets.py:function or package.module:function, found"),
    "no weights": ("our_nets.py:make", None, "WEIGHTS: .*w.pt: no such file"),
    "it raises": ("our_nets.py:failing", WEIGHTS, "our_nets:failing raised RuntimeError: no such thing$"),
    "another size": ("our_nets.py:sized", WEIGHTS, "expected a model of images 3x40x24, it raised RuntimeError: mat1"),
    "a whole model": (
        "our_nets.py:make",
        nn.Linear(2, 2),
        r"found a pickle .*: torch.save\(model.state_dict\(\)",
    ),
    "NaN": ("our_nets.py:make", WEIGHTS | {"2.bias": torch.full((3,), torch.nan)}, "w.pt: expected finite weights"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_classifier_that_is_wrong_leaves_nothing(folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is refused before all images are looked at, but for one that is shown some of them."""
    classifier, content, words = BAD[kind]
    (folder.parent / "our_nets.py").write_text(NETS)
    if content is not None:
        torch.save(content, folder.parent / "w.pt")
    if kind not in ("another size", "at chance"):
        monkeypatch.delattr("pipeline.new_study.look")
    before = {path for path in folder.rglob("*") if path.name not in ("data", "raw")}
    given = {"images": str(folder.parent / "flowers"), "weights": str(folder.parent / "w.pt")}
    with pytest.raises(PipelineError, match=words) as caught:
        make_study("mine", classifier=f"{folder.parent}/{classifier}" if ":" in classifier else classifier, **given)
    assert "\n" not in str(caught.value)
    assert {path for path in folder.rglob("*") if path.name not in ("data", "raw")} == before


MISUSED = {
    "a taken name": (["demo"], "studies/demo: expected a new name, found a study of that name"),
    "a slash": (["a/b"], "NAME: expected a name of the letters a-z, digits, _ and -, found 'a/b'"),
    "the page of all": (["index", "--images", "../flowers"], "NAME: expected another name, found 'index'"),
    "no images": (["mine", "--images", "../gone"], "IMAGES: expected a source, or a path here or in data/raw"),
    "no function": (
        ["mine", "--images", "../flowers", "--classifier", "../our_nets.py:gone", "--weights", "../w.pt"],
        "studies/mine/params.yaml: classifier.build: expected a function 'gone' in our_nets, found None",
    ),
    "a whole model": (
        ["mine", "--images", "../flowers", "--classifier", "../our_nets.py:make", "--weights", "../model.pt"],
        "../model.pt: expected a state_dict, found a pickle of other things (a whole model?)",
    ),
    "no classifier": (["mine", "--images", "../flowers", "--mean", "0.5"], "CLASSIFIER: missing; expected what builds"),
}


@pytest.mark.parametrize("kind", MISUSED)
def test_misuse_is_one_line_and_exit_code_1(
    folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words, said = MISUSED[kind]
    (folder.parent / "our_nets.py").write_text(NETS)
    torch.save(WEIGHTS, folder.parent / "w.pt")
    torch.save(nn.Linear(2, 2), folder.parent / "model.pt")
    before = sorted(folder.rglob("*"))
    monkeypatch.setattr(sys, "argv", ["new_study", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {said}")
    assert error.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(("given", "words"), [("weights", "CLASSIFIER: missing"), ("classifier", "IMAGES: missing")])
def test_weights_want_a_classifier_and_that_images(folder: Path, given: str, words: str) -> None:
    with pytest.raises(PipelineError, match=words):
        make_study("mine", **{given: "nets.py:make"})
    assert not (folder / "studies/mine").exists()
