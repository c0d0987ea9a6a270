"""A Ray cluster: one that is not there, is another, or is lost."""

import re
import socket
import sys
from functools import partial

import pytest

from pipeline import mapper, ray_cluster
from pipeline.errors import PipelineError
from pipeline.ray_workers import check_versions, versions
from tests import tasks

in_order = partial(mapper.in_order, tensors=False)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORKERS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


def test_a_head_is_lost_after_several_calls_and_not_after_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that was busy with something else has not asked for long."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    now = 0.0
    monkeypatch.setattr(ray_cluster.time, "monotonic", lambda: now)
    head = ray_cluster.Head("auto", address)
    now = 1000.0
    for _ in range(2):
        head.listen()
        now += ray_cluster.SILENCE / 2
    now += 1
    with pytest.raises(
        PipelineError, match="RAY_ADDRESS auto: the cluster's head has not answered for 21 s: start the"
    ):
        head.listen()
    with socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))):
        now += ray_cluster.SILENCE
        head.listen()
    now += ray_cluster.SILENCE
    head.listen()  # silent anew


def test_other_versions_are_named() -> None:
    mine = versions()
    check_versions("node", mine, mine)
    for name in ("Python", "torch"):
        with pytest.raises(PipelineError, match=f"node 7: expected {name} {mine[name]}, as here, found 0.1: install"):
            check_versions("7", {**mine, name: "0.1"}, mine)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("head", "RAY_ADDRESS: expected auto or host:port, found 'head'"),
        ("ray://head:port", "RAY_ADDRESS: expected auto or host:port, found 'ray://head:port'"),
        ("127.0.0.1:65536", "RAY_ADDRESS: expected auto or host:port, found '127.0.0.1:65536'"),
        ("ray://head:10001", "RAY_ADDRESS: expected auto or host:port, found 'ray://head:10001'"),
        (f"head:{'9' * 5000}", "RAY_ADDRESS: expected auto or host:port, found 'head:999"),
        ("head:²", "RAY_ADDRESS: expected auto or host:port, found 'head:²'"),
        ("127.0.0.1:6379", "RAY_ADDRESS is set, and the package ray is not installed: pip install -r requirements-ray"),
    ],
)
def test_a_cluster_that_cannot_be_asked_is_one_line(monkeypatch: pytest.MonkeyPatch, address: str, words: str) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(PipelineError, match=f"^{re.escape(words)}"):
        list(in_order("it", tasks.square, range(2)))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:1", "Connection refused$"),
        (".head:6379", ""),  # no name of a host: each Python says it otherwise
        (f"{'h' * 64}:6379", ""),
    ],
)
def test_a_cluster_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch, address: str, words: str) -> None:
    """Where nobody listens, at once. Who listens, and does not fit: tests/end_to_end/test_workers.py."""
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(PipelineError, match=f"^RAY_ADDRESS {re.escape(address)}: no answer: {words}"):
        list(in_order("it", tasks.square, range(2)))
