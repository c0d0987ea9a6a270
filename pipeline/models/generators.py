"""The generators of the Generative Adversarial Classifier (paper, Section 3.3): images to adversarial images.

Both have the paper's ResNet-style identity: G(x) = x + g(x), kept in [0, 1]. The last layer of g starts at zero, so
that G starts as the identity. The paper names the kinds (a vanilla GAN, a DC-GAN, after assignment 3 of Stanford's
CS231n, 2018) but gives no widths; these are ours.
"""

from itertools import pairwise
from typing import Annotated, Any

from torch import Tensor, nn

from pipeline.errors import PipelineError
from pipeline.ranges import Range


class Generator(nn.Module):
    """G(x) = clip(x + g(x), 0, 1), for images in [0, 1], float32 (n, c, h, w).

    g : `layers`, images in [-1, 1] to perturbations of the same shape in [-1, 1].
    """

    layers: nn.Sequential
    architecture: dict[str, Any]

    def forward(self, images: Tensor) -> Tensor:
        perturbations: Tensor = self.layers(2 * images - 1).reshape(images.shape)
        return (images + perturbations).clamp(0, 1)


class VanillaGenerator(Generator):
    """g of fully connected layers: `hidden` widths with ReLU, then one output per pixel and a tanh."""

    def __init__(
        self, input_shape: tuple[int, int, int], *, hidden: tuple[Annotated[int, Range(1, 16384)], ...]
    ) -> None:
        super().__init__()
        channels, height, width = input_shape
        size = channels * height * width
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise((size, *hidden)):
            layers += [nn.Linear(before, after), nn.ReLU()]
        last = nn.Linear(hidden[-1], size)
        self.layers = nn.Sequential(*layers, _zeroed(last), nn.Tanh())
        self.architecture = {"input_shape": list(input_shape), "hidden": list(hidden)}


class DcganGenerator(Generator):
    """g of 4x4 convolutions of stride 2, one per entry of `channels`, and as many transposed ones back.

    Batch normalization follows every layer but the first and the last; leaky ReLU (0.2) the convolutions, ReLU the
    transposed ones, tanh the last.
    """

    def __init__(
        self, input_shape: tuple[int, int, int], *, channels: tuple[Annotated[int, Range(1, 4096)], ...]
    ) -> None:
        super().__init__()
        channel_count, height, width = input_shape
        shrink = 2 ** len(channels)
        if min(height, width) < shrink:
            raise PipelineError(
                f"generator_widths: a {height}x{width} image cannot be halved {len(channels)} times: give fewer"
            )
        layers: list[nn.Module] = [nn.Conv2d(channel_count, channels[0], 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for before, after in pairwise(channels):
            layers += [
                nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.LeakyReLU(0.2),
            ]
        for before, after in pairwise(reversed(channels)):
            layers += [
                nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        last = nn.ConvTranspose2d(channels[0], channel_count, 4, stride=2, padding=1)
        self.layers = nn.Sequential(*layers, _zeroed(last), nn.Tanh())
        if (
            height % shrink or width % shrink
        ):  # sides that cannot be halved evenly: the edge repeated, and cut off again
            more = nn.ReplicationPad2d((0, -width % shrink, 0, -height % shrink))
            self.layers = nn.Sequential(more, *self.layers, Cut(height, width))
        self.architecture = {"input_shape": list(input_shape), "channels": list(channels)}


class Cut(nn.Module):
    """The upper left part of an image."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, images: Tensor) -> Tensor:
        return images[:, :, : self.height, : self.width]


def _zeroed(layer: nn.Linear | nn.ConvTranspose2d) -> nn.Module:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
