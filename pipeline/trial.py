"""What a study will cost on this machine, guessed from a short trial: for `make study`."""

import time
from collections.abc import Sequence

from pipeline.studies import Study
from pipeline.study_blocks import ALL

SECONDS = 2.0  # of the trial
# Passes that stages make, about: of the minimal attack per image, of attacks on the whole defenses per original. Of 8x8
# digits, whose study `demo` this guesses right.
STEPS, ADAPTIVE = 150, 6000
# Steps to the first success times step size: the largest that is known, of MNIST (14.3 steps of 0.05); of digits and
# CIFAR-10 it is 0.11. Nobody knows before the classifier is trained.
REACH = 0.7
TRAININGS = 6  # of the size of the classifier's own: other sizes, adversarial training, autoencoders
STARTS = 120.0  # seconds: a Python start and `import torch` for each stage, and DVC's own time


def cost(study: Study, shape: tuple[int, int, int], classes: int, training_images: int) -> str:
    """In words: images a second through the classifier and back, hours, gigabytes.

    shape : (c, h, w) of the images.
    """
    tried = study.value("attack_trials.originals") * _targets(study, "attack_trials", classes)
    rate, rate_of_tried = passes_per_second(study, shape, classes, (None, tried))
    towards = {block: _targets(study, block, classes) for block in ("sources", "other_sources")}
    rows = sum(study.value(f"sources.{split}") for split in ("train", "test")) * towards["sources"]
    passes = (
        (0 if study.brings_classifier else TRAININGS * training_images * study.value("classifier.training.epochs"))
        + rows * STEPS
        + study.value("adaptive.all.originals") * ADAPTIVE
    )
    others = study.value("other_sources.test") * towards["other_sources"] * len(study.other_attacks)
    channels, height, width = shape
    gigabytes = (2 * rows + others) * channels * height * width * 4 / 1e9
    choosing = tried * passes_to_choose(study) / rate_of_tried
    return (
        f"measured: {rate:.0f} images/s through the classifier and back; the study: {2 * rows + others} adversarial "
        f"images, about {_lasting(passes / rate + choosing + STARTS)} and {gigabytes:.2g} GB on disk, each within a "
        f"factor of three; of the time up to {_lasting(choosing)} for choose_steps"
    )


def passes_to_choose(study: Study) -> float:
    """Passes of one image in trials of all step sizes, then of extra steps: each climb is longer, the smaller its step.

    No more than `attack_trials.max_steps` a climb.
    """
    most = study.value("attack_trials.max_steps")
    climbs = [min(most, REACH / size) for size in study.value("attack_trials.step_sizes")]
    return float(sum(climbs) + study.value("attack_trials.most_extra_steps"))


def _lasting(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 3600:.0f} hours" if seconds > 7200 else f"{seconds / 60:.0f} minutes"


def _targets(study: Study, block: str, classes: int) -> int:
    found = study.value(block).get("targets", ALL)
    return classes - 1 if found == ALL else int(found)


def passes_per_second(
    study: Study, shape: tuple[int, int, int], classes: int, counts: Sequence[int | None]
) -> list[float]:
    """How many images a second go through the study's classifier, untrained, and their gradients back.

    counts : how many images there are, each timed apart: few go slower. None: as many as a batch holds.
    """
    import torch

    from pipeline.artifacts.outside import builder, given_in
    from pipeline.attacks.shared.ascent import score_gradients
    from pipeline.devices import batching
    from pipeline.models.inference import for_inference

    if study.brings_classifier:
        given = given_in(study.folder)
        model = builder(study.folder, given)(shape, classes, **(given.arguments or {}))
    else:
        model = study.kind(shape, classes, **study.arguments(study.kind, "classifier.architecture"))
    model = for_inference(model, study.device)
    most, rates = batching(study.device, shape).attack, []
    for count in counts:
        size = min(most, count or most)
        images = torch.full((size, *shape), 0.5, device=study.device)
        done, started = -1, 0.0
        while done < 1 or time.perf_counter() < started + SECONDS / len(counts):
            _, gradients = score_gradients(model, images, lambda logits: logits[:, 0])
            gradients.sum().item()  # waits for a GPU
            done += 1
            if not done:  # the first pass warms up
                started = time.perf_counter()
        rates.append(done * size / (time.perf_counter() - started))
    return rates
