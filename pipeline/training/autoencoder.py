"""Training of a denoising autoencoder on adversarial images (paper, Section 3.2)."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.devices import batching
from pipeline.errors import PipelineError
from pipeline.models.autoencoder import Autoencoder
from pipeline.models.dropout import sampling
from pipeline.models.inference import predict, to_unit_interval
from pipeline.models.precision import Precision, computing_in
from pipeline.ranges import Range
from pipeline.training.batches import batch_count, in_batches


@dataclass(frozen=True)
class Pairs:
    """n adversarial images and the m originals they were made from, on one device.

    images : rows, int64 (b,) on the CPU, to float images (b, c, h, w) in [0, 1] on the device: a tensor's
        indexing where all fit, a reader of rows where they do not.
    original_row, target_labels : int64 (n,), on the CPU; originals : uint8 (m, c, h, w); labels : int64 (m,).
    """

    images: Callable[[Tensor], Tensor]
    original_row: Tensor
    target_labels: Tensor
    originals: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.original_row)


@dataclass(frozen=True)
class AutoencoderEpoch:
    """One epoch: means over the inputs, dropout on, one pass each.

    loss : what was minimized. reconstruction_error : mean squared error per pixel. accuracy : share of the inputs
    that get their original's label. On "train" inputs are mixed and figures running; "validation" has
    adversarial inputs only, and "validation_clean" the originals.
    """

    epoch: int
    split: str
    loss: float
    accuracy: float
    reconstruction_error: float


@dataclass(frozen=True, kw_only=True)
class AutoencoderTraining:
    """The arguments of `fit_autoencoder`, as a block within what a defense learns by."""

    epochs: Annotated[int, Range(1, 1000)]
    patience: Annotated[int, Range(1, 1000)]
    batch_size: Annotated[int, Range(1, 65536)]
    learning_rate: Annotated[float, Range(0, 1, low_open=True)]
    clean_share: Annotated[float, Range(0, 1)]
    classifier_weight: Annotated[float, Range(0, 1000)]
    flip: bool
    precision: Precision = "float32"


def fit_autoencoder(
    autoencoder: Autoencoder,
    classifier: nn.Module,
    training: Pairs,
    validation: Pairs,
    generator: torch.Generator,
    advance: Callable[[int], object] = lambda count: None,
    *,
    epochs: Annotated[int, Range(1, 1000)],
    patience: Annotated[int, Range(1, 1000)],
    batch_size: Annotated[int, Range(1, 65536)],
    learning_rate: Annotated[float, Range(0, 1, low_open=True)],
    clean_share: Annotated[float, Range(0, 1)],
    classifier_weight: Annotated[float, Range(0, 1000)],
    flip: bool,
    precision: Precision = "float32",
) -> Iterator[AutoencoderEpoch]:
    """Train `autoencoder` in place, yield each epoch's figures, and leave it with its best epoch's weights.

    The loss is the mean squared error between the restored image and the original (the paper's), plus
    `classifier_weight` times the smooth L1 distance, per class, between the classifier's logits on the two (not in
    the paper: 0 there). Adam; the learning rate rises over the first tenth and then falls to zero, linearly.

    Parameters
    ----------
    classifier : the attacked one, in evaluation mode, without weight gradients; it is not changed.
    training, validation : of different originals.
    generator : on the model's device; gives the order, the clean images and the dropout masks.
    advance : called with the number of images after each batch.
    patience : stop after this many epochs without a smaller validation loss.
    clean_share : probability that an input is the original instead (not in the paper: 0 there).
    flip : mirror each input and its original half of the time.
    precision : of convolutions and linear layers; weights, errors and the validation stay float32.

    Raises PipelineError if the loss is no number any more.
    """
    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=learning_rate)
    batches = batch_count(len(training), batch_size)
    total, rise = epochs * batches, max(1, epochs * batches // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rise, (total - step) / max(1, total - rise))
    )
    device = generator.device
    # Of each original and its mirror image. Cloned: inference tensors may not enter a backward pass.
    logits_of = [
        predict(classifier, originals, 256).clone() for originals in (training.originals, training.originals.flip(3))
    ]
    train_logits = torch.stack(logits_of)
    validation_logits = predict(classifier, validation.originals, 256)
    best, best_epoch = float("inf"), 0
    kept: dict[str, Tensor] = {}
    for epoch in range(1, epochs + 1):
        autoencoder.train()
        sums = torch.zeros(3, device=device)
        order = torch.randperm(len(training), generator=generator, device=device).cpu()
        with sampling(autoencoder, generator):
            for rows in in_batches(order, batch_size):
                source = training.original_row[rows].to(device)
                originals = to_unit_interval(training.originals[source], autoencoder)
                inputs = to_unit_interval(training.images(rows), autoencoder)
                if clean_share:
                    replaced = torch.rand(len(rows), 1, 1, 1, generator=generator, device=device) < clean_share
                    inputs = torch.where(replaced, originals, inputs)
                mirrored = torch.zeros(len(rows), dtype=torch.int64, device=device)
                if flip:
                    mirrored.random_(2, generator=generator)
                    inputs, originals = (_mirror(images, mirrored) for images in (inputs, originals))
                wanted = train_logits[mirrored, source]
                with computing_in(precision, device):
                    error, distance, logits = _errors(
                        autoencoder, classifier, inputs, originals, wanted, bool(classifier_weight)
                    )
                loss = error + classifier_weight * distance
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                correct = (logits.argmax(1) == training.labels[source]).float().mean()
                sums += torch.stack([loss.detach(), correct, error.detach()]) * len(rows)
                advance(len(rows))
        yield AutoencoderEpoch(epoch, "train", *(sums / len(training)).tolist())

        autoencoder.eval()
        figures = {}
        for split, inputs_are_originals in (("validation", False), ("validation_clean", True)):
            means = _judge(
                autoencoder,
                classifier,
                validation,
                validation_logits,
                generator,
                classifier_weight,
                inputs_are_originals,
            )
            figures[split] = AutoencoderEpoch(epoch, split, *means)
            yield figures[split]
        loss_now = figures["validation"].loss
        if not math.isfinite(loss_now):
            raise PipelineError(f"training diverged in epoch {epoch}: the loss is {loss_now}; lower learning_rate")
        if loss_now < best:
            best, best_epoch = loss_now, epoch
            kept = {name: value.clone() for name, value in autoencoder.state_dict().items()}
        elif epoch - best_epoch >= patience:
            break
    autoencoder.load_state_dict(kept)


def _judge(
    autoencoder: Autoencoder,
    classifier: nn.Module,
    pairs: Pairs,
    original_logits: Tensor,
    generator: torch.Generator,
    classifier_weight: float,
    inputs_are_originals: bool,
) -> list[float]:
    """Loss, accuracy and reconstruction error over the adversarial images, or over the originals."""
    every = torch.arange(len(pairs.originals) if inputs_are_originals else len(pairs))
    sums = torch.zeros(3, device=generator.device)
    with sampling(autoencoder, generator), torch.inference_mode():
        for rows in every.split(256):
            source = (rows if inputs_are_originals else pairs.original_row[rows]).to(generator.device)
            originals = to_unit_interval(pairs.originals[source], autoencoder)
            inputs = originals if inputs_are_originals else to_unit_interval(pairs.images(rows), autoencoder)
            error, distance, logits = _errors(autoencoder, classifier, inputs, originals, original_logits[source], True)
            correct = (logits.argmax(1) == pairs.labels[source]).float().mean()
            sums += torch.stack([error + classifier_weight * distance, correct, error]) * len(rows)
    return (sums / len(every)).tolist()


def _mirror(images: Tensor, mirrored: Tensor) -> Tensor:
    mixed = torch.where(mirrored.bool()[:, None, None, None], images.flip(3), images)
    return mixed.contiguous(memory_format=batching(images.device).memory_format)


def _errors(
    autoencoder: Autoencoder,
    classifier: nn.Module,
    inputs: Tensor,
    originals: Tensor,
    original_logits: Tensor,
    differentiable: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean squared error per pixel, distance of the logits, logits of the restored images.

    Without `differentiable` no gradient is kept through the classifier: half of a step's time saved.
    """
    restored = autoencoder(inputs)
    error = functional.mse_loss(restored, originals)
    with torch.set_grad_enabled(differentiable and torch.is_grad_enabled()):
        logits = classifier(restored)
        distance = functional.smooth_l1_loss(logits, original_logits)
    return error, distance, logits
