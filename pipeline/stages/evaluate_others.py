"""Judge a defense and its variants on the other attacks' images of the test split.

Reads:  the classifier, the other attacks' sets, what the family has learned.
Writes: a folder, of each defense a table with one row per (image, set).
Params: defenses.<key>.predict, defenses.<key>.variants, seed.
Cost:   the passes of each over the sets.
"""

from collections.abc import Iterable
from pathlib import Path

from pipeline.artifacts.adversarial import open_adversarial
from pipeline.artifacts.evaluations import write_evaluation
from pipeline.artifacts.judging import judge_parts, parts_to_judge
from pipeline.artifacts.left_out import leave_out, reason_left_out
from pipeline.devices import batching
from pipeline.stages.command import run
from pipeline.stages.families import load_family
from pipeline.studies import Study


def main(study: Study, key: str) -> None:
    folder = study.path("other_evaluation", key)
    if reason := reason_left_out(study.path("learning", key)):
        leave_out(reason, folder)
        return
    names = study.seed, study.source
    sets = {attack: study.path("set", attack) for attack in study.other_attacks}
    sets = {attack: path for attack, path in sets.items() if not reason_left_out(path)}
    batch_size = batching(study.device, _shape(sets.values())).predict
    folder.mkdir(parents=True, exist_ok=True)
    for loaded in load_family(study, key):
        frame = judge_parts(loaded.judged(), parts_to_judge(None, sets, batch_size, *names), batch_size, *names)
        if frame is None:  # no other attack, or none that fooled the classifier
            continue
        with open_adversarial(next(iter(sets.values()))) as set_:
            class_names = list(set_.identity.class_names)
        about = {
            "dataset": study.name,
            "defense": loaded.name,
            "arguments": loaded.arguments,
            "role": loaded.role,
            "class_names": class_names,
        }
        write_evaluation(folder / f"{loaded.name}.parquet", frame, about)


def _shape(sets: Iterable[Path]) -> tuple[int, ...]:
    """Of the images in the first of the sets, if there is one."""
    for path in sets:
        with open_adversarial(path) as set_:
            return set_.sources.originals.shape[1:]
    return ()


if __name__ == "__main__":
    run(main, __doc__, key="defense", computes=True)
