"""From `make study` to a rendered report, without editing a file, on images that nobody here has seen."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.end_to_end.conftest import Finished
from tests.tree import Tree

pytestmark = pytest.mark.slow


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


def test_25_classes_of_color_images(finished: Finished, tmp_path: Path) -> None:
    """So many that each original is attacked towards three; not square, uneven. Then other files, and these again."""
    tree = finished.tree.copied(tmp_path / "tree")
    names = [f"flower {number:02}" for number in range(25)]
    write(tmp_path / "flowers", {name: 25 + number % 3 * 5 for number, name in enumerate(names)}, (10, 8, 3))
    said = tree.run(sys.executable, "-m", "pipeline.new_study", "mine", "tiny", "--images", str(tmp_path / "flowers"))
    assert (
        "folder:mine: 25 classes, 596 to train (20 to 28 of a class), 149 to test (5 to 7 of a class), 10x8, RGB"
        in said
    )
    assert "images/s" in said
    new = Tree.at(tree.folder, "mine")
    assert {"prepare_images", "learn@adversarial_training", "report"} <= new.repro()
    made = {f"studies/mine/{file}" for file in ("params.yaml", "dvc.yaml", "dvc.lock")}
    outputs = ("reports/metrics/mine.json", "reports/figures/mine/")
    assert {path for path in tree.changed() if not path.startswith(outputs)} == made
    images, page = outcome(new)
    assert images["shape"] == [3, 10, 8]
    assert images["test"] == {"images": 149, "rarest": 5, "commonest": 7}
    assert "test images that are training images too" in page
    assert "Of the classes the first 20." in page
    assert "it fools the classifier with none of its 75 images" in page  # FGSM at 8/255: left out, and nothing breaks
    for attack, originals in {"minimal": 250 + 50, "extended": 250 + 50, "ddn": 25}.items():
        pairs = pd.read_parquet(new.folder / f"data/perturbations/mine/{attack}/pairs.parquet")
        assert pairs["count"].sum() == 3 * originals
        assert len(pairs) == 25 * 24
    judged = pd.read_parquet(new.folder / "data/replicates/mine/examples.parquet")
    assert judged.groupby(["replicate", "attack", "source_index"]).size().eq(3).all()
    assert new.repro() == set()
    assert tree.repro() == set()  # the other study is not concerned

    stored = new.folder / "data/images/mine.h5"
    first, raw = stored.read_bytes(), tmp_path / "flowers/flower 00/0.png"
    before = raw.read_bytes()
    raw.write_bytes((tmp_path / "flowers/flower 00/1.png").read_bytes())
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
    """Sides that cannot be halved; of the defenses one."""
    tree = finished.tree.copied(tmp_path / "tree")
    write(tree.folder / "data/raw/pairs", {"no": 150, "yes": 60}, (13, 9))
    said = tree.run(sys.executable, "-m", "pipeline.new_study", "mine", "tiny", "--images", "pairs")
    assert "folder:pairs: 2 classes" in said
    new = Tree.at(tree.folder, "mine")

    def edit(params: Any) -> None:
        del params["defenses"]["adversarial_training"], params["other_attacks"]["ddn"]
        params["replicates"]["defenses"] = ["dropout_ensemble"]

    new.change(edit)
    assert {"learn@dropout_ensemble", "report"} <= new.repro()
    images, _ = outcome(new)
    assert images["shape"] == [1, 13, 9]
    assert images["classes"] == 2
