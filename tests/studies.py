"""The studies that are here, and one of them to be changed."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.root import ROOT

STUDIES = sorted(path.parent.name for path in (ROOT / "studies").glob("*/params.yaml"))
PARAMS = {study: ROOT / f"studies/{study}/params.yaml" for study in STUDIES} | {"tiny": ROOT / "tests/tiny.yaml"}
START = "demo"
EVIL = ("x$(touch hacked)", "digits;touch hacked", "../../x", "a b", "A", "x'y", "", "a.b", "x\n")
Change = Callable[[dict[str, Any]], object]


def copy_study(name: str, project: Path) -> None:
    """Into a project that has none yet, for scripts of the package that is here."""
    (project / "studies" / name).mkdir(parents=True)
    shutil.copy(ROOT / "studies/pipeline.yaml", project / "studies")
    for file in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / f"studies/{name}/{file}", project / f"studies/{name}")


def change(folder: Path, edit: Change) -> None:
    """Edit the params of the study START in a project."""
    file, yaml = folder / f"studies/{START}/params.yaml", YAML()
    params = yaml.load(file)
    edit(params)
    yaml.dump(params, file)


def put(key: str, value: Any) -> Change:
    """Set what stands at a key, its parts divided by /."""

    def edit(params: dict[str, Any]) -> None:
        *path, last = key.split("/")
        for name in path:
            params = params[name]
        params[last] = value

    return edit
