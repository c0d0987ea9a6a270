"""`make study` on images of one's own: a study of them, and nothing left where they are wrong."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pipeline import trial
from pipeline.artifacts.images import read_description, read_split
from pipeline.artifacts.raw import survey
from pipeline.artifacts.raw.survey import look
from pipeline.artifacts.raw.wanted import Images
from pipeline.errors import PipelineError
from pipeline.metrics.splits import validation_mask
from pipeline.new_study import make_study
from pipeline.stages import prepare_images
from pipeline.studies import Study
from tests.flowers import RANDOM, beside_flowers
from tests.raw import image_folder
from tests.root import ROOT


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return beside_flowers(tmp_path, monkeypatch)


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


def test_a_folder_without_images_is_told_by_its_own_name(folder: Path) -> None:
    empty = folder.parent / "empty"
    empty.mkdir()
    with pytest.raises(PipelineError, match=rf"^{empty}: expected images in a folder per class .*, found nothing: "):
        make_study("mine", images=str(empty))
    assert not (folder / "studies/mine").exists()


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


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), ()),
        (("NAME=mine",), ("mine",)),
        (("NAME=mine", "FROM=digits"), ("mine", "digits")),
        (("NAME=mine", "IMAGES=a folder/*"), ("mine", "--images", "a folder/*")),
        (
            ("NAME=mine", "CLASSIFIER=nets.py:make", "WEIGHTS=my weights.pt", "MEAN=.5 .4 .3", "STD=.2 .2 .2"),
            ("mine", "--classifier", "nets.py:make", "--weights", "my weights.pt",
             "--mean", ".5", ".4", ".3", "--std", ".2", ".2", ".2"),
        ),
    ],
)  # fmt: skip
def test_make_hands_on_what_it_is_given(tmp_path: Path, given: tuple[str, ...], expected: tuple[str, ...]) -> None:
    for file in ("Makefile", "requirements.txt", "requirements-no-deps.txt"):
        shutil.copy(ROOT / file, tmp_path)
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n", encoding="utf-8")
    python.chmod(0o755)
    (tmp_path / ".venv/.ready").write_text(str(tmp_path), encoding="utf-8")
    words = ["make", "--silent", "study", *given]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert tuple(done.stdout.splitlines()) == ("-m", "pipeline.new_study", *expected)
