"""The mapper: in this process and in others the same, in order, with few blocks in flight; and what workers die of."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from pipeline import mapper
from pipeline.defenses.protocol import load_defense
from pipeline.errors import PipelineError
from pipeline.progress import bar
from pipeline.registry import serve_own_files
from pipeline.workers import LocalCrew
from tests import tasks
from tests.root import ROOT

completed, in_order = (partial(one, tensors=False) for one in (mapper.completed, mapper.in_order))


@pytest.fixture(autouse=True)
def none_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("WORKERS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    yield
    mapper.close()


def workers() -> list[psutil.Process]:
    """Of this process, but for the one that Python itself keeps beside them."""
    children = psutil.Process().children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "²", "4097", "9" * 5000, " "])
def test_a_number_of_workers_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("WORKERS", text)
    if not text.strip():
        assert mapper.wanted() == (1, "")
        return
    with pytest.raises(PipelineError, match=f"WORKERS: expected auto, or a number from 1 to 4096, found '{text}'"):
        list(in_order("it", tasks.square, range(1)))


def test_what_the_environment_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mapper.wanted() == (1, "")
    monkeypatch.setenv("WORKERS", "auto")
    assert mapper.wanted() == (None, "")
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert mapper.wanted() == (None, "head:6379")
    monkeypatch.setenv("WORKERS", "3")
    assert mapper.wanted() == (3, "head:6379")


def test_in_this_process_a_block_is_made_when_its_turn_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def blocks() -> Iterator[int]:
        for number in range(5):
            made.append(number)
            yield number

    found = in_order("it", tasks.square, blocks())
    assert next(found) == 0
    assert made == [0, 1]  # one ahead, to know whether there are several
    assert list(found) == [1, 4, 9, 16]
    assert not workers()


def test_workers_give_the_same_in_the_same_order_with_one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    task = partial(tasks.sums, torch.from_numpy(random.normal(size=(300, 7)).astype(np.float32)))
    blocks = [torch.from_numpy(random.normal(size=(50, 300)).astype(np.float32)) for _ in range(5)]
    expected = [found.numpy().tobytes() for found in mapper.in_order("it", task, blocks)]
    monkeypatch.setenv("WORKERS", "2")
    counted = []
    assert [found.numpy().tobytes() for found in mapper.in_order("it", task, blocks)] == expected
    assert list(in_order("it", tasks.square, range(9), counted.append)) == [n**2 for n in range(9)]
    assert sum(counted) == 9
    assert sorted(completed("it", tasks.square, ((n + 3, n) for n in range(9)))) == [(n + 3, n**2) for n in range(9)]
    found = list(mapper.in_order("it", tasks.where, range(4)))
    assert len({process for process, _, _ in found}) == 2 == len(workers())
    assert {tuple(about) for _, *about in found} == {(1, "1")}
    with bar(1, "it", "block") as progress:
        assert "2 of 2 workers" in str(progress)
    with monkeypatch.context() as alone, bar(1, "it", "block") as progress:
        alone.delenv("WORKERS")
        progress.refresh()
        assert "workers" not in str(progress)
    assert list(in_order("it", tasks.square, [7])) == [49]  # a single one: here
    mapper.close()
    assert not workers()


def test_there_are_no_more_workers_than_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKERS", "4")
    for blocks, expected in ((2, 2), (3, 3), (2, 3), (9, 4)):  # those of before stay
        assert list(mapper.in_order("it", tasks.square, range(blocks), tensors=False)) == [n**2 for n in range(blocks)]
        assert mapper.workers_alive() == f"{expected} of {expected} workers"
        assert len(workers()) <= expected  # one that is just starting has no name yet


def test_what_cannot_be_sent_is_done_here_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORKERS", "2")
    for _ in range(2):
        assert list(in_order("a local one", lambda number, advance: -number, range(3))) == [0, -1, -2]
    assert capsys.readouterr().err.count("a local one: without workers, for it cannot be sent to them: ") == 1
    assert not workers()


def test_few_blocks_are_in_flight_and_results_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKERS", "2")
    made: list[int] = []

    def blocks() -> Iterator[float]:
        for number in range(12):
            made.append(number)
            yield 1.0 if number == 0 else 0.01

    ahead = []
    for place, (slept, _) in enumerate(in_order("it", tasks.slower_first, blocks())):
        assert (slept == 1) == (place == 0)
        ahead.append(len(made) - place)
    assert max(ahead) <= mapper.AHEAD * 2 + 1


def test_a_studys_own_files_serve_in_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "studies/mine"
    folder.mkdir(parents=True)
    (folder / "shy.py").write_text("from pipeline.defenses.protocol import Defense\n\ndefense = Defense(predict=len)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKERS", "2")
    serve_own_files(Path("studies/mine"))
    try:
        assert list(in_order("it", tasks.setting_of, ["shy", "shy"])) == [load_defense("shy").setting] * 2
    finally:
        serve_own_files()


def test_a_killed_workers_block_alone_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKERS", "2")
    counted: list[int] = []
    assert list(in_order("it", partial(tasks.killed_at_first, tmp_path), range(6), counted.append)) == list(range(6))
    tried = [path.name.partition("-")[0] for path in tmp_path.iterdir()]
    assert sorted(tried) == sorted([*"012345", "2"])
    assert sum(counted) == 6 * 5
    assert -5 in counted
    assert len(workers()) == 2


def test_a_block_that_kills_every_worker_is_given_up_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKERS", "2")
    message = "it, block 1: its worker died 3 times, the last one killed by SIGKILL, as where memory runs out"
    with pytest.raises(PipelineError, match=f"^{message}$"):
        list(in_order("it", tasks.always_killed, range(4)))
    assert list(in_order("it", tasks.square, range(3))) == [0, 1, 4]  # and others can go on


def test_where_memory_runs_out_a_block_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKERS", "2")
    task = partial(tasks.asks_for_much, tmp_path)
    assert list(in_order("it", task, range(3))) == [0, 1, 2]
    with pytest.raises(PipelineError, match=r"^it, block 3: its worker died 3 times, the last one out of memory$"):
        list(in_order("it", task, range(4)))


def test_a_block_that_fails_by_its_own_fault_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKERS", "2")
    with pytest.raises(PipelineError, match=r"^block 1: expected another, found this$") as caught:
        list(in_order("it", partial(tasks.refuses, tmp_path), range(4)))
    assert "in a worker, at it 1" in str(caught.value.__cause__)
    assert "tasks.py" in str(caught.value.__cause__)
    assert len(list(tmp_path.glob("1-*"))) == 1
    with pytest.raises(RuntimeError, match="CannotTravel: 1 and 2"):
        list(in_order("it", tasks.fails_oddly, range(4)))


def test_who_wants_no_more_results_leaves_nothing_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKERS", "2")
    found = in_order("it", tasks.slower_first, [0.0, 9.0, 9.0])
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert not workers()


DRIVER = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that run in the background inherit it as ignored
from functools import partial
from pathlib import Path
from pipeline.mapper import in_order
from tests.tasks import waits

list(in_order("it", partial(waits, Path(sys.argv[1])), range(4), tensors=False))
"""


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_worker_is_left_behind(tmp_path: Path, by: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WORKERS": "2"}
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path)], env=environment, stderr=subprocess.PIPE, start_new_session=True
    )
    while len(list(tmp_path.iterdir())) < 2:
        assert driver.poll() is None
        time.sleep(0.05)
    found = [int(path.name.partition("-")[2]) for path in tmp_path.iterdir()]
    if by == signal.SIGINT:
        os.killpg(driver.pid, by)  # as a terminal's Ctrl-C
    else:
        driver.send_signal(by)
    _, said = driver.communicate(timeout=20)
    assert b"leaked" not in said
    deadline = time.monotonic() + 5
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in found):
        assert time.monotonic() < deadline, "a worker outlives its driver"
        time.sleep(0.1)


def test_a_worker_that_is_starting_does_not_hear_ctrl_c() -> None:
    crew = LocalCrew(1, 0)
    crew.grow(1)
    try:
        (child,) = workers()
        child.send_signal(signal.SIGINT)
        assert [kind for _, kind, _ in crew.events(30)] == ["ready"]
    finally:
        crew.close()


def test_the_page_names_what_is_there() -> None:
    text = (ROOT / "pipeline/WORKERS.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:pipeline|tests|requirements)[\w/.-]*)`", text))
    assert len(named) > 3
    assert [path for path in named if not (ROOT / path).exists()] == []
    for command in re.findall(r"^(?:\w+=\S+ )*dvc repro (\w\S*)", text, re.MULTILINE):
        assert (ROOT / command).is_file()
    assert "two a worker" in text
    assert "three workers" in text
    assert (mapper.AHEAD, mapper.TRIES) == (2, 3)
