"""Params survive DVC, say a number once, and are what the schema says."""

import json
import re
from io import StringIO
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from pipeline.params import block_at, read_yaml
from pipeline.schema import schema_text
from pipeline.study_blocks import INNER
from tests.root import ROOT
from tests.studies import PARAMS


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


def problems(value: Any, schema: dict[str, Any]) -> list[str]:
    return [error.message for error in Draft202012Validator(schema).iter_errors(value)]


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
