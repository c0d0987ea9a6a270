"""What every defense's file says of itself, what it chooses by, and what its family learns from."""

import inspect
import re
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from pipeline.artifacts.materials import StudyMaterials
from pipeline.defenses.protocol import Defense, Materials
from pipeline.defenses.shared.choices import is_narrow, settle, shares_by_original
from pipeline.errors import PipelineError
from pipeline.mapper import Advance
from pipeline.params import parameters_of
from pipeline.training.autoencoder import AutoencoderTraining, fit_autoencoder
from pipeline.training.classifier import ClassifierTraining, fit_classifier
from pipeline.training.gac import GacTraining, fit_gac
from tests.root import ROOT
from tests.sets import make_set
from tests.study import Study

NAMES = sorted(
    path.stem for path in (ROOT / "pipeline/defenses").glob("*.py") if path.stem not in ("__init__", "protocol")
)


def blocks_in(annotation: Any) -> list[type]:
    parts = (annotation, *get_args(annotation))
    return [part for part in parts if isinstance(part, type) and is_dataclass(part)]


def check_block(what: Any) -> None:
    """Every parameter is annotated, and a block within is a frozen dataclass of keyword-only fields."""
    for name, (annotation, _) in parameters_of(what).items():
        assert annotation is not Any, name
        assert "dict" not in str(annotation), name
        for block in blocks_in(annotation):
            assert block.__dataclass_params__.frozen
            assert {field.name for field in fields(block)} == set(parameters_of(block))
            check_block(block)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_a_defense(name: str) -> None:
    module = import_module(f"pipeline.defenses.{name}")
    defense = module.defense
    assert isinstance(defense, Defense)
    label, empty, *_ = (module.__doc__ or "").splitlines()
    assert re.fullmatch(r"[A-Z][^.:]{3,40}", label)
    assert not empty
    for function in (defense.predict, defense.learn, defense.examine):
        if function is not None:
            check_block(function)
    assert [parameter.name for parameter in inspect.signature(defense.predict).parameters.values()][1:3] == [
        "images",
        "generator",
    ]


@pytest.mark.parametrize(
    ("block", "function", "apart"),
    [
        (ClassifierTraining, fit_classifier, set()),
        (AutoencoderTraining, fit_autoencoder, set()),
        (GacTraining, fit_gac, {"lambda_"}),
    ],
)
def test_a_block_has_the_arguments_of_its_function(block: type, function: Any, apart: set[str]) -> None:
    expected = {name: entry for name, entry in parameters_of(function).items() if name not in apart}
    assert parameters_of(block) == expected


def test_shares_are_of_each_original() -> None:
    holds, rows = np.array([True, False, True, True]), np.array([7, 7, 3, 7])
    assert shares_by_original(holds, rows).tolist() == [1, 2 / 3]


@pytest.mark.parametrize(
    ("right", "narrow"), [([10, 7], False), ([10, 8], False), ([8, 10], True), ([10, 9], True), ([10, 10], True)]
)
def test_a_choice_is_narrow_if_two_originals_turn_it(right: list[int], narrow: bool) -> None:
    def choose(trials: Any) -> float | None:
        return float(np.argmax(trials))  # the first of equals

    assert is_narrow(choose, right, lambda trial, originals: [trial + originals]) is narrow


def test_a_number_overrides_the_rule_and_auto_needs_one() -> None:
    assert settle(0.3, None, "a.rate", "the largest") == 0.3
    assert settle("auto", 0.2, "a.rate", "the largest") == 0.2
    with pytest.raises(PipelineError, match=r"a\.rate: auto, but nothing tried meets the rule \(the largest\)"):
        settle("auto", None, "a.rate", "the largest")


def materials_of(path: Path) -> StudyMaterials:
    nowhere = path.parent / "nothing"
    return StudyMaterials(images=nowhere, classifier=nowhere, sets={"minimal": path}, source="toy", key="k", seed=0)


def test_rows_are_fooled_and_of_one_part(tmp_path: Path) -> None:
    sources, images, margins = make_set(tmp_path / "set.h5")
    materials = materials_of(tmp_path / "set.h5")
    seen = np.array([True, False, False, False, True])  # of the train split's images; 0, 2 and 4 are attacked
    parts = [materials.rows("minimal", seen), materials.rows("minimal", ~seen), materials.rows("minimal", split="test")]
    assert sum(len(rows.labels) for rows in parts) == (margins > 0).sum()
    for rows, split, index in zip(parts, (0, 0, 1), ({0, 4}, {2}, {1, 3, 5}), strict=True):
        assert set(rows.source_index.tolist()) == index
        chosen = np.flatnonzero(
            (margins > 0)
            & (sources.source_split[sources.original_row] == split)
            & np.isin(sources.source_index[sources.original_row], list(index))
        )
        np.testing.assert_array_equal(rows.images, images[chosen])
        np.testing.assert_array_equal(rows.labels, sources.labels[chosen])
        np.testing.assert_array_equal(rows.target_labels, sources.target_labels[chosen])
        np.testing.assert_array_equal(
            rows.originals[rows.original_row], sources.originals[sources.original_row[chosen]]
        )
        assert rows.params == {"step_size": 0.1}
    nothing = materials.rows("minimal", np.zeros(5, bool))
    assert len(nothing.labels) == len(nothing.originals) == 0
    with pytest.raises(PipelineError, match="its originals are not of"):
        materials.rows("minimal", np.ones(3, bool))
    with pytest.raises(PipelineError, match="k: expected the adversarial set 'extended', found minimal"):
        materials.rows("extended")


def test_materials_are_those_of_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.artifacts.shards.WORK", tmp_path / "work")
    study = Study(tmp_path)
    materials: Materials = study.materials("toy_defense")
    assert materials.class_names == ("a", "b", "c")
    assert materials.architecture == {"channels": (6,), "dropout": 0.1}
    assert materials.held_out.sum() == 12
    np.testing.assert_array_equal(materials.split("test")[1], study.splits["test"].labels)
    assert materials.random("a").random() == study.materials("another").random("a").random()
    with materials.pairs(("minimal",), materials.held_out) as pairs:
        assert len(pairs.originals) == 12
    calls: list[int] = []

    def compute(number: int, advance: Advance) -> dict[str, Any]:
        calls.append(number)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return {"number": np.array([number])}

    with pytest.raises(KeyboardInterrupt):
        materials.kept("it", {"a": 1}, compute, range(3))
    found = materials.kept("it", {"a": 1}, compute, range(3))
    assert [int(arrays["number"][0]) for arrays in found] == [0, 1, 2]
    assert calls == [0, 1, 1, 2]
    assert study.materials("another").kept("it", {"a": 1}, compute, range(1))
    assert len(calls) == 5  # another family's are others
    study_materials = study.materials("toy_defense")
    study_materials.kept("it", {"a": 1}, compute, range(3))
    study_materials.clear()
    assert len(list((tmp_path / "work").iterdir())) == 1
