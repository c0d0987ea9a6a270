"""Let a defense and its variants learn: what their rules choose by trials, and what they train.

Reads:  the images file, the classifier, the paper's sets: of all of them the train split alone decides.
Writes: the defense's weights (without tensors if it learns none); its learning curves; a folder with what the rules
        chose, the trials, its variants' models; or why the family is left out. An interrupted run keeps the trainings
        that were finished.
Params: defenses.<key>.learn, training, threat, seed.
"""

from pipeline.artifacts.learning import write_learned
from pipeline.artifacts.left_out import note_left_out
from pipeline.defenses.protocol import Learned, load_defense
from pipeline.errors import LeftOut, PipelineError
from pipeline.stages.command import run
from pipeline.stages.families import learning_arguments, materials_of
from pipeline.studies import Study


def main(study: Study, key: str) -> None:
    study.family(key)
    defense = load_defense(study.method(key))
    arguments = learning_arguments(study, key, defense)
    materials = materials_of(study, key)
    reason = ""
    try:
        learned = defense.learn(materials, **arguments) if defense.learn else Learned()
    except LeftOut as why:
        learned, reason = Learned(), str(why)
    except PipelineError as error:
        raise _in_params(study, key, error) from None
    write_learned(study.path("learned", key), study.path("curves", key), study.path("learning", key), learned)
    if reason:
        note_left_out(study.path("learning", key), reason)
    materials.clear()


def _in_params(study: Study, key: str, error: PipelineError) -> PipelineError:
    """An error that begins with a file as it is, another with where its parameter stands."""
    place = str(error).partition(": ")[0]
    if "/" in place:
        return error
    block = "defenses." if place.startswith(f"{key}.") else f"defenses.{key}.learn: "
    return PipelineError(f"{study.where(block)}{error}")


if __name__ == "__main__":
    run(main, __doc__, key="defense", computes=True)
