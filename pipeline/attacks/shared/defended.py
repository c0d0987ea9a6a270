"""A whole defense as one model to attack, and what can be said of it as a function."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import conv_flop_count

from pipeline.attacks.shared.ascent import score_gradients
from pipeline.attacks.shared.goals import Evasion
from pipeline.attacks.shared.precision import settled
from pipeline.models.inference import to_unit_interval
from pipeline.models.modes import frozen
from pipeline.models.passes import folding
from pipeline.models.precision import Precision, computing_in, lowered


@dataclass(frozen=True)
class Target:
    """What is attacked.

    defense : defense(learned, images, generator, **arguments) -> logits of all passes (n, passes, k), differentiable.
    learned : what it is called with, in evaluation mode, its weights without gradients.
    arguments : its keyword arguments. random : a fresh generator by name, on the device.
    randomized : whether it draws random numbers; it then takes its number of passes as a keyword argument `passes`.
    passes : how many it makes when it is used.
    """

    defense: Callable[..., Tensor]
    learned: nn.Module
    arguments: Mapping[str, Any]
    random: Callable[..., torch.Generator]
    randomized: bool = False
    passes: int = 1

    def model(self, draws: int, *names: str | int, fixed: bool = False, precision: Precision = "float32") -> "Defended":
        """It with `draws` passes, its random numbers named; `fixed`: the same ones at every call."""
        return Defended(self, draws, self.random(*names), fixed, precision)


class Defended(nn.Module):
    """A defense as one model: images (n, c, h, w) to the logits of all its passes, (n, passes, k), differentiable.

    A randomized defense makes `draws` passes, with fresh random numbers at every call, with the same ones if `fixed`;
    any other makes its one. In bfloat16 images and logits stay as they are, and a defense that is not randomized says
    in float32 what it predicts: an attack that keeps the nearest image of another class would else keep those that are
    none. Beside what a randomized one draws a rounding is nothing; all are judged in float32 in the end.
    """

    def __init__(
        self,
        target: Target,
        draws: int,
        generator: torch.Generator,
        fixed: bool = False,
        precision: Precision = "float32",
    ) -> None:
        super().__init__()
        self.precision = precision
        self.state = generator.get_state() if fixed else None
        self.learned = self.exact = target.learned
        if precision != "float32":
            # Masks are drawn in the order of memory: with fixed numbers those of the model that judges.
            self.learned = lowered(target.learned, torch.preserve_format if fixed else torch.channels_last)
        self.defense, self.generator = target.defense, generator
        self.arguments = {**target.arguments, "passes": draws} if target.randomized else dict(target.arguments)
        self.draws = draws if target.randomized else 1
        self.settles = precision != "float32" and not target.randomized

    def forward(self, images: Tensor) -> Tensor:
        if self.state is not None:
            self.generator.set_state(self.state)
        with computing_in(self.precision, images.device), folding():
            logits: Tensor = self.defense(self.learned, images, self.generator, **self.arguments)
        logits = logits.to(images.dtype)
        return settled(self._in_float32, images, logits) if self.settles else logits

    def _in_float32(self, images: Tensor) -> Tensor:
        logits: Tensor = self.defense(self.exact, images, self.generator, **self.arguments)
        return logits


def as_it_is(classifier: nn.Module, images: Tensor, generator: torch.Generator) -> Tensor:
    """The defense that does nothing: logits of one pass, (n, 1, k)."""
    logits: Tensor = classifier(images)[:, None]
    return logits


def check_gradients(target: Target, draws: int, images: Tensor, labels: Tensor, batch_size: int) -> dict[str, float]:
    """What the tripwires look at, on some images (n, c, h, w): shares of them, in [0, 1].

    draws : that the attack averages over. zero_gradients : the gradient of what the attack raises is zero everywhere.
    softmax : the outputs look like probabilities, not logits. random : two passes over the same image differ, though
    the attack makes one draw a step.
    """
    model = target.model(draws, "checks")
    found = []
    size = max(1, batch_size // model.draws)
    for part, truth in zip(images.split(size), labels.split(size), strict=True):
        originals = to_unit_interval(part, target.learned)
        with frozen(model):
            logits, gradients = score_gradients(model, originals, Evasion(truth).score)
            with torch.no_grad():
                again = model(originals)
        like_softmax = ((logits >= 0) & (logits <= 1)).all(2) & ((logits.sum(2) - 1).abs() < 1e-4)
        random = (logits != again).flatten(1).any(1) & (model.draws == 1)
        zero = gradients.flatten(1).abs().amax(1) == 0
        found.append(torch.stack([zero, like_softmax.all(1), random]))
    shares = torch.cat(found, 1).double().mean(1).tolist()
    return dict(zip(("zero_gradients", "softmax", "random"), shares, strict=True))


def multiply_adds(model: nn.Module, images: Tensor) -> int:
    """Twice the multiply-adds of a forward pass over these images: of its convolutions and linear layers."""
    with _Counting() as counter, torch.no_grad():
        model(images)
    operations: int = counter.operations
    return operations


class _Counting(TorchFunctionMode):
    """What PyTorch's FlopCounterMode counts of our models (tested); that one's first use imports the compiler."""

    operations: int = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        if function in (functional.conv2d, functional.conv_transpose2d):
            transposed = function is functional.conv_transpose2d
            self.operations += conv_flop_count(args[0].shape, args[1].shape, found.shape, transposed)
        elif function is functional.linear:
            self.operations += 2 * found.numel() * args[1].shape[1]
        return found
