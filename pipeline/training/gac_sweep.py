"""Short trainings of the Generative Adversarial Classifier, one for each lambda."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.metrics.gains import GAC, GacTrial, compare_accuracy
from pipeline.models.inference import predict
from pipeline.models.modes import evaluation_mode
from pipeline.training.gac import (
    CONTROL,
    GacSettings,
    Sample,
    TrainingFailed,
    deceive,
    fit_gac,
    generate,
    new_contestants,
)

Fakes = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]


def try_lambdas(
    version: str,
    training: Sample,
    unseen: Sample,
    adversarial: Sample,
    originals: NDArray[np.integer[Any]],
    shown: Tensor,
    class_count: int,
    names: tuple[int, *tuple[str | int, ...]],
    settings: GacSettings,
    draws: Callable[[str], torch.Generator],
    advance: Callable[[int], object] = lambda count: None,
) -> Iterator[tuple[GacTrial, Fakes | None]]:
    """For each lambda, from the largest: how the trained classifier does, and what its generator makes of `shown`.

    A training that fails gives a trial that says why, and None; the others go on.

    Parameters
    ----------
    training : what is learned from, uint8 images. unseen : other images without perturbation.
    adversarial : images whose originals are not in `training`; `originals`, int (n,), says which share one.
    draws : a fresh generator of random numbers by name, the same at each call.

    Returns pairs; the second part: generated images (e, c, h, w), the classes predicted before and after (e,).
    """
    control: dict[str, NDArray[np.bool_]] = {}
    for lambda_ in sorted(settings.lambdas, reverse=True):
        # The control knows no lambda: it is trained beside the first that does not fail.
        wanted = (GAC,) if control else (GAC, CONTROL)
        contestants = new_contestants(version, training.images, class_count, names, settings, wanted)
        watched = {"train": Sample(training.images[:2000], training.labels[:2000], generated=False)}
        about = GacTrial(version, lambda_, settings.trial_epochs, len(originals), "ok")
        choices = {**settings.training, "epochs": settings.trial_epochs, "lambda_": lambda_}
        try:
            for _ in fit_gac(
                contestants, training.images, training.labels, watched, 0, draws("order"), draws("noise"), advance,
                **choices,
            ):  # fmt: skip
                pass
        except TrainingFailed as failure:
            yield GacTrial(**{**vars(about), "status": str(failure)}), None
            continue
        gac = contestants.classifiers[GAC]
        if not control:
            other = contestants.classifiers[CONTROL]
            control = {"clean": right(other, unseen), "adversarial": right(other, adversarial)}
        clean, correct = right(gac, unseen), right(gac, adversarial)
        both = {GAC: correct, CONTROL: control["adversarial"]}
        _, compared = compare_accuracy(0, "minimal", "unseen", both, originals)
        l2, fooled = deceive(contestants.generator, gac, unseen, torch.from_numpy(clean))
        figures = {
            "clean_accuracy": float(clean.mean()),
            "control_clean_accuracy": float(control["clean"].mean()),
            "accuracy": float(correct.mean()),
            "control_accuracy": float(control["adversarial"].mean()),
            "gain": compared.gain,
            "gain_low": compared.gain_low,
            "gain_high": compared.gain_high,
            "perturbation_l2": l2,
            "fooled": fooled,
        }
        made = generate(contestants.generator, shown)
        pictures = made.cpu().numpy(), predicted(gac, shown), predicted(gac, made)
        yield GacTrial(**{**vars(about), **figures}), pictures


def predicted(model: nn.Module, images: Tensor) -> NDArray[np.int64]:
    """The classes, int64 (n,), that a classifier predicts for images (n, c, h, w), in evaluation mode."""
    with evaluation_mode(model):
        classes: NDArray[np.int64] = predict(model, images, 256).argmax(1).cpu().numpy()
    return classes


def right(model: nn.Module, sample: Sample) -> NDArray[np.bool_]:
    """Which images of a sample get their label, bool (n,)."""
    return np.asarray(predicted(model, sample.images) == sample.labels.cpu().numpy())
