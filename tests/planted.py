"""A randomized defense whose true robustness is known, and settings of the attack on it."""

from typing import Any

import torch
from torch import Tensor, nn

from pipeline.attacks.shared.adaptive_settings import AdaptiveSettings
from pipeline.attacks.shared.defended import Target
from pipeline.randomness import generator
from tests.linear import Linear

SIGMA = 0.15  # of the planted noise: a single pass errs on a third of the images that the budget can turn
BUDGET = 0.02
ALL = 10**6  # passes at once: one block


def noisy(model: nn.Module, images: Tensor, generator: torch.Generator, *, passes: int) -> Tensor:
    """The planted defense: it adds noise, and buys nothing with it."""
    noise = torch.randn((passes, *images.shape), generator=generator)
    return torch.stack([model(images + SIGMA * one) for one in noise], dim=1)


def planted(count: int = 150) -> tuple[Linear, Target, Tensor, Tensor, Tensor]:
    """A linear classifier of two classes behind noise, gray images, labels, and their true lead over the other class.

    The vote of many passes is the decision without noise, for noise is symmetric. Every tenth label is wrong.
    """
    model = Linear(torch.Generator().manual_seed(0), (1, 8, 8), classes=2).float().requires_grad_(False)
    model.bias -= model(torch.full((1, 1, 8, 8), 0.5))[0]
    images = 0.5 + 0.1 * torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(1)).clamp(-3, 3)
    labels = model(images).argmax(1)
    labels[::10] = 1 - labels[::10]
    logits = model(images)
    lead = (logits.gather(1, labels[:, None]) - logits.gather(1, 1 - labels[:, None]))[:, 0]
    random = lambda *names: generator(torch.device("cpu"), 0, *names)  # noqa: E731
    return model, Target(noisy, model, {"passes": 10}, random, randomized=True, passes=10), images, labels, lead


def settings_of(**changes: Any) -> AdaptiveSettings:
    settings: dict[str, Any] = {
        "norm": "linf", "epsilons": (BUDGET / 2, BUDGET), "budget": BUDGET, "originals": 150, "sanity_originals": 40,
        "restarts": 3, "curve_restarts": 1, "draws": 10, "scored_draws": 200, "resubmissions": 10, "quiet": 0.0,
        "ascent": {"method": "pgd", "steps": 15, "relative_step_size": 0.5}, "shortest": {"steps": 20},
        "others": {"square": {"queries": 60}, "autoattack": {"steps": 10}},
    }  # fmt: skip
    return AdaptiveSettings(**{**settings, **changes})
