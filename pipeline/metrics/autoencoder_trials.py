"""What short trainings of the autoencoder say: how strong its dropout should be, and what else trades what for what."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pipeline.metrics.sources import one_row_per_original
from pipeline.metrics.votes import summarize_passes

# A dropout rate may cost this much of the best average of clean and recovered shares.
ALLOWANCE = 0.01


@dataclass(frozen=True)
class AutoencoderTrial:
    """An ensemble after a short training, judged on validation originals, one target each.

    varied: the parameter in which it differs from its family's base ("base": in none). training_originals and
    epochs: what it was trained on. originals: what it was judged on.
    """

    defense: str
    varied: str
    dropout: float
    clean_share: float
    classifier_weight: float
    training_originals: int
    epochs: int
    originals: int
    passes: int
    clean_accuracy: float
    minimal_thwarted: float
    minimal_recovered: float
    extended_thwarted: float
    extended_recovered: float


@dataclass(frozen=True)
class Judged:
    """Images of one kind, uint8 or float (n, c, h, w), with their int64 (n,) labels and targets on the CPU.

    Originals have no targets.
    """

    images: Tensor
    labels: Tensor
    target_labels: Tensor | None = None


def one_of_each(original_row: Tensor, random: np.random.Generator) -> Tensor:
    """Of int64 (n,) rows of originals, sorted positions of one drawn for each original."""
    return torch.from_numpy(np.sort(one_row_per_original(original_row.numpy(), random)))


def judge(
    ensemble: Callable[[Tensor], Tensor], judged: Mapping[str, Judged], passes: Sequence[int], batch_size: int
) -> Iterator[tuple[int, dict[str, float]]]:
    """For each number of passes the shares of an AutoencoderTrial, in one run of the ensemble.

    ensemble : images (n, c, h, w) to logits (n, max(passes), k). judged : "clean" and the attacks.
    """
    with torch.inference_mode():
        logits = {
            kind: torch.cat([ensemble(batch).cpu() for batch in part.images.split(batch_size)])
            for kind, part in judged.items()
        }
    for count in sorted(passes):
        shares = {}
        for kind, part in judged.items():
            predicted = summarize_passes(logits[kind][:, :count])["predicted"]
            right = (predicted == part.labels).float().mean().item()
            shares["clean_accuracy" if part.target_labels is None else f"{kind}_recovered"] = right
            if part.target_labels is not None:
                shares[f"{kind}_thwarted"] = (predicted != part.target_labels).float().mean().item()
        yield count, shares


def choose_dropout(trials: pd.DataFrame) -> dict[str, float]:
    """Dropout rate of each defense, from a row of `trials` per AutoencoderTrial.

    Of the rates above 0, the largest whose average of originals right, minimal recovered and extended recovered, at
    the most passes tried, is within a point of the best of them: dropout is there against attackers that know
    the defense (paper, Section 3.2), so as much of it as costs little.
    """
    chosen = {}
    for defense, rows in trials.groupby("defense", sort=False):
        rows = rows[rows["varied"].isin(("base", "dropout")) & (rows["passes"] == rows["passes"].max())]
        rows = rows[rows["dropout"] > 0]
        average = rows[["clean_accuracy", "minimal_recovered", "extended_recovered"]].mean(axis=1)
        chosen[str(defense)] = float(rows.loc[average >= average.max() - ALLOWANCE, "dropout"].max())
    return chosen


def summarize_autoencoder_trials(trials: pd.DataFrame, used: dict[str, float]) -> dict[str, Any]:
    """What the rule chooses beside what the autoencoders were trained with."""
    return {name: {"by_rule": rate, "used": used[name]} for name, rate in choose_dropout(trials).items()}
