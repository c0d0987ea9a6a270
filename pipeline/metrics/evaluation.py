"""A defense run over a set of images.

Pandas is imported where a frame is made: what runs a defense on a machine with a GPU alone may lack it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.metrics.votes import summarize_passes
from pipeline.models.inference import to_unit_interval

if TYPE_CHECKING:
    import pandas as pd

Defense = Callable[[nn.Module, Tensor, torch.Generator], Tensor]
Labels = NDArray[np.uint8]


def evaluate(
    defense: Defense,
    classifier: nn.Module,
    images: Tensor,
    batch_size: int,
    generator_of: Callable[[int], torch.Generator],
    first_batch: int = 0,
    advance: Callable[[int], object] = lambda count: None,
) -> "pd.DataFrame":
    """What `summarize_passes` says of each image, a column each, `votes` as a list of k counts.

    images : uint8 or float (n, c, h, w). Batch i draws its random numbers from
    `generator_of(first_batch + i)`, so that an image's votes depend on its own set alone.
    """
    import pandas as pd

    parts = []
    with torch.inference_mode():
        for index, batch in enumerate(images.split(batch_size)):
            logits = defense(classifier, to_unit_interval(batch, classifier), generator_of(first_batch + index))
            parts.append(summarize_passes(logits))
            advance(len(batch))
    columns = {name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in parts[0]}
    frame = pd.DataFrame({name: values for name, values in columns.items() if name != "votes"})
    frame["predicted"] = frame["predicted"].astype(np.uint8)
    frame["votes"] = list(columns["votes"].astype(np.int16))
    frame["passes"] = columns["votes"].sum(1).astype(np.int16)
    return frame


def judge(frame: "pd.DataFrame", labels: Labels, target_labels: Labels | None) -> "pd.DataFrame":
    """Add `label, target_label, thwarted, recovered` to evaluated images.

    thwarted: the prediction is not the target; recovered: it is the original label. Without targets
    (clean images) `target_label` and `thwarted` are null, and recovered says whether the prediction is right.
    """
    import pandas as pd

    missing = target_labels is None
    predicted = frame["predicted"].to_numpy()
    return frame.assign(
        label=labels,
        target_label=pd.array([pd.NA] * len(frame) if missing else target_labels, dtype="UInt8"),
        thwarted=pd.array([pd.NA] * len(frame) if missing else predicted != target_labels, dtype="boolean"),
        recovered=predicted == labels,
    )
