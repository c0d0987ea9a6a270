"""The rules that choose a number are frozen: their words, their thresholds, and that each has its reason.

A rule that is changed after test results were seen makes those results its own choice. So whoever edits one edits this
list too, and tells the earlier analysis, with its figures, in pipeline/reporting/templates/earlier.j2.
"""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from pipeline.artifacts.choices import read_choices, write_choices
from pipeline.defenses import dropout_ensemble
from pipeline.defenses.protocol import load_defense
from pipeline.defenses.shared import autoencoder_trials, gac_lambda, restorations
from pipeline.metrics import calibration, gains
from pipeline.metrics.choices import Choice
from pipeline.params import read_yaml
from tests.committed import committed_json
from tests.root import ROOT

RULES = {
    "step_size": (calibration.STEP_RULE, calibration.STEP_REASON, calibration.TOLERANCE),
    "extra_steps": (calibration.EXTRA_RULE, calibration.EXTRA_REASON, calibration.PAPER_RATIO),
    "rate": (dropout_ensemble.RATE_RULE, dropout_ensemble.RATE_REASON, dropout_ensemble.ALLOWED_LOSS),
    "sigma of the noise": (dropout_ensemble.SIGMA_RULE, dropout_ensemble.SIGMA_REASON, None),
    "dropout": (autoencoder_trials.DROPOUT_RULE, autoencoder_trials.DROPOUT_REASON, autoencoder_trials.ALLOWANCE),
    "sigma of the blur": (restorations.SIGMA_RULE, restorations.SIGMA_REASON, None),
    "lambda": (gac_lambda.LAMBDA_RULE, gac_lambda.LAMBDA_REASON, gains.ALLOWED_LOSS),
}
FROZEN = {
    "step_size": "9af617ac4092",
    "extra_steps": "ce5a80d6b4ef",
    "rate": "14ca5227802a",
    "sigma of the noise": "a70a5f62361d",
    "dropout": "85a6faf5eaa3",
    "sigma of the blur": "4e5faed471c5",
    "lambda": "c30cbe1bd91d",
}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_as_it_was_frozen(name: str) -> None:
    rule, reason, threshold = RULES[name]
    assert reason
    found = hashlib.sha256(f"{rule} {threshold}".encode()).hexdigest()[:12]
    assert found == FROZEN[name], "a rule was changed: tell the earlier analysis, see above"


def test_every_choice_is_stored_with_its_rule_and_its_reason(tmp_path: Path) -> None:
    rate = dropout_ensemble.DefenseTrial("a", 0.1, 100, 900, 1.0, 0.5, 0.5)
    dropout = autoencoder_trials.AutoencoderTrial("a", "base", 0.1, 0, 0, 10, 1, 10, 1, *[0.5] * 5)
    made: dict[str, Choice] = {
        "step_size": calibration.choose_step_size([calibration.StepSizeTrial(0.1, 1, 1, 1)]),
        "extra_steps": calibration.choose_extra_steps([calibration.ExtraStepsTrial(1, 1, 1)]),
        "rate": dropout_ensemble.choose_rate([rate]),
        "sigma of the noise": dropout_ensemble.choose_sigma([rate], [rate]),
        "dropout": autoencoder_trials.choose_dropout([dropout]),
        "sigma of the blur": restorations.choose_blur({0.5: np.ones(3)}, np.ones(3)),
        "lambda": gac_lambda.choose_lambda([]),
    }
    write_choices(tmp_path / "choices.json", made)
    for name, choice in read_choices(tmp_path / "choices.json").items():
        assert (choice.rule, choice.reason) == RULES[name][:2], name


@pytest.mark.parametrize("study", ["digits", "mnist"])
def test_a_defense_chooses_what_it_says_that_it_does(study: str) -> None:
    params = read_yaml(ROOT / f"studies/{study}/params.yaml")
    choices = committed_json("reports/metrics")[study]["choices"]
    for key, block in params["defenses"].items():
        declared = load_defense(block.get("method", key)).chooses or {}
        assert set(choices.get(key, {})) == {name for name, by in declared.items() if by in block["learn"]}, key
