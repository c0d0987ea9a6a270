"""A project of its own: a copy of the tree with one study in it, in git and in DVC."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.root import ROOT

EVERY_TIME = {"check_params", "fetch_images"}  # a study's own files and raw ones lie where DVC does not look
TINY = ROOT / "tests/tiny.yaml"
COPIED = (
    "pipeline",
    "studies/pipeline.yaml",
    "reports/earlier.json",
    "dvc.yaml",
    "params.yaml",
    ".dvcignore",
    ".gitignore",
)
CONFIG = {"core.analytics": "false", "core.check_update": "false", "cache.type": "hardlink,copy"}


class Tree:
    """A working copy that DVC runs in.

    params : the params file of its study, which is called as its line `study:` says.
    """

    def __init__(self, folder: Path, params: Path = TINY) -> None:
        self.folder = folder
        self.study: str = YAML(typ="safe").load(params)["study"]
        for name in COPIED:
            copy(ROOT / name, folder / name)
        home = folder / "studies" / self.study
        home.mkdir()
        shutil.copy(params, home / "params.yaml")
        shutil.copy(folder / "studies/pipeline.yaml", home / "dvc.yaml")
        (folder / "params.yaml").write_text(f"studies: [{self.study}]\n")
        self.run("git", "init", "--quiet", "--initial-branch", "main")
        self.run("git", "config", "user.name", "tests")
        self.run("git", "config", "user.email", "tests@example.org")
        self.dvc("init", "--quiet")
        for name, value in CONFIG.items():
            self.dvc("config", "--quiet", name, value)
        self.commit("The tree")

    @classmethod
    def at(cls, folder: Path, study: str) -> "Tree":
        """One that is there already."""
        tree = cls.__new__(cls)
        tree.folder, tree.study = folder, study
        return tree

    def copied(self, folder: Path) -> "Tree":
        """A copy that may be changed. DVC's cache is shared by hard links, which nothing writes through."""
        shutil.copytree(self.folder / ".dvc/cache", folder / ".dvc/cache", copy_function=os.link)
        ignored = shutil.ignore_patterns("cache", "tmp", "__pycache__")
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True, ignore=lambda at, names: (
            ignored(at, names) if Path(at) == self.folder / ".dvc" else {"__pycache__"} & set(names)
        ))  # fmt: skip
        return Tree.at(folder, self.study)

    # --- running things ---------------------------------------------------------------------------------------------
    def environment(self, **more: str) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DVC_NO_ANALYTICS": "1",
            "HYDRA_FULL_ERROR": "1",
            **more,
        }

    def start(self, *command: str, cwd: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command, whatever its exit code."""
        return subprocess.run(
            command,
            cwd=self.folder / cwd,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )

    def run(self, *command: str, cwd: str = "", **environment: str) -> str:
        """What a command that must succeed says."""
        done = self.start(*command, cwd=cwd, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def dvc(self, *arguments: str, **environment: str) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments, **environment)

    def stage(self, stage: str, *key: str) -> str:
        """A stage's script, without DVC."""
        return self.run(sys.executable, "-m", f"pipeline.stages.{stage}", self.study, *key)

    def repro(self, *arguments: str, **environment: str) -> set[str]:
        """Run the study's pipeline, or with a stage's name that stage and those above.

        Returns the stages that ran, but for those that always do.
        """
        targets = [self.target(argument) if not argument.startswith("-") else argument for argument in arguments]
        if not any(not target.startswith("-") for target in targets):
            targets.append(f"studies/{self.study}/dvc.yaml")
        return ran(self.dvc("repro", *targets, **environment)) - EVERY_TIME

    def target(self, stage: str) -> str:
        return f"studies/{self.study}/dvc.yaml:{stage}"

    def commit(self, message: str) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", message)

    # --- what is in it ----------------------------------------------------------------------------------------------
    @property
    def params_file(self) -> Path:
        return self.folder / f"studies/{self.study}/params.yaml"

    def params(self) -> Any:
        """As they stand, comments and all."""
        return yaml().load(self.params_file)

    def write_params(self, params: Any) -> None:
        with open(self.params_file, "w", encoding="utf-8") as file:
            yaml().dump(params, file)

    def change(self, edit: Callable[[Any], object]) -> None:
        """Edit the params in place."""
        params = self.params()
        edit(params)
        self.write_params(params)

    def lock(self) -> Mapping[str, Any]:
        """By stage what DVC has locked."""
        path = self.folder / f"studies/{self.study}/dvc.lock"
        found: Mapping[str, Any] = YAML(typ="safe").load(path)["stages"]
        return found

    def hashes(self) -> dict[str, str]:
        """By path the checksum of each output."""
        return {out["path"]: out["md5"] for stage in self.lock().values() for out in stage["outs"]}

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a text that stands in a file."""
        file = self.folder / path
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new, 1), encoding="utf-8")

    def changed(self) -> set[str]:
        """What git sees that is not committed."""
        return {line[3:] for line in self.run("git", "status", "--short", "--untracked-files=all").splitlines()}


def yaml() -> YAML:
    found = YAML()
    found.width = 1000
    return found


def ran(output: str) -> set[str]:
    """The stages that DVC says it ran, without their file."""
    return {name.rpartition(":")[2] for name in re.findall(r"Running stage '(.+?)'", output)}


def copy(source: Path, target: Path) -> None:
    """A file or a folder, without compiled sources."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)
