"""What the paper reports (Wang, Kunin, Pyron, Exploring Adversarial Input Spaces for CNN Defense), and others."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.reporting.names import source

EXAMPLES_PER_DATASET = 90000  # Section 1.2
GAC_GAIN = (0.01, 0.03)  # Section 3.3: gain in accuracy over a vanilla classifier on the adversarial set, right lambda


@dataclass(frozen=True)
class Reported:
    """What is reported of one set of images. Rates are shares; pixels lie in [0, 1]."""

    # Table 1: attack -> quantity -> mean, std, min, max of the perturbations.
    table_1: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    # Section 3.2, read from the text ("roughly half" of both sets, "roughly 60% to 70%" by class).
    autoencoder_thwarted: Mapping[str, float] = field(default_factory=dict)
    autoencoder_clean: tuple[float, float] | None = None
    gac_epochs: int | None = None  # Section 3.3
    # Not the paper: adversarial training, name, clean and robust accuracy in percent under AutoAttack (RobustBench and
    # the papers).
    literature: tuple[tuple[str, float, float], ...] = ()


# By the images' source.
REPORTED = {
    "mnist": Reported(
        table_1={
            "minimal": {
                "pixel": {"mean": 0.009, "std": 0.049, "min": -0.949, "max": 0.703},
                "l1": {"mean": 17.3, "std": 5.08, "min": 0.170, "max": 32.2},
                "l2": {"mean": 1.35, "std": 0.362, "min": 0.014, "max": 2.00},
            }
        },
        gac_epochs=20,
        literature=(("Madry et al., 2018", 98.53, 88.50), ("TRADES, 2019", 99.48, 92.81)),
    ),
    "cifar10": Reported(
        table_1={
            "minimal": {
                "pixel": {"mean": 8.03e-6, "std": 0.008, "min": -0.195, "max": 0.148},
                "l1": {"mean": 16.5, "std": 8.04, "min": 1.08, "max": 57.3},
                "l2": {"mean": 0.418, "std": 0.201, "min": 0.027, "max": 1.41},
            },
            "extended": {
                "pixel": {"mean": 2.48e-5, "std": 0.012, "min": -0.253, "max": 0.204},
                "l1": {"mean": 25.9, "std": 9.10, "min": 5.15, "max": 74.6},
                "l2": {"mean": 0.651, "std": 0.225, "min": 0.130, "max": 1.94},
            },
        },
        autoencoder_thwarted={"minimal": 0.5, "extended": 0.5},
        autoencoder_clean=(0.6, 0.7),
        gac_epochs=100,
        literature=(("Madry et al., 2018", 87.14, 44.04), ("TRADES, 2019", 84.92, 53.08)),
    ),
}


def reported(metrics: Mapping[str, Any]) -> Reported:
    """What is reported of a study's images: nothing, where the paper has none of them."""
    return REPORTED.get(source(metrics), Reported())
