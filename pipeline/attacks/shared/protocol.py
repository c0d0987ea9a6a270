"""What an attack's file says of it: one `attack = Attack(run=<function>, ...)`; and how it is found by its name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from pipeline.attacks.shared.goals import Goal
from pipeline.errors import LeftOut, PipelineError
from pipeline.registry import IMPORTED, load

Norm = Literal["l0", "l1", "l2", "linf"]


class Budget(NamedTuple):
    """The parameter that bounds an attack's perturbations, and in which norm; l0: as a share of positions."""

    parameter: str
    norm: Norm


def epsilon_in_its_norm(arguments: Mapping[str, Any]) -> Budget:
    """The budget of an attack that serves several norms: its parameter `epsilon`, in that of its parameter `norm`."""
    return Budget("epsilon", arguments.get("norm"))  # type: ignore[arg-type]  # checked by `budget_for`


@dataclass(frozen=True, kw_only=True)
class Attack:
    """An attack, called `attack(model, images, goal, generator, **parameters)`.

    run : the function (model, images, goal, [generator], *, parameters) -> (images, steps), named like its file; see
        `pipeline.attacks`.
    budget : what bounds its perturbations, None if nothing does; or a function of its arguments that returns either.
        The arguments may lack the budget's own parameter: the threat model then fills it in.
    random : whether it draws random numbers, and so takes a generator.
    gradients : whether it asks for the model's gradients. Where one that does not outdoes those that do, their
        gradients say nothing.
    first_success_update : update(images, gradients of `goal.raised`, **arguments but max_steps), the single step of an
        attack that stops each image at its first success or after `max_steps`; the engine then keeps its batch full of
        unfinished images.
    targeted, untargeted : whether it can go towards a target, and away from the label.
    largest : height x width of the largest images that it is meant for; None: any.
    unfit : of the norm, height and width the reason why it cannot be run on such images, "" if it can; None: it always
        can.
    """

    run: Callable[..., tuple[Tensor, Tensor]]
    budget: Budget | Callable[[Mapping[str, Any]], Budget | None] | None = None
    random: bool = False
    gradients: bool = True
    first_success_update: Callable[..., Tensor] | None = None
    targeted: bool = True
    untargeted: bool = True
    largest: int | None = None
    unfit: Callable[[str, int, int], str] | None = None

    @property
    def name(self) -> str:
        """Its function's, and so its file's."""
        return self.run.__name__

    def budget_for(self, arguments: Mapping[str, Any]) -> Budget | None:
        """What bounds it with these arguments, which may lack the budget's own parameter."""
        if not callable(self.budget):
            return self.budget
        bound = self.budget(arguments)
        if bound and bound.norm not in get_args(Norm):
            raise PipelineError(f"{self.name}: expected a norm among {', '.join(get_args(Norm))}, found {bound.norm!r}")
        return bound

    def reason(self, targeted: bool, height: int, width: int, norm: str = "") -> str:
        """Why it cannot go this way, or not on images of this size within this norm; "" if it can."""
        if targeted and not self.targeted:
            return "expected an attack that takes targets; this one only leaves the label"
        if not targeted and not self.untargeted:
            return "expected an attack that leaves the label; this one only takes targets"
        if self.largest is not None and height * width > self.largest:
            return f"expected images of at most {self.largest} pixels, found {height} x {width}"
        return self.unfit(norm, height, width) if self.unfit else ""

    def check(self, targeted: bool, height: int, width: int, norm: str = "") -> None:
        """Raise PipelineError with the reason why it cannot go this way, LeftOut why not on these images, if any."""
        reason = self.reason(targeted, height, width, norm)
        if reason:
            kind = LeftOut if (self.targeted if targeted else self.untargeted) else PipelineError
            raise kind(f"{self.name}: {reason}")

    def __call__(
        self, model: nn.Module, images: Tensor, goal: Goal, generator: torch.Generator | None = None, **parameters: Any
    ) -> tuple[Tensor, Tensor]:
        """Adversarial images and steps; raises PipelineError as `check` does."""
        self.check(goal.targeted, images.shape[2], images.shape[3], str(parameters.get("norm", "")))
        if self.random and generator is None:
            raise ValueError(f"{self.name} draws random numbers: expected a generator, found none")
        draws = {"generator": generator} if self.random else {}
        return self.run(model, images, goal, **draws, **parameters)


def load_attack(name: str) -> Attack:
    """The attack of the file `pipeline/attacks/<name>.py`. Raises PipelineError if there is none."""
    if name == IMPORTED:
        raise PipelineError(f"{IMPORTED}: expected an attack that can be run, found images that were made elsewhere")
    attack = load("attacks", name, Attack)
    if attack.name != name:
        where = f"pipeline/attacks/{name}.py"
        raise PipelineError(f"{where}: expected a function '{name}' to be run, found '{attack.name}'")
    return attack
