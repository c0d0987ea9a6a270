"""Any attack of Foolbox (https://foolbox.readthedocs.io), by the name of its class."""

from collections.abc import Mapping
from typing import Annotated, Any

import foolbox as library
import torch
from torch import Tensor, nn

from pipeline.errors import PipelineError
from pipeline.models.modes import frozen
from pipeline.randomness import seeded_globally
from pipeline.ranges import Range


def budget(arguments: Mapping[str, Any]) -> tuple[str, str] | None:
    """epsilon, in the attack's own norm; None for attacks that look for the smallest perturbation."""
    distance = _build(arguments["name"], arguments["arguments"]).distance
    if arguments.get("epsilon") is None:
        return None
    return "epsilon", {0: "l0", 1: "l1", 2: "l2"}.get(getattr(distance, "p", -1), "linf")


def _build(name: str, arguments: Mapping[str, Any]) -> Any:
    """The attack, not run yet. Raises PipelineError if there is none of this name, or not with these arguments."""
    where = f"foolbox:{name}"
    kind = getattr(library.attacks, name, None)
    if not (isinstance(kind, type) and issubclass(kind, library.attacks.base.Attack)):
        raise PipelineError(f"{where}: no such attack in foolbox.attacks {library.__version__}")
    try:
        return kind(**arguments)
    except (TypeError, ValueError) as error:
        raise PipelineError(f"{where}: arguments refused: {error}") from None


def foolbox(
    model: nn.Module,
    images: Tensor,
    target_labels: Tensor,
    generator: torch.Generator,
    *,
    name: str,
    arguments: dict[str, Any],
    epsilon: Annotated[float, Range(0, 100000, low_open=True)] | None = None,
) -> tuple[Tensor, Tensor]:
    """Run `foolbox.attacks.<name>(**arguments)` towards the targets; any attack that takes targets.

    Parameters
    ----------
    images : float (n, c, h, w) in [0, 1]. target_labels : int64 (n,).
    epsilon : size of the ball, in the attack's own norm; left out for attacks that look for the smallest.

    Returns
    -------
    The images as Foolbox returns them, clipped to [0, 1] (n, c, h, w); steps 0: Foolbox does not tell.

    Raises PipelineError if there is no such attack, or if it refuses the arguments or the targets.
    """
    where = f"foolbox:{name}"
    attack = _build(name, arguments)
    if isinstance(attack, library.attacks.base.FixedEpsilonAttack) and epsilon is None:
        raise PipelineError(f"{where}: expected a parameter 'epsilon': this attack has a budget")
    criterion = library.criteria.TargetedMisclassification(target_labels)
    with frozen(model), seeded_globally(generator):
        bounded = library.models.PyTorchModel(model, bounds=(0, 1), device=images.device)
        try:
            _, found, _ = attack(bounded, images, criterion, epsilons=epsilon)
        except (TypeError, ValueError, AssertionError, NotImplementedError) as error:
            raise PipelineError(f"{where}: refused: {error}") from None
    return found.clamp(0, 1), torch.zeros_like(target_labels)
