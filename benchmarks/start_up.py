"""What a study costs beside its own computing: DVC's part, Python's starts, a run with nothing to do.

    python -m benchmarks.start_up [--study demo] [--finished digits] [--rounds 3] [--root .]

Copies the files of git to a temporary folder and there, as a newcomer would:
1. reproduces `study` from nothing; what each stage took stands in its .work/stage_times.csv;
2. saves the outputs, lets every stage's command only copy its own back, and reproduces once more without lock and
   cache: what is left is DVC's own part, and some copying;
3. reproduces once more, with nothing to do.
In the project itself it reproduces, with nothing to do, each study of `finished` and then everything (a bare
`dvc repro`); what is not up to date is left out, and never run. Last, what importing each stage's script takes, the
best of some rounds. On a quiet machine, nothing beside it. Writes benchmarks/results/start_up.json.
"""

import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.common import about, options, write
from pipeline.stages.command import TIMES

SAVED = ".saved"
IMPORT = (
    "import sys, time; started = time.perf_counter(); import pipeline.stages.{}; "
    "print(time.perf_counter() - started, 'torch' in sys.modules)"
)


def run(folder: Path, *command: str) -> float:
    """Seconds of a command in a folder; exits with its words if it fails."""
    started = time.perf_counter()
    done = _call(folder, *command)
    if done.returncode:
        said = done.stdout[-2000:] + done.stderr[-2000:]
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{said}")
    return time.perf_counter() - started


