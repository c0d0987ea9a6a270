"""Training of a classifier: SGD with Nesterov momentum under a one-cycle learning rate."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pipeline.models.classifier import NormalizingClassifier
from pipeline.models.cnn import Classifier
from pipeline.models.dropout import sampling
from pipeline.models.inference import place, predict, to_unit_interval
from pipeline.models.pixels import unit_interval
from pipeline.models.precision import Precision, computing_in
from pipeline.randomness import generator, seeded_initialization
from pipeline.ranges import Range
from pipeline.training.augmentation import shift_and_flip
from pipeline.training.batches import batch_count, in_batches


@dataclass(frozen=True)
class Epoch:
    """Mean cross-entropy and accuracy of one epoch; on "train" the running ones, dropout on."""

    epoch: int
    split: str
    loss: float
    accuracy: float


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per channel, float32 (c,) each, of uint8 images as values in [0, 1]."""
    channels = images.shape[1]
    # One histogram per channel: exact, and no float copy of all images.
    counts = torch.stack([torch.bincount(images[:, i].flatten(), minlength=256) for i in range(channels)])
    shares = counts.double() / counts.sum(1, keepdim=True)
    values = unit_interval(torch.arange(256, device=images.device, dtype=torch.uint8), torch.float64)
    mean = shares @ values
    return mean.float(), (shares @ values.square() - mean.square()).sqrt().float()


class Division(NamedTuple):
    """What a classifier learns from, and what it is validated on: uint8 (n, c, h, w) and int64 (n,), on one device."""

    images: Tensor
    labels: Tensor
    validation_images: Tensor
    validation_labels: Tensor


def divide(
    images: NDArray[np.uint8], labels: NDArray[np.uint8], held_out: NDArray[np.bool_], device: torch.device
) -> Division:
    """A train split and its held-out part, bool (n,), as tensors on `device`."""
    parts = (torch.from_numpy(values[rows]) for rows in (~held_out, held_out) for values in (images, labels))
    kept, kept_labels, validation, validation_labels = (part.to(device) for part in parts)
    return Division(kept, kept_labels.long(), validation, validation_labels.long())


def train_classifier(
    division: Division,
    class_count: int,
    names: tuple[int, *tuple[str, ...]],
    architecture: Mapping[str, Any],
    training: Mapping[str, Any],
    progress: Any,
    what: str = "",
    build: Callable[..., nn.Module] = Classifier,
) -> "tuple[nn.Module, list[Epoch]]":
    """A new classifier, trained, and its epochs; `names` seed its weights and its training.

    progress : a bar with `update(n)` and `set_postfix(...)`; `what` stands before what it shows.
    """
    model = new_classifier(division.images, class_count, names, build, **architecture)
    draws, epochs = generator(division.images.device, *names, "training"), []
    for epoch in fit_classifier(model, *division, draws, progress.update, **training):
        epochs.append(epoch)
        progress.set_postfix({f"{what}{epoch.split} accuracy": f"{epoch.accuracy:.4f}"}, refresh=False)
    return model, epochs


def new_classifier(
    images: Tensor,
    class_count: int,
    names: tuple[int, *tuple[str, ...]],
    build: Callable[..., nn.Module] = Classifier,
    **architecture: Any,
) -> nn.Module:
    """A classifier on the device of uint8 `images` (n, c, h, w); `names` seed its weights.

    build : its class, or what else makes one of a shape, a number of classes and the architecture. One of ours is
    normalized by the images.
    """
    channels, height, width = images.shape[1:]
    with seeded_initialization(*names):
        model = build((channels, height, width), class_count, **architecture)
    if isinstance(model, NormalizingClassifier):
        model.set_normalization(*channel_statistics(images))
    return place(model, images.device)


@dataclass(frozen=True, kw_only=True)
class ClassifierTraining:
    """The arguments of `fit_classifier`, as a block within what a defense learns by."""

    epochs: Annotated[int, Range(1, 1000)]
    batch_size: Annotated[int, Range(1, 65536)]
    learning_rate: Annotated[float, Range(0, 10, low_open=True)]
    weight_decay: Annotated[float, Range(0, 1)]
    shift: Annotated[int, Range(0, 16)]
    flip: bool
    averaging: Annotated[float, Range(0, 0.99999)] = 0.0
    precision: Precision = "float32"


