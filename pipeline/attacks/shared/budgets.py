"""How large a budget an attack needs: success against its bound."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pipeline.attacks.shared.protocol import Attack
from pipeline.errors import PipelineError
from pipeline.params import check_value, parameters_of


def budget_of(
    attack: Attack, arguments: Mapping[str, Any], budgets: Any, where: str
) -> tuple[str, str, tuple[float, ...]] | None:
    """The parameter that bounds the attack's perturbations, their norm, and the bounds to try; None without a bound.

    arguments : of the attack. Raises PipelineError if `budgets` does not fit it; `where` names the block.
    """
    bound = attack.budget_for(arguments)
    if bound is None:
        if budgets is not None:
            raise PipelineError(f"{where}.budgets: expected none: this attack has no budget, found {budgets!r}")
        return None
    annotation, _ = parameters_of(attack.run)[bound.parameter]
    return *bound, check_value(budgets, tuple[annotation, ...], f"{where}.budgets")  # type: ignore[valid-type]


def within_threat(attack: Attack, block: Mapping[str, Any], threat: Mapping[str, float], where: str) -> dict[str, Any]:
    """The block with the budget that it leaves out, of the threat model: norm -> largest perturbation.

    An attack that serves several norms (a parameter `norm`) and whose block names none takes the threat's only one.
    A block without a bound stays as it is. Raises PipelineError if the threat model says nothing of the attack's norm.
    """
    filled = dict(block)
    if "norm" in parameters_of(attack.run) and "norm" not in filled:
        if len(threat) != 1:
            raise PipelineError(f"{where}.norm: missing; expected one of {', '.join(threat)}")
        (filled["norm"],) = threat
    bound = attack.budget_for(filled)
    if bound and bound.parameter not in filled:
        if bound.norm not in threat:
            raise PipelineError(f"{where}.{bound.parameter}: missing; the threat model has no budget in {bound.norm}")
        filled[bound.parameter] = threat[bound.norm]
    return filled


def fooled_within(
    attempt: Callable[[float, Tensor], Tensor], count: int, budgets: tuple[float, ...]
) -> dict[float, Tensor]:
    """For each budget, ascending, which of `count` images are fooled within it: bool (count,).

    `attempt` takes a budget and int64 rows and tells which of them it fooled. An image fooled within a budget is so
    within every larger one, for its perturbation lies in the larger ball too: it is not tried again.
    """
    fooled = torch.zeros(count, dtype=torch.bool)
    within = {}
    for budget in sorted(budgets):
        open_ = (~fooled).nonzero()[:, 0]
        if len(open_):
            fooled[open_] = attempt(budget, open_).cpu()
        within[budget] = fooled.clone()
    return within
