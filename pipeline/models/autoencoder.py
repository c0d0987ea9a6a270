"""The denoising autoencoder that takes adversarial perturbations off (paper, Section 3.2)."""

from itertools import pairwise
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from pipeline.errors import PipelineError
from pipeline.models.dropout import Dropout
from pipeline.ranges import Range

EDGE = 1e-3  # a residual autoencoder takes darker pixels for this, and lighter ones for 1 minus this


class Autoencoder(nn.Module):
    """Images in [0, 1], float32 (n, c, h, w), to restored images of the same shape in [0, 1].

    Purely convolutional: a 3x3 convolution at full size and one of stride 2 for each further entry of
    `channels`; then a 4x4 transposed convolution of stride 2 back for each, and a 3x3 convolution to the
    image's channels. Batch normalization and ReLU follow every layer but the last, dropout every ReLU
    from the innermost on, so that an ensemble encodes an image once and decodes it once per pass.

    residual : the last layer gives a correction of the image instead of the image itself. The paper
        describes no such connection.

    The paper gives the kinds of layers but neither widths nor where dropout stands; these are ours.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        *,
        channels: tuple[Annotated[int, Range(1, 4096)], ...],
        dropout: Annotated[float, Range(0, 0.9)],
        residual: bool,
    ) -> None:
        super().__init__()
        channel_count, height, width = input_shape
        shrink = 2 ** (len(channels) - 1)
        if min(height, width) < shrink:
            raise PipelineError(
                f"architecture.channels: a {height}x{width} image cannot be halved {len(channels) - 1} times"
            )
        encoder = _block(nn.Conv2d(channel_count, channels[0], kernel_size=3, padding=1, bias=False))
        for before, after in pairwise(channels):
            encoder += _block(nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1, bias=False))
        decoder: list[nn.Module] = [Dropout(dropout)]
        for before, after in pairwise(reversed(channels)):
            decoder += _block(nn.ConvTranspose2d(before, after, kernel_size=4, stride=2, padding=1, bias=False))
            decoder.append(Dropout(dropout))
        decoder.append(nn.Conv2d(channels[0], channel_count, kernel_size=3, padding=1))
        self.encoder = nn.Sequential(*encoder)
        self.decoder = nn.Sequential(*decoder)
        self.residual = residual
        self.architecture: dict[str, Any] = {
            "input_shape": list(input_shape),
            "channels": list(channels),
            "dropout": dropout,
            "residual": residual,
        }

    def forward(self, images: Tensor) -> Tensor:
        return self.restore(images, self.encoder(images))

    def restore(self, images: Tensor, codes: Tensor) -> Tensor:
        """The restored images, from the images and what the encoder made of them."""
        decoded: Tensor = self.decoder(codes)
        if decoded.shape[2:] != images.shape[2:]:  # of sides that cannot be halved evenly
            decoded = decoded[:, :, : images.shape[2], : images.shape[3]]
        if self.residual:
            # An image's own logit, moved by the decoder. Clamped to be finite at black and white, with the
            # gradient of the unclamped: a defense should not owe anything to gradients that vanish.
            inside = images.clamp(EDGE, 1 - EDGE).detach() + (images - images.detach())
            decoded = decoded + torch.logit(inside)
        return decoded.sigmoid()


class RestoringClassifier(nn.Sequential):
    """An autoencoder and behind it the attacked classifier: images in [0, 1] to logits (n, k)."""

    def __init__(self, autoencoder: Autoencoder, classifier: nn.Module) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.classifier = classifier


def _block(convolution: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU()]
