"""Judge a defense and its variants on the test split: clean images, the paper's sets, and random noise of their size.

Reads:  the images file, the classifier, the paper's sets, what the family has learned.
Writes: of the defense one row per (image, set); a folder with the same of its variants, and what else its file measures.
Params: defenses.<key>, seed.
Cost:   the passes of each over (test split + test-split part of the sets).
"""

from pipeline.artifacts.evaluations import write_evaluation
from pipeline.artifacts.images import read_description
from pipeline.artifacts.judging import judge_parts, parts_to_judge
from pipeline.artifacts.learning import read_learned, write_examined
from pipeline.artifacts.materials import study_materials
from pipeline.devices import batching
from pipeline.errors import PipelineError
from pipeline.registry import load_defense
from pipeline.stages.command import run
from pipeline.stages.judged import load_family
from pipeline.studies import Study


def main(study: Study, key: str) -> None:
    names = study.seed, study.source
    batch_size = batching(study.device).predict
    sets = {attack: study.path(attack) for attack in ("minimal", "extended")}
    class_names = list(read_description(study.path("images")).class_names)
    folder = study.path("examination", key)
    folder.mkdir(parents=True, exist_ok=True)
    for loaded in load_family(study, key):
        frame = judge_parts(
            loaded.judged(), parts_to_judge(study.path("images"), sets, batch_size, *names), batch_size, *names
        )
        if frame is None:
            raise PipelineError(f"{study.path('minimal')}: no image fools the classifier: nothing to judge")
        about = {
            "dataset": study.name,
            "defense": loaded.name,
            "arguments": loaded.arguments,
            "class_names": class_names,
        }
        out = study.path("evaluation", key) if loaded.name == key else folder / f"{loaded.name}.parquet"
        write_evaluation(out, frame, about)
    defense = load_defense(study.method(key))
    if defense.examine is not None and "examine" in study.value(f"defenses.{key}"):
        learned = read_learned(study.path("learned", key), study.path("learning", key), study.path("curves", key))
        arguments = study.arguments(defense.examine, f"defenses.{key}.examine")
        write_examined(folder, defense.examine(study_materials(study, key), learned, **arguments))


if __name__ == "__main__":
    run(main, __doc__, key="defense")