# The model, a batch in [0, 1], its labels, and the share of the training that is over, to a loss and logits (n, k).
Objective = Callable[[nn.Module, Tensor, Tensor, float], tuple[Tensor, Tensor]]


def plain(model: nn.Module, images: Tensor, labels: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Cross-entropy on the images as they are."""
    logits = model(images)
    return functional.cross_entropy(logits, labels), logits


def fit_classifier(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    validation_images: Tensor,
    validation_labels: Tensor,
    generator: torch.Generator,
    advance: Callable[[int], object] = lambda count: None,
    objective: Objective = plain,
    *,
    epochs: Annotated[int, Range(1, 1000)],
    batch_size: Annotated[int, Range(1, 65536)],
    learning_rate: Annotated[float, Range(0, 10, low_open=True)],
    weight_decay: Annotated[float, Range(0, 1)],
    shift: Annotated[int, Range(0, 16)],
    flip: bool,
    averaging: Annotated[float, Range(0, 0.99999)] = 0.0,
    precision: Precision = "float32",
) -> Iterator[Epoch]:
    """Train `model` in place and yield the train and validation figures of each epoch.

    Parameters
    ----------
    images, labels : uint8 (n, c, h, w) and int64 (n,), on the model's device; so for validation.
    generator : on the same device; gives the order, the augmentation and the dropout masks.
    advance : called with the number of images after each batch.
    objective : what is minimized; "train" figures are of its logits.
    learning_rate : peak of the cycle: up linearly over the first fifth, then down linearly to zero.
    shift, flip : augmentation, see `shift_and_flip`.
    averaging : above 0, the model ends as the moving average of its weights and statistics over the batches, of which
        each batch keeps this share; so it is validated (Izmailov et al., 2018; the exponential form).
    precision : of convolutions and linear layers; weights, their sums and the validation stay float32.
    """
    optimizer = torch.optim.SGD(
        model.parameters(), lr=learning_rate, momentum=0.9, nesterov=True, weight_decay=weight_decay
    )
    count = len(images)
    batches = batch_count(count, batch_size)
    total, peak = epochs * batches, max(1, epochs * batches // 5)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / peak, (total - step) / max(1, total - peak))
    )
    average = (
        AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(averaging), use_buffers=True) if averaging else None
    )
    taken = 0
    for epoch in range(1, epochs + 1):
        model.train()
        order = torch.randperm(count, generator=generator, device=images.device)
        loss_sum = torch.zeros((), device=images.device)
        correct = torch.zeros((), device=images.device)
        with sampling(model, generator):
            for rows in in_batches(order, batch_size):
                batch = shift_and_flip(images[rows], generator, shift, flip)
                with computing_in(precision, images.device):
                    loss, logits = objective(model, to_unit_interval(batch, model), labels[rows], taken / total)
                taken += 1
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                if average is not None:
                    average.update_parameters(model)
                loss_sum += loss.detach() * len(rows)
                correct += (logits.argmax(1) == labels[rows]).sum()
                advance(len(rows))
        yield Epoch(epoch, "train", loss_sum.item() / count, correct.item() / count)
        model.eval()
        judged = model
        if average is not None:
            judged = average.module.eval()
            if epoch == epochs:
                model.load_state_dict(judged.state_dict())
        logits = predict(judged, validation_images, batch_size)
        yield Epoch(
            epoch,
            "validation",
            functional.cross_entropy(logits, validation_labels).item(),
            (logits.argmax(1) == validation_labels).float().mean().item(),
        )


def train_one(
    division: Division,
    class_count: int,
    names: tuple[int, *tuple[str, ...]],
    training: Mapping[str, Any],
    build: Callable[..., nn.Module],
    block: tuple[str, Mapping[str, Any]],
    advance: Callable[..., object],
) -> tuple[nn.Module, list[Epoch]]:
    """A task of the mapper: a classifier by its name and architecture, trained; `names` and its own seed it."""
    name, architecture = block
    progress = _Telling(advance)
    return train_classifier(division, class_count, (*names, name), architecture, training, progress, f"{name} ", build)


@dataclass(frozen=True)
class _Telling:
    """What `train_classifier` takes for a bar."""

    update: Callable[..., object]

    def set_postfix(self, shown: Mapping[str, str], refresh: bool = True) -> None:
        self.update(0, shown)
