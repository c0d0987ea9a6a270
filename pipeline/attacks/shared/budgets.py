"""How large a budget an attack needs: success against its bound."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pipeline.attacks.shared.protocol import Attack
from pipeline.errors import PipelineError
from pipeline.params import parameters_of


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
