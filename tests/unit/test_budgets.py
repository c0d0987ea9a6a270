"""Budgets of attacks: each in its own norm, from its block or the threat model; and the blocks themselves."""

from pathlib import Path

import h5py
import pytest
import torch
from torch import Tensor

from pipeline.artifacts import measurement
from pipeline.artifacts.adversarial import open_adversarial
from pipeline.attacks.shared.budgets import fooled_within, within_threat
from pipeline.attacks.shared.protocol import Budget, load_attack
from pipeline.errors import PipelineError
from pipeline.registry import split_method
from tests.study import Study

attacks = {name: load_attack(name) for name in ("fgsm", "ddn", "foolbox")}


def test_the_threat_model_fills_in_what_a_block_leaves_out() -> None:
    threat = {"linf": 0.2, "l2": 1.5}
    of_foolbox = {"name": "L2PGD", "arguments": {}}
    assert within_threat(attacks["fgsm"], {}, threat, "a") == {"epsilon": 0.2}
    assert within_threat(attacks["fgsm"], {"epsilon": 0.1}, threat, "a") == {"epsilon": 0.1}
    assert within_threat(attacks["ddn"], {"steps": 3}, threat, "a") == {"steps": 3}
    assert within_threat(attacks["foolbox"], of_foolbox, threat, "a") == {**of_foolbox, "epsilon": 1.5}
    pgd = load_attack("pgd")
    assert within_threat(pgd, {}, {"l2": 1.5}, "a") == {"norm": "l2", "epsilon": 1.5}
    assert within_threat(pgd, {"norm": "linf"}, threat, "a") == {"norm": "linf", "epsilon": 0.2}
    for block, words in (
        ({}, r"a\.norm: missing; expected one of linf, l2"),
        ({"norm": "l1"}, r"a\.epsilon: missing; the threat model has no budget in l1"),
        ({"norm": "l7"}, "pgd: expected a norm among l0, l1, l2, linf, found 'l7'"),
    ):
        with pytest.raises(PipelineError, match=words):
            within_threat(pgd, block, threat, "a")
    assert load_attack("jsma").budget_for({}) == Budget("allowed_fraction", "l0")


def test_a_block_may_name_another_file() -> None:
    assert split_method("fgsm", {"epsilon": 1}, "a") == ("fgsm", {"epsilon": 1})
    assert split_method("strong", {"method": "pgd_linf", "steps": 9}, "a") == ("pgd_linf", {"steps": 9})
    assert split_method("fb", {"method": "foolbox", "name": "LinfPGD"}, "a") == ("foolbox", {"name": "LinfPGD"})


@pytest.mark.parametrize("block", [None, 3, ["epsilon"]])
def test_a_block_that_is_none_is_named(block: object) -> None:
    with pytest.raises(PipelineError, match=r"other_attacks\.x: expected a block of parameters, found"):
        split_method("x", block, "other_attacks.x")
    with pytest.raises(PipelineError, match=r"other_attacks\.x\.method: expected a text"):
        split_method("x", {"method": 3}, "other_attacks.x")


def test_budgets_are_in_the_attacks_own_norm() -> None:
    assert attacks["fgsm"].budget_for({}) == ("epsilon", "linf")
    assert attacks["ddn"].budget_for({}) is None
    for name, epsilon, norm in (("LinfPGD", 0.1, "linf"), ("L2PGD", 1.0, "l2"), ("DDNAttack", None, None)):
        found = attacks["foolbox"].budget_for({"name": name, "arguments": {}, "epsilon": epsilon})
        assert found == (norm and ("epsilon", norm))


def test_an_image_that_is_fooled_is_not_tried_with_a_larger_budget() -> None:
    needs = torch.tensor([0.1, 0.5, 0.2, 9.0])
    tried = []

    def attempt(budget: float, rows: Tensor) -> Tensor:
        tried.append((budget, rows.tolist()))
        return needs[rows] <= budget

    within = fooled_within(attempt, 4, (0.5, 0.1, 0.3))
    assert [values.tolist() for values in within.values()] == [
        [True, False, False, False], [True, False, True, False], [True, True, True, False]
    ]  # fmt: skip
    assert tried == [(0.1, [0, 1, 2, 3]), (0.3, [1, 2, 3]), (0.5, [1, 3])]


def test_a_curve_is_of_test_originals_where_a_set_has_any(tmp_path: Path) -> None:
    study = Study(tmp_path)
    with open_adversarial(study.sets["minimal"]) as set_:
        rows = measurement._first_rows(set_, 10)
        originals = set_.sources.original_row[rows]
        assert set(originals) == set(range(120, 130))  # behind the 120 of the train split
        assert len(rows) == 20  # towards both other classes
    with h5py.File(study.sets["minimal"], "r+") as file:
        file["source_split"][:] = 0
    with open_adversarial(study.sets["minimal"]) as set_:
        assert set(set_.sources.original_row[measurement._first_rows(set_, 10)]) == set(range(10))
