"""What the minimal attack needs against several models, on the same images."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.attacks import minimal
from pipeline.attacks.shared.engine import run_attack
from pipeline.attacks.shared.goals import Goal
from pipeline.errors import PipelineError
from pipeline.metrics.outcomes import margins
from pipeline.metrics.sources import every_target
from pipeline.models.inference import predict, to_unit_interval

Columns = dict[str, NDArray[Any]]


def needed_against(
    models: Mapping[str, nn.Module], images: Tensor, labels: Tensor, count: int, batch_size: int, **arguments: Any
) -> Iterator[tuple[str, Columns]]:
    """For each model the columns `original_row, target_label, l2, steps`, a row per original and target.

    The originals are the first `count` of uint8 `images` (n, c, h, w) that every model classifies as their label, int64
    (n,). l2 : norm of the perturbation, NaN where the attack gave up. arguments : of `minimal`.

    Raises PipelineError if there are none.
    """
    right = torch.stack([predict(model, images, batch_size).argmax(1) == labels for model in models.values()]).all(0)
    chosen = right.nonzero()[:count, 0]
    if not len(chosen):
        raise PipelineError(f"no image is classified rightly by all of {', '.join(models)}: nothing to attack")
    classes = predict(next(iter(models.values())), images[:1], 1).shape[1]
    rows, targets = every_target(labels[chosen].cpu().numpy().astype(np.uint8), classes)
    image_rows = torch.from_numpy(rows).to(images.device, torch.int64)
    target_labels = torch.from_numpy(targets).to(images.device, torch.int64)
    for name, model in models.items():
        goal = Goal(target_labels)
        found, steps = run_attack(minimal.attack, model, images[chosen], image_rows, goal, batch_size, **arguments)
        fooled = margins(predict(model, found, batch_size), target_labels) > 0
        originals = to_unit_interval(images[chosen], model)
        l2 = (found - originals[image_rows]).flatten(1).norm(dim=1)
        yield (
            name,
            {
                "original_row": chosen.cpu().numpy()[rows].astype(np.int32),
                "target_label": targets,
                "l2": torch.where(fooled, l2, torch.nan).cpu().numpy(),
                "steps": steps.cpu().numpy().astype(np.int16),
            },
        )
