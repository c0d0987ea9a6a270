"""Finished trees: the tiny study is reproduced once a run of pytest, whatever the number of its processes."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from filelock import FileLock
from ruamel.yaml import YAML

from tests.root import ROOT
from tests.tree import Tree

DEMO = "demo"


class Finished(NamedTuple):
    """The tree, which nobody changes; which stages ran; what each process asked of `Study` (tests/recording)."""

    tree: Tree
    ran: set[str]
    records: Path


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder, records, done = (base / f"finished{end}" for end in ("", "_records", ".json"))
    with FileLock(f"{folder}.lock"):
        if not done.is_file():
            for path in (folder, records):
                shutil.rmtree(path, ignore_errors=True)
            records.mkdir()
            tree = Tree(folder)
            ran = tree.repro(RECORD=str(records), PYTHONPATH=str(ROOT / "tests/recording"))
            tree.commit("The finished study")
            done.write_text(json.dumps(sorted(ran)))
    return Finished(Tree.at(folder, "tiny"), set(json.loads(done.read_text())), records)


@pytest.fixture(scope="module")
def tree(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A copy for a file of tests, changed by one test after the other."""
    return finished.tree.copied(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def demo_tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The demo, finished: what `make demo` has left in the project as far as it is current, the rest made anew."""
    tree = Tree(tmp_path_factory.mktemp("demo"), ROOT / f"studies/{DEMO}/params.yaml")
    lock = ROOT / f"studies/{DEMO}/dvc.lock"
    if lock.is_file() and (ROOT / f"reports/{DEMO}.html").is_file():
        shutil.copy(lock, tree.folder / f"studies/{DEMO}")
        stored = Path(tree.run("dvc", "--cd", str(ROOT), "cache", "dir").strip())
        for stage in tree.lock().values():
            take_cached(stage["outs"], stored, tree.folder / ".dvc/cache")
        tree.start("dvc", "checkout", "--quiet", f"studies/{DEMO}/dvc.yaml")
        for path in (f"reports/metrics/{DEMO}.json", f"reports/figures/{DEMO}"):  # in git or nowhere, not in the cache
            copy = shutil.copytree if (ROOT / path).is_dir() else shutil.copy
            (tree.folder / path).parent.mkdir(parents=True, exist_ok=True)
            copy(ROOT / path, tree.folder / path)
    tree.repro()
    tree.commit("The finished demo")
    return tree


def take_cached(outs: list[Mapping[str, Any]], source: Path, target: Path) -> None:
    """Copy what DVC has stored of some outputs, folders with what is in them, into another cache."""
    for out in outs:
        name = Path("files/md5") / out["md5"][:2] / out["md5"][2:]
        if (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, target / name)
            if out["md5"].endswith(".dir"):
                inside = YAML(typ="safe").load((source / name).read_text(encoding="utf-8"))
                take_cached(inside, source, target)
