"""Whoever does the blocks, the bytes are the same; a cluster that does not fit is refused in a line.

What is killed on the way: test_faults.py. What needs a cluster is left out where Ray is not installed
(requirements-ray.txt, which `make test-slow` installs).
"""

import hashlib
import json
import os
import platform
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from pipeline.params import read_yaml
from tests.drivers import cluster, said, stages
from tests.end_to_end.conftest import Finished
from tests.root import ROOT
from tests.tree import TINY, Tree

pytestmark = pytest.mark.slow
STAGES = (
    "choose_steps tiny", "minimal tiny", "extended tiny", "attack tiny ddn", "sizes tiny",
    "learn tiny dropout_ensemble", "evaluate tiny dropout_ensemble", "evaluate_others tiny dropout_ensemble",
    "attack_defense tiny dropout_ensemble", "replicates tiny", "metrics tiny",
)  # fmt: skip
OWN = '''"""Rounded images"""

from pipeline.defenses.protocol import Defense


def rounded(classifier, images, generator, *, levels: int):
    return classifier((images * levels).round() / levels)[:, None]


defense = Defense(predict=rounded)
'''


def sums(tree: Tree) -> dict[str, str]:
    """Of all that stages have written."""
    paths = [path for path in (tree.folder / "data").rglob("*") if path.is_file()]
    return {path.as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def with_own_file(params: Any) -> None:
    """A defense of the study's own folder, judged, attacked and replicated with the others."""
    params["defenses"]["dropout_ensemble"]["variants"]["rounded"] = {"levels": 4}
    params["replicates"]["defenses"].append("rounded")


def test_this_process_workers_and_a_cluster_give_the_same_bytes(finished: Finished, tmp_path: Path) -> None:
    """The cluster's nodes have not the tree's folder as theirs."""
    tree = finished.tree.copied(tmp_path / "tree")
    (tree.folder / "studies/tiny/rounded.py").write_text(OWN)
    tree.change(with_own_file)
    tree.run(*stages(90, 0, *" -- ".join(STAGES).split()), PYTHONPATH=str(ROOT))
    alone = sums(tree)
    tree.run(*stages(90, 0, *" -- ".join(STAGES).split()), PYTHONPATH=str(ROOT), WORKERS="2")
    assert sums(tree) == alone
    with cluster() as nodes:
        tree.run(*stages(90, 0, *" -- ".join(STAGES).split()), PYTHONPATH=str(ROOT), RAY_ADDRESS=said(nodes))
    assert sums(tree) == alone


MNIST = int(os.environ.get("MNIST", "0"))  # originals; 1,000 are a tenth


def smaller(params: Any) -> None:
    """Of MNIST's study: so many originals, few numbers to choose, the dropout ensemble alone."""
    params["classifier"]["training"]["epochs"] = 1
    params["sources"] = {"train": MNIST // 2, "test": MNIST // 2}
    params["attack_trials"] |= {"originals": 5, "step_sizes": [0.1, 0.05]}
    params["attacks"] = {"minimal": {"step_size": 0.05, "max_steps": 1000}, "extended": {"extra_steps": 2}}
    params["defenses"] = {name: params["defenses"][name] for name in ("undefended", "dropout_ensemble")}
    params["defenses"]["dropout_ensemble"]["predict"] = {"passes": 3, "rate": 0.4}
    params["defenses"]["dropout_ensemble"]["variants"] = {}
    params["adaptive"] = read_yaml(TINY)["adaptive"]
    params["adaptive"]["all"]["originals"] = MNIST // 10
    params["replicates"]["defenses"] = ["dropout_ensemble"]


@pytest.mark.skipif(not MNIST, reason="minutes: set MNIST=1000 and DATASETS_DIR")
def test_mnist(tmp_path: Path) -> None:
    """The minimal set, its evaluation, an adaptive attack."""
    tree = Tree(tmp_path / "tree", ROOT / "studies/mnist/params.yaml")
    tree.change(smaller)
    for stage in ("fetch_images", "prepare_images", "train_classifier", "choose_steps", "minimal", "extended"):
        tree.stage(stage)
    tree.stage("learn", "dropout_ensemble")
    dear = ("minimal mnist", "evaluate mnist dropout_ensemble", "attack_defense mnist dropout_ensemble")
    command = stages(max(90, MNIST), 0, *" -- ".join(dear).split())
    tree.run(*command, PYTHONPATH=str(ROOT))
    alone = sums(tree)
    tree.run(*command, PYTHONPATH=str(ROOT), WORKERS="2")
    assert sums(tree) == alone
    with cluster() as nodes:
        tree.run(*command, PYTHONPATH=str(ROOT), RAY_ADDRESS=said(nodes))
    assert sums(tree) == alone


DRIVER = """
import sys
from pipeline import mapper, ray_cluster
from pipeline.errors import PipelineError
from tests import tasks

ray_cluster.PATIENCE = 5.0 if len(sys.argv) > 2 else ray_cluster.PATIENCE
mapper._gpus = lambda: int(sys.argv[1])  # as on a machine with so many
try:
    print(list(mapper.in_order("it", tasks.square, range(4), tensors=sys.argv[1] != "0")))
except PipelineError as error:
    print(error)
"""


def told(script: str, address: str, *words: str, **environment: str) -> str:
    """What a driver says of a cluster, in one line."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": address, **environment}
    command = [sys.executable, "-c", script, *words]
    lines = subprocess.run(command, env=environment, text=True, capture_output=True, check=True).stdout.splitlines()
    assert len(lines) == 1
    return lines[0]


def refused(address: str, gpus: int = 0, *impatient: str) -> str:
    """What a driver of a machine with so many GPUs says of a cluster that does not fit."""
    return told(DRIVER, address, str(gpus), *impatient)


class Node(NamedTuple):
    """A cluster of one node, whose Python is that of an environment without torch."""

    address: str
    packages: Path


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    ray = Path(pytest.importorskip("ray").__file__).parent
    folder = tmp_path_factory.mktemp("node")
    venv.create(folder)
    packages = next(folder.glob("lib/python*/site-packages"))
    for path in ray.parent.iterdir():
        if not path.name.startswith("torch"):
            (packages / path.name).symlink_to(path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    start = [
        str(folder / "bin/python"), "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=1",
        f"--port={address.rpartition(':')[2]}", "--include-dashboard=false", "--disable-usage-stats",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(start, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 60
            while not answers(address):
                assert time.monotonic() < deadline
                time.sleep(0.2)
            yield Node(address, packages)
        finally:
            started = [process, *psutil.Process(process.pid).children(recursive=True)]
            for each in started:
                each.kill()


def answers(address: str) -> bool:
    with socket.socket() as asked:
        host, _, port = address.rpartition(":")
        return asked.connect_ex((host, int(port))) == 0


def test_a_node_without_torch_or_with_another_one_is_refused_by_name(node: Node) -> None:
    here = version("torch")
    assert f"expected torch {here}, as here, found none: install the same there" in refused(node.address)
    other = node.packages / "torch-0.1.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 0.1\n")
    assert f"expected torch {here}, as here, found 0.1: install the same there" in refused(node.address)


def test_a_cluster_without_a_gpu_is_refused_where_the_driver_has_one(node: Node) -> None:
    assert refused(node.address, gpus=1) == (
        f"RAY_ADDRESS {node.address}: expected a GPU, as this process has one, found a cluster without; without GPUs, "
        "set CUDA_VISIBLE_DEVICES= (empty) here"
    )


def test_a_cluster_of_another_python_is_refused_and_both_are_named(node: Node) -> None:
    """Which one it is, a cluster says of itself; there is only one Python here."""
    from ray._raylet import GcsClient

    client, entry = GcsClient(address=node.address), (b"CLUSTER_METADATA", b"cluster")
    about = json.loads(client.internal_kv_get(*entry))
    here = about["python_version"]
    client.internal_kv_put(entry[0], json.dumps({**about, "python_version": "3.8.1"}).encode(), True, entry[1])
    text = refused(node.address)
    assert text.startswith(f"RAY_ADDRESS {node.address}: Version mismatch")
    assert "Python: 3.8.1" in text
    assert f"Python: {here}" in text


LACKING = """
from pipeline import mapper
from pipeline.errors import PipelineError
import only_here

try:
    print(list(mapper.in_order("it", only_here.task, range(4), tensors=False)))
except PipelineError as error:
    print(error)
"""
SHARING = """
from pipeline import mapper
from tests import tasks

mapper._gpus = lambda: 2  # as on a machine with so many
most = ""
for _ in mapper.in_order("it", tasks.slower_first, [0.1] * 600):
    most = max(most, mapper.workers_alive())
    if most == "3 of 3 workers":
        break
print(most)
"""


def test_a_node_without_a_package_is_named_and_three_workers_share_two_gpus(tmp_path: Path) -> None:
    (tmp_path / "only_here.py").write_text("def task(block, advance):\n    return block\n")
    with cluster() as nodes:
        address = said(nodes)
        assert told(LACKING, address, PYTHONPATH=f"{ROOT}:{tmp_path}") == (
            f"node {platform.node()}: expected the package only_here, as here, found none: install what "
            "requirements.txt lists"
        )
        assert told(SHARING, address, WORKERS="3") == "3 of 3 workers"


LOSING = """
from pipeline import mapper, ray_cluster
from pipeline.errors import PipelineError
from tests import tasks

ray_cluster.SILENCE = 4.0
try:
    for _ in mapper.in_order("it", tasks.slower_first, [0.5] * 600, tensors=False):
        print("begun", flush=True)
except PipelineError as error:
    print(error)
"""


def test_a_head_that_is_lost_is_one_line() -> None:
    with cluster() as nodes:
        address = said(nodes)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": address}
        with subprocess.Popen(
            [sys.executable, "-c", LOSING], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as driver:
            assert driver.stdout is not None
            assert driver.stdout.readline() == "begun\n"
            (head,) = [
                each for each in psutil.Process(nodes.pid).children(recursive=True) if "gcs_server" in each.name()
            ]
            head.kill()
            out, err = driver.communicate(timeout=60)
        lines = [line for line in out.splitlines() if line != "begun"]
        assert len(lines) == 1, out + err
        assert lines[0].startswith(f"RAY_ADDRESS {address}: the cluster's head has not answered for ")
        assert driver.returncode == 0


def test_who_listens_and_is_no_cluster_is_waited_for_for_a_time() -> None:
    pytest.importorskip("ray")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert refused(address, 0, "impatient") == f"RAY_ADDRESS {address}: no answer of a Ray cluster in 5 s"
