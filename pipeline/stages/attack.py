"""Make the set of another attack, and measure its perturbations and its success against the budget.

Reads:  the images file, from which the source images are selected; the classifier; images made elsewhere.
Writes: the adversarial set; its statistics; its success curve.
Params: other_attacks.<key>, other_sources, threat (the budget, where the block states none), seed.
Cost:   an attack with a budget runs once for the set and once per budget of the curve, there on the images that no
        smaller budget fooled. An interrupted run goes on where it was.
"""

from typing import Annotated, Any

from pipeline.artifacts.adversarial import Identity, open_adversarial
from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.generation import start_from_images
from pipeline.artifacts.images import read_description, read_shape, read_split
from pipeline.artifacts.imported import read_imported, write_imported
from pipeline.artifacts.left_out import or_left_out
from pipeline.artifacts.measurement import measure_perturbations, measure_success, measure_success_by_norms
from pipeline.attacks.shared.budgets import within_threat
from pipeline.attacks.shared.protocol import Attack, load_attack
from pipeline.errors import LeftOut
from pipeline.models.inference import for_inference
from pipeline.own_files import imported_path
from pipeline.ranges import Range
from pipeline.registry import IMPORTED, split_method
from pipeline.stages.command import run
from pipeline.stages.sets import make_and_measure, source_counts, target_count
from pipeline.studies import Study

Curve = Annotated[int, Range(1, 10**7)]


def main(study: Study, key: str) -> None:
    with or_left_out(study.path("set", key), study.path("statistics", key)):
        make(study, key)


def make(study: Study, key: str) -> None:
    """Write the set and its statistics. Raises LeftOut where the attack does not suit the images, or fools nobody."""
    method = method_of(study, key)
    if method == IMPORTED:
        bring(study, key)
        return
    attack, arguments, budget = attack_of(study, key)
    attack.check(True, *read_shape(study.path("images"))[1:])
    counts = source_counts(study, "other_sources")
    targets = target_count(study, "other_sources", len(read_description(study.path("images")).class_names))
    curve = study.checked("other_sources.curve", Curve)

    model = for_inference(load_classifier(study.path("classifier")), study.device)
    start = start_from_images(
        study.path("images"), model, counts, study.seed, study.source, study.where("other_sources"), targets
    )
    described = arguments if method == key else {"method": method, **arguments}
    make_and_measure(study, key, attack, arguments, start, model, described)
    with open_adversarial(study.path("set", key)) as set_:
        if not set_.is_adversarial.any():
            raise LeftOut(
                f"it fools the classifier with none of its {len(set_)} images, which leaves nothing to measure"
            )
    out = study.path("statistics", key) / "success.parquet"
    measure_success(study.path("set", key), out, curve, attack, arguments, budget, model, study.seed, study.source)


def method_of(study: Study, key: str) -> str:
    """Name of the attack's file."""
    where = f"other_attacks.{key}"
    return split_method(key, study.value(where), study.where(where))[0]


def attack_of(study: Study, key: str) -> tuple[Attack, dict[str, Any], tuple[str, str, tuple[float, ...]] | None]:
    """The attack, its checked arguments, and if it has a budget: its parameter, its norm, and those of the curve."""
    where = f"other_attacks.{key}"
    method, own = split_method(key, study.value(where), study.where(where))
    attack = load_attack(method)
    arguments = study.arguments(attack.run, where, within_threat(attack, own, study.budgets, study.where(where)))
    bound = attack.budget_for(arguments)
    return attack, arguments, (*bound, study.threat(bound.norm).epsilons) if bound else None


def bring(study: Study, key: str) -> None:
    """The same of images that were made elsewhere. Raises LeftOut where they fool nobody."""
    path, images = imported_path(study, key), study.path("images")
    split, class_names = read_split(images, "test"), read_description(images).class_names
    found = read_imported(path, split, len(class_names))
    model = for_inference(load_classifier(study.path("classifier")), study.device)
    identity = Identity(
        study.name, key, {"method": IMPORTED, **study.value(f"other_attacks.{key}")}, class_names, study.seed
    )
    write_imported(study.path("set", key), found, split, model, identity)
    measure_perturbations(study.path("set", key), study.path("statistics", key), model, study.seed, study.source)
    out = study.path("statistics", key) / "success.parquet"
    measure_success_by_norms(study.path("set", key), out, study.checked("other_sources.curve", Curve))


if __name__ == "__main__":
    run(main, __doc__, key="attack", computes=True)
