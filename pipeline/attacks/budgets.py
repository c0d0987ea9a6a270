"""How large a budget an attack needs: success against its bound."""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import PipelineError
from pipeline.params import check_value, parameters_of

NORMS = ("l0", "l1", "l2", "linf")


def budget_of(
    attack: ModuleType, arguments: Mapping[str, Any], budgets: Any, where: str
) -> tuple[str, str, tuple[float, ...]] | None:
    """The parameter that bounds the attack's perturbations, their norm, and the bounds to try; None without a bound.

    attack : a module of `pipeline.attacks`; its `budget` is (parameter, norm), or a function of the arguments that
    returns that or None. Raises PipelineError if `budgets` does not fit it; `where` names the block.
    """
    declared = getattr(attack, "budget", None)
    if callable(declared):
        declared = declared(arguments)
    if declared is None:
        if budgets is not None:
            raise PipelineError(f"{where}.budgets: expected none: this attack has no budget, found {budgets!r}")
        return None
    parameter, norm = declared
    if norm not in NORMS:
        raise PipelineError(f"{attack.__name__}: budget: expected a norm among {', '.join(NORMS)}, found {norm!r}")
    annotation, _ = parameters_of(getattr(attack, attack.__name__.rpartition(".")[2]))[parameter]
    return parameter, norm, check_value(budgets, tuple[annotation, ...], f"{where}.budgets")  # type: ignore[valid-type]


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
