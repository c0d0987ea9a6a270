"""The paper's classifier: sequential convolution-ReLU-maxpool blocks (Section 2.2)."""

from typing import Annotated

from torch import nn

from pipeline.errors import PipelineError
from pipeline.models.classifier import Normalize, NormalizingClassifier
from pipeline.models.dropout import Dropout
from pipeline.ranges import Range


class Classifier(NormalizingClassifier):
    """A small CNN: images in [0, 1], float32 (n, c, h, w), to logits, float32 (n, class_count).

    Each block is a 3x3 convolution, batch normalization, ReLU, 2x2 max pooling and dropout; a linear
    layer follows. Being a plain sequence, it can be cut before the first dropout layer. The paper
    gives no widths; these are ours, and so is batch normalization.

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
            raise PipelineError(f"channels: {len(channels)} poolings leave nothing of a {height}x{width} image")
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


model = Classifier
