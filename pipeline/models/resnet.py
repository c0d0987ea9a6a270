"""Residual networks for small images (He et al., 2015, Section 4.2; https://arxiv.org/abs/1512.03385)."""

from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import PipelineError
from pipeline.models.classifier import Normalize, NormalizingClassifier
from pipeline.models.dropout import Dropout
from pipeline.ranges import Range

STEMS = {"small": 1, "large": 4}  # by how much each shrinks an image


class Block(nn.Module):
    """Two 3x3 convolutions with batch normalization, dropout before the last of them, and the shortcut around both.

    Where the size halves or the channels grow, the shortcut takes every second pixel and fills the new channels with
    zeros: it has no weights (the paper's option A).
    """

    def __init__(self, before: int, after: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.stride, self.more = stride, after - before
        self.body = nn.Sequential(
            nn.Conv2d(before, after, kernel_size=3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            Dropout(dropout),
            nn.Conv2d(after, after, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )

    def forward(self, values: Tensor) -> Tensor:
        shortcut = values[:, :, :: self.stride, :: self.stride]
        if self.more:
            shortcut = functional.pad(shortcut, (0, 0, 0, 0, self.more // 2, self.more - self.more // 2))
        return torch.relu(self.body(values) + shortcut)


class ResNet(NormalizingClassifier):
    """`depth` layers with weights, 6n + 2: a convolution, 3 x n blocks of two, a linear one behind a mean over pixels.

    Images in [0, 1], float32 (n, c, h, w), to logits, float32 (n, class_count). The second and third n blocks halve the
    size and double the channels.

    width : channels of the first n blocks; the paper's is 16.
    stem : "small": a 3x3 convolution. "large", for images of 64 pixels and more: 7x7 of stride 2 and a 3x3 max pooling
        of stride 2, as the paper has it for ImageNet.
    dropout : before the last convolution of each block; the paper has none (that place is of Zagoruyko and Komodakis,
        2016), and an ensemble needs some.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        class_count: int,
        *,
        depth: Annotated[int, Range(8, 1202)],
        dropout: Annotated[float, Range(0, 0.9)],
        width: Annotated[int, Range(1, 4096)] = 16,
        stem: Literal["small", "large"] = "small",
    ) -> None:
        channels, height, wide = input_shape
        if (depth - 2) % 6:
            raise PipelineError(f"depth: expected 6n + 2, such as 8, 14, 20, 32, found {depth}")
        if min(height, wide) < 4 * STEMS[stem]:
            raise PipelineError(
                f"stem: {stem}: expected images of {4 * STEMS[stem]} pixels a side or more, found {height}x{wide}"
            )
        layers: list[nn.Module] = [Normalize(channels)]
        if stem == "small":
            layers += [nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False)]
        else:
            layers += [nn.Conv2d(channels, width, kernel_size=7, stride=2, padding=3, bias=False)]
        layers += [nn.BatchNorm2d(width), nn.ReLU()]
        if stem == "large":
            layers += [nn.MaxPool2d(3, stride=2, padding=1)]
        before = width
        for after in (width, 2 * width, 4 * width):
            for number in range((depth - 2) // 6):
                stride = 2 if after > width and not number else 1
                layers += [Block(before, after, stride, dropout)]
                before = after
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, class_count)]
        super().__init__(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.architecture = {
            "input_shape": list(input_shape),
            "class_count": class_count,
            "depth": depth,
            "dropout": dropout,
            "width": width,
            "stem": stem,
        }


model = ResNet
