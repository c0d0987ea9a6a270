"""What may stand in a study's params file: its blocks and what is in them, names, budgets."""

import re
from dataclasses import dataclass
from typing import Annotated

from pipeline.errors import PipelineError
from pipeline.ranges import Range

NAME = re.compile(r"[a-z0-9_][a-z0-9_-]*")
# Every block of a params file; no study may do without one.
BLOCKS = (
    "study", "seed", "images", "classifier", "training", "sources", "threat", "attack_trials", "attacks",
    "other_sources", "other_attacks", "defenses", "adaptive", "replicates", "sizes",
)  # fmt: skip
PAPER_ATTACKS = ("minimal", "extended")  # whose sets are the paper's, in this order
IMAGES = ("source", "raw", "test_share", "class_names", "image_column", "label_column", "size", "channels")
# What stands in those blocks that are not the parameters of one function, or keys of a person's choice.
INNER = {
    "images": IMAGES,
    "classifier": (
        "kind", "architecture", "training", "build", "arguments", "weights", "normalization", "retrain",
    ),
    "sources": ("train", "test", "targets"),
    "threat": ("linf", "l2", "l0", "l1"),
    "attacks": PAPER_ATTACKS,
    "other_sources": ("train", "test", "curve", "targets"),
    "replicates": ("count", "sources", "defenses"),
    "sizes": ("classifiers", "training", "originals", "targets"),
}  # fmt: skip
TRAINED = ("kind", "architecture", "training")  # of classifier, where the study trains it
KIND = "cnn"  # of classifier, where a study names none: the paper's
ADAPTIVE = {"ascent": "pgd", "shortest": "minimum_norm"}  # of `adaptive`: files of its attacks, where it names none
# Names of files, of what else is judged beside sets, of blocks of `adaptive`: no attack and no defense may take them.
RESERVED = (
    *PAPER_ATTACKS, "classifier", "clean", "clean_all", *(f"noise_{attack}" for attack in PAPER_ATTACKS),
    "all", "one_pass", "randomized",
)  # fmt: skip
# Of a defense's block; the last three are always there, for each has stages that depend on it alone.
FAMILY = ("method", "examine", "learn", "predict", "variants")
# Values of `images.source` that say how files are laid out, not which images they are.
FORMATS = ("idx", "parquet", "folder", "npz")
ALL = "all"  # of `targets`: every other class
Seed = Annotated[int, Range(0, 2**63 - 1)]  # what HDF5 can hold
Epsilon = Annotated[float, Range(0, 100000, low_open=True)]


@dataclass(frozen=True)
class Budgets:
    """The threat model in one norm: the stated budget, and the budgets of curves."""

    epsilon: Epsilon
    epsilons: tuple[Epsilon, ...]


def checked_name(name: str, what: str) -> str:
    """The name of a study, attack or defense. Raises PipelineError if it isn't made of a-z, 0-9, _ and -."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise PipelineError(f"{what}: expected a name of the letters a-z, digits, _ and -, found {name!r}")
    return name
