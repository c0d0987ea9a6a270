"""The pipeline file says the truth, params survive DVC, rooms stay shut, and no list of names stands anywhere.

What the stages really read is compared with what is declared in tests/end_to_end/test_contract.py, on a real run.
"""

import ast
import json
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.params import block_at, read_yaml
from pipeline.schema import schema_text
from pipeline.studies import PATHS
from pipeline.study_blocks import INNER
from tests.root import ROOT

PIPELINE = ROOT / "studies/pipeline.yaml"
STAGES: dict[str, Any] = YAML(typ="safe").load(PIPELINE)["stages"]
STUDIES = sorted(path.parent.name for path in (ROOT / "studies").glob("*/params.yaml"))
PARAMS = {study: ROOT / f"studies/{study}/params.yaml" for study in STUDIES} | {"tiny": ROOT / "tests/tiny.yaml"}
ROOMS = ("attacks", "models", "defenses", "training", "metrics")
SHARED = {"__init__", "command", "sets", "families", "learned"}  # of stages/: no stages
ROOT_STAGES = {"collect", "transfer", "index"}
FIRST = ("check_params", "fingerprint_code")  # run in the study's folder


def body(name: str) -> dict[str, Any]:
    stage: dict[str, Any] = STAGES[name]
    return stage.get("do", stage)


def paths(entries: list[Any]) -> set[str]:
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}


def outs(name: str) -> set[str]:
    return paths(body(name).get("outs", [])) | paths(body(name).get("metrics", []))


# --- the pipeline ------------------------------------------------------------------------------------------------
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
    above: set[str] = set()
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


# --- the params --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("study", PARAMS)
def test_a_params_file_is_short_and_has_no_names_of_studies_inside(study: str) -> None:
    text = PARAMS[study].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    assert re.search(rf"^study: {study}$", text, re.MULTILINE)
    if study != "tiny":
        assert text.startswith("# yaml-language-server: $schema=../params.schema.json\n")


@pytest.mark.parametrize("study", PARAMS)
def test_a_params_file_survives_dvcs_own_rewriting(study: str) -> None:
    """`dvc exp run -S` loads and dumps it; a quoted value in a flow mapping comes out without quotes, broken."""
    text = PARAMS[study].read_text(encoding="utf-8")
    for token in YAML(typ="rt").scan(StringIO(text)):
        assert type(token).__name__ not in ("AnchorToken", "AliasToken", "TagToken"), token
    for line in text.splitlines():
        code = line.partition(" #")[0]
        if "{" in code:
            assert not re.search(r"['\"]", code), line
    before = YAML(typ="safe").load(text)
    for _ in range(2):  # as DVC dumps it
        again, yaml = StringIO(), YAML()
        yaml.preserve_quotes = True
        yaml.dump(yaml.load(text), again)
        text = again.getvalue()
        assert YAML(typ="safe").load(text) == before


@pytest.mark.parametrize("study", PARAMS)
def test_a_number_stands_once(study: str) -> None:
    """What the threat model, `training` and the choices give stands nowhere else."""
    params = read_yaml(PARAMS[study])
    for key, block in params["other_attacks"].items():
        assert not {"epsilon", "epsilons", "budgets"} & set(block), key
    for family in params["defenses"].values():
        for name in ("batch_size", "weight_decay"):
            assert family["learn"].get("training", {}).get(name, "") != params["training"][name]


def test_the_schema_is_current() -> None:
    assert (ROOT / "studies/params.schema.json").read_text(encoding="utf-8") == schema_text()


TYPES = {
    "object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float),
    "null": type(None),
}  # fmt: skip


