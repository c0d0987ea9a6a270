"""Two studies on the same images: another network, the same originals; each fooled by what fools the other."""

import json
import sys
from pathlib import Path
from typing import Any

import h5py
import pandas as pd
import pytest

from tests.end_to_end.conftest import Finished
from tests.tree import Tree

pytestmark = pytest.mark.slow
# What the comparison reads of a study, made in one process without DVC.
ITS_STAGES = """
import sys
from importlib import import_module
from pipeline.studies import Study
study = Study(sys.argv[1])
for stage in ("fetch_images", "prepare_images", "train_classifier", "choose_steps", "minimal", "extended"):
    import_module(f"pipeline.stages.{stage}").main(study)
for stage in ("learn", "evaluate"):
    for key in study.families:
        import_module(f"pipeline.stages.{stage}").main(study, key)
"""


def edit(params: Any) -> None:
    params["study"] = "deeper"
    params["classifier"] = {
        "kind": "mlp",
        "architecture": {"hidden": [64, 64], "dropout": 0.1},
        "training": {"epochs": 12},
    }
    params["attacks"]["minimal"].update(step_size=0.01)
    params["sources"].update(train=30, test=30)
    del params["defenses"]["adversarial_training"]


def found(tree: Tree, file: str) -> Any:
    (pair,) = json.loads((tree.folder / file).read_text(encoding="utf-8"))["pairs"]
    return pair


def test_two_studies_on_the_same_images(finished: Finished, tmp_path: Path) -> None:
    tree = finished.tree.copied(tmp_path / "tree")
    home = tree.folder / "studies/deeper"
    home.mkdir()
    for file in ("params.yaml", "dvc.yaml"):
        (home / file).write_bytes((tree.folder / "studies/tiny" / file).read_bytes())
    Tree.at(tree.folder, "deeper").change(edit)
    tree.run(sys.executable, "-c", ITS_STAGES, "deeper")
    module = [sys.executable, "-m", "pipeline.stages.transfer"]
    tree.run(*module, "tiny", "deeper")
    pair = found(tree, "reports/transfer/tiny+deeper.json")

    sets = {study: h5py.File(tree.folder / f"data/adversarial/{study}/minimal.h5") for study in ("tiny", "deeper")}
    tested = [set(file["source_index"][:][file["source_split"][:] == 1]) for file in sets.values()]
    assert pair["originals"] == len(tested[0] & tested[1]) >= 20
    made = pair["transfer"]["minimal"]["tiny"]
    assert made["tried_on"] == "deeper"
    assert 0 < made["target"]["value"] <= made["error"]["value"] < 1
    lengths = {
        study: pd.read_parquet(tree.folder / f"data/perturbations/{study}/minimal/examples.parquet").query(
            "source_split == 1 and is_adversarial"
        )
        for study in sets
    }
    both = lengths["tiny"].merge(lengths["deeper"], on=["source_index", "target_label"])
    assert pair["perturbations"]["minimal"]["images"] == len(both)
    ratio = both["l2_y"].astype(float).sum() / both["l2_x"].astype(float).sum()
    assert pair["perturbations"]["minimal"]["l2"]["ratio"]["value"] == pytest.approx(ratio, rel=1e-5)
    assert set(pair["defenses"]) == {"dropout_ensemble", "gaussian_noise_ensemble"}  # what both have
    assert pair["defenses"]["dropout_ensemble"]["minimal"]["thwarted"]["images"] == len(both)

    # Listed, they are found by themselves; a study that has not been made is named.
    (tree.folder / "params.yaml").write_text("studies: [tiny, deeper]\n")
    tree.run(*module)
    assert found(tree, "data/transfer.json") == pair
    for words, said in (
        (("tiny", "tiny"), "tiny, tiny: expected two different studies"),
        (("tiny", "gone"), "no such study"),
    ):
        done = tree.start(*module, *words)
        assert done.returncode == 1
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1
