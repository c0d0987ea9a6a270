"""The benchmark of what a study costs beside its computing, but for DVC."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from benchmarks.stage_costs import costs
from benchmarks.start_up import copy_tree, only_copy, stage_times
from benchmarks.start_up_tables import stage_costs_table, stages_table, start_up_table
from pipeline.artifacts.ran_on import read_devices, write_device
from pipeline.errors import PipelineError
from pipeline.stages.command import _core_seconds
from tests.root import ROOT

PIPELINE = """\
stages:
  prepare:
    wdir: ../..
    cmd: python -m pipeline.stages.prepare ${study}
    outs:
      - data/images/${study}.h5
  judge:
    foreach: ${defenses}
    do:
      wdir: ../..
      cmd: python -m pipeline.stages.judge ${study} ${key}
      outs:
        - data/judged/${study}/${key}.parquet
        - data/judged/${study}/${key}
      metrics:
        - reports/${study}/${key}.json:
            cache: false
"""


def test_stages_that_only_copy_give_back_what_was_there(tmp_path: Path) -> None:
    written = {
        "studies/tiny/dvc.yaml": PIPELINE,
        "studies/tiny/params.yaml": "defenses: {one: {}, two: {}}\n",
        "data/images/tiny.h5": "images",
        **{f"data/judged/tiny/{key}{rest}": f"{key} {rest}" for key in ("one", "two") for rest in (".parquet", "/a/b")},
        **{f"reports/tiny/{key}.json": key for key in ("one", "two")},
    }
    for name, text in written.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert only_copy(tmp_path, "tiny") == 3
    for name in ("data", "reports"):
        shutil.rmtree(tmp_path / name)
    stages = YAML(typ="safe").load(tmp_path / "studies/tiny/dvc.yaml")["stages"]
    commands = [stages["prepare"]["cmd"], stages["judge"]["do"]["cmd"]]
    assert commands == ["sh .saved/prepare ${study}", "sh .saved/judge ${study} ${key}"]
    for command in ("prepare tiny", "judge tiny one", "judge tiny two"):
        subprocess.run(["sh", *f".saved/{command}".split()], cwd=tmp_path, check=True)
    assert {name: (tmp_path / name).read_text() for name in written if not name.startswith("studies")} == {
        name: text for name, text in written.items() if not name.startswith("studies")
    }


def test_a_copy_holds_what_git_knows_and_no_lock(tmp_path: Path) -> None:
    root, folder = tmp_path / "root", tmp_path / "copy"
    for path in (root, folder):
        path.mkdir()
    for name in ("code.py", "new.py", "dvc.lock", "ignored"):
        (root / name).write_text(name)
    (root / ".gitignore").write_text("ignored\n")
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    subprocess.run(["git", "add", "code.py", "dvc.lock"], cwd=root, check=True)
    copy_tree(root, folder)
    assert {path.name for path in folder.iterdir()} - {".git", ".dvc", ".dvcignore"} == {
        "code.py",
        "new.py",
        ".gitignore",
    }


def test_runs_of_a_stage_are_added_up_and_shown_beside_its_import(tmp_path: Path) -> None:
    (tmp_path / "times.csv").write_text(
        "learn,demo a,1.5,300,1.4,1\nlearn,demo b,2.0,200,2.0,1\nreport,demo,3.0,400,3.0,1\n"
    )
    stages = stage_times(tmp_path / "times.csv")
    assert stages == [
        {"stage": "learn", "runs": 2, "seconds": 3.5, "peak_memory_mib": 300},
        {"stage": "report", "runs": 1, "seconds": 3.0, "peak_memory_mib": 400},
    ]
    imports = [{"stage": "index", "seconds": 0.5, "torch": False}, {"stage": "learn", "seconds": 2.0, "torch": True}]
    record = {
        "device": "CPU",
        "torch": "2",
        "dvc": "3",
        "python": "3.11",
        "study": "demo",
        "seconds": 9.0,
        "entries": 3,
        "dvc_seconds": 2.5,
        "lock_kib": 40,
        "no_op_seconds": 1.5,
        "no_op": {"digits": 2.1, "everything": 4.0},
        "stages": stages,
        "imports": imports,
    }
    assert [row.split(" | ") for row in stages_table(record).splitlines()[4:]] == [
        ["| learn", "2", "3.5", "300 MiB", "2", "yes |"],
        ["| report", "1", "3", "400 MiB", "", " |"],
        ["| index", "", "", "", "0.5", "no |"],
    ]
    table = start_up_table(record)
    assert table.startswith("*CPU, PyTorch 2, DVC 3, Python 3.11.*")
    assert "| digits, nothing to do | 2.1 | 3 |" in table
    assert "| what its stages say they take, once imported | 6.5 |  |" in table
    assert "| a plain `dvc repro` (digits, the comparison of studies), nothing to do | 4 | 5 |" in table


def test_of_each_stage_the_last_run_counts_and_its_cores_are_those_of_its_workers(tmp_path: Path) -> None:
    lines = (
        "learn,mine a,50.0,900,50.0,1,cut off",
        "learn,mine a,9.0,500,9.0,1",
        "learn,mine a,100.0,300,150.0,2",
        "learn,mine b,200.0,200,130.0,1",
        "learn,other a,7.0,300,7.0,2",
        "metrics,mine,2.0,400,1.5,2",
        "report,mine,3.0,400",  # as it was written before core-seconds were
    )
    (tmp_path / "times.csv").write_text("\n".join(lines) + "\n")
    stages = costs(tmp_path / "times.csv", "mine")
    table = stage_costs_table([{"device": "CPU", "torch": "2", "study": "mine", "stages": stages}])
    assert [row.split(" | ") for row in table.splitlines()[4:]] == [
        ["| mine", "learn", "2", "300", "280", "70 %", "300 MiB |"],
        ["| mine", "metrics", "1", "2", "2", "", "400 MiB |"],
        ["| mine", "all", "3", "302", "282", "70 %", "400 MiB |"],
    ]
    with open(tmp_path / "times.csv", "a") as log:
        log.write("learn,mine c,20.0,500,30.0,1,cut off\n" * 2)
        log.write("learn,mine d,20.0,500,30.0,1,cut off\n")  # and not run again
    assert costs(tmp_path / "times.csv", "mine")[0]["cut_off"] == 0
    with open(tmp_path / "times.csv", "a") as log:
        log.write("learn,mine c,100.0,300,150.0,auto\n")
    learn, *others = costs(tmp_path / "times.csv", "mine")
    assert learn == {
        "stage": "learn", "runs": 3, "cut_off": 2, "seconds": 440.0, "core_seconds": 490.0, "available": None,
        "peak_mib": 500,
    }  # fmt: skip
    about = {"device": "CPU", "torch": "2", "study": "mine", "stages": [learn, *others]}
    assert "| mine | learn | 3 and 2 cut off | 440 | 490 |  | 500 MiB |" in stage_costs_table([about])


def test_stages_that_ran_side_by_side_share_the_cores(tmp_path: Path) -> None:
    """The share of the cores is that of the command which ran them; a stage before or after has its own."""
    (tmp_path / "times.csv").write_text(
        "train,mine,100.0,400,90.0,1\nside_by_side,mine,begin,2\nlearn,mine a,100.0,400,60.0,1\n"
        "report,mine,1.0,40,1.0,1\nlearn,other,100.0,400,60.0,1\nside_by_side,mine,end,2\n"
        "side_by_side,mine,110.0,20,198.0,1\nmetrics,mine,100.0,400,80.0,2\n"
        "side_by_side,mine,begin,2\nside_by_side,mine,end,2\nside_by_side,mine,9.0,20,9.0,1\n"
    )
    stages = costs(tmp_path / "times.csv", "mine")
    table = stage_costs_table([{"device": "CPU", "torch": "2", "study": "mine", "stages": stages}])
    assert [row.split(" | ") for row in table.splitlines()[4:]] == [
        ["| mine", "train", "1", "100", "90", "90 %", "400 MiB |"],
        ["| mine", "learn", "1", "100", "60", "", "400 MiB |"],
        ["| mine", "report", "1", "1", "1", "", "40 MiB |"],
        ["| mine", "metrics", "1", "100", "80", "40 %", "400 MiB |"],
        ["| mine", "all", "4", "301", "231", "", "400 MiB |"],
        ["| mine", "side_by_side", "1", "110", "198", "90 %", "20 MiB |"],
    ]


WAITS = """
import os, subprocess, sys, time
from pathlib import Path
if sys.argv[1] == "dvc":  # it starts a stage, and is gone
    stage = subprocess.Popen([sys.executable, __file__, "stage"], env={**os.environ, "DVC_STAGE": "waits"})
    while not Path("begun").exists():
        time.sleep(0.05)
    os._exit(0)
