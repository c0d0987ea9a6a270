"""Stages side by side: in DVC's own order, on a small project of DVC's with shell commands."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pipeline.errors import PipelineError
from pipeline.side_by_side import LOGS, dependencies, ready, reproduce_file
from tests.root import ROOT

# Each of a and b waits for the other to begin, so that one after the other would fail; c wants both, bad fails.
STAGES = """\
stages:
  a:
    cmd: touch a.begun; for i in $(seq 300); do test -e b.begun && break; sleep 0.1; done; test -e b.begun && touch a
    outs: [a]
  b:
    cmd: touch b.begun; for i in $(seq 300); do test -e a.begun && break; sleep 0.1; done; test -e a.begun && touch b
    outs: [b]
  c:
    cmd: cat a b > c
    deps: [a, b]
    outs: [c]
  bad:
    cmd: echo what is wrong; exit 3
    outs: [bad]
  after:
    cmd: cp bad after
    deps: [bad]
    outs: [after]
"""


STAGE = """
import sys, time
from pathlib import Path
import pipeline.stages  # it ends with DVC
from pipeline.stages.command import command

def main():
    Path("begun").touch()
    time.sleep(100 if len(sys.argv) > 1 else 0)
    Path("out").touch()

command(main, False, ["mine"])
"""
RUN = """
import signal
from pipeline.side_by_side import reproduce_file
from pipeline.stages.command import command
for how in (signal.SIGHUP, signal.SIGINT):  # a test in the background ignores the second
    signal.signal(how, signal.default_int_handler)
command(lambda: reproduce_file("dvc.yaml", 2), False, ["mine"])
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    subprocess.run(["dvc", "init", "--no-scm", "--quiet"], check=True)
    Path("dvc.yaml").write_text(STAGES)
    return tmp_path


def test_the_order_of_stages() -> None:
    needs = dependencies('strict digraph {\n"x:a";\n"x:b@k";\n"x:c";\n"x:a" -> "x:c";\n"x:b@k" -> "x:c";\n}\n')
    assert needs == {"x:a": set(), "x:b@k": set(), "x:c": {"x:a", "x:b@k"}}
    assert ready(needs, set(), {"x:a"}) == ["x:b@k"]
    assert ready(needs, {"x:a", "x:b@k"}, {"x:a", "x:b@k"}) == ["x:c"]


def test_side_by_side_and_what_fails(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two run at once; what does not depend on the failed one is done, and named is what waits for it."""
    with pytest.raises(PipelineError, match=r"dvc\.yaml: failed: bad; waiting for it: after$"):
        reproduce_file("dvc.yaml", 3)
    said = capsys.readouterr()
    assert (project / "c").exists()
    assert "[3/5] c: " in said.out
    assert "what is wrong" in said.err
    assert str(LOGS) in said.err
    dry = subprocess.run(["dvc", "repro", "--dry", "c"], capture_output=True, check=True, text=True).stdout
    assert dry.count("didn't change") == 3


def test_no_stages_is_said(project: Path) -> None:
    with pytest.raises(PipelineError, match=r"dvc dag gone\.yaml: expected its stages, found none"):
        reproduce_file("gone.yaml", 2)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_whatever_ends_it_ends_what_runs(project: Path, how: signal.Signals) -> None:
    """DVC and its stage too; a second run is not told that a stage is busy."""
    Path("stage.py").write_text(STAGE)
    wait = f"DVC_STAGE=long PYTHONPATH={ROOT} {sys.executable} stage.py"
    Path("dvc.yaml").write_text(f"stages:\n  long:\n    cmd: {wait} $SLOW\n    outs: [out]\n")
    run = [sys.executable, "-c", RUN]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(run, env={**environment, "SLOW": "slow"}, stderr=subprocess.PIPE, text=True)
    while not Path("begun").exists():
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(how)
    said = process.communicate(timeout=60)[1]
    if how != signal.SIGKILL:
        assert process.returncode == 130
        assert "interrupted: long; finished stages are kept" in said
    until = time.monotonic() + 10
    while alive := [one.cmdline() for one in psutil.process_iter() if _works_in(one, project)]:
        assert time.monotonic() < until, alive
        time.sleep(0.1)
    subprocess.run(run, env=environment, check=True)
    assert Path("out").exists()


@pytest.mark.parametrize("lives", [False, True])
def test_a_zombie_is_not_at_work(project: Path, lives: bool) -> None:
    """In a container without an init, a killed DVC stays a zombie, which DVC takes for a process at work."""
    with subprocess.Popen(["sleep", "100"]) as process:
        if not lives:
            process.kill()
            while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.01)
        busy = {"write": {str(project / "bad"): {"pid": process.pid, "cmd": "dvc repro"}}, "read": {}}
        Path(".dvc/tmp/rwlock").write_text(json.dumps(busy))
        with pytest.raises(PipelineError, match=r"failed: bad; "):
            reproduce_file("dvc.yaml", 2)
        process.kill()
    said = (LOGS / "bad.log").read_text()
    assert ("is busy" in said) == lives
    assert ("what is wrong" in said) == (not lives)


def _works_in(process: psutil.Process, folder: Path) -> bool:
    with suppress(psutil.Error):
        return process.pid != os.getpid() and process.cwd() == str(folder)
    return False