def problems(value: Any, schema: dict[str, Any], at: str = "") -> list[str]:
    """What a JSON Schema refuses, as far as ours goes."""
    if "anyOf" in schema:
        each = [problems(value, one, at) for one in schema["anyOf"]]
        return [] if [] in each else each[0]
    found = []
    kind = schema.get("type")
    if kind and (not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return [f"{at}: expected {kind}, found {value!r}"]
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        found.append(f"{at}: {value!r}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = schema.get("minimum", value), schema.get("maximum", value)
        if not low <= value <= high or not schema.get("exclusiveMinimum", value - 1) < value:
            found.append(f"{at}: {value!r} out of range")
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        found.append(f"{at}: {value!r} of another pattern")
    if isinstance(value, list):
        found += [f"{at}: too short"] * (len(value) < schema.get("minItems", 0))
        found += [p for i, entry in enumerate(value) for p in problems(entry, schema.get("items", {}), f"{at}[{i}]")]
    if isinstance(value, dict):
        found += [f"{at}: no {name}" for name in schema.get("required", []) if name not in value]
        others = schema.get("additionalProperties", {})
        for name, entry in value.items():
            inner = schema.get("properties", {}).get(name, others)
            found += [f"{at}.{name}: unknown"] if inner is False else problems(entry, inner or {}, f"{at}.{name}")
    return found


@pytest.mark.parametrize("study", PARAMS)
def test_the_schema_accepts_every_study(study: str) -> None:
    assert problems(read_yaml(PARAMS[study]), json.loads(schema_text())) == []


def test_the_schema_knows_every_key_that_a_study_may_have() -> None:
    properties = json.loads(schema_text())["properties"]
    for block, keys in INNER.items():
        assert block == "threat" or set(properties[block]["properties"]) == set(keys), block


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("atacks", {}), ("study", "../x"), ("seed", "x"), ("sources.test", -1), ("attacks.minimal.max_steps", 0),
        ("attacks.minimal.stepsize", 1), ("training.learning_rate", "x"), ("threat.linf.epsilons", []),
        ("defenses.dropout_ensemble.learn.rate", [2]), ("images.sauce", "digits"), ("classifier.architecture", 3),
    ],
)  # fmt: skip
def test_the_schema_refuses_what_the_pipeline_refuses(key: str, value: Any) -> None:
    params = read_yaml(PARAMS["demo"])
    block, _, name = key.rpartition(".")
    (block_at(params, block, PARAMS["demo"]) if block else params)[name] = value
    assert problems(params, json.loads(schema_text()))


