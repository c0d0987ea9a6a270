"""What the stages that make adversarial sets share."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pipeline.artifacts.adversarial import SOURCE_SPLITS, Identity
from pipeline.artifacts.choices import read_choices
from pipeline.artifacts.generation import Start, make_set
from pipeline.artifacts.measurement import measure_perturbations
from pipeline.attacks import extended, minimal
from pipeline.attacks.shared.protocol import Attack
from pipeline.errors import PipelineError
from pipeline.metrics.sources import every_target, some_targets, turns
from pipeline.params import parameters_of
from pipeline.randomness import derive_seed
from pipeline.ranges import Range
from pipeline.studies import Study
from pipeline.study_blocks import ALL

Choices = Mapping[str, float | None]


def chosen_arguments(study: Study, key: str, choices: Choices | None = None) -> dict[str, Any]:
    """The block at `key`, "auto" replaced by what `choose_steps` chose, or by `choices` in place of that."""
    file = study.path("attack_choices") if choices is None else None
    if file:
        choices = {name: choice.value for name, choice in read_choices(file).items()}
    return study.resolved(study.block(key), key, choices or {}, chosen_in=file)


def minimal_arguments(study: Study, choices: Choices | None = None) -> dict[str, Any]:
    """Checked arguments of the minimal attack."""
    given = chosen_arguments(study, "attacks.minimal", choices)
    return study.arguments(minimal.attack.run, "attacks.minimal", given)


def extended_arguments(study: Study, first: Mapping[str, Any], choices: Choices | None = None) -> dict[str, Any]:
    """Checked arguments of the extended attack; what its block leaves out is as in `first`, the minimal one's."""
    inherited = {name: value for name, value in first.items() if name in parameters_of(extended.attack.run)}
    given = inherited | chosen_arguments(study, "attacks.extended", choices)
    return study.arguments(extended.attack.run, "attacks.extended", given)


def source_counts(study: Study, key: str) -> dict[str, int]:
    """How many source images of each split the block at `key` wants; a split that it leaves out: none."""
    block = study.block(key)
    known = (*SOURCE_SPLITS, "targets", *(["curve"] if key == "other_sources" else []))
    if others := set(block) - set(known):
        raise PipelineError(f"{study.where(key)}.{min(others)}: unknown parameter; expected one of: {', '.join(known)}")
    counts = {
        split: study.checked(f"{key}.{split}", Annotated[int, Range(0, 10**7)])
        for split in SOURCE_SPLITS
        if split in block
    }
    if not any(counts.values()):
        raise PipelineError(f"{study.where(key)}: expected a number of images for train, test or both, found {block!r}")
    return counts


def judged_counts(study: Study, key: str) -> dict[str, int]:
    """`source_counts` of images that defenses are judged on: some are of the test split. Raises PipelineError."""
    counts = source_counts(study, key)
    if not counts.get("test"):
        raise PipelineError(f"{study.where(f'{key}.test')}: expected images to judge defenses on, found none")
    return counts


def target_count(study: Study, key: str, classes: int) -> int | None:
    """Towards how many of the other classes each original is attacked, `targets` of the block at `key`; None: all.

    Raises PipelineError if there are not so many.
    """
    if study.block(key).get("targets", ALL) == ALL:
        return None
    count: int = study.checked(f"{key}.targets", Annotated[int, Range(1, 255)] | Literal["all"])
    if count >= classes:
        where = study.where(f"{key}.targets")
        raise PipelineError(f"{where}: expected at most the {classes - 1} other classes, or 'all', found {count}")
    return count


def targets_of(
    study: Study, key: str, labels: NDArray[np.uint8], classes: int
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """For labels (m,) the pairs (row of the original, target label) that the block at `key` asks for."""
    count = target_count(study, key, classes)
    if count is None:
        return every_target(labels, classes)
    random = np.random.default_rng(derive_seed(study.seed, study.source, key, "targets"))
    return some_targets(labels, turns(labels, np.arange(len(labels))), classes, count, random)


def make_and_measure(
    study: Study,
    key: str,
    attack: Attack,
    arguments: Mapping[str, Any],
    start: Start,
    model: nn.Module,
    described: Mapping[str, Any] | None = None,
) -> None:
    """Write a set and its statistics. described : what the set says of its parameters, where not `arguments`."""
    params = dict(arguments if described is None else described)
    identity = Identity(study.name, key, params, start.class_names, study.seed)
    out = study.path("set", key)
    make_set(out, key, attack, arguments, start, model, study.path("classifier"), identity, study.source)
    measure_perturbations(out, study.path("statistics", key), model, study.seed, study.source)
