"""Choose `step_size` and `extra_steps` of the paper's attacks by trials on validation images.

Reads:  the images file (validation tenth of the train split); the classifier.
Writes: two tables, mean L2 against step size and against extra steps; choices.json, what the rules chose.
Params: attack_trials, attacks.minimal.step_size (the extra steps are tried at it, if it is a number), seed.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch

from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.choices import write_choices
from pipeline.artifacts.curves import write_curves
from pipeline.artifacts.images import read_description, read_shape, read_split
from pipeline.attacks.shared.calibration import try_extra_steps, try_step_sizes
from pipeline.devices import batching
from pipeline.errors import PipelineError
from pipeline.metrics.calibration import choose_extra_steps, choose_step_size
from pipeline.metrics.splits import validation_mask
from pipeline.models.inference import for_inference, predict, to_unit_interval
from pipeline.params import AUTO
from pipeline.progress import each
from pipeline.ranges import Range
from pipeline.stages.command import run
from pipeline.stages.sets import targets_of
from pipeline.studies import Study

StepSize = Annotated[float, Range(0, 1000, low_open=True)]


@dataclass(frozen=True, kw_only=True)
class AttackTrials:
    """originals : validation images. targets : of each, all or so many. max_steps : after which one is given up."""

    originals: Annotated[int, Range(1, 10**6)]
    step_sizes: tuple[StepSize, ...]
    most_extra_steps: Annotated[int, Range(1, 1000)]
    max_steps: Annotated[int, Range(1, 30000)]
    targets: Annotated[int, Range(1, 255)] | Literal["all"] = "all"


def main(study: Study) -> None:
    trials: AttackTrials = study.checked("attack_trials", AttackTrials)
    given = study.value("attacks.minimal.step_size")
    if given != AUTO:
        study.checked("attacks.minimal.step_size", StepSize)

    device = study.device
    batches = batching(device, read_shape(study.path("images")))
    model = for_inference(load_classifier(study.path("classifier")), device)
    split = read_split(study.path("images"), "train")
    held_out = validation_mask(split.labels, study.seed, study.source)
    images, labels = torch.from_numpy(split.images[held_out]), split.labels[held_out]
    predicted = predict(model, images, batches.predict).argmax(1).cpu().numpy()
    right = np.flatnonzero(predicted == labels)[: trials.originals]
    if not len(right):
        raise PipelineError(
            f"{study.path('images')}: expected rightly classified validation images, found none: train more"
        )
    classes = len(read_description(study.path("images")).class_names)
    rows, targets = targets_of(study, "attack_trials", labels[right], classes)
    originals = to_unit_interval(images[right], model)[torch.from_numpy(rows).to(device, torch.int64)]
    attacked = model, originals, torch.from_numpy(targets).to(device, torch.int64), batches.attack

    sizes = try_step_sizes(*attacked, step_sizes=trials.step_sizes, max_steps=trials.max_steps)
    sizes_tried = list(each(sizes, f"choose step size {study.name}", "trial", len(trials.step_sizes)))
    step_size = choose_step_size(sizes_tried)
    used = given if given != AUTO else step_size.value
    choices = {"step_size": step_size}
    if used is None:
        where = study.where("attack_trials.step_sizes")
        raise PipelineError(
            f"{where}: expected a step size that meets the rule ({step_size.rule}), found none among "
            f"{', '.join(f'{size:g}' for size in trials.step_sizes)}: "
            "try smaller ones, or give attacks.minimal.step_size a number"
        )
    extra = try_extra_steps(
        *attacked, step_size=used, most_extra_steps=trials.most_extra_steps, max_steps=trials.max_steps
    )
    extra_tried = list(each(extra, f"choose extra steps {study.name}", "trial", trials.most_extra_steps))
    choices["extra_steps"] = choose_extra_steps(extra_tried)
    write_curves(study.path("step_sizes"), sizes_tried)
    write_curves(study.path("extra_steps"), extra_tried)
    write_choices(study.path("attack_choices"), choices)


if __name__ == "__main__":
    run(main, __doc__, computes=True)