# --- the rooms ---------------------------------------------------------------------------------------------------
def imports(path: Path) -> set[str]:
    """Modules that a file imports anywhere in it, with what is taken from them ("pipeline.studies.Study")."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def tops(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


def sources(room: str = "") -> list[Path]:
    return sorted((ROOT / "pipeline" / room).rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_core_rooms_do_no_input_or_output(room: str) -> None:
    shut = {"h5py", "yaml", "ruamel", "argparse", "pathlib", "pyarrow", "os", "csv"}
    if room != "metrics":  # frames in, numbers out
        shut.add("pandas")
    for path in sources(room):
        assert not tops(path) & shut, path
        assert not {name for name in imports(path) if re.match(r"pipeline\.(artifacts|stages|studies)\b", name)}


def test_reporting_reads_no_files_and_needs_no_torch() -> None:
    for path in sources("reporting"):
        assert not tops(path) & {"torch", "pathlib", "h5py", "pyarrow", "os"}, path
        assert not any(name.startswith(("pipeline.artifacts", "pipeline.stages")) for name in imports(path)), path


def test_nobody_imports_stages_and_only_artifacts_opens_files() -> None:
    scripts = ("new_study.py", "schema.py")  # the first is a script too, the second its own
    readers = ("params.py", "studies.py", "devices.py", "machine.py", *scripts)  # params, the pipeline's copy, /proc
    for path in sources():
        room = path.relative_to(ROOT / "pipeline").parts[0]
        if room == "stages":
            continue
        if path.name not in scripts:
            assert not any(name.startswith("pipeline.stages") for name in imports(path)), path
        if room not in ("artifacts", "code", *readers):
            found = re.search(r"\bopen\(|(read|write)_(text|bytes)\(", path.read_text(encoding="utf-8"))
            assert not found, path


def test_nothing_is_seeded_but_in_randomness() -> None:
    for path in sources():
        if path.name != "randomness.py":
            text = path.read_text(encoding="utf-8")
            assert "manual_seed" not in text, path
            assert "np.random.seed" not in text, path


def test_no_pickle_is_loaded() -> None:
    between_processes = {"mapper.py", "workers.py"}  # of one run, which open no file
    for path in sources():
        assert path.name in between_processes or not {"pickle", "joblib"} & tops(path), path
        assert not re.search(r"torch\.load\((?!.*weights_only=True)", path.read_text(encoding="utf-8")), path


def test_only_params_reads_yaml() -> None:
    readers = {path.name for path in sources() if tops(path) & {"yaml", "ruamel"}}
    assert readers == {"params.py"}


# --- no list of names --------------------------------------------------------------------------------------------
# Who speaks of a defense or an attack by name beside its own file: what is said of it alone, and why.
SPEAKERS = {
    "defenses/shared/restorations.py": {"autoencoder_without_dropout"},  # a variant of the ensemble beside it
    "defenses/dropout_ensemble.py": {"gaussian_noise_ensemble"},  # likewise
    "defenses/shared/gac_samples.py": {"gac"},  # a name of its random numbers
    "defenses/shared/gac_examination.py": {"gac"},  # likewise
    "metrics/restorations.py": {"gaussian_blur"},  # whose error is that of another number
    "metrics/gains.py": {"gac"},  # a role among its controls
    "metrics/adaptive.py": {"pgd"},  # rows of the adaptive attack's own
    "attacks/shared/adaptive.py": {"pgd"},  # likewise
    "attacks/shared/adaptive_settings.py": {"pgd", "minimum_norm"},  # what is run where the params say nothing
    "stages/metrics.py": {"ddn", "gac"},  # the yardstick of lengths; a key of the metrics
    "reporting/results_page.py": {"gac"},  # likewise
    "reporting/autoencoder.py": {"autoencoder_ensemble", "autoencoder_without_dropout"},
    "reporting/dropout.py": {"dropout_ensemble"},
    "reporting/adversarial_training.py": {"adversarial_training"},
    "reporting/report.py": {"adversarial_training", "gac"},  # the sections of their own
    "reporting/gac.py": {"gac"},
    "reporting/gac_figures.py": {"gac"},
}
EVERYWHERE = {"undefended"}  # what all is compared with


def names() -> set[str]:
    """Keys and files of all defenses, variants and other attacks of all studies."""
    rooms = ("attacks", "defenses")
    found = {path.stem for room in rooms for path in (ROOT / "pipeline" / room).glob("[!_]*.py")} - {"protocol"}
    for path in PARAMS.values():
        params = read_yaml(path)
        found |= set(params["other_attacks"])
        for key, family in params["defenses"].items():
            found |= {key, *family["variants"]}
    return found - {"minimal", "extended", "foolbox"} - EVERYWHERE


def texts(path: Path) -> Iterator[str]:
    """What stands between quotes in a source, docstrings apart."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def test_no_list_of_defenses_or_attacks_stands_anywhere() -> None:
    wanted = names()
    assert len(wanted) > 20
    for path in sources():
        file = path.relative_to(ROOT / "pipeline").as_posix()
        if file == "reporting/paper_numbers.py":  # the paper's own figures, by what they are of
            continue
        own = {path.stem} if file.partition("/")[0] in ("attacks", "defenses") else set()
        found = {text for text in texts(path) if text in wanted}
        assert found <= own | SPEAKERS.get(file, set()), file


def test_no_template_names_a_defense_of_a_study() -> None:
    wanted = {name for name in names() if "_" in name and not name.startswith(("pgd_", "foolbox_"))}
    for path in (ROOT / "pipeline/reporting/templates").glob("*.j2"):
        text = path.read_text(encoding="utf-8")
        assert not {name for name in wanted if re.search(rf"\b{name}\b", text)}, path
