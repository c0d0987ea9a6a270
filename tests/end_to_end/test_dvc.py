"""DVC's commands on a finished study, each as a person types it."""

import csv
import hashlib
import json
import os
import re
import shutil
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.params import read_yaml
from pipeline.reporting.formats import flat
from tests.end_to_end.conftest import Finished
from tests.end_to_end.test_readme import blocks, read
from tests.tree import EVERY_TIME, Tree, ran

pytestmark = pytest.mark.slow
PARAMS = "studies/tiny/params.yaml"
PIPELINE = "studies/tiny/dvc.yaml"


# One of each norm's `epsilons`; a whole number.
NEW = {"threat.linf.epsilon": 0.5, "threat.l2.epsilon": 0.5, "attacks.extended.extra_steps": 1}


def other(key: str, value: Any) -> Any:
    """Another value that the same parameter may have, beside the others of the rest."""
    if key in NEW:
        return NEW[key]
    if key.endswith((".train", ".test", "sizes.originals")):
        return value + 10  # as many of each class
    if isinstance(value, bool):
        return not value
    if isinstance(value, list):
        return [*value, value[-1]]
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return 0.75 * value
    return {"auto": 0.25, "linf": "l2"}.get(value, f"{value}_")


def put(params: Any, key: str, value: Any) -> None:
    *path, last = key.split(".")
    for name in path:
        params = params[name]
    params[last] = value


def test_the_comparison_of_studies_is_made_in_the_root(tree: Tree) -> None:
    said = tree.dvc("repro")
    assert "Running stage 'collect@tiny'" in said
    assert {"transfer", "index"} <= ran(said)
    assert json.loads((tree.folder / "data/transfer.json").read_text()) == {"pairs": []}  # there is but one study
    stages = YAML(typ="safe").load(tree.folder / "dvc.yaml")["stages"]
    noted = json.loads((tree.folder / "data/collected/tiny.files.json").read_text())
    for dep in stages["collect"]["do"]["deps"]:  # all that a stage made, but what is copied
        path = dep.replace("${item}", "tiny")
        assert any(f"{file}/".startswith(f"{path}/") for file in noted) is path.startswith("data/"), dep
    page = (tree.folder / "reports/index.html").read_text(encoding="utf-8")
    assert 'href="tiny.html"' in page
    assert ran(tree.dvc("repro")) == EVERY_TIME
    tree.commit("The comparison")


def reset(tree: Tree) -> None:
    """What is committed, and DVC's outputs of it."""
    tree.run("git", "checkout", "--quiet", "--", ".")
    tree.dvc("checkout", "--quiet")


def test_every_parameter_can_be_set_for_an_experiment(tree: Tree) -> None:
    """DVC rewrites the file for `-S`: all else stays as it was, and it can be read back."""
    expected = read_yaml(tree.params_file)
    options = []
    blocks = set()
    for key, value in flat(expected).items():
        if key == "study" or "other_attacks" in key or key.endswith(("source", "method")):
            continue  # names, which the stage that is run here checks
        blocks.add(key.partition(".")[0])
        put(expected, key, other(key, value))
        text = json.dumps(other(key, value)).replace('"', "")
        options += ["-S", f"{PARAMS}:{key}={text}"]
    assert len(blocks) == 13
    options += ["-S", f"{PARAMS}:other_attacks.ddn.steps=7"]
    put(expected, "other_attacks.ddn.steps", 7)
    tree.dvc("exp", "run", "--quiet", *options, f"{PIPELINE}:check_params")
    assert read_yaml(tree.params_file) == expected
    assert tree.params_file.read_text().startswith("# ")
    reset(tree)


def test_one_number_is_tried_compared_and_named(tree: Tree) -> None:
    key = "defenses.dropout_ensemble.predict.passes"
    tree.dvc("exp", "run", "--name", "more-passes", "-S", f"{PARAMS}:{key}=5", PIPELINE)
    (entry,) = json.loads(tree.dvc("params", "diff", "--json"))[PARAMS].items()
    assert entry == (key, {"old": 3, "new": 5, "diff": 2})
    changed = json.loads(tree.dvc("metrics", "diff", "--json"))
    assert set(changed) == {"reports/metrics/tiny.json"}
    found = changed["reports/metrics/tiny.json"]["defenses.dropout_ensemble.arguments.passes"]
    assert (found["old"], found["new"]) == (3, 5)
    shown = tree.dvc("metrics", "show", "reports/metrics/tiny.json")
    assert "test_accuracy" in shown
    assert tree.dvc("exp", "show", "--only-changed", "--no-pager")
    header, *rows = csv.reader(StringIO(tree.dvc("exp", "show", "--only-changed", "--csv")))
    (column,) = [number for number, name in enumerate(header) if name.endswith(key)]
    assert {row[column] for row in rows} >= {"3", "5"}
    reset(tree)
    assert tree.params()["defenses"]["dropout_ensemble"]["predict"]["passes"] == 3
    assert tree.repro() == set()
    tree.dvc("exp", "apply", "more-passes")
    assert tree.params()["defenses"]["dropout_ensemble"]["predict"]["passes"] == 5
    assert tree.repro() == set()


def test_status_names_the_number_that_changed(tree: Tree) -> None:
    reset(tree)
    assert changed_stages(tree.dvc("status", PIPELINE)) == EVERY_TIME
    tree.change(lambda params: params["attack_trials"].update(originals=6))
    status = tree.dvc("status", PIPELINE)
    assert "attack_trials" in status
    named = changed_stages(status)
    assert "choose_steps" in named
    assert "minimal" not in named


