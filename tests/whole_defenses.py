"""Whole defenses to attack: a linear classifier on gray images, defended or not, and settings of the attack."""

import zlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.attacks.shared.adaptive_settings import AdaptiveSettings
from pipeline.attacks.shared.defended import Target
from tests.linear import Linear
from tests.seeds import seeded


def target_of(defense: Callable[..., Tensor], model: nn.Module, passes: int = 0) -> Target:
    """Generators that depend on their names alone; a randomized defense if it has passes."""
    random = lambda *names: seeded(hash_of(names))  # noqa: E731
    return Target(defense, model, {}, random, randomized=passes > 0, passes=passes or 1)


def hash_of(names: tuple[str | int, ...]) -> int:
    return zlib.crc32("/".join(map(str, names)).encode())


def masked(model: nn.Module, images: Tensor, generator: torch.Generator, *, passes: int) -> Tensor:
    """A randomized defense: each pixel is dropped half of the time, or doubled."""
    masks = torch.randint(2, (passes, *images.shape), generator=generator).to(images.dtype) * 2
    return torch.stack([model(images * mask) for mask in masks], dim=1)


def ascent(**changes: Any) -> dict[str, Any]:
    return {"method": "pgd", "steps": 20, "relative_step_size": 0.2, **changes}


def settings_of(**changes: Any) -> AdaptiveSettings:
    settings: dict[str, Any] = {
        "norm": "linf", "epsilons": (0.002, 0.006, 0.02, 0.6), "budget": 0.006, "originals": 30, "sanity_originals": 10,
        "restarts": 1, "curve_restarts": 1, "draws": 1, "scored_draws": 1, "resubmissions": 1, "quiet": 0.0,
        "ascent": ascent(), "shortest": {"steps": 100},
        "others": {"square": {"queries": 30}, "autoattack": {"steps": 20, "queries": 30}},
    }  # fmt: skip
    return AdaptiveSettings(**{**settings, **changes})


def problem(count: int = 30, classes: int = 5) -> tuple[Linear, Tensor, Tensor]:
    """Images around gray, all far from black and white, rightly classified by a linear model."""
    model = Linear(seeded(), (1, 8, 8), classes=classes).float().requires_grad_(False)
    model.bias -= model(torch.full((1, 1, 8, 8), 0.5))[0]
    images = 0.5 + 0.05 * torch.randn(count, 1, 8, 8, generator=seeded(1))
    return model, images, model(images).argmax(1)


def smallest(model: Linear, images: Tensor, labels: Tensor, order: int) -> Tensor:
    """Norm of the smallest perturbation that changes the class, (n,): |lead| / dual norm of w_k - w_y, least over k."""
    logits = model(images)
    own = logits.gather(1, labels[:, None])
    dual = (model.weight[None] - model.weight[labels][:, None]).norm(p=order, dim=2)
    distances = (own - logits) / dual.clamp_min(1e-12)
    return distances.scatter(1, labels[:, None], torch.inf).amin(1)
