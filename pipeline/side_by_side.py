"""The stages of a study, several at a time.

    python -m pipeline.side_by_side mnist [--jobs 2]

DVC runs one stage after the other; here each is a `dvc repro --single-item` of its own, started once all that it
depends on is done. So while one is a single process, a training, another has the rest of the machine. Bytes, locks and
what is skipped are those of `dvc repro`. If a stage fails, what does not depend on it goes on. What each says is in
.work/side_by_side. `WORKERS` and `RAY_ADDRESS` are for each stage as ever.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from pipeline.artifacts.files import locked
from pipeline.errors import PipelineError
from pipeline.mapper import wanted
from pipeline.stages.command import TIMES, WORK, command
from pipeline.studies import Study

SIDE_BY_SIDE = "side_by_side"
LOGS = WORK / SIDE_BY_SIDE
BEGIN, END = "begin", "end"  # in TIMES: the stages between them share so many cores
BUSY = Path(".dvc/tmp/rwlock")  # DVC's: which process reads or writes which paths
LOOK_EVERY = 0.2  # seconds
WAITS = 100  # of these, for a stage that is told to end
LINES = 12  # of a failed stage's last words
DVC = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from pipeline.processes import end_with_parent
end_with_parent()
from dvc.cli import main
sys.exit(main(sys.argv[1:]))
"""


def dependencies(graph: str) -> dict[str, set[str]]:
    """Of what `dvc dag --dot` says, by stage those that it depends on directly; in the order of the pipeline."""
    needs: dict[str, set[str]] = {stage: set() for stage in re.findall(r'^"([^"]+)";$', graph, re.MULTILINE)}
    for before, after in re.findall(r'^"([^"]+)" -> "([^"]+)";$', graph, re.MULTILINE):
        needs[after].add(before)
    return needs


def ready(needs: Mapping[str, set[str]], done: set[str], begun: set[str]) -> list[str]:
    """The stages that may start: not begun, and all that they depend on is done."""
    return [stage for stage, before in needs.items() if stage not in begun and before <= done]


def reproduce(study: str, jobs: int) -> None:
    """Bring a study up to date, so many stages at a time; a second process waits until the first is done.

    Raises PipelineError, naming what failed and what is left.
    """
    file = f"{Study(study).folder}/dvc.yaml"
    asked = wanted()
    if asked.address and asked.workers is None and jobs > 1:
        raise PipelineError("RAY_ADDRESS: one stage would take the whole cluster, and the next wait: give WORKERS=n")
    with locked(WORK / f"{SIDE_BY_SIDE}-{study}.lock", f"{SIDE_BY_SIDE} {study}"):
        _mark(study, BEGIN)
        try:
            reproduce_file(file, jobs)
        finally:
            _mark(study, END)


def _mark(study: str, what: str) -> None:
    with open(TIMES, "a", encoding="utf-8") as log:
        log.write(f"{SIDE_BY_SIDE},{study},{what},{len(os.sched_getaffinity(0))}\n")


def reproduce_file(file: str, jobs: int) -> None:
    """The same of a file of stages, of DVC's."""
    asked = subprocess.run(_dvc("dag", "--dot", file), capture_output=True, text=True, check=False)
    needs = dependencies(asked.stdout)
    if asked.returncode or not needs:
        raise PipelineError(f"dvc dag {file}: expected its stages, found none: {asked.stderr.strip()}")
    _forget_the_dead()
    LOGS.mkdir(parents=True, exist_ok=True)
    done: set[str] = set()
    failed: list[str] = []
    running: dict[str, tuple[subprocess.Popen[bytes], float]] = {}
    begun: set[str] = set()
    try:
        while running or ready(needs, done, begun):
            for stage in ready(needs, done, begun)[: jobs - len(running)]:
                begun.add(stage)
                running[stage] = _start(stage), time.perf_counter()
            time.sleep(LOOK_EVERY)
            for stage, (process, started) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[stage]
                said = f"{_name(stage)}: {time.perf_counter() - started:.1f} s"
                if process.returncode == 0:
                    done.add(stage)
                    print(f"[{len(done)}/{len(needs)}] {said}", flush=True)
                else:
                    failed.append(stage)
                    words = _log(stage).read_text(encoding="utf-8", errors="replace").splitlines()[-LINES:]
                    print("\n".join([f"failed: {said}; its last words, of {_log(stage)}:", *words]), file=sys.stderr)
    except KeyboardInterrupt:
        names = ", ".join(map(_name, running))
        print(f"interrupted: {names}; finished stages are kept, run the same command to go on", file=sys.stderr)
        sys.exit(130)
    finally:
        for process, _ in running.values():
            _end(process)
    if failed:
        left = [_name(stage) for stage in needs if stage not in begun]
        names = ", ".join(_name(stage) for stage in failed)
        raise PipelineError(f"{file}: failed: {names}; waiting for it: {', '.join(left) or 'nothing'}")


def _forget_the_dead() -> None:
    """Remove DVC's list of who works on what if none of them lives any more.

    DVC does so itself, but takes a zombie for a process at work; where nobody reaps them (a container without an init)
    what was killed is one for ever.
    """
    with suppress(FileNotFoundError):
        listed = set(map(int, re.findall(r'"pid": (\d+)', BUSY.read_text(encoding="utf-8"))))
        if not any(map(_lives, listed)):
            BUSY.unlink()


def _lives(process: int) -> bool:
    try:
        return bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _dvc(*words: str) -> list[str]:
    """A command line of this interpreter's DVC, which ends with this process, however that ends."""
    return [sys.executable, "-c", DVC, str(Path(__file__).parents[1]), *words]


def _start(stage: str) -> "subprocess.Popen[bytes]":
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # the stages' Python
    # In a session of its own: Ctrl-C is for this process, which ends the others in order.
    with open(_log(stage), "wb") as log:
        return subprocess.Popen(
            _dvc("--wait-for-lock", "repro", "--single-item", stage), stdin=subprocess.DEVNULL, stdout=log,
            stderr=subprocess.STDOUT, start_new_session=True, env={**os.environ, "PATH": path},
        )  # fmt: skip


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a DVC, its stage and the stage's workers, and wait until none is left."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)  # once: a stage that is being told tidies up
        for _ in range(WAITS):
            process.poll()  # or it would stay in its group
            if not any(_group(one) == process.pid and _lives(one) for one in psutil.pids()):
                return
            time.sleep(LOOK_EVERY)
        os.killpg(process.pid, signal.SIGKILL)


def _group(process: int) -> int | None:
    with suppress(ProcessLookupError):
        return os.getpgid(process)
    return None


def _name(stage: str) -> str:
    return stage.rpartition(":")[2]


def _log(stage: str) -> Path:
    return LOGS / f"{re.sub(r'[^a-z0-9_@-]+', '_', stage)}.log"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="name of the study: a folder of studies/")
    parser.add_argument("--jobs", type=int, default=2, help="stages at a time (default: 2)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    words = parser.parse_args()
    if words.jobs < 1:
        parser.error("--jobs: expected 1 or more")
    signal.signal(signal.SIGHUP, signal.default_int_handler)  # a closed terminal, as Ctrl-C
    command(lambda: reproduce(words.study, words.jobs), words.debug, [words.study])


if __name__ == "__main__":
    main()
