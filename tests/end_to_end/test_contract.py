"""What each stage really asks of its study is what the pipeline file declares, no less and no more."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from ruamel.yaml import YAML

from tests.end_to_end.conftest import Finished
from tests.root import ROOT
from tests.tree import EVERY_TIME

pytestmark = pytest.mark.slow
STAGES: dict[str, Any] = YAML(typ="safe").load(ROOT / "studies/pipeline.yaml")["stages"]
FIRST = ("check_params", "fingerprint_code")  # take the keys and the words of the params, as .words.json has them
# Random numbers are named by the images' source, which whoever reads images or sets depends on through them.
THROUGH_IMAGES = ("images.source", "images.raw")


class Asked(NamedTuple):
    stage: str
    key: str
    paths: set[str]
    keys: set[str]


@pytest.fixture(scope="module")
def asked(finished: Finished) -> list[Asked]:
    found = []
    for file in sorted(finished.records.glob("*.json")):
        record = json.loads(file.read_text(encoding="utf-8"))
        module, *words = record["words"]
        stage, key = module.rpartition(".")[2], words[1] if len(words) > 1 else ""
        found.append(Asked(stage, key, set(record["paths"]), set(record["keys"])))
    return found


def filled(entries: list[Any], key: str) -> Iterator[str]:
    for entry in entries:
        path = entry if isinstance(entry, str) else next(iter(entry))
        yield path.replace("${study}", "tiny").replace("${key}", key)


def within(one: str, other: str, mark: str) -> bool:
    """Whether one is the other, or inside of it."""
    return one == other or one.startswith(other + mark)


def test_every_stage_of_the_pipeline_has_run(finished: Finished, asked: list[Asked]) -> None:
    assert {name.partition("@")[0] for name in finished.ran} | EVERY_TIME == set(STAGES)
    assert {one.stage for one in asked} == set(STAGES) - {"check_params"}  # it runs without a PYTHONPATH of ours


def test_paths_are_those_declared(asked: list[Asked]) -> None:
    for stage, key, paths, _ in asked:
        if stage in FIRST:
            continue
        body = STAGES[stage].get("do", STAGES[stage])
        outs = set(filled(body.get("outs", []) + body.get("metrics", []), key))
        deps = set(filled(body["deps"], key))
        for path in paths:
            assert any(within(path, known, "/") or within(known, path, "/") for known in deps | outs), (stage, path)
        only_dvcs = ("data/code/", "data/raw_files/")  # notes of what DVC does not see
        for known in outs | {dep for dep in deps if not dep.startswith(only_dvcs)}:
            assert any(within(path, known, "/") for path in paths), (stage, known)


def test_params_are_those_declared(asked: list[Asked]) -> None:
    nowhere: dict[str, set[str]] = {}
    for stage, key, _, keys in asked:
        if stage in FIRST or stage in EVERY_TIME:
            continue
        body = STAGES[stage].get("do", STAGES[stage])
        declared = {
            name.replace("${key}", key)
            for entry in body.get("params", [])
            for block in entry.values()
            for name in block
        }
        # Which others there are is seen from the folder of sets; what is there and not listed, `metrics` leaves out.
        known = {*THROUGH_IMAGES, *(["other_attacks"] if stage in ("evaluate_others", "report") else [])}
        for name in keys - known:
            assert any(within(name, block, ".") or within(block, name, ".") for block in declared), (stage, name)
        # No process need ask for all of it: a defense without training reads none.
        unasked = {
            block.replace(key, "${key}") if key else block
            for block in declared
            if not any(within(name, block, ".") or within(block, name, ".") for name in keys)
        }
        nowhere[stage] = nowhere.get(stage, unasked) & unasked
    assert {stage: blocks for stage, blocks in nowhere.items() if blocks} == {}
