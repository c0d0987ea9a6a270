"""Make the minimal set, every source image towards every other class or so many of them, and its statistics.

Reads:  the images file, from which the source images are selected; the classifier; the chosen step size.
Writes: the adversarial set; its statistics.
Params: attacks.minimal, sources, seed.
Cost:   about one forward and backward pass per image and step. An interrupted run goes on where it was.
"""

from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.generation import start_from_images
from pipeline.artifacts.images import read_description
from pipeline.attacks.minimal import attack
from pipeline.models.inference import for_inference
from pipeline.stages.command import run
from pipeline.stages.sets import make_and_measure, minimal_arguments, source_counts, target_count
from pipeline.studies import Study


def main(study: Study) -> None:
    arguments = minimal_arguments(study)
    counts = source_counts(study, "sources")
    model = for_inference(load_classifier(study.path("classifier")), study.device)
    targets = target_count(study, "sources", len(read_description(study.path("images")).class_names))
    start = start_from_images(
        study.path("images"), model, counts, study.seed, study.source, study.where("sources"), targets
    )
    make_and_measure(study, "minimal", attack, arguments, start, model)


if __name__ == "__main__":
    run(main, __doc__, computes=True)
