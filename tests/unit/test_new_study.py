"""`make study` on images of one's own: numbers that fit them, and nothing left where they are wrong."""

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pipeline import trial
from pipeline.artifacts.images import read_description, read_split
from pipeline.artifacts.raw import survey
from pipeline.artifacts.raw.survey import look
from pipeline.artifacts.raw.wanted import Images
from pipeline.errors import PipelineError
from pipeline.metrics.splits import validation_mask
from pipeline.new_study import main, make_study
from pipeline.params import read_yaml, with_values
from pipeline.proposal import long_enough, numbers, shape_for
from pipeline.stages import prepare_images
from pipeline.studies import Study
from tests.raw import image_folder
from tests.root import ROOT

RANDOM = np.random.default_rng(0)
DARKER = {"daisy": 1, "rose": 3, "tulip": 9}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of the study `demo`, and a folder of images beside it."""
    project = tmp_path / "project"
    (project / "studies/demo").mkdir(parents=True)
    shutil.copy(ROOT / "studies/pipeline.yaml", project / "studies")
    for file in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / f"studies/demo/{file}", project / "studies/demo")
    monkeypatch.chdir(project)
    monkeypatch.delenv("DATASETS_DIR", raising=False)
    monkeypatch.setattr(trial, "SECONDS", 0.01)
    flowers = tmp_path / "flowers"
    image_folder(flowers, {"rose": 40, "tulip": 30, "daisy": 50}, RANDOM, 40, 24)
    for path in flowers.rglob("*.png"):  # each class as bright as the other was before
        Image.fromarray(np.asarray(Image.open(path)) // DARKER[path.parent.name]).save(path)
    return project


def test_a_folder_elsewhere_is_linked_and_looked_at(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_study("mine", images=str(folder.parent / "flowers"))
    assert (folder / "data/raw/mine").resolve() == folder.parent / "flowers"
    study = Study("mine")
    assert study.value("images") == {"source": "folder:mine", "test_share": 0.2}
    assert study.source == "mine"
    assert study.value("sources") == {"train": 36, "test": 9}
    assert study.value("classifier.architecture.channels") == [32, 64, 128]
    assert study.value("threat.linf.epsilon") == 0.0314
    said = capsys.readouterr().out
    for words in ("3 classes", "40x24, RGB", "a link to", "images/s", "GB", "dvc repro studies/mine/dvc.yaml"):
        assert words in said
    text = study.file.read_text(encoding="utf-8")
    assert "Made by `make study`" in text
    assert "# images attacked towards every other class" in text  # comments are kept
    make_study("again", "mine", "mine")  # from another study, on images among the raw files
    assert Study("again").value("images") == study.value("images")


def test_a_second_study_of_the_same_images_takes_the_link_of_the_first(folder: Path) -> None:
    """By one name of the images both have one test split, and attack the same originals."""
    (folder.parent / "again").symlink_to(folder.parent / "flowers")
    make_study("first", images=str(folder.parent / "flowers"))
    make_study("second", images=str(folder.parent / "again"))
    assert Study("second").source == Study("first").source == "first"
    assert [path.name for path in (folder / "data/raw").iterdir()] == ["first"]


def test_an_npz_and_a_published_set_need_no_link(folder: Path) -> None:
    random = np.random.default_rng(0)
    (folder / "data/raw/sets").mkdir(parents=True)
    images, labels = random.integers(0, 256, (120, 12, 9), np.uint8), np.arange(120) % 2
    np.savez(folder / "data/raw/sets/pairs.npz", images=images, labels=labels)
    make_study("pairs", images="sets/pairs.npz")
    assert Study("pairs").value("images")["source"] == "npz:sets/pairs.npz"
    make_study("digital", images="digits")
    assert Study("digital").value("images") == {"source": "digits", "test_share": 0.2}


def test_the_cost_tells_what_the_choice_of_a_step_size_takes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of 25 classes, whose originals are attacked towards three: small steps take up to `max_steps` passes each."""
    (folder / "data/raw").mkdir(parents=True)
    images, labels = RANDOM.integers(0, 256, (750, 8, 8), np.uint8), np.arange(750) % 25
    np.savez(folder / "data/raw/many.npz", images=images, labels=labels)
    make_study("many", images="many.npz")
    study = Study("many")
    assert study.value("attack_trials.targets") == 3
    climbs = [4.375, 8.75, 17.5, 35, 70, 140, 280, 560, 1000, 1000]  # 0.7 over 0.16, its half, ...
    assert trial.passes_to_choose(study) == pytest.approx(sum(climbs) + 10)
    found = re.search(
        r"about (\d+) (\w+) and .*; of the time up to (\d+) seconds for choose_steps", capsys.readouterr().out
    )
    assert found
    assert int(found[3]) >= 1
    study.params["attack_trials"] |= {"originals": 10**6}
    many = re.search(
        r"about (\d+) hours and .*; of the time up to (\d+) hours for choose_steps",
        trial.cost(study, (1, 8, 8), 25, 600),
    )
    assert many
    assert int(many[1]) - 1 <= int(many[2]) <= int(many[1])


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


