"""The pipeline file says the truth.

What the stages really read is compared with what is declared in tests/end_to_end/test_contract.py, on a real run.
"""

import re
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.params import block_at, read_yaml
from pipeline.studies import PATHS
from tests.root import ROOT
from tests.studies import PARAMS, STUDIES

PIPELINE = ROOT / "studies/pipeline.yaml"
STAGES: dict[str, Any] = YAML(typ="safe").load(PIPELINE)["stages"]
SHARED = {"__init__", "command", "sets", "families", "learned", "rehearsal"}  # of stages/: no stages
ROOT_STAGES = {"collect", "transfer", "index"}
FIRST = ("check_params", "fingerprint_code")  # run in the study's folder


def body(name: str) -> dict[str, Any]:
    stage: dict[str, Any] = STAGES[name]
    return stage.get("do", stage)


def paths(entries: list[Any]) -> set[str]:
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}


def outs(name: str) -> set[str]:
    return paths(body(name).get("outs", [])) | paths(body(name).get("metrics", []))


@pytest.mark.parametrize("study", STUDIES)
def test_a_studys_pipeline_is_a_copy(study: str) -> None:
    assert (ROOT / f"studies/{study}/dvc.yaml").read_bytes() == PIPELINE.read_bytes()
    assert not (ROOT / f"studies/{study}/dvc.yaml").is_symlink()


def test_the_pipeline_is_short_and_names_no_study() -> None:
    text = PIPELINE.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    for study in STUDIES:
        assert not re.search(rf"\b{study}\b", text)


@pytest.mark.parametrize("name", STAGES)
def test_a_command_is_the_stage_the_study_and_at_most_the_key(name: str) -> None:
    expected = f"python -m pipeline.stages.{name} ${{study}}"
    if "foreach" in STAGES[name]:
        expected += " ${key}"
    if name in FIRST:
        expected = f"cd ../.. && {expected}"
    if name == FIRST[0]:  # its study is the folder: nothing of the params may be in it
        expected = f"PYTHONPATH=../.. python -m pipeline.stages.{name}"
    assert body(name)["cmd"] == expected
    assert body(name).get("wdir") == (None if name in FIRST else "../..")


def test_stages_and_scripts_are_the_same() -> None:
    scripts = {path.stem for path in (ROOT / "pipeline/stages").glob("*.py")} - SHARED
    assert scripts == set(STAGES) | ROOT_STAGES


@pytest.mark.parametrize("name", [name for name in STAGES if name not in FIRST])
def test_every_stage_depends_on_its_code_and_on_what_it_loads_by_name(name: str) -> None:
    source = (ROOT / f"pipeline/stages/{name}.py").read_text(encoding="utf-8")
    code = {path.removeprefix("data/code/${study}/") for path in paths(body(name)["deps"]) if "data/code" in path}
    expected = {f"stages/{name}.json"}
    if "load_attack(" in source:
        expected.add("attacks/${key}.json")
    if "attacks_of(" in source:
        expected.add("attacks/adaptive.json")
    if "load_family(" in source:
        expected.add("defenses/${key}.predict.json")
    if "defense.learn" in source:
        expected.add("defenses/${key}.learn.json")
    if "replicate" in source and name == "replicates":
        expected.add("defenses/replicated.json")
    if "read_labels(" in source:
        expected.add("labels.json")
    assert code == expected


def test_every_path_is_one_of_the_studies_module() -> None:
    known = {
        re.sub(r"^(\.\./)+", "", path.replace("${study}", "{study}").replace("${key}", "{key}"))
        for name in STAGES
        for path in outs(name)
    }
    # The two named sets stand in the pipeline by name, as do their statistics.
    known = {path.replace("/minimal", "/{key}").replace("/extended", "/{key}") for path in known}
    declared = {path.replace("/minimal", "/{key}").replace("/extended", "/{key}") for path in PATHS.values()}
    known = {re.sub(r"^data/devices/\{study\}/.*(?=\.json$)", "data/devices/{study}/{key}", path) for path in known}
    assert known - {".words.json"} <= declared


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_that_computes_writes_down_its_device(name: str) -> None:
    source = (ROOT / f"pipeline/stages/{name}.py").read_text(encoding="utf-8")
    declared = {path for path in outs(name) if path.startswith("data/devices/")}
    key = "-${key}" if "foreach" in STAGES[name] else ""
    assert declared == ({f"data/devices/${{study}}/{name}{key}.json"} if "computes=True" in source else set())
    if "study.device" in source:
        assert declared


def test_a_stage_reads_only_what_stages_above_it_write() -> None:
    above = {"reports/earlier.json"}  # in git, written by none
    for name in STAGES:
        if name in FIRST:
            above |= {re.sub(r"^\.\./\.\./", "", path) for path in outs(name)}
            continue
        for dep in paths(body(name)["deps"]):
            made = {re.sub(r"\$\{key\}", "", path) for path in above}
            plain = re.sub(r"\$\{key\}", "", dep)
            assert any(
                plain == path or plain.startswith(f"{path}/") or path.startswith(f"{plain}/") for path in made
            ), (name, dep)
        above |= outs(name)


def test_no_two_stages_write_the_same() -> None:
    every = [path for name in STAGES for path in outs(name)]
    assert len(every) == len(set(every))


@pytest.mark.parametrize("study", PARAMS)
def test_declared_params_are_in_every_study(study: str) -> None:
    params = read_yaml(PARAMS[study])
    for name in STAGES:
        for entry in body(name).get("params", []):
            ((file, keys),) = entry.items()
            assert file == "studies/${study}/params.yaml"
            assert len(keys) == len(set(keys))
            foreach = STAGES[name].get("foreach", "")[2:-1]
            for key in keys:
                for each in params[foreach] if "${key}" in key else [""]:
                    block_at(params, key.replace("${key}", each), PARAMS[study])
