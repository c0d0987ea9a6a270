"""How near a method brings an image to its original, and the blur that comes as near."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

BLUR, REFERENCE = "gaussian_blur", "autoencoder_ensemble"


@dataclass(frozen=True)
class RestorationError:
    """Mean squared error per pixel to the originals, of one pass over inputs of one kind.

    sigma: of the blur, in pixels; 0 for other methods ("nothing": the inputs as they are). originals: how many.
    """

    method: str
    sigma: float
    kind: str
    originals: int
    reconstruction_error: float


def measure_errors(
    methods: Mapping[tuple[str, float], Callable[[Tensor], Tensor]], inputs: Tensor, originals: Tensor, kind: str
) -> list[RestorationError]:
    """The error of each method, by (name, sigma), on inputs of one kind and their originals, (n, c, h, w) each."""
    with torch.inference_mode():
        return [
            RestorationError(name, sigma, kind, len(inputs), (method(inputs) - originals).square().mean().item())
            for (name, sigma), method in methods.items()
        ]


def choose_blur(errors: pd.DataFrame) -> float:
    """Of the sigmas tried, the one whose error on originals is nearest to the autoencoder's, as a ratio.

    On originals, because there a blur's error grows with sigma and can have any size; on adversarial images even the
    best blur may be farther off than the autoencoder. errors: a row per RestorationError.
    """
    clean = errors[errors["kind"] == "clean"]
    aim = clean.loc[clean["method"] == REFERENCE, "reconstruction_error"].mean()
    tried = clean[clean["method"] == BLUR].set_index("sigma")["reconstruction_error"]
    return float(np.log(tried / aim).abs().idxmin())


def summarize_restorations(errors: pd.DataFrame, used: float) -> dict[str, Any]:
    """reconstruction_error.<method>.<kind>, the blur's at `used`; and the blur of the rule beside the one used."""
    shown = errors[(errors["method"] != BLUR) | np.isclose(errors["sigma"], used)]
    table = shown.set_index(["method", "kind"])["reconstruction_error"]
    methods = dict.fromkeys(shown["method"])
    return {
        "reconstruction_error": {method: {str(k): float(v) for k, v in table[method].items()} for method in methods},
        "blur_sigma": {"by_rule": choose_blur(errors), "used": used},
    }
