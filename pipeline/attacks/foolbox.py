"""Any attack of Foolbox (https://foolbox.readthedocs.io), by the name of its class."""

from collections.abc import Mapping
from typing import Annotated, Any, get_args

import foolbox as library
import torch
from torch import Tensor, nn

from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.outside import Prediction
from pipeline.attacks.shared.protocol import Attack, Budget, Norm
from pipeline.errors import PipelineError
from pipeline.models.modes import frozen
from pipeline.randomness import seeded_globally
from pipeline.ranges import Range

NO_TARGETS = "expected an attack that takes targets; this one only leaves the label"
REFUSALS = (TypeError, ValueError, AssertionError, NotImplementedError, ImportError)


def foolbox(
    model: nn.Module,
    images: Tensor,
    goal: Goal,
    generator: torch.Generator,
    *,
    name: str,
    arguments: dict[str, Any],
    epsilon: Annotated[float, Range(0, 100000, low_open=True)] | None = None,
) -> tuple[Tensor, Tensor]:
    """Run `foolbox.attacks.<name>(**arguments)`, towards the targets or away from the labels.

    Parameters
    ----------
    images : float (n, c, h, w) in [0, 1].
    arguments : of the class; a `distance` by its name: l0, l1, l2 or linf.
    epsilon : size of the ball, in the attack's own norm; left out for attacks that look for the smallest.

    Returns
    -------
    The images as Foolbox returns them, clipped to [0, 1] (n, c, h, w), and the original where it found nothing (it then
    returns a black image) or what is no number; steps 0: Foolbox does not tell.

    Raises PipelineError if there is no such attack, or if it refuses the arguments or the goal, ignores the targets,
    or needs a package that is missing.
    """
    where = f"foolbox:{name}"
    attack = _build(name, arguments)
    if isinstance(attack, library.attacks.base.FixedEpsilonAttack) and epsilon is None:
        raise PipelineError(f"{where}: expected a parameter 'epsilon': this attack has a budget")
    targets = _Targets(goal.labels)
    criterion = targets if goal.targeted else library.criteria.Misclassification(goal.labels)
    outer = Prediction(model, goal)
    differentiated = False

    def watch(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal differentiated
        differentiated |= inputs[0].requires_grad

    outer.register_forward_pre_hook(watch)
    with frozen(outer), seeded_globally(generator):
        bounded = library.models.PyTorchModel(outer, bounds=(0, 1), device=images.device)
        try:
            raw, found, _ = attack(bounded, images, criterion, epsilons=epsilon)
        except REFUSALS as error:
            raise _refusal(where, "refused", error, goal.targeted) from None
    # Whoever follows gradients needs to know the target; whoever guesses must at least ask whether it is hit, and not
    # only at the end, as Foolbox does for each.
    if goal.targeted and not targets.read and (differentiated or targets.asked < 2):
        raise PipelineError(f"{where}: {NO_TARGETS}")
    failed = ((raw == 0) | ~raw.isfinite()).flatten(1).all(1) | ~found.isfinite().flatten(1).all(1)
    found = torch.where(failed[:, None, None, None], images, found.clamp(0, 1))
    return found.detach(), torch.zeros_like(goal.labels)


def _budget(arguments: Mapping[str, Any]) -> Budget | None:
    """epsilon, in the attack's own norm; None for attacks that look for the smallest perturbation."""
    attack = _build(arguments.get("name"), arguments.get("arguments", {}))
    if not isinstance(attack, library.attacks.base.FixedEpsilonAttack) and arguments.get("epsilon") is None:
        return None
    try:
        order = attack.distance.p
    except (AttributeError, ValueError) as error:
        raise _refusal(f"foolbox:{arguments['name']}", "epsilon: expected none", error) from None
    if order == 0:  # Foolbox counts values, a budget of ours is a share of the positions
        raise PipelineError(f"foolbox:{arguments['name']}: epsilon: expected an attack in l1, l2 or linf, found l0")
    norms: dict[float, Norm] = {1: "l1", 2: "l2", torch.inf: "linf"}
    return Budget("epsilon", norms[order])


def _build(name: Any, arguments: Any) -> Any:
    """The attack, not run yet. Raises PipelineError if there is none of this name, or not with these arguments."""
    where = f"foolbox:{name}"
    kind = getattr(library.attacks, name, None) if isinstance(name, str) else None
    if not (isinstance(kind, type) and issubclass(kind, library.attacks.base.Attack)):
        raise PipelineError(f"{where}: no such attack in foolbox.attacks {library.__version__}")
    if not isinstance(arguments, Mapping):
        raise PipelineError(f"{where}: arguments refused: expected a block, found {arguments!r}")
    given = dict(arguments)
    if given.get("distance") in get_args(Norm):
        given["distance"] = getattr(library.distances, given["distance"])
    try:
        return kind(**given)
    except REFUSALS as error:
        raise _refusal(where, "arguments refused", error) from None


def _refusal(where: str, what: str, error: Exception, targeted: bool = False) -> PipelineError:
    """Foolbox's error in one line of ours."""
    if isinstance(error, ImportError):
        return PipelineError(f"{where}: needs the package {error.name}, which is not installed")
    words = " ".join(str(error).split()) or type(error).__name__
    if words == "unsupported criterion":
        words = NO_TARGETS if targeted else "expected an attack that leaves the label; this one only takes targets"
        return PipelineError(f"{where}: {words}")
    return PipelineError(f"{where}: {what}: {words}")


class _Targets(library.criteria.TargetedMisclassification):  # type: ignore[misc]
    """Targets that notice whether an attack reads them, and how often it asks whether they are hit."""

    def __init__(self, targets: Tensor) -> None:
        super().__init__(targets)
        self.read, self.asked = False, 0

    @property
    def target_classes(self) -> Any:
        self.read = True
        return self._targets

    @target_classes.setter
    def target_classes(self, targets: Any) -> None:
        self._targets = targets

    def __call__(self, perturbed: Any, outputs: Any) -> Any:
        before = self.read
        hit = super().__call__(perturbed, outputs)
        self.read, self.asked = before, self.asked + 1
        return hit


attack = Attack(run=foolbox, budget=_budget, random=True)
