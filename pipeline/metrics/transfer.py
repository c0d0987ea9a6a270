"""Do images made against one classifier fool another?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.metrics.intervals import bootstrap_mean


@dataclass(frozen=True)
class Size:
    """One of the classifiers: how large it is and how good."""

    model: str
    depth: int  # convolution blocks
    width: int  # channels of the widest block
    parameters: int
    epochs: int
    test_accuracy: float


@dataclass(frozen=True)
class Transfer:
    """Images that fooled `made_on`, shown to `tried_on`: rates with their 95 % intervals over originals.

    target: it sees the target that they were made for. error: it sees anything but the original label.
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
    target = bootstrap_mean(predicted == target_labels, original_row)
    error = bootstrap_mean(predicted != labels, original_row)
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


def summarize_sizes(sizes: pd.DataFrame, examples: pd.DataFrame, transfer: pd.DataFrame) -> dict[str, Any]:
    """sizes.<model>: what it is, and medians over its minimal images; transfer.<attack>.<made_on>.<tried_on>."""
    models: dict[str, Any] = {}
    fooled = examples[examples["is_adversarial"] & (examples["attack"] == "minimal")]
    for row in sizes.to_dict("records"):
        own = fooled[fooled["model"] == row["model"]]
        models[row.pop("model")] = {
            **row,
            "success_rate": len(own) / max(1, len(examples.query("attack == 'minimal'")) // len(sizes)),
            "l2_median": float(own["l2"].median()),
            "steps_mean": float(own["steps"].mean()),
            "sensitivity_median": float(own["sensitivity"].median()),
        }
    nested: dict[str, Any] = {}
    for row in transfer.to_dict("records"):
        nested.setdefault(row["attack"], {}).setdefault(row["made_on"], {})[row["tried_on"]] = {
            outcome: {"value": row[outcome], "low": row[f"{outcome}_low"], "high": row[f"{outcome}_high"]}
            for outcome in ("target", "error")
        }
    return {"models": models, "transfer": nested}
