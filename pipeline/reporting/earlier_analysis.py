"""What an earlier analysis found before its rule was changed: told, for the change came after test results were seen."""

from typing import Any

# Minimal images recovered, from the metrics of the commits before and at which the rule changed (b3b8e02); without_trial:
# the five later trainings but the one that lambda was chosen on, by a later audit of the stored accuracies.
EARLIER: dict[str, Any] = {
    "study": "mnist",
    "version": "DC-GAN",
    "lambda": 0.05,
    "trainings": 3,
    "over_control": {"value": 0.0603, "low": -0.0067, "high": 0.1273},
    "over_noise_control": {"value": -0.01851, "low": -0.0289, "high": -0.0082},
    "lambdas_added": ["0.07", "0.3"],
    "lambdas_taken": ["0.02", "0.03"],
    "then_lambda": 0.07,
    "then_over_control": {"value": 0.0141, "low": 0.0028, "high": 0.0253},
    "then_over_noise_control": {"value": 0.0099, "low": -0.0033, "high": 0.0232},
    "without_trial": {"value": 0.0128, "low": -0.003, "high": 0.028},
}