def test_the_images_that_are_shown_are_those_that_the_stages_hold_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a folder, class by class, whose order is mixed; with less memory fewer of the same."""
    make_study("mine", images=str(folder.parent / "flowers"))
    study = Study("mine")
    prepare_images.main(study)
    split = read_split(study.path("images"), "train")
    expected = split.images[validation_mask(split.labels, study.seed, study.source)]
    found = look(Images("folder:mine"), study.source, "images", study.seed, keep=True)
    shown = found.validation(found.images)
    assert sorted(image.tobytes() for image in shown.images) == sorted(image.tobytes() for image in expected)
    assert found.counts["train"] == np.bincount(split.labels).tolist()
    monkeypatch.setattr(survey, "FEW", 2)
    monkeypatch.setattr(survey, "BYTES", 5 * 40 * 24 * 3)
    fewer = look(Images("folder:mine"), study.source, "images", study.seed, keep=True).validation(found.images)
    assert {image.tobytes() for image in fewer.images} < {image.tobytes() for image in expected}
    assert len(fewer.images) == 5
    assert found.validation(Images("folder:mine", size=(20, 12), channels=1)).images.shape == (9, 1, 20, 12)


def test_a_leak_between_the_splits_is_said_as_the_stage_counts_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of few images; of most of them it is refused, as by the stage."""
    flowers = folder.parent / "leaking"
    image_folder(flowers / "train", {"a": 30, "b": 30}, RANDOM)
    image_folder(flowers / "test", {"a": 4, "b": 4}, RANDOM)
    for number in range(3):
        shutil.copy(flowers / f"train/a/{number:03}.png", flowers / f"test/a/{number:03}.png")
    make_study("mine", images=str(flowers))
    assert "3 of 8 test images are training images too: the report will say so" in capsys.readouterr().out
    prepare_images.main(Study("mine"))
    assert read_description(Study("mine").path("images")).test_images_in_train == 3
    for number in range(2):
        shutil.copy(flowers / f"train/b/{number:03}.png", flowers / f"test/b/{number:03}.png")
    words = f"{flowers}: expected other images in the test split than in the training split, found 5 of 8 in both"
    with pytest.raises(PipelineError, match=words):
        make_study("again", images=str(flowers))
    assert not (folder / "studies/again").exists()
    assert not (folder / "data/raw/again").is_symlink()


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


@pytest.mark.parametrize(
    "kind", ["gone", "broken", "few", "taken", "outside", "one class", "empty", "label", "npy", "small", "name"]
)
def test_what_is_wrong_leaves_nothing(folder: Path, kind: str) -> None:
    flowers = folder.parent / "flowers"
    images = str(flowers)
    if kind == "gone":
        images, words = (
            "folder:nowhere",
            "IMAGES: expected a source, or a path here or in data/raw; found 'folder:nowhere'",
        )
    elif kind == "broken":
        broken = flowers / "rose/007.png"
        broken.write_bytes(broken.read_bytes()[:100])
        words = r"rose/007\.png: expected a whole image"
    elif kind == "few":
        image_folder(flowers, {"lily": 15}, RANDOM, 40, 24)
        words = "expected 20 train images of each class at least, found: lily 12"
    elif kind == "taken":
        (folder / "data/raw/mine").mkdir(parents=True)
        words = "data/raw/mine: expected nothing there, to link it to"
    elif kind == "one class":
        for name in ("tulip", "daisy"):
            shutil.rmtree(flowers / name)
        words = "flowers: expected a folder per class, two at least; found rose/"
    elif kind == "empty":
        (flowers / "lily").mkdir()
        words = "lily: expected images .*, found nothing"
    elif kind == "label":
        images, words = str(flowers / "pairs.npz"), "image 3: expected a label below 2, found -1"
        np.savez(images, images=np.zeros((4, 8, 8), np.uint8), labels=np.array([0, 1, 1, -1]))
    elif kind == "npy":
        images, words = str(flowers / "one.npy"), "one.npy: expected an .npz of arrays, found a single array|mine.npy"
        np.save(images, np.zeros((4, 8, 8), np.uint8))
    elif kind == "name":
        (flowers / "rose").rename(os.fsdecode(bytes(flowers) + b"/ros\xe9"))
        words = r"flowers/ros\\udce9/000\.png': expected a name in UTF-8, found other bytes: rename it"
    elif kind == "small":
        image_folder(flowers.with_name("small"), {"a": 25, "b": 25}, RANDOM, 7, 20)
        images, words = str(flowers.with_name("small")), "expected images of 8x8 pixels at least, found 7x20: enlarge"
    else:
        images, words = "torchvision:Nonsense", "found 'Nonsense'"
    before = sorted(path for path in folder.rglob("*"))
    with pytest.raises(PipelineError, match=words):
        make_study("mine", images=images)
    assert not (folder / "studies/mine").exists()
    assert {path for path in folder.rglob("*") if path.name != "raw" and path.name != "data"} <= set(before)


