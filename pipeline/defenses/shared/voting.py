"""What a defense predicts for a set of images."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.metrics.votes import summarize_passes
from pipeline.models.inference import to_unit_interval


def predicted_classes(
    predict: Callable[[nn.Module, Tensor, torch.Generator], Tensor],
    learned: nn.Module,
    images: Tensor,
    batch_size: int,
    generator_of: Callable[[int], torch.Generator],
) -> NDArray[np.int64]:
    """The voted class, int64 (n,), of uint8 or float images (n, c, h, w); batch i draws from `generator_of(i)`."""
    found = []
    with torch.inference_mode():
        for number, batch in enumerate(images.split(batch_size)):
            logits = predict(learned, to_unit_interval(batch, learned), generator_of(number))
            found.append(summarize_passes(logits)["predicted"].cpu())
    classes: NDArray[np.int64] = torch.cat(found).numpy()
    return classes
