"""The paper's classifier: sequential convolution-ReLU-maxpool blocks (Section 2.2)."""

from itertools import pairwise
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from pipeline.errors import PipelineError
from pipeline.models.dropout import Dropout
from pipeline.ranges import Range


class Normalize(nn.Module):
    """(images - mean) / std per channel, inside the model: attacks see images in [0, 1]."""

    mean: Tensor
    std: Tensor

    def __init__(self, channel_count: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channel_count, 1, 1))
        self.register_buffer("std", torch.ones(channel_count, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class NormalizingClassifier(nn.Sequential):
    """Layers of which the first normalizes: images in [0, 1], float32 (n, c, h, w), to logits, float32 (n, k)."""

    architecture: dict[str, Any]

    def set_normalization(self, mean: Tensor, std: Tensor) -> None:
        """Set mean and std, each of shape (c,), of the training images in [0, 1]."""
        normalize = self[0]
        assert isinstance(normalize, Normalize)
        normalize.mean.copy_(mean.view(-1, 1, 1))
        normalize.std.copy_(std.view(-1, 1, 1))


class Classifier(NormalizingClassifier):
    """A small CNN: images in [0, 1], float32 (n, c, h, w), to logits, float32 (n, class_count).

    Each block is a 3x3 convolution, batch normalization, ReLU, 2x2 max pooling and dropout; a linear
    layer follows. Being a plain sequence, it can be cut before the first dropout layer. The paper
    gives no widths; these are ours, and so is batch normalization (params.yaml).

    Max pooling stands before ReLU here: the two commute, and ReLU then sees a quarter of the values.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        class_count: int,
        *,
        channels: tuple[Annotated[int, Range(1, 4096)], ...],
        dropout: Annotated[float, Range(0, 0.9)],
    ) -> None:
        channel_count, height, width = input_shape
        if min(height, width) < 2 ** len(channels):
            raise PipelineError(
                f"architecture.channels: {len(channels)} poolings leave nothing of a {height}x{width} image"
            )
        layers: list[nn.Module] = [Normalize(channel_count)]
        before = channel_count
        for after in channels:
            layers += [
                nn.Conv2d(before, after, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.MaxPool2d(2),
                nn.ReLU(),
                Dropout(dropout),
            ]
            before = after
            height, width = height // 2, width // 2
        layers += [nn.Flatten(), nn.Linear(before * height * width, class_count)]
        super().__init__(*layers)
        self.architecture = {
            "input_shape": list(input_shape),
            "class_count": class_count,
            "channels": list(channels),
            "dropout": dropout,
        }


class FullyConnectedClassifier(NormalizingClassifier):
    """Linear layers of the widths `hidden`, leaky ReLU (0.01) behind each, and a linear one to the logits.

    The discriminator of a vanilla GAN with a score per class (paper, Section 3.3; assignment 3 of Stanford's CS231n).
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        class_count: int,
        *,
        hidden: tuple[Annotated[int, Range(1, 16384)], ...],
    ) -> None:
        channels, height, width = input_shape
        layers: list[nn.Module] = [Normalize(channels), nn.Flatten()]
        widths = (channels * height * width, *hidden)
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.LeakyReLU(0.01)]
        super().__init__(*layers, nn.Linear(widths[-1], class_count))
        self.architecture = {"input_shape": list(input_shape), "class_count": class_count, "hidden": list(hidden)}