def changed_stages(status: str) -> set[str]:
    return {name.rpartition(":")[2] for name in re.findall(r"^(\S+):$", status, re.MULTILINE)}


def test_plots_are_shown(tree: Tree) -> None:
    reset(tree)
    tree.dvc("plots", "show", "--out", "plots", PIPELINE)
    page = (tree.folder / "plots/index.html").read_text(encoding="utf-8")
    assert "accuracy of the classifier" in page
    assert "figure_1_average_adversarial_images" in page


def test_experiments_run_from_a_queue(tree: Tree) -> None:
    reset(tree)
    for steps in (5, 6):
        tree.dvc(
            "exp", "run", "--queue", "--name", f"ddn-{steps}", "-S", f"{PARAMS}:other_attacks.ddn.steps={steps}",
            f"{PIPELINE}:attack@ddn",
        )  # fmt: skip
    tree.dvc("queue", "start", "--jobs", "1")
    until = time.monotonic() + 240
    while tree.dvc("queue", "status").count("Success") < 2:
        assert "Failed" not in tree.dvc("queue", "status")
        assert time.monotonic() < until
        time.sleep(2)
    experiments = tree.dvc("exp", "list", "--name-only").split()
    assert {"ddn-5", "ddn-6"} <= set(experiments)
    tree.dvc("exp", "apply", "ddn-6")
    assert tree.params()["other_attacks"]["ddn"]["steps"] == 6
    reset(tree)


def test_a_fresh_clone_pulls_and_has_nothing_to_run(tree: Tree, tmp_path: Path) -> None:
    reset(tree)
    tree.dvc("remote", "add", "--default", "storage", str(tmp_path / "storage"))
    tree.commit("A remote")
    tree.dvc("push", "--quiet", PIPELINE)
    clone = tmp_path / "clone"
    tree.run("git", "clone", "--quiet", str(tree.folder), str(clone))
    other_tree = Tree.at(clone, "tiny")
    assert other_tree.repro("--allow-missing", "--dry") == set()
    other_tree.dvc("pull", "--quiet", PIPELINE)
    assert other_tree.repro() == set()
    assert other_tree.hashes() == tree.hashes()


def test_other_studies_can_be_reproduced_dry(tree: Tree) -> None:
    """Where nothing of MNIST's and CIFAR-10's is there, and no lock: their pipelines resolve."""
    root = Path(__file__).parents[2]
    for study in ("mnist", "cifar10"):
        home = tree.folder / "studies" / study
        home.mkdir()
        for file in ("params.yaml", "dvc.yaml"):
            (home / file).write_bytes((root / f"studies/{study}/{file}").read_bytes())
        said = tree.dvc("repro", "--dry", "--force", f"studies/{study}/dvc.yaml")
        stages = set(YAML(typ="safe").load(home / "dvc.yaml")["stages"])
        assert {name.partition("@")[0] for name in re.findall(r"dvc\.yaml:(\S+?)'", said)} >= stages


def test_cleaning_up_as_the_page_says_frees_what_nothing_needs(finished: Finished, tmp_path: Path) -> None:
    """An output's other version goes, and the work folder; all that is there now stays, and nothing is made again."""
    tree = finished.tree.copied(tmp_path / "tree")
    (block,) = [block for block in blocks(read("pipeline/README.md")) if "dvc gc" in block.text]

    def stored() -> set[Path]:
        return {path for path in (tree.folder / ".dvc/cache/files").rglob("*") if path.is_file()}

    before, curves = stored(), tree.folder / "data/curves/tiny/classifier.csv"
    text = curves.read_text()
    curves.unlink()  # a link into the cache
    curves.write_text(f"{text}9,train,0,1\n")
    tree.dvc("commit", "--quiet", "--force", tree.target("train_classifier"))
    tree.run("git", "checkout", "--quiet", "--", "studies")
    tree.dvc("checkout", "--quiet", PIPELINE)
    assert len(stored() - before) == 1
    assert (tree.folder / ".work").is_dir()
    tree.run("bash", "-euo", "pipefail", "-c", block.text)
    assert stored() <= before
    assert not (tree.folder / ".work").exists()
    shutil.rmtree(tree.folder / "data/curves")
    tree.dvc("checkout", "--quiet", PIPELINE)
    assert curves.read_text() == text
    assert tree.repro() == set()


def test_a_damaged_file_is_mended_as_the_page_says(finished: Finished, tmp_path: Path) -> None:
    tree = finished.tree.copied(tmp_path / "tree")
    (block,) = [block for block in blocks(read("pipeline/README.md")) if "md5sum" in block.text]
    curves = tree.folder / "data/curves/tiny/classifier.csv"
    text = curves.read_text()
    md5 = hashlib.md5(curves.read_bytes()).hexdigest()
    stored = tree.folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    for path in (stored, curves):  # unlinked, for other trees share the cache's file
        path.unlink()
    stored.write_text(text[:10])
    stored.chmod(0o444)
    os.link(stored, curves)
    assert tree.repro() == set()  # DVC believes what nobody may write
    assert curves.read_text() == text[:10]
    tree.run("bash", "-euo", "pipefail", "-c", block.text)
    assert tree.repro() == {"train_classifier"}
    assert curves.read_text() == text
