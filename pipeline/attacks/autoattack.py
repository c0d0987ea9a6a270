"""AutoAttack: an ensemble without knobs (Croce and Hein, https://arxiv.org/abs/2003.01690), of torchattacks."""

from typing import Annotated, Literal

import torch
import torchattacks
from torch import Tensor, nn

from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.outside import for_torchattacks
from pipeline.attacks.shared.protocol import Attack, epsilon_in_its_norm
from pipeline.models.modes import frozen
from pipeline.ranges import Range


def autoattack(
    model: nn.Module,
    images: Tensor,
    goal: Goal,
    generator: torch.Generator,
    *,
    norm: Literal["linf", "l2"],
    epsilon: Annotated[float, Range(0, 1000, low_open=True)],
    steps: Annotated[int, Range(1, 10000)] = 100,
    queries: Annotated[int, Range(1, 100000)] = 5000,
) -> tuple[Tensor, Tensor]:
    """Each attack of the ensemble on the images that are still right.

    Auto-PGD on the cross-entropy; then of a model that is not randomized Auto-PGD and FAB towards every other class,
    and Square; of a randomized one, whose logits are means over its draws, Auto-PGD on the difference-of-logits ratio:
    AutoAttack's `rand` version.

    Parameters
    ----------
    images : float (n, c, h, w) in [0, 1]. goal : untargeted.
    epsilon : size of the ball. steps, queries : of each gradient attack and of Square; the defaults are the original's.

    Returns
    -------
    Images within the ball (n, c, h, w); steps 0: torchattacks does not tell.

    Differs from the original: one restart; of fewer than four classes without the targeted Auto-PGD, of two without the
    ratio.
    """
    with frozen(model), torch.no_grad():
        classes = goal.prediction(model(images[:1])).shape[1]
    with for_torchattacks(model, goal, generator, norm, epsilon) as outside:
        outer, about = outside.model, outside.about
        towards = {"steps": steps, "n_classes": classes, **about}
        attacks: list[torchattacks.attack.Attack] = [torchattacks.APGD(outer, steps=steps, loss="ce", **about)]
        if goal.randomized:
            if classes >= 3:  # the ratio's denominator is made of the first and the third logit
                attacks.append(torchattacks.APGD(outer, steps=steps, loss="dlr", **about))
        else:
            if classes >= 4:  # its loss is made of the four highest logits
                attacks.append(torchattacks.APGDT(outer, **towards))
            attacks.append(torchattacks.FAB(outer, multi_targeted=True, **towards))
            attacks.append(torchattacks.Square(outer, n_queries=queries, **about))
        return outside.run(torchattacks.MultiAttack(attacks) if len(attacks) > 1 else attacks[0], images, goal)


attack = Attack(run=autoattack, budget=epsilon_in_its_norm, random=True, targeted=False)
