"""Let a defense and its variants learn: what their rules choose by trials, and what they train.

Reads:  the images file, the classifier, the paper's sets: of all of them the train split alone.
Writes: the defense's weights (empty of tensors if it learns none); its learning curves; a folder with what the rules
        chose, the trials, its variants' models. An interrupted run keeps the trainings that were finished.
Params: defenses.<key>.learn, training, threat, seed.
"""

from pipeline.artifacts.learning import write_learned
from pipeline.artifacts.materials import study_materials
from pipeline.defenses.protocol import Learned
from pipeline.params import parameters_of
from pipeline.registry import load_defense
from pipeline.stages.command import run
from pipeline.studies import Study


def main(study: Study, key: str) -> None:
    study.family(key)
    defense = load_defense(study.method(key))
    learned, where = Learned(), f"defenses.{key}.learn"
    if defense.learn is None:
        study.arguments(lambda: None, where)  # a parameter that nothing reads is refused
    else:
        defaults = {"threat": study.value("threat"), "training_defaults": study.value("training")}
        known = parameters_of(defense.learn)
        given = {name: value for name, value in defaults.items() if name in known} | dict(study.value(where))
        learned = defense.learn(study_materials(study, key), **study.arguments(defense.learn, where, given))
    write_learned(study.path("learned", key), study.path("curves", key), study.path("learning", key), learned)


if __name__ == "__main__":
    run(main, __doc__, key="defense")
