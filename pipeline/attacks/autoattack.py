"""AutoAttack: an ensemble without knobs (Croce and Hein, https://arxiv.org/abs/2003.01690), of torchattacks."""

from typing import Annotated, Literal

import torch
import torchattacks
from torch import Tensor, nn

from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.outside import for_torchattacks
from pipeline.attacks.shared.protocol import Attack, epsilon_in_its_norm
from pipeline.attacks.square import no_room_for_squares
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
    """Each attack of the ensemble: of a model that is not randomized, on the images that are still right.

    Auto-PGD on the cross-entropy; then Auto-PGD and FAB towards every other class, and Square. Of a randomized model,
    whose logits are means over its draws, AutoAttack's `rand` version: Auto-PGD on the cross-entropy and on the
    difference-of-logits ratio.

    Parameters
    ----------
    images : float (n, c, h, w) in [0, 1]. goal : untargeted.
    epsilon : size of the ball. steps, queries : of each gradient attack and of Square; the defaults are the original's.

    Returns
    -------
    Images within the ball (n, c, h, w); steps 0: torchattacks does not tell.

    Differs from the original: one restart. Of a randomized model the image of the highest loss counts, of either loss
    the one that leads farther on one more call, not what was wrong at one draw. Left out: targeted Auto-PGD of fewer
    than four classes and the ratio of fewer than three, for so many logits their losses are made of; Square on images
    that it does not fit in, see `square`.
    """
    with frozen(model), torch.no_grad():
        classes = goal.prediction(model(images[:1])).shape[1]
    with for_torchattacks(model, goal, generator, norm, epsilon) as outside:
        outer, about = outside.model, outside.about
        if goal.randomized:
            searches = [
                torchattacks.APGD(outer, steps=steps, loss=loss, **about)
                for loss in (("ce", "dlr") if classes >= 3 else ("ce",))
            ]
            return _of_the_highest_loss(searches, model, images, goal)
        towards = {"steps": steps, "n_classes": classes, **about}
        attacks: list[torchattacks.attack.Attack] = [torchattacks.APGD(outer, steps=steps, loss="ce", **about)]
        if classes >= 4:
            attacks.append(torchattacks.APGDT(outer, **towards))
        attacks.append(torchattacks.FAB(outer, multi_targeted=True, **towards))
        if not no_room_for_squares(norm, *images.shape[2:]):
            attacks.append(torchattacks.Square(outer, n_queries=queries, **about))
        return outside.run(torchattacks.MultiAttack(attacks), images, goal)


def _of_the_highest_loss(
    searches: list[torchattacks.attack.Attack], model: nn.Module, images: Tensor, goal: Goal
) -> tuple[Tensor, Tensor]:
    found, best = images, torch.full(goal.labels.shape, -torch.inf, device=images.device)
    for search in searches:
        tried = search.perturb(images.contiguous(), goal.labels, best_loss=True)[1].detach().clamp(0, 1)
        with torch.no_grad():
            lead = goal.lead(model(tried))
        found = torch.where((lead > best)[:, None, None, None], tried, found)
        best = torch.maximum(lead, best)
    return found, torch.zeros_like(goal.labels)


attack = Attack(run=autoattack, budget=epsilon_in_its_norm, random=True, targeted=False)
