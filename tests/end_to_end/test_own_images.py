"""From `make study` to a rendered report, without editing a file, on images that nobody here has seen."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.end_to_end.conftest import Finished
from tests.tree import Tree

pytestmark = pytest.mark.slow
# All stages in one process, without DVC.
EVERY_STAGE = """
import sys
from importlib import import_module
from pipeline.params import read_yaml
from pipeline.studies import PIPELINE, Study
study = Study(sys.argv[1])
for name, stage in read_yaml(PIPELINE)["stages"].items():
    keys = study.block(stage["foreach"][2:-1]) if "foreach" in stage else [None]
    if name != "check_params":
        for key in keys:
            import_module(f"pipeline.stages.{name}").main(study, *filter(None, [key]))
"""


def write(folder: Path, counts: dict[str, int], shape: tuple[int, ...]) -> None:
    """A pattern for each class, and noise; a folder per class."""
    random = np.random.default_rng(0)
    for name, count in counts.items():
        pattern = random.uniform(40, 200, shape)
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(noisy(pattern, random)).save(folder / name / f"{number}.png")


def noisy(pattern: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.uint8]:
    return (pattern + random.normal(0, 40, pattern.shape)).clip(0, 255).astype(np.uint8)


def outcome(tree: Tree) -> tuple[dict[str, object], str]:
    """The images as the metrics have them; the report."""
    metrics = json.loads((tree.folder / f"reports/metrics/{tree.study}.json").read_text())
    assert metrics["attacks"]["minimal"]["success_rate"]["value"] > 0.9
    assert metrics["classifier"]["test_accuracy"]["value"] > 0.9
    page = (tree.folder / f"reports/{tree.study}.html").read_text(encoding="utf-8")
    assert metrics["run"]["source"] in page
    return metrics["images"], page


def test_a_folder_of_color_images(finished: Finished, tmp_path: Path) -> None:
    """Three classes, not square, uneven; then other files, and the first ones again."""
    tree = finished.tree.copied(tmp_path / "tree")
    write(tmp_path / "flowers", {"rose": 60, "tulip": 40, "daisy": 90}, (40, 24, 3))
    said = tree.run(sys.executable, "-m", "pipeline.new_study", "mine", "tiny", "--images", str(tmp_path / "flowers"))
    assert "folder:mine: 3 classes, 152 to train (32 to 72 of a class), 38 to test (8 to 18 of a class), 40x24" in said
    assert "images/s" in said
    new = Tree.at(tree.folder, "mine")
    assert {"prepare_images", "learn@adversarial_training", "report"} <= new.repro()
    made = {f"studies/mine/{file}" for file in ("params.yaml", "dvc.yaml", "dvc.lock")}
    outputs = ("reports/metrics/mine.json", "reports/figures/mine/")
    assert {path for path in tree.changed() if not path.startswith(outputs)} == made
    images, page = outcome(new)
    assert images["shape"] == [3, 40, 24]
    assert images["test"] == {"images": 38, "rarest": 8, "commonest": 18}
    assert "test images that are training images too" in page
    assert new.repro() == set()
    assert tree.repro() == set()  # the other study is not concerned

    stored = new.folder / "data/images/mine.h5"
    first, raw = stored.read_bytes(), tmp_path / "flowers/rose/0.png"
    before = raw.read_bytes()
    raw.write_bytes((tmp_path / "flowers/rose/1.png").read_bytes())
    assert new.repro("prepare_images") == {"prepare_images"}
    assert stored.read_bytes() != first
    raw.write_bytes(before)
    new.repro("prepare_images")
    assert stored.read_bytes() == first
    (tmp_path / "elsewhere/mine").mkdir(parents=True)
    write(tmp_path / "elsewhere/mine", {"yes": 20, "no": 30}, (12, 8))
    assert new.repro("prepare_images", DATASETS_DIR=str(tmp_path / "elsewhere")) == {"prepare_images"}
    assert stored.read_bytes() != first
    new.repro("prepare_images")
    (new.folder / "data/raw/mine").unlink()  # as in a clone that has pulled the images alone
    assert new.repro() == set()
    assert stored.read_bytes() == first


def test_two_classes_of_gray_images(finished: Finished, tmp_path: Path) -> None:
    """Sides that cannot be halved."""
    tree = finished.tree.copied(tmp_path / "tree")
    write(tree.folder / "data/raw/pairs", {"no": 150, "yes": 60}, (13, 9))
    said = tree.run(sys.executable, "-m", "pipeline.new_study", "mine", "tiny", "--images", "pairs")
    assert "folder:pairs: 2 classes" in said
    tree.run(sys.executable, "-c", EVERY_STAGE, "mine")
    images, _ = outcome(Tree.at(tree.folder, "mine"))
    assert images["shape"] == [1, 13, 9]
    assert images["classes"] == 2
