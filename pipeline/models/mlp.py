"""A classifier of fully connected layers."""

from itertools import pairwise
from typing import Annotated

from torch import nn

from pipeline.models.classifier import Normalize, NormalizingClassifier
from pipeline.models.dropout import Dropout
from pipeline.ranges import Range


class FullyConnectedClassifier(NormalizingClassifier):
    """Linear layers of the widths `hidden`, leaky ReLU (0.01) and dropout behind each, and a linear one to the logits.

    dropout : 0: there is no such layer, so that no dropout ensemble can be made of it.

    The discriminator of a vanilla GAN with a score per class (paper, Section 3.3; assignment 3 of Stanford's CS231n).
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        class_count: int,
        *,
        hidden: tuple[Annotated[int, Range(1, 16384)], ...],
        dropout: Annotated[float, Range(0, 0.9)] = 0.0,
    ) -> None:
        channels, height, width = input_shape
        layers: list[nn.Module] = [Normalize(channels), nn.Flatten()]
        widths = (channels * height * width, *hidden)
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.LeakyReLU(0.01), *([Dropout(dropout)] if dropout else [])]
        super().__init__(*layers, nn.Linear(widths[-1], class_count))
        self.architecture = {"input_shape": list(input_shape), "class_count": class_count, "hidden": list(hidden)}
        if dropout:
            self.architecture["dropout"] = dropout


model = FullyConnectedClassifier
