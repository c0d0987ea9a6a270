"""What a reproduced study cost, stage by stage: seconds, core-seconds, and how busy its workers kept their cores.

    WORKERS=2 dvc repro studies/mnist/dvc.yaml
    python -m benchmarks.stage_costs --study mnist

Reads what stages leave in .work/stage_times.csv, of each stage and key the last complete run, and those that were cut
off before it: but for one that was killed at once, which leaves no line. Stages that ran beside others, by
`python -m pipeline.side_by_side mnist`, share the cores: the share is that of the whole command. Processes on other
machines of a Ray cluster are not counted.
Writes benchmarks/results/stage_costs.json, where other studies stay as they are.
"""

import csv
import json
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import RESULTS, options, write
from pipeline.artifacts.ran_on import read_devices
from pipeline.side_by_side import BEGIN, END, SIDE_BY_SIDE
from pipeline.stages.command import CUT_OFF, TIMES
from pipeline.studies import Study


def costs(path: Path, study: str) -> list[dict[str, Any]]:
    """A record per stage: runs (one a key), seconds, core-seconds and highest peak memory of them.

    cut_off : how many runs were, before these; what they took is added.
    available : core-seconds that its workers could have spent; None if a run had as many as there were (`auto`), or
        shared them with other stages. "side_by_side" is the last command that ran those to the report: all cores are
        its own, and what starting Python and DVC takes is counted too.
    """
    last: dict[str, list[list[str]]] = {}
    cut_off: dict[str, list[list[str]]] = {}
    shared, cores, among = False, "", set[str]()  # whether stages run side by side; on how many cores; which did
    with open(path, encoding="utf-8", newline="") as lines:
        for name, labels, *numbers in csv.reader(lines):
            if labels.split(" ")[0] != study:
                continue
            if numbers[0] in (BEGIN, END):
                shared, cores = numbers[0] == BEGIN, numbers[1]
                among = set() if shared else among
                continue
            key, run = f"{name} {labels}", [name, *numbers[:4]]
            if name == SIDE_BY_SIDE:
                run[4] = cores
                if "report" not in among and numbers[4:] != [CUT_OFF]:
                    continue  # nothing was left to do
            elif shared:
                run[4] = "shared"
                among.add(name)
            if numbers[4:] == [CUT_OFF]:
                cut_off.setdefault(key, []).append(run)
            elif len(numbers) == 4:
                last[key] = [*cut_off.pop(key, []), run]
    stages: dict[str, dict[str, Any]] = {}
    for runs in last.values():
        new = {"runs": 0, "cut_off": 0, "seconds": 0.0, "core_seconds": 0.0, "available": 0.0, "peak_mib": 0}
        entry = stages.setdefault(runs[0][0], {"stage": runs[0][0], **new})
        entry["runs"] += 1
        entry["cut_off"] += len(runs) - 1
        for _, seconds, peak, core_seconds, workers in runs:
            entry["seconds"] = round(entry["seconds"] + float(seconds), 1)
            entry["core_seconds"] = round(entry["core_seconds"] + float(core_seconds), 1)
            entry["peak_mib"] = max(entry["peak_mib"], round(float(peak)))
            known = workers.isdigit() and entry["available"] is not None
            entry["available"] = round(entry["available"] + float(seconds) * int(workers), 1) if known else None
    return list(stages.values())


def main() -> None:
    arguments = options(__doc__, study="digits")
    stages = costs(TIMES, arguments.study)
    if not stages:
        raise SystemExit(f"{TIMES}: expected stages of {arguments.study}, found none: run `dvc repro` first")
    file = RESULTS / "stage_costs.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    others = [record for record in found if record["study"] != arguments.study]
    study = Study(arguments.study)
    devices = read_devices(study.path("devices"), {*study.families, *study.other_attacks})
    about = {"device": " and ".join(dict.fromkeys(devices.values())), "torch": torch.__version__}
    write("stage_costs", [*others, {**about, "study": study.name, "stages": stages}])


if __name__ == "__main__":
    main()
