"""The locks that git has are of the code and the numbers that it has: `dvc repro --allow-missing` has nothing to run.

Not asked where somebody has changed the code or a study, and not of other artifacts, which need not be there.
"""

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.artifacts.code import write_fingerprint
from pipeline.stages.fingerprint_code import fingerprints
from pipeline.studies import Study
from tests.committed import committed
from tests.root import ROOT

STUDIES = ("cifar10", "cifar10-resnet20", "demo", "digits", "mnist")


@pytest.fixture(autouse=True)
def as_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    # The locks are git's: those of a person's own runs may be here.
    asked = ["git", "diff", "--quiet", "HEAD", "--", "pipeline", "studies", ":(exclude)studies/*/dvc.lock"]
    if subprocess.run(asked, check=False).returncode:
        pytest.skip("the code or a study is not as git has it")


def stages(study: str) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = YAML(typ="safe").load(committed(f"studies/{study}/dvc.lock"))["stages"]
    return found


def of_code(study: str) -> Iterator[tuple[str, str, str]]:
    """Stage, path and checksum of each file of data/code/<study> that a stage depends on."""
    for stage, entry in stages(study).items():
        for dependency in entry.get("deps", ()):
            if dependency["path"].startswith(f"data/code/{study}/"):
                yield stage, dependency["path"], dependency["md5"]


@pytest.mark.parametrize("study", STUDIES)
def test_every_stage_was_run_by_the_code_that_is_committed(study: str, tmp_path: Path) -> None:
    now = {}
    for path, found in fingerprints(Study(study)).items():
        write_fingerprint(tmp_path / "one.json", found)
        now[f"data/code/{study}/{path}"] = hashlib.md5((tmp_path / "one.json").read_bytes()).hexdigest()
    asked = list(of_code(study))
    assert len(asked) > 40
    assert [(stage, path) for stage, path, md5 in asked if now[path] != md5] == []


@pytest.mark.parametrize("study", STUDIES)
def test_every_stage_was_run_with_the_numbers_that_are_committed(study: str) -> None:
    file = f"studies/{study}/params.yaml"
    numbers = YAML(typ="safe").load(committed(file))
    asked = [
        (stage, key, value)
        for stage, entry in stages(study).items()
        for key, value in entry.get("params", {}).get(file, {}).items()
    ]
    assert len(asked) > 40
    assert [(stage, key) for stage, key, value in asked if at(numbers, key) != value] == []


def test_a_clone_has_nothing_to_run_but_what_runs_each_time(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    asked = [sys.executable, "-m", "dvc", "repro", "--allow-missing", "--dry"]
    files = [f"studies/{study}/dvc.yaml" for study in STUDIES]
    told = subprocess.run([*asked, *files], cwd=clone, check=True, capture_output=True, text=True).stdout
    assert set(re.findall(r"^Running stage '.*?:(.+)'", told, re.MULTILINE)) == {"check_params", "fetch_images"}


def at(numbers: Any, key: str) -> Any:
    for part in key.split("."):
        numbers = numbers[part]
    return numbers