def test_images_of_several_sizes_are_to_be_resized() -> None:
    assert shape_for({(40, 24): 9}, {3: 9}).shape == (3, 40, 24)
    assert shape_for({(40, 24): 9}, {3: 9}).size is None
    several = shape_for({(300, 200): 5, (310, 190): 4}, {3: 8, 1: 1})
    assert (several.size, several.channels, several.shape) == ((64, 44), 3, (3, 64, 44))
    assert shape_for({(224, 224): 9}, {1: 9}).size == (64, 64)
    # A classifier that is brought takes images of its own size.
    assert shape_for({(224, 224): 9}, {3: 9}, brought=True).shape == (3, 224, 224)
    assert shape_for({(300, 200): 5, (310, 190): 4}, {3: 9}, brought=True).size == (224, 148)
    assert shape_for({(9, 30): 9, (8, 30): 1}, {1: 10}).size == (8, 32)


@pytest.mark.parametrize("classes", [2, 10, 25, 100])
def test_numbers_fit_the_classes(classes: int) -> None:
    names = tuple(map(str, range(classes)))
    found = numbers((1, 28, 28), names, {"train": [600] * classes, "test": [30] * (classes - 1) + [7]})
    for key in ("sources.train", "sources.test", "other_sources.test"):
        assert found[key] % classes == 0
        assert found[key] > 0
    targets = {found[key] for key in found if key.endswith(".targets")}
    assert targets == {"all" if classes <= 20 else 3}
    assert found["sources.test"] <= 3 * classes
    towards = classes - 1 if classes <= 20 else 3
    for key, most in {"sources.train": 3000, "replicates.sources.train": 3000, "sizes.originals": 1000}.items():
        assert found[key] * towards <= most
    assert found["threat.linf.epsilon"] == 0.3
    assert found["threat.l2.epsilon"] == 3


@pytest.mark.parametrize(("classes", "each"), [(2, 40), (2, 20_000), (10, 600), (10, 6000), (100, 50)])
def test_trials_of_a_restoration_update_its_weights_often_enough(classes: int, each: int) -> None:
    """After 30 updates an autoencoder of MNIST restores nothing, and of equal trials a rule chooses anything."""
    counts = {"train": [each] * classes, "test": [each // 4] * classes}
    values = numbers((1, 28, 28), tuple(map(str, range(classes))), counts)
    originals, towards = min(50, values["sources.train"]), classes - 1 if classes <= 20 else 3
    batches = 2 * originals * towards / values["training.batch_size"]
    assert 60 <= long_enough(50, values, classes) * batches < 60 + batches


def test_the_demos_trials_do_too() -> None:
    demo = read_yaml(ROOT / "studies/demo/params.yaml")
    trials = demo["defenses"]["autoencoder_ensemble"]["learn"]["trials"]
    assert trials["epochs"] * 2 * trials["originals"] * 9 / demo["training"]["batch_size"] >= 60


def test_values_are_set_and_comments_kept() -> None:
    text = "a: 1\nb:\n  c: [1, 2] # two\n  d: x\n"
    changed = with_values(text, {"b.c": [3, 4], "a": {"e": (5, 6)}})
    assert changed == "a:\n  e: [5, 6]\nb:\n  c: [3, 4] # two\n  d: x\n"
