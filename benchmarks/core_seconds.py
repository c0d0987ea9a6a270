"""What a whole study costs, stage by stage, beside what it cost at an earlier commit; and which results that changed.

    python -m benchmarks.core_seconds --before 708747f [--study digits]

Copies the files of git, and those of the earlier commit, to two temporary folders, and there runs every stage's command
in DVC's order, both folders in turns, without DVC. Of each command the processor time of its process and of those that
it starts: other work on the machine disturbs it little. Then the files that each stage wrote at the earlier commit are
compared with today's, byte by byte; a stage below one that wrote others may write others for that reason alone. Digits
takes half an hour of one core.
Writes benchmarks/results/core_seconds.json.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.common import ROOT, about, options, write
from benchmarks.start_up import copy_tree, outputs, run


def commands(folder: Path, study: str) -> Iterator[tuple[str, str]]:
    """Every stage's name, with its key, and command, in DVC's order."""
    words = [sys.executable, "-m", "dvc", "repro", "--dry", "--force", f"studies/{study}/dvc.yaml"]
    said = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True).stdout
    name = ""
    for line in said.splitlines():
        if line.startswith("Running stage"):
            name = line.split("'")[1].split(":")[1]
        elif line.startswith("> "):
            yield name, line[2:]


def commit() -> str:
    """Short name of the commit that is checked out."""
    words = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def core_seconds(folder: Path, command: str) -> float:
    """Processor time of a command, by the user and the system; exits with its words if it fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "WORKERS": "", "RAY_ADDRESS": ""}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        started = subprocess.Popen(command, shell=True, cwd=folder, stdout=log, stderr=log, env=environment)
        _, status, used = os.wait4(started.pid, 0)
        if status:
            log.seek(0)
            raise SystemExit(f"{command}: failed\n{log.read()[-2000:]}")
    return round(used.ru_utime + used.ru_stime, 1)


def stages_of(folder: Path, study: str) -> dict[str, tuple[Path, list[Path]]]:
    """By name with its key where each stage's command stands, and what it writes."""
    yaml = YAML(typ="safe")
    stages = yaml.load(folder / f"studies/{study}/dvc.yaml")["stages"]
    params = yaml.load(folder / f"studies/{study}/params.yaml")
    found = {}
    for name, stage in stages.items():
        inner = stage.get("do", stage)
        base = folder / f"studies/{study}" / inner.get("wdir", ".")
        for key in params[stage["foreach"].strip("${}")] if "foreach" in stage else [""]:
            paths = [base / path.replace("${study}", study).replace("${key}", key) for path in outputs(inner)]
            found[f"{name}@{key}" if key else name] = base, paths
    return found


def contents(folder: Path, paths: list[Path]) -> dict[str, bytes]:
    """All files at the paths, by where they lie in the folder."""
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
    return {str(file.resolve().relative_to(folder.resolve())): file.read_bytes() for file in files}


def measured(now: Path, before: Path, study: str) -> list[dict[str, Any]]:
    """A record per stage of both folders, in DVC's order."""
    earlier, stages, stages_before = dict(commands(before, study)), stages_of(now, study), stages_of(before, study)
    records = []
    for name, command in commands(now, study):
        (here, paths), (there, paths_before) = stages[name], stages_before[name]
        taken_before, taken = core_seconds(there, earlier[name]), core_seconds(here, command)
        found, found_before = contents(now, paths), contents(before, paths_before)
        same = all(found.get(file) == bytes_before for file, bytes_before in found_before.items())
        records.append({"stage": name, "before": taken_before, "now": taken, "same_bytes": same})
        print(f"{name}: {taken_before} s before, {taken} s now, {'the same' if same else 'other'} bytes", flush=True)
    return records


def main() -> None:
    arguments = options(__doc__, before="HEAD", study="digits")
    with tempfile.TemporaryDirectory() as temporary:
        now, before = Path(temporary) / "now", Path(temporary) / "before"
        copy_tree(ROOT, now)
        run(ROOT, "git", "clone", "--quiet", str(ROOT), str(before))
        run(before, "git", "checkout", "--quiet", arguments.before)
        records = measured(now, before, arguments.study)
    commits = {"before": arguments.before, "now": commit()}
    write("core_seconds", {**about(), "study": arguments.study, **commits, "stages": records})


if __name__ == "__main__":
    main()