from pipeline.stages.command import command


def main():
    Path("begun").touch()
    time.sleep(60)


command(main, False, ["mine"])
"""


@pytest.mark.parametrize("who", ["stage", "dvc"])
def test_a_run_that_is_cut_off_leaves_what_it_took(tmp_path: Path, who: str) -> None:
    (tmp_path / "waits.py").write_text(WAITS)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "waits.py", who], cwd=tmp_path, env=environment) as process:
        while not (tmp_path / "begun").exists():
            assert process.poll() is None
            time.sleep(0.05)
        if who == "stage":
            process.terminate()
    assert process.returncode == (130 if who == "stage" else 0)
    deadline = time.monotonic() + 20
    while not (times := tmp_path / ".work/stage_times.csv").is_file() or not times.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert re.fullmatch(r"waits,mine,[\d.]+,\d+,[\d.]+,1,cut off\n", times.read_text())


def test_core_seconds_of_workers_count_while_they_wait_for_more_work() -> None:
    code = "import time\nwhile time.process_time() < 0.5: pass\nprint('done', flush=True)\ninput()"
    before = _core_seconds()
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdin
        assert worker.stdout
        worker.stdout.readline()
        alive = _core_seconds() - before
        worker.stdin.write(b"\n")
    assert 0.4 < alive <= _core_seconds() - before + 0.02


def test_devices_are_read_of_the_studys_own_stages_and_other_files_are_named(tmp_path: Path) -> None:
    for stage in ("minimal", "learn-mine", "learn-taken_out"):
        write_device(tmp_path / f"{stage}.json", "a card")
    assert read_devices(tmp_path, {"mine"}) == {"minimal": "a card", "learn-mine": "a card"}
    for text in ('{"dev', '{"other": 1}', "[]"):
        (tmp_path / "minimal.json").write_text(text)
        with pytest.raises(PipelineError, match=r"minimal\.json: expected"):
            read_devices(tmp_path, {"mine"})
