"""What a reproduced study cost, stage by stage: seconds, core-seconds, and how busy its workers kept their cores.

    WORKERS=2 dvc repro studies/mnist/dvc.yaml
    python -m benchmarks.stage_costs --study mnist

Reads what stages leave in .work/stage_times.csv, of each stage and key the last complete run: what a run that was cut
off had done before is not in it. Processes on other machines of a Ray cluster are not counted.
Writes benchmarks/results/stage_costs.json, where other studies stay as they are.
"""

import csv
import json
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import RESULTS, options, write
from pipeline.artifacts.ran_on import read_devices
from pipeline.stages.command import TIMES
from pipeline.studies import Study


def costs(path: Path, study: str) -> list[dict[str, Any]]:
    """A record per stage: runs (one a key), seconds, core-seconds and highest peak memory of them.

    available : core-seconds that its workers could have spent; None if a run had as many as there were (`auto`).
    """
    last: dict[str, list[str]] = {}
    with open(path, encoding="utf-8", newline="") as lines:
        for name, labels, *numbers in csv.reader(lines):
            if labels.split(" ")[0] == study and len(numbers) == 4:
                last[f"{name} {labels}"] = [name, *numbers]
    stages: dict[str, dict[str, Any]] = {}
    for name, seconds, peak, core_seconds, workers in last.values():
        new = {"stage": name, "runs": 0, "seconds": 0.0, "core_seconds": 0.0, "available": 0.0, "peak_mib": 0}
        entry = stages.setdefault(name, new)
        entry["runs"] += 1
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
