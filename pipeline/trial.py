"""What a study will cost on this machine, guessed from a short trial: for `make study`."""

import time

from pipeline.studies import ALL, Study

SECONDS = 2.0  # of the trial
# Passes that stages make, about: of the minimal attack per image, of a trial of all step sizes per image, of attacks
# on the whole defenses per original. Of 8x8 digits, whose study `demo` this guesses right.
STEPS, TRIED, ADAPTIVE = 150, 3000, 6000
TRAININGS = 6  # of the size of the classifier's own: other sizes, adversarial training, autoencoders
STARTS = 120.0  # seconds: a Python start and `import torch` for each stage, and DVC's own time


def cost(study: Study, shape: tuple[int, int, int], classes: int, training_images: int) -> str:
    """In words: images a second through the classifier and back, hours, gigabytes.

    shape : (c, h, w) of the images.
    """
    rate = passes_per_second(study, shape, classes)
    towards = {block: _targets(study, block, classes) for block in ("sources", "attack_trials", "other_sources")}
    rows = sum(study.value(f"sources.{split}") for split in ("train", "test")) * towards["sources"]
    passes = (
        (0 if study.brings_classifier else TRAININGS * training_images * study.value("classifier.training.epochs"))
        + rows * STEPS
        + study.value("attack_trials.originals") * towards["attack_trials"] * TRIED
        + study.value("adaptive.all.originals") * ADAPTIVE
    )
    others = study.value("other_sources.test") * towards["other_sources"] * len(study.other_attacks)
    channels, height, width = shape
    gigabytes = (2 * rows + others) * channels * height * width * 4 / 1e9
    minutes = (passes / rate + STARTS) / 60
    lasts = f"{minutes / 60:.0f} hours" if minutes > 120 else f"{minutes:.0f} minutes"
    return (
        f"measured: {rate:.0f} images/s through the classifier and back; the study: {2 * rows + others} adversarial "
        f"images, about {lasts} and {gigabytes:.2g} GB on disk, each within a factor of three"
    )


def _targets(study: Study, block: str, classes: int) -> int:
    found = study.value(block).get("targets", ALL)
    return classes - 1 if found == ALL else int(found)


def passes_per_second(study: Study, shape: tuple[int, int, int], classes: int) -> float:
    """How many images a second go through the study's classifier, untrained, and their gradients back."""
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
    size = batching(study.device, shape).attack
    images = torch.full((size, *shape), 0.5, device=study.device)
    done, started = -1, 0.0
    while done < 1 or time.perf_counter() < started + SECONDS:
        _, gradients = score_gradients(model, images, lambda logits: logits[:, 0])
        gradients.sum().item()  # waits for a GPU
        done += 1
        if not done:  # the first pass warms up
            started = time.perf_counter()
    return done * size / (time.perf_counter() - started)
