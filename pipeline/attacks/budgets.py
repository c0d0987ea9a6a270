"""How large a budget an attack needs: success against its bound."""

from collections.abc import Callable

import torch
from torch import Tensor


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
