"""What is made against each of several classifiers, shown to all of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.attacks.shared.engine import run_attack
from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.protocol import Attack
from pipeline.metrics.transfer import measure_examples, measure_transfer
from pipeline.models.inference import predict, to_unit_interval


@dataclass(frozen=True)
class Transfer:
    """A task of the mapper, by the name of the classifier that is attacked.

    models : ready for inference. originals : uint8 (m, c, h, w); original_row, labels, targets : (n,) each, what is
    attacked towards what. attacks : name, method and arguments; each carries on the images of the one before.
    batch_size, predict_batch : images per pass, with input gradients and without.

    Returns per attack a frame of its images, and per attack and classifier a row of what it sees in them.
    """

    models: Mapping[str, nn.Module]
    originals: NDArray[np.uint8]
    original_row: NDArray[np.int32]
    labels: NDArray[np.uint8]
    targets: NDArray[np.uint8]
    attacks: Sequence[tuple[str, Attack, Mapping[str, Any]]]
    batch_size: int
    predict_batch: int

    def __call__(self, name: str, advance: Callable[..., object]) -> tuple[list[Any], list[Any]]:
        model = self.models[name]
        device = next(model.parameters()).device
        rows = torch.from_numpy(self.original_row).to(device, torch.int64)
        goal = Goal(torch.from_numpy(self.targets).to(device, torch.int64))
        before = self._classify(model, self.originals)[self.original_row]
        clean = to_unit_interval(torch.from_numpy(self.originals).to(device)[rows], model)
        images, steps = clean, np.zeros(len(rows), np.int16)
        frames, transfers = [], []
        for kind, attack, arguments in self.attacks:
            images, more = run_attack(
                attack, model, images, torch.arange(len(rows), device=device), goal, self.batch_size, advance,
                **arguments,
            )  # fmt: skip
            steps = steps + more.cpu().numpy().astype(np.int16)
            stored = images.cpu().numpy()
            logits = self._classify(model, stored)
            frame = measure_examples(stored, clean.cpu().numpy(), logits, before, self.targets)
            frame.insert(0, "original_row", self.original_row)
            frames.append(frame.assign(steps=steps, attack=kind, model=name, label=self.labels))
            fooled = frame["is_adversarial"].to_numpy()
            for other, tried in self.models.items():
                predicted = self._classify(tried, stored).argmax(1)[fooled]
                judged = predicted, self.labels[fooled], self.targets[fooled], self.original_row[fooled]
                transfers.append(measure_transfer(kind, name, other, *judged))
        return frames, transfers

    def _classify(self, model: nn.Module, images: NDArray[Any]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = predict(model, torch.from_numpy(images), self.predict_batch).cpu().numpy()
        return logits
