"""What a GAC's trainings came to: accuracies, what the minimal attack needs against each model, generated images."""

from dataclasses import replace
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.attacks.shared.comparison import needed_against
from pipeline.defenses.protocol import Examined, Learned, Materials
from pipeline.defenses.shared.gac_samples import Share, as_floats, judged, open_contest, predicted, right
from pipeline.defenses.shared.pictures import Generated
from pipeline.metrics.gains import CONTROLS, EACH_CLASS, GAC, MEAN, Accuracy, Needed, compare_accuracy, find_changes
from pipeline.models.classifier import NormalizingClassifier
from pipeline.models.generators import Generator
from pipeline.models.inference import for_inference
from pipeline.ranges import Range
from pipeline.training.gac import Contestants, deceive, generate

GENERATOR = "generator"  # the role of what made the perturbations, among a training's models
# The kinds of Figure 10 of the paper, original to generated; where one does not occur, it is left out.
KINDS = ((4, 7), (5, 8), (9, 7), (4, 9), (1, 4), (0, 8), (5, 3))
SEARCHED = 10000  # test images that those are looked for among


def examine(
    materials: Materials, learned: Learned, *, share: Share, originals: Annotated[int, Range(1, 10**6)]
) -> Examined:
    """Each training's accuracies, what the minimal attack needs against its classifiers, and generated images.

    Tables `accuracies` (on whole splits and sets), `robustness`; picture `generated`, of the first training.

    share : that of `learn`. originals : of the test split, that each classifier is attacked on.
    """
    trained = {
        number: Contestants(
            _generator(models[GENERATOR], materials),
            {GAC if role == "" else role: _classifier(models[role], materials) for role in ("", *CONTROLS)},
        )
        for number, models in learned.trainings.items()
    }
    contest = open_contest(materials, share)
    accuracies: list[Accuracy] = []
    for kind, part, sample, original_row in judged(materials, contest):
        each = []
        for number, contestants in trained.items():
            each.append({name: right(model, sample) for name, model in contestants.classifiers.items()})
            rows = compare_accuracy(number, kind, part, each[-1], original_row)
            if sample.generated:
                correct = torch.from_numpy(each[-1][GAC])
                l2, fooled = deceive(contestants.generator, contestants.classifiers[GAC], sample, correct)
                rows = [replace(row, perturbation_l2=l2, fooled=fooled) if row.model == GAC else row for row in rows]
            accuracies += rows
        together = {name: np.mean([correct[name] for correct in each], axis=0) for name in each[0]}
        accuracies += compare_accuracy(MEAN, kind, part, together, original_row)

    pixels, truth = materials.split("test")
    order = materials.random("gac", "robustness").permutation(len(truth))
    images = torch.from_numpy(pixels[order]).to(materials.device)
    labels = torch.from_numpy(truth[order]).to(materials.device, torch.int64)
    attack = materials.rows("minimal", split="test").params
    needed: list[Needed] = []
    with materials.progress(len(trained) * (1 + len(CONTROLS)), "attack", "model") as progress:
        for number, contestants in trained.items():
            found = needed_against(contestants.classifiers, images, labels, originals, materials.attack_batch, **attack)
            for name, columns in found:
                columns["original_row"] = order[columns["original_row"]]
                values = (columns[column].tolist() for column in ("original_row", "target_label", "l2", "steps"))
                needed += [Needed(number, name, *row) for row in zip(*values, strict=True)]
                progress.update(1)
    picture = _examples(materials.key, next(iter(trained.values())), images, truth[order])
    return Examined(tables={"accuracies": accuracies, "robustness": needed}, pictures={"generated": picture})


def _generator(model: nn.Module, materials: Materials) -> Generator:
    assert isinstance(model, Generator)
    return for_inference(model, materials.device)


def _classifier(model: nn.Module, materials: Materials) -> NormalizingClassifier:
    assert isinstance(model, NormalizingClassifier)
    return for_inference(model, materials.device)


def _examples(name: str, contestants: Contestants, images: Tensor, labels: NDArray[np.uint8]) -> Generated:
    """First the images that changed their class, by kind; then some of every class."""
    classifier = contestants.classifiers[GAC]
    searched = slice(0, SEARCHED)
    before = predicted(classifier, images[searched])
    after = predicted(classifier, generate(contestants.generator, images[searched]))
    rows = find_changes(labels[searched], before, after, KINDS, len(KINDS))
    rows += [row for label in np.unique(labels) for row in np.flatnonzero(labels == label)[:EACH_CLASS].tolist()]
    shown = images[rows]
    made = generate(contestants.generator, shown)
    return Generated(
        names=(name,),
        originals=as_floats(shown),
        labels=labels[rows],
        generated=made.cpu().numpy()[None],
        predicted_before=predicted(classifier, shown)[None].astype(np.uint8),
        predicted_after=predicted(classifier, made)[None].astype(np.uint8),
    )
