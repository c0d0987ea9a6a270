"""Train the classifier again, several times, each with sets and defenses of its own: what of a figure is its luck.

Reads:  the images file; the chosen step size, extra steps and defenses' numbers, which are not chosen anew.
Writes: a table with a row per replicate, defense and image of the test split; one with a row per adversarial image.
Params: replicates, classifier, training, attacks, threat, defenses, seed.
Cost:   for each replicate a training, its sets' steps, the defenses' trainings and passes. Finished ones are kept, also
        after the stage, under a hash of all they come from: an interrupted run goes on, and more replicates are added.
"""

from dataclasses import asdict
from typing import Annotated, Any

from pipeline.artifacts.images import read_description
from pipeline.artifacts.learning import is_attacked
from pipeline.artifacts.left_out import or_left_out, reason_left_out
from pipeline.artifacts.outside import given_in, retraining
from pipeline.artifacts.replication import Family, Recipe, frames_of, task_of, tidied
from pipeline.artifacts.shards import ShardStore
from pipeline.artifacts.statistics import write_frame
from pipeline.defenses.protocol import load_defense
from pipeline.errors import LeftOut, PipelineError
from pipeline.own_files import installed
from pipeline.ranges import Range
from pipeline.stages.command import run
from pipeline.stages.families import members_of, settled_arguments
from pipeline.stages.sets import extended_arguments, judged_counts, minimal_arguments, target_count
from pipeline.studies import Study
from pipeline.study_blocks import KIND
from pipeline.training.classifier import fit_classifier

SCHEMAS = {"judged": "replicated_evaluation", "examples": "replicated_examples"}


def main(study: Study) -> None:
    with or_left_out(study.path("replicates")):
        train(study)


def train(study: Study) -> None:
    """Train and judge them all, and write the tables. Raises LeftOut where the classifier may not be trained anew."""
    count = count_of(study)
    if not count:
        raise LeftOut("no further trainings of the classifier are asked for (replicates.count: 0)")
    recipe = recipe_of(study)
    store = ShardStore([recipe.images], {"replicate": asdict(recipe) | {"images": ""}, "device": str(study.device)})
    with tidied(study.name):
        store.fill(count, task_of(recipe), what=f"replicate {study.name}")
    tables = frames_of(list(store.load(count)), recipe.defenses)
    about = {"dataset": study.name, "replicates": count, "sources": dict(recipe.counts)}
    for name, schema in SCHEMAS.items():
        write_frame(study.path("replicates") / f"{name}.parquet", tables[name], schema, about)


def count_of(study: Study) -> int:
    """How many replicates: none, or as many as an interval needs. Raises PipelineError."""
    count: int = study.checked("replicates.count", Annotated[int, Range(0, 1000)])
    if count == 1:
        raise PipelineError(f"{study.where('replicates.count')}: expected 0, or 2 and more to compare, found 1")
    return count


def recipe_of(study: Study) -> Recipe:
    """What a replicate of the study comes from. Raises PipelineError where a block is wrong."""
    first = minimal_arguments(study)
    return Recipe(
        study=study.name,
        images=study.path("images"),
        seed=study.seed,
        source=study.source,
        **network_of(study),
        training=study.training(fit_classifier, "classifier.training"),
        counts=judged_counts(study, "replicates.sources"),
        attacks={"minimal": first, "extended": extended_arguments(study, first)},
        families=tuple(_families(study)),
        targets=target_count(study, "replicates.sources", len(read_description(study.path("images")).class_names)),
    )


def network_of(study: Study) -> dict[str, Any]:
    """How a network like the study's is made. Raises LeftOut where none may be."""
    if study.brings_classifier:
        given = given_in(study.folder)
        retraining(study.folder, given)
        brought = {"build": given.build, "normalization": given.normalization, "installed": installed(study)}
        return {"kind": "", "architecture": given.arguments or {}, "brought": brought}
    kind = study.params["classifier"].get("kind", KIND)
    return {"kind": kind, "architecture": study.arguments(study.kind, "classifier.architecture"), "brought": {}}


def wanted_of(study: Study) -> tuple[str, ...]:
    """The defenses that are judged again. Raises PipelineError where there is none of that name."""
    wanted: tuple[str, ...] = study.checked("replicates.defenses", tuple[str, ...])
    if unknown := [name for name in wanted if name not in study.defenses]:
        where, known = study.where("replicates.defenses"), ", ".join(study.defenses)
        raise PipelineError(f"{where}: expected defenses of the study ({known}), found {unknown[0]!r}")
    return wanted


def _families(study: Study) -> list[Family]:
    """Those of the wanted defenses, and the first of all, which the others are compared with."""
    wanted = wanted_of(study)
    found = []
    for key in study.families:
        members = tuple(m for m in members_of(study, key) if m.name in ("undefended", *wanted))
        if not members or reason_left_out(study.path("learning", key)):
            continue
        paths = study.path("learned", key), study.path("learning", key)
        learns = any(not is_attacked(*paths, member.role) for member in members)
        method = study.method(key)
        learn: dict[str, Any] | None = settled_arguments(study, key, load_defense(method)) if learns else None
        found.append(Family(key, method, members, learn))
    return found


if __name__ == "__main__":
    run(main, __doc__, computes=True)
