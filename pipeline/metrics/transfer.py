"""Do images made against one classifier fool another?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.errors import PipelineError
from pipeline.metrics.intervals import mean_with_interval
from pipeline.metrics.norms import example_statistics


@dataclass(frozen=True)
class Size:
    """One of the classifiers: how large it is and how good."""

    model: str
    depth: int  # convolutions; without any, hidden layers
    width: int  # channels of the widest block
    parameters: int
    epochs: int
    test_accuracy: float


@dataclass(frozen=True)
class Transfer:
    """Images that fooled `made_on`, shown to `tried_on`: rates with their 95 % intervals over originals.

    target : it sees the target that they were made for. error : it sees anything but the original label.
    """

    attack: str
    made_on: str
    tried_on: str
    images: int
    target: float
    target_low: float
    target_high: float
    error: float
    error_low: float
    error_high: float


def measure_transfer(
    attack: str,
    made_on: str,
    tried_on: str,
    predicted: NDArray[np.integer[Any]],
    labels: NDArray[np.integer[Any]],
    target_labels: NDArray[np.integer[Any]],
    original_row: NDArray[np.integer[Any]],
) -> Transfer:
    """The rates of one pair of classifiers, from int (n,) predictions of `tried_on`."""
    target = mean_with_interval(predicted == target_labels, original_row)
    error = mean_with_interval(predicted != labels, original_row)
    return Transfer(
        attack,
        made_on,
        tried_on,
        len(predicted),
        target.value,
        target.low,
        target.high,
        error.value,
        error.low,
        error.high,
    )


def measure_examples(
    images: NDArray[np.float32],
    originals: NDArray[np.float32],
    logits: NDArray[np.float32],
    original_logits: NDArray[np.float32],
    target_labels: NDArray[np.integer[Any]],
) -> pd.DataFrame:
    """Per image whether it fools the model of these logits, (n, k), and how far it is from its original.

    images, originals : (n, c, h, w) in [0, 1]. sensitivity : see the contract of `data/perturbations`.
    """
    rows = np.arange(len(images))
    others = logits.copy()
    others[rows, target_labels] = -np.inf
    l2 = example_statistics(images - originals)["l2"]
    forward_error = np.linalg.norm((logits - original_logits).astype(np.float64), axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return pd.DataFrame(
            {
                "target_label": target_labels.astype(np.uint8),
                "is_adversarial": logits[rows, target_labels] > others.max(1),
                "l2": l2,
                "sensitivity": (forward_error / l2).astype(np.float32),
            }
        )


def summarize_sizes(sizes: pd.DataFrame, examples: pd.DataFrame, transfer: pd.DataFrame) -> dict[str, Any]:
    """sizes.models.<model>: what it is, and its minimal images; sizes.transfer.<attack>.<made_on>.<tried_on>."""
    models: dict[str, Any] = {}
    minimal = examples[examples["attack"] == "minimal"]
    for row in sizes.to_dict("records"):
        name = row.pop("model")
        own = minimal[minimal["model"] == name]
        fooled = own[own["is_adversarial"]]
        if fooled.empty:
            raise PipelineError(f"sizes: no minimal image fools '{name}': expected some; see sizes in params.yaml")
        models[name] = {
            **row,
            "success_rate": float(own["is_adversarial"].mean()),
            "l2_median": float(fooled["l2"].median()),
            "steps_mean": float(fooled["steps"].mean()),
            "sensitivity_median": float(fooled["sensitivity"].median()),
        }
    nested: dict[str, Any] = {}
    for row in transfer.to_dict("records"):
        nested.setdefault(row["attack"], {}).setdefault(row["made_on"], {})[row["tried_on"]] = nested_rates(row)
    return {"models": models, "transfer": nested}


def nested_rates(row: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """`target` and `error` of a row of `Transfer`, each {value, low, high}."""
    return {
        outcome: {"value": row[outcome], "low": row[f"{outcome}_low"], "high": row[f"{outcome}_high"]}
        for outcome in ("target", "error")
    }
