"""Carry the minimal images on past the boundary, and measure their perturbations.

Reads:  the minimal set; the classifier; the chosen number of extra steps.
Writes: the adversarial set; its statistics.
Params: attacks.extended, seed. The step size is that of the minimal set.
Cost:   one forward and backward pass per image and extra step. An interrupted run goes on where it was.
"""

from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.generation import start_from_set
from pipeline.attacks.extended import attack
from pipeline.models.inference import for_inference
from pipeline.stages.command import run
from pipeline.stages.sets import extended_arguments, make_and_measure
from pipeline.studies import Study


def main(study: Study) -> None:
    start = start_from_set(study.path("minimal"))
    arguments = extended_arguments(study, start.params)
    model = for_inference(load_classifier(study.path("classifier")), study.device)
    make_and_measure(study, "extended", attack, arguments, start, model)


if __name__ == "__main__":
    run(main, __doc__, computes=True)
