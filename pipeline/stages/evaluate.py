"""Judge a defense and its variants on the test split: clean images, the paper's sets, and random noise of their size.

Reads:  the images file, the classifier, the paper's sets, what the family has learned.
Writes: of the defense one row per (training, image, set), also of validation images; a folder with the same of its
        variants, and what else is measured.
Params: defenses.<key>, seed.
Cost:   the passes of each training over (test split + test-split part of the sets), and of validation images likewise.
"""

from pipeline.artifacts.evaluations import write_evaluation
from pipeline.artifacts.images import read_description, read_shape
from pipeline.artifacts.judging import judge_parts, parts_to_judge
from pipeline.artifacts.learning import load_learned, write_examined
from pipeline.artifacts.left_out import leave_out, reason_left_out
from pipeline.defenses.protocol import Examined, load_defense
from pipeline.devices import batching
from pipeline.errors import PipelineError
from pipeline.stages.command import run
from pipeline.stages.families import examining_arguments, load_family, materials_of, primary_of
from pipeline.studies import Study
from pipeline.study_blocks import PAPER_ATTACKS


def main(study: Study, key: str) -> None:
    if reason := reason_left_out(study.path("learning", key)):
        leave_out(reason, study.path("evaluation", key), study.path("examination", key))
        return
    names = study.seed, study.source
    batch_size = batching(study.device, read_shape(study.path("images"))).predict
    sets = {attack: study.path(attack) for attack in PAPER_ATTACKS}
    class_names = list(read_description(study.path("images")).class_names)
    defense, examined = load_defense(study.method(key)), Examined()
    if defense.examine is not None:
        learned = load_learned(study.path("learned", key), study.path("learning", key))
        arguments = examining_arguments(study, key, defense)
        examined = defense.examine(materials_of(study, key), learned, **arguments)
    write_examined(study.path("examination", key), examined)
    for loaded in load_family(study, key):
        parts = parts_to_judge(study.path("images"), sets, batch_size, *names)
        frame = judge_parts(loaded.judged(), parts, batch_size, *names)
        if frame is None:
            raise PipelineError(f"{study.path('minimal')}: no image fools the classifier: nothing to judge")
        about = {
            "dataset": study.name,
            "defense": loaded.name,
            "arguments": loaded.arguments,
            "role": loaded.role,
            "class_names": class_names,
            "primary": primary_of(study, key, defense) if loaded.name == key else None,
        }
        write_evaluation(study.evaluation_path(key, loaded.name), frame, about)


if __name__ == "__main__":
    run(main, __doc__, key="defense", computes=True)
