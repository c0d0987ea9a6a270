"""Train the classifier again, several times, each with sets and defenses of its own: what of a figure is its luck.

Reads:  the images file; the chosen step size, extra steps and defenses' numbers, which are not chosen anew.
Writes: a table with a row per replicate, defense and image of the test split; one with a row per adversarial image.
Params: replicates, classifier, training, attacks, threat, defenses, seed.
Cost:   for each replicate a training, its sets' steps, the defenses' trainings and passes. Finished ones are kept, also
        after the stage, under a hash of all they come from: an interrupted run goes on, and more replicates are added.
"""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Annotated, Any

from pipeline.artifacts.learning import is_attacked
from pipeline.artifacts.replication import ATTACKS, Family, Recipe, frames_of, replicate
from pipeline.artifacts.shards import ShardStore
from pipeline.artifacts.statistics import write_frame
from pipeline.defenses.protocol import load_defense
from pipeline.errors import PipelineError
from pipeline.models.classifier import Classifier
from pipeline.params import parameters_of
from pipeline.ranges import Range
from pipeline.stages.command import run
from pipeline.stages.families import members_of, settled_arguments
from pipeline.stages.sets import chosen_arguments
from pipeline.studies import Study
from pipeline.training.classifier import fit_classifier

Count = Annotated[int, Range(2, 1000)]
SCHEMAS = {"judged": "replicated_evaluation", "examples": "replicated_examples"}


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Images that are attacked in each replicate: of the train split for what is trained on them, of the test split."""

    train: Annotated[int, Range(0, 10**7)] = 0
    test: Annotated[int, Range(1, 10**7)]


def main(study: Study) -> None:
    count = study.checked("replicates.count", Count)
    recipe = recipe_of(study)
    store = ShardStore([recipe.images], {"replicate": asdict(recipe) | {"images": ""}, "device": str(study.device)})
    store.fill(count, partial(replicate, recipe=recipe))
    tables = frames_of(list(store.load(count)), recipe.defenses)
    about = {"dataset": study.name, "replicates": count, "sources": dict(recipe.counts)}
    for name, schema in SCHEMAS.items():
        write_frame(study.path("replicates") / f"{name}.parquet", tables[name], schema, about)


def recipe_of(study: Study) -> Recipe:
    """What a replicate of the study comes from. Raises PipelineError where a block is wrong."""
    first = study.arguments(ATTACKS["minimal"].run, "attacks.minimal", chosen_arguments(study, "attacks.minimal"))
    inherited = {name: value for name, value in first.items() if name in parameters_of(ATTACKS["extended"].run)}
    further = inherited | chosen_arguments(study, "attacks.extended")
    return Recipe(
        study=study.name,
        images=study.path("images"),
        seed=study.seed,
        source=study.source,
        architecture=study.arguments(Classifier, "classifier.architecture"),
        training=study.training(fit_classifier, "classifier.training"),
        counts=vars(study.checked("replicates.sources", Sources)),
        attacks={
            "minimal": first,
            "extended": study.arguments(ATTACKS["extended"].run, "attacks.extended", further),
        },
        families=tuple(_families(study)),
    )


def _families(study: Study) -> list[Family]:
    """Those of the wanted defenses, and the first of all, which the others are compared with."""
    wanted = study.checked("replicates.defenses", tuple[str, ...])
    if unknown := [name for name in wanted if name not in study.defenses]:
        where, known = study.where("replicates.defenses"), ", ".join(study.defenses)
        raise PipelineError(f"{where}: expected defenses of the study ({known}), found {unknown[0]!r}")
    found = []
    for key in study.families:
        members = tuple(m for m in members_of(study, key) if m.name in ("undefended", *wanted))
        if not members:
            continue
        paths = study.path("learned", key), study.path("learning", key)
        learns = any(not is_attacked(*paths, member.role) for member in members)
        method = study.method(key)
        learn: dict[str, Any] | None = settled_arguments(study, key, load_defense(method)) if learns else None
        found.append(Family(key, method, members, learn))
    return found


if __name__ == "__main__":
    run(main, __doc__)