def _call(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    # The Python of this process, for DVC and for the commands that it runs.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}
    words = [sys.executable, "-m", *command] if command[0] == "dvc" else command
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


ALWAYS = {"check_params", "fetch_images"}  # they look where DVC does not


def copy_tree(root: Path, folder: Path) -> None:
    """The files that git knows, as they are now, in a repository of their own; no lock of any study."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, names):
        if (root / name).is_file() and not name.startswith(".dvc/") and Path(name).name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, folder / name)
    run(folder, "git", "init", "--quiet")
    run(folder, "dvc", "init", "--quiet")


def stage_times(path: Path) -> list[dict[str, Any]]:
    """From the lines that stages leave: by name how often, seconds in all, highest peak."""
    stages: dict[str, dict[str, Any]] = {}
    with open(path, encoding="utf-8", newline="") as lines:
        for name, _, seconds, peak, *_ in csv.reader(lines):
            entry = stages.setdefault(name, {"stage": name, "runs": 0, "seconds": 0.0, "peak_memory_mib": 0})
            entry["runs"] += 1
            entry["seconds"] = round(entry["seconds"] + float(seconds), 1)
            entry["peak_memory_mib"] = max(entry["peak_memory_mib"], round(float(peak)))
    return list(stages.values())


def outputs(stage: dict[str, Any]) -> list[str]:
    """The paths that a stage of dvc.yaml writes, as they stand there."""
    entries = [*stage.get("outs", []), *stage.get("metrics", [])]
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


def only_copy(folder: Path, study: str) -> int:
    """Save a finished study's outputs, and let each stage's command copy its own back; how many entries it has.

    The command is as long as before, for it stands in the lock: `sh .saved/<stage> <study> [<key>]`.
    """
    file = folder / f"studies/{study}/dvc.yaml"
    yaml = YAML()
    pipeline = yaml.load(file)
    with open(folder / f"studies/{study}/params.yaml", encoding="utf-8") as text:
        params = YAML(typ="safe").load(text)
    entries = 0
    for name, stage in pipeline["stages"].items():
        keys = params[stage["foreach"].strip("${}")] if "foreach" in stage else [""]
        inner = stage.get("do", stage)
        # From the project's root, as most stages; the first ones run in the study's folder.
        here = "" if "wdir" in inner else "cd ../.. && "
        base = "." if "wdir" in inner else "studies/${study}"
        script = []
        for template in (os.path.normpath(f"{base}/{written}") for written in outputs(inner)):
            for key in keys:
                path = template.replace("${study}", study).replace("${key}", key)
                _copy(folder / path, folder / SAVED / path)
            shell = template.replace("${study}", "$1").replace("${key}", "$2")
            parent = str(Path(shell).parent)
            script.append(f'mkdir -p "{parent}" && cp -R "{SAVED}/{shell}" "{parent}/" || exit 1')
        (folder / SAVED / name).write_text("\n".join(script) + "\n", encoding="utf-8")
        inner["cmd"] = f"{here}sh {SAVED}/{name} ${{study}}" + (" ${key}" if "foreach" in stage else "")
        entries += len(keys)
    yaml.dump(pipeline, file)
    return entries


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)


def from_nothing(root: Path, study: str) -> dict[str, Any]:
    """Steps 1 to 3."""
    target = f"studies/{study}/dvc.yaml"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        copy_tree(root, folder)
        total = run(folder, "dvc", "repro", target)
        stages = stage_times(folder / TIMES)
        print(f"{study} from nothing: {total:.1f} s", flush=True)
        entries = only_copy(folder, study)
        lock = (folder / target).with_suffix(".lock")
        lock.unlink()
        shutil.rmtree(folder / ".dvc/cache")
        for name in ("data", "reports"):
            shutil.rmtree(folder / name)
        _copy(root / "reports/earlier.json", folder / "reports/earlier.json")  # no output: the report reads it
        alone = run(folder, "dvc", "repro", target)
        print(f"DVC's own part: {alone:.1f} s", flush=True)
        return {
            "study": study,
            "seconds": round(total, 1),
            "stages": stages,
            "entries": entries,
            "dvc_seconds": round(alone, 1),
            "lock_kib": round(lock.stat().st_size / 1024),
            "no_op_seconds": round(run(folder, "dvc", "repro", target), 2),
        }


def no_op(root: Path, targets: dict[str, list[str]], rounds: int) -> dict[str, float]:
    """The fastest `dvc repro` of what is up to date, by name."""
    found = {}
    for name, words in targets.items():
        tried = _call(root, "dvc", "repro", "--dry", *words)
        begun = set(re.findall(r"Running stage '(?:[^']*:)?([^':]+)'", tried.stdout + tried.stderr))
        if tried.returncode or begun - ALWAYS:
            print(f"{name}: not up to date, left out", flush=True)
            continue
        found[name] = round(min(run(root, "dvc", "repro", *words) for _ in range(rounds)), 2)
        print(f"{name}, nothing to do: {found[name]} s", flush=True)
    return found


def imports(root: Path, rounds: int) -> list[dict[str, Any]]:
    """What importing each stage's script takes, and whether PyTorch comes with it."""
    records = []
    for path in sorted((root / "pipeline/stages").glob("*.py")):
        if "__main__" not in path.read_text(encoding="utf-8"):
            continue
        tries = []
        for _ in range(rounds):
            done = _call(root, sys.executable, "-c", IMPORT.format(path.stem))
            if done.returncode:
                raise SystemExit(f"{path}: cannot be imported\n{done.stderr[-2000:]}")
            tries.append(done.stdout.split())
        seconds = min(float(words[0]) for words in tries)
        records.append({"stage": path.stem, "seconds": round(seconds, 2), "torch": tries[0][1] == "True"})
    return records


def main() -> None:
    arguments = options(__doc__, study="demo", finished=["digits"], rounds=3, root=".")
    root = Path(arguments.root).resolve()
    dvc = _call(root, "dvc", "--version").stdout.strip()
    record = {**about(), "dvc": dvc, "python": ".".join(map(str, sys.version_info[:3]))}
    record |= from_nothing(root, arguments.study)
    studies: dict[str, list[str]] = {name: [f"studies/{name}/dvc.yaml"] for name in arguments.finished}
    record["no_op"] = no_op(root, {**studies, "everything": []}, arguments.rounds)
    record["imports"] = imports(root, arguments.rounds)
    write("start_up", record)


if __name__ == "__main__":
    main()
