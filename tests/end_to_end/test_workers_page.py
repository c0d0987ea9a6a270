"""The commands of pipeline/WORKERS.md are run from its own text: on the tiny study, on nodes of this machine."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from pipeline.stages.command import TIMES
from tests.end_to_end.conftest import Finished
from tests.end_to_end.test_readme import blocks
from tests.root import ROOT
from tests.tree import Tree

pytestmark = pytest.mark.slow
PAGE = (ROOT / "pipeline/WORKERS.md").read_text(encoding="utf-8")
ALONE, BESIDE, CLUSTER, SLURM = (block.text for block in blocks(PAGE))
STUDY = re.compile(r"studies/(demo|mnist)/dvc\.yaml")
TARGET = "--force --single-item studies/tiny/dvc.yaml:metrics"  # blocks without torch: they start at once
MARK = "OF_TEST"  # in the environment of whatever a test starts, daemons too
SLURM_CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge
CredType=cred/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
PlugStackConfig=/dev/null
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
KillWait=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
NodeName=n1 NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1
NodeName=n2 NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1
PartitionName=all Nodes=ALL Default=YES State=UP
"""


def free_ports(count: int) -> list[int]:
    taken = [socket.socket() for _ in range(count)]
    for one in taken:
        one.bind(("127.0.0.1", 0))
    ports: list[int] = [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
    return ports


@contextmanager
def marked(folder: Path) -> Iterator[dict[str, str]]:
    """An environment; whatever has been started with it or works in the folder, and goes on, is killed at the end."""
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    try:
        yield {MARK: mark, "RAY_USAGE_STATS_ENABLED": "0"}
    finally:
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(MARK) == mark or process.cwd() == str(folder):
                    process.kill()


def bash(tree: Tree, text: str, **environment: str) -> str:
    """What commands say that must succeed; daemons that they leave hold no pipe of ours."""
    path = tree.folder / ".work/said"
    path.parent.mkdir(exist_ok=True)
    with open(path, "w+", encoding="utf-8") as said:
        code = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text], cwd=tree.folder, env=tree.environment(**environment),
            stdout=said, stderr=subprocess.STDOUT, check=False,
        ).returncode  # fmt: skip
    found = path.read_text(encoding="utf-8")
    assert code == 0, found
    return found


def test_this_process_and_workers(tree: Tree) -> None:
    found = bash(tree, STUDY.sub(TARGET, ALONE))
    assert found.count("Running stage 'studies/tiny/dvc.yaml:metrics'") == 2
    cores = len(os.sched_getaffinity(0))
    assert f" of {cores} workers" in found or cores == 1


def test_stages_side_by_side(finished: Finished, tmp_path: Path) -> None:
    """From nothing, two at a time: the bytes of one after the other, and nothing is left to run."""
    tree = Tree(tmp_path)
    found = bash(tree, re.sub(r"\bmnist\b", "tiny", BESIDE))
    assert tree.hashes() == finished.tree.hashes()
    assert f"[{len(tree.lock())}/{len(tree.lock())}] " in found
    assert not tree.repro()
    times = (tree.folder / TIMES).read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[:2] for line in times if line.startswith("side_by_side")] == [["side_by_side", "tiny"]] * 3


def test_ray_started_by_hand(tree: Tree, tmp_path: Path) -> None:
    """Both nodes on this machine, a core each; `ray stop` ends all of a machine's, also what is not the test's."""
    pytest.importorskip("ray")
    *lines, last = STUDY.sub(TARGET, CLUSTER).splitlines()
    assert last.startswith("ray stop ")
    text = "\n".join(lines).replace("head:6379", "127.0.0.1:6379").replace("6379", str(free_ports(1)[0]))
    with marked(tmp_path) as environment:
        found = bash(tree, text.replace("ray start", "ray start --num-cpus=1"), **environment)
    assert " of 2 workers" in found  # one may still be starting


@pytest.mark.skipif(not shutil.which("sbatch"), reason="no Slurm (Debian: slurm-wlm)")
def test_slurm(tree: Tree, tmp_path: Path) -> None:
    """Two nodes of a Slurm of its own, on this machine."""
    pytest.importorskip("ray")
    ports, user = free_ports(4), psutil.Process().username()
    config = SLURM_CONFIG.format(host=socket.gethostname(), folder=tmp_path, ports=ports, user=user)
    (tmp_path / "slurm.conf").write_text(config)
    (tmp_path / "state").mkdir()
    (tmp_path / "key").write_bytes(os.urandom(128))
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "study.sh").write_text(SLURM.replace("6379", str(ports[3])))
    munge = " ".join(f"--{name}={tmp_path}/munge{end}" for name, end in (
        ("socket", ""), ("pid-file", ".pid"), ("log-file", ".log"), ("seed-file", ".seed")
    ))  # fmt: skip
    start = f"""
        munged --force --key-file={tmp_path}/key {munge}
        slurmctld; slurmd -N n1; slurmd -N n2
        until sinfo --noheader --states=idle | grep 'n\\[1-2\\]'; do sleep 0.5; done
    """
    submit = f"sbatch --wait --output=said --nodes=2 --cpus-per-task=1 --gpus-per-node=0 {tmp_path}/study.sh {TARGET}"
    with marked(tmp_path) as environment:
        environment |= {"SLURM_CONF": f"{tmp_path}/slurm.conf", "PATH": f"{tree.environment()['PATH']}:/usr/sbin"}
        bash(tree, start + submit, **environment)
    assert " of 2 workers" in (tree.folder / "said").read_text(encoding="utf-8")


def test_stages_at_once(tree: Tree) -> None:
    (repro,) = set(re.findall(r"`(dvc --wait-for-lock [^`]*)`", PAGE))
    one, other = (f"{repro} --force studies/tiny/dvc.yaml:{stage}" for stage in ("attack@fgsm", "evaluate@undefended"))
    found = bash(tree, f"{one} & {other} & wait -n; wait -n")
    assert found.count("Running stage 'studies/tiny/dvc.yaml:") == 2
