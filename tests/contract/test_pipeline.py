"""dvc.yaml says the truth: code is depended on, paths in commands are deps or outs, rooms stay shut."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.artifacts.code import imported
from tests.root import ROOT

STAGES: dict[str, Any] = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
ROOMS = ("attacks", "models", "defenses", "training", "metrics")


def body(name: str) -> dict[str, Any]:
    stage = STAGES[name]
    return stage.get("do", stage)


def scripts(name: str) -> list[str]:
    """What a stage runs, one after the other."""
    return re.findall(r"-m pipeline\.stages\.(\w+)", body(name)["cmd"])


def paths(entries: list[Any]) -> set[str]:
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}


@pytest.mark.parametrize("name", [name for name in STAGES if name != "fingerprint_code"])
def test_every_stage_depends_on_its_code_and_on_what_it_loads_by_name(name: str) -> None:
    expected = set()
    for script in scripts(name):
        source = (ROOT / f"pipeline/stages/{script}.py").read_text()
        rooms = re.findall(r'load_by_name\("(\w+)"', source) + ["attacks"] * ("load_attack(" in source)
        expected.add(f"data/code/stages/{script}.json")
        for room in rooms:
            # What stands behind --attack or --defense, up to the next option.
            named = re.findall(rf"--{room.rstrip('s')} ((?:(?!--)\S+\s*)+)", body(name)["cmd"])
            expected |= {f"data/code/{room}/{word}.json" for words in named for word in words.split()}
    found = {path for path in paths(body(name)["deps"]) if path.startswith("data/code/")}
    assert {path for path in found if not path.startswith("data/code/listed/")} == expected


@pytest.mark.parametrize("name", STAGES)
def test_paths_in_commands_are_deps_or_outs(name: str) -> None:
    stage = body(name)
    outs = paths(stage.get("outs", [])) | paths(stage.get("metrics", []))
    known = paths(stage["deps"]) | outs
    words = stage["cmd"].split()
    for word in words:
        if "/" in word and not word.startswith("data/raw/"):
            assert word in known or word.rpartition("/")[0] in outs, word
    # And the other way: no dep or out that the command is not told of, code apart.
    for path in known:
        if path.startswith("data/code/listed/") or not path.startswith("data/code/"):
            assert path in words or any(word.startswith(f"{path}/") for word in words), path


def test_stages_and_scripts_are_the_same() -> None:
    files = {path.stem for path in (ROOT / "pipeline/stages").glob("*.py")} - {"__init__", "command"}
    assert files == {script for name in STAGES for script in scripts(name)}
    for name in STAGES:
        assert name in scripts(name) or len(scripts(name)) > 1 or name == "evaluate_other", name


@pytest.mark.parametrize("room", ROOMS)
def test_core_rooms_do_no_input_or_output(room: str) -> None:
    shut = {"h5py", "yaml", "ruamel", "argparse", "pathlib", "pyarrow", "os", "json", "csv"}
    if room != "metrics":  # frames in, numbers out
        shut.add("pandas")
    for path in (ROOT / "pipeline" / room).glob("*.py"):
        tops = {name.split(".")[0] for name in _imports(path)}
        assert not tops & shut, path
        assert not any(
            str(file.parent.name) in ("artifacts", "stages") for file in imported(path, ROOT / "pipeline")
        ), path


def test_reporting_reads_no_files_and_needs_no_torch() -> None:
    for path in (ROOT / "pipeline/reporting").glob("*.py"):
        tops = {name.split(".")[0] for name in _imports(path)}
        assert not tops & {"torch", "pathlib", "h5py", "pyarrow", "os"}, path


def test_nobody_imports_stages_and_only_artifacts_opens_files() -> None:
    for path in (ROOT / "pipeline").rglob("*.py"):
        if path.parent.name == "stages":
            continue
        assert not any(file.parent.name == "stages" for file in imported(path, ROOT / "pipeline")), path
        if path.parent.name != "artifacts" and path.name not in ("params.py", "devices.py"):
            assert not re.search(r"\bopen\(|read_text|write_text|read_bytes", path.read_text()), path


def test_nothing_is_seeded_but_in_randomness() -> None:
    for path in (ROOT / "pipeline").rglob("*.py"):
        if path.name != "randomness.py":
            assert "manual_seed" not in path.read_text(), path
            assert "np.random.seed" not in path.read_text(), path


def test_no_pickle_is_loaded() -> None:
    for path in (ROOT / "pipeline").rglob("*.py"):
        assert not {"pickle", "joblib"} & {name.split(".")[0] for name in _imports(path)}, path
        assert "torch.load" not in path.read_text(), path


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names
