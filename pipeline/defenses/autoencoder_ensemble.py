"""Autoencoder ensemble (the paper's)

Passes through a denoising autoencoder with dropout on, then the attacked classifier, a vote each (paper, Section 3.2).
How much dropout, short trainings say. Its family has the same autoencoder without dropout, and a blur that comes as
near to the originals.
"""

from copy import deepcopy

import torch
from torch import Tensor

from pipeline.defenses.protocol import Defense, Learned, Materials
from pipeline.defenses.shared.autoencoder_trials import (
    DROPOUT_RULE,
    Architecture,
    AutoencoderTrial,
    Passes,
    Trials,
    choose_dropout,
    new_autoencoder,
    try_all,
)
from pipeline.defenses.shared.choices import settle
from pipeline.defenses.shared.restorations import Sigma, choose_blur, examine, measure_errors
from pipeline.errors import PipelineError
from pipeline.metrics.choices import Choice
from pipeline.metrics.contrasts import Contrast
from pipeline.metrics.restorations import BLUR, RestorationError
from pipeline.models.autoencoder import RestoringClassifier
from pipeline.models.dropout import sampling
from pipeline.models.inference import for_inference
from pipeline.models.modes import evaluation_mode
from pipeline.models.passes import make_passes
from pipeline.study_blocks import PAPER_ATTACKS
from pipeline.training.autoencoder import AutoencoderTraining, fit_autoencoder


def autoencoder_ensemble(
    defended: RestoringClassifier, images: Tensor, generator: torch.Generator, *, passes: Passes = 20
) -> Tensor:
    """Logits of `passes` passes, float (n, passes, k): the autoencoder with dropout on, then the classifier.

    Dropout has the rate it was trained with; the classifier's own stays off, and batch norm runs in evaluation mode,
    whatever mode the models are in; modes are restored afterwards. Masks are independent per image and pass. Each
    image is encoded once: dropout begins behind the encoder.

    images : float (n, c, h, w) in [0, 1].

    The paper gives neither passes nor rate.
    """
    autoencoder, classifier = defended.autoencoder, defended.classifier
    with evaluation_mode(defended):
        codes = autoencoder.encoder(images)
        with sampling(autoencoder, generator):
            return make_passes(lambda *both: classifier(autoencoder.restore(*both)), passes, images, codes)


def learn(
    materials: Materials,
    *,
    architecture: Architecture,
    training: AutoencoderTraining,
    trials: Trials | None = None,
    sigmas: tuple[Sigma, ...] = (),
) -> Learned:
    """Trials of dropout, the training, and the errors of what it restores, beside blurs of `sigmas` pixels if any.

    On adversarial images of both kinds, of train-split originals; chosen on those that are held out. Without trials
    `architecture.dropout` must be a number.
    """
    choices: dict[str, Choice] = {}
    tried: list[AutoencoderTrial] = []
    if trials:
        tried = try_all(materials, architecture, training, trials, autoencoder_ensemble)
        choices["dropout"] = choose_dropout(tried)
    elif isinstance(architecture.dropout, str):
        raise PipelineError(
            f"{materials.key}.learn.architecture.dropout: auto, but there are no trials: give a number, or trials"
        )
    value = choices["dropout"].value if choices else None
    dropout = settle(architecture.dropout, value, f"{materials.key}.learn.architecture.dropout", DROPOUT_RULE)
    curves = []
    with (
        materials.pairs(PAPER_ATTACKS, ~materials.held_out) as pairs,
        materials.pairs(PAPER_ATTACKS, materials.held_out) as validation,
    ):
        named = materials.seed, materials.source, materials.device
        model = new_autoencoder(*named, pairs, architecture, dropout, materials.key)
        draws = materials.generator(materials.key, "training")
        with materials.progress(training.epochs * len(pairs), "training") as progress:
            for epoch in fit_autoencoder(
                model, materials.classifier, pairs, validation, draws, progress.update, **vars(training)
            ):
                curves.append(epoch)
                progress.set_postfix({f"{epoch.split} accuracy": f"{epoch.accuracy:.4f}"}, refresh=False)
    errors = measure_errors(materials, for_inference(deepcopy(model), materials.device), sigmas)
    if sigmas:
        choices[f"{BLUR}.sigma"] = choose_blur(
            {sigma: errors[BLUR, sigma, "clean"] for sigma in sigmas}, errors[materials.key, 0.0, "clean"]
        )
    table = [
        RestorationError(method, sigma, kind, len(values), float(values.mean()))
        for (method, sigma, kind), values in errors.items()
    ]
    return Learned(models={"": model}, choices=choices, trials=tried, curves=curves, tables={"errors": table})


defense = Defense(
    predict=autoencoder_ensemble,
    randomized=True,
    roles=(),
    learn=learn,
    examine=examine,
    tried=("trials", "sigmas"),
    chooses={"dropout": "trials", f"{BLUR}.sigma": "sigmas"},
    primary=Contrast(BLUR),  # whether what it has learned is more than a blur of equal error
)
