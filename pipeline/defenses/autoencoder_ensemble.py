"""Autoencoder ensemble (the paper's)

Passes through a denoising autoencoder with dropout on, then the attacked classifier, a vote each (paper, Section 3.2).
How much dropout, short trainings say. Its family has the same autoencoder without dropout, and a blur that comes as
near to the originals.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.defenses.gaussian_blur import blur
from pipeline.defenses.protocol import Defense, Examined, Learned, Materials, Rows
from pipeline.defenses.shared.choices import (
    ROUNDING,
    is_narrow,
    moved,
    settle,
    shares_by_original,
)
from pipeline.defenses.shared.pictures import Restorations
from pipeline.errors import PipelineError
from pipeline.metrics.choices import Choice
from pipeline.metrics.contrasts import Contrast
from pipeline.metrics.restorations import BLUR, NOTHING, RestorationError
from pipeline.metrics.votes import summarize_passes
from pipeline.models.autoencoder import Autoencoder, RestoringClassifier
from pipeline.models.dropout import sampling
from pipeline.models.inference import for_inference, place, to_unit_interval
from pipeline.models.modes import evaluation_mode
from pipeline.models.passes import make_passes
from pipeline.randomness import generator, seeded_initialization
from pipeline.ranges import Range
from pipeline.training.autoencoder import AutoencoderTraining, Pairs, fit_autoencoder

Passes = Annotated[int, Range(1, 10000)]
Dropout = Annotated[float, Range(0, 0.9)]
Sigma = Annotated[float, Range(0, 20)]
Method = Callable[[Tensor], Tensor]

ATTACKS = ("minimal", "extended")
WITHOUT = "autoencoder_without_dropout"
ALLOWANCE = 0.01  # what a dropout rate may cost of the best mean of clean and recovered shares
DROPOUT_RULE = (
    "of the rates above 0, the largest whose mean of originals right, minimal recovered and extended recovered, at the "
    "most passes tried, is at most a point below the best such mean; there are no ties"
)
DROPOUT_REASON = (
    "dropout is there against attackers that know the defense (paper, Section 3.2), so as much of it as costs little"
)
SIGMA_RULE = (
    "the sigma whose reconstruction error on originals is nearest to the autoencoder's, as a ratio; of two equally "
    "near the smaller"
)
SIGMA_REASON = (
    "a control that comes as near to the originals and has learned nothing; on originals, because there a blur's error "
    "grows with sigma and can have any size"
)


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


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Arguments of `Autoencoder`; the dropout rate of "auto" is what DROPOUT_RULE chooses."""

    channels: tuple[Annotated[int, Range(1, 4096)], ...]
    residual: bool
    dropout: Dropout | Literal["auto"] = "auto"


@dataclass(frozen=True, kw_only=True)
class Trials:
    """Short trainings on some of the originals, alike but for one parameter each.

    originals, epochs : of each training. passes : numbers of passes to judge at. dropout : rates to try; the first is
    the base's, in which the other parameters are varied. clean_share, classifier_weight : values tried instead of
    the training's own.
    """

    originals: Annotated[int, Range(1, 10**6)]
    epochs: Annotated[int, Range(1, 1000)]
    passes: tuple[Passes, ...]
    dropout: tuple[Dropout, ...]
    clean_share: tuple[Annotated[float, Range(0, 1)], ...] = ()
    classifier_weight: tuple[Annotated[float, Range(0, 1000)], ...] = ()


@dataclass(frozen=True)
class AutoencoderTrial:
    """An ensemble after a short training, judged on validation originals and all of their targets.

    varied: the parameter in which it differs from the base ("base": in none). training_originals and epochs: what it
    was trained on. originals: what it was judged on. Of an attack, the means over originals of their images' shares.
    """

    defense: str
    varied: str
    dropout: float
    clean_share: float
    classifier_weight: float
    training_originals: int
    epochs: int
    originals: int
    passes: int
    clean_accuracy: float
    minimal_thwarted: float
    minimal_recovered: float
    extended_thwarted: float
    extended_recovered: float

    @property
    def average(self) -> float:
        """What DROPOUT_RULE looks at."""
        return (self.clean_accuracy + self.minimal_recovered + self.extended_recovered) / 3


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
        tried = _try_all(materials, architecture, training, trials)
        choices["dropout"] = choose_dropout(tried)
    elif isinstance(architecture.dropout, str):
        raise PipelineError(
            f"{materials.key}.learn.architecture.dropout: auto, but there are no trials: give a number, or trials"
        )
    value = choices["dropout"].value if choices else None
    dropout = settle(architecture.dropout, value, f"{materials.key}.learn.architecture.dropout", DROPOUT_RULE)
    curves = []
    with (
        materials.pairs(ATTACKS, ~materials.held_out) as pairs,
        materials.pairs(ATTACKS, materials.held_out) as validation,
    ):
        named = materials.seed, materials.source, materials.device
        model = _new(*named, pairs, architecture, dropout, materials.key)
        draws = materials.generator(materials.key, "training")
        with materials.progress(training.epochs * len(pairs), "training") as progress:
            for epoch in fit_autoencoder(
                model, materials.classifier, pairs, validation, draws, progress.update, **vars(training)
            ):
                curves.append(epoch)
                progress.set_postfix({f"{epoch.split} accuracy": f"{epoch.accuracy:.4f}"}, refresh=False)
    errors = _measure_errors(materials, for_inference(deepcopy(model), materials.device), sigmas)
    if sigmas:
        choices[f"{BLUR}.sigma"] = choose_blur(
            {sigma: errors[BLUR, sigma, "clean"] for sigma in sigmas}, errors[materials.key, 0.0, "clean"]
        )
    table = [
        RestorationError(method, sigma, kind, len(values), float(values.mean()))
        for (method, sigma, kind), values in errors.items()
    ]
    return Learned(models={"": model}, choices=choices, trials=tried, curves=curves, tables={"errors": table})


def _new(
    seed: int,
    source: str,
    device: torch.device,
    pairs: Pairs,
    architecture: Architecture,
    dropout: float,
    *names: str,
) -> Autoencoder:
    channels, height, width = pairs.originals.shape[1:]
    with seeded_initialization(seed, source, *names):
        model = Autoencoder(
            (channels, height, width),
            channels=architecture.channels,
            dropout=dropout,
            residual=architecture.residual,
        )
    return place(model, device)


def variations(training: AutoencoderTraining, trials: Trials) -> Iterator[tuple[str, float, AutoencoderTraining]]:
    """(what is varied, dropout, training) of the base and of each value that differs from it."""
    base = replace(training, epochs=trials.epochs)
    for number, dropout in enumerate(dict.fromkeys(trials.dropout)):
        yield "dropout" if number else "base", dropout, base
    for varied in ("clean_share", "classifier_weight"):
        for value in getattr(trials, varied):
            if value != getattr(base, varied):
                yield varied, trials.dropout[0], replace(base, **{varied: value})


def _try_all(
    materials: Materials, architecture: Architecture, training: AutoencoderTraining, trials: Trials
) -> list[AutoencoderTrial]:
    wanted = list(variations(training, trials))
    passes = sorted(trials.passes)
    with (
        materials.pairs(ATTACKS, ~materials.held_out, trials.originals) as pairs,
        materials.pairs(ATTACKS, materials.held_out) as validation,
        materials.progress(len(wanted) * trials.epochs * len(pairs), "trials") as progress,
    ):
        rows = {attack: materials.rows(attack, materials.held_out) for attack in ATTACKS}
        draws = partial(generator, materials.device, materials.seed, materials.source, "autoencoder trial")
        new = partial(_new, materials.seed, materials.source, materials.device)
        task = _Trial(
            pairs, validation, rows, materials.classifier, architecture, new, draws, passes, materials.predict_batch
        )
        about = {"trials": asdict(trials), "training": asdict(training), "architecture": asdict(architecture)}
        blocks = [(dropout, settings) for _, dropout, settings in wanted]
        found = materials.kept("trials", about, task, blocks, progress.advance)
        return [
            AutoencoderTrial(
                materials.key,
                varied,
                dropout,
                settings.clean_share,
                settings.classifier_weight,
                training_originals=len(pairs.originals),
                epochs=settings.epochs,
                originals=len(validation.originals),
                passes=count,
                **dict(zip(SHARES, shares, strict=True)),
            )
            for (varied, dropout, settings), arrays in zip(wanted, found, strict=True)
            for count, shares in zip(passes, arrays["shares"].tolist(), strict=True)
        ]


SHARES = ("clean_accuracy", "minimal_thwarted", "minimal_recovered", "extended_thwarted", "extended_recovered")


@dataclass(frozen=True)
class _Trial:
    """A task of the mapper: an ensemble after a short training, of a dropout and settings, judged."""

    pairs: Pairs
    validation: Pairs
    rows: dict[str, Rows]
    classifier: nn.Module
    architecture: Architecture
    new: Callable[..., Autoencoder]
    draws: Callable[[str], torch.Generator]
    passes: Sequence[int]
    batch_size: int

    def __call__(
        self, block: tuple[float, AutoencoderTraining], advance: Callable[..., object]
    ) -> dict[str, NDArray[Any]]:
        dropout, settings = block
        model = self.new(self.pairs, self.architecture, dropout, "autoencoder trial")
        for epoch in fit_autoencoder(
            model, self.classifier, self.pairs, self.validation, self.draws("training"), advance, **vars(settings)
        ):
            advance(0, {f"{epoch.split} accuracy": f"{epoch.accuracy:.4f}"})
        defended = RestoringClassifier(model.eval(), self.classifier)
        figures = _judge(defended, self.validation, self.rows, self.passes, self.batch_size, self.draws("passes"))
        return {"shares": np.array(figures)}


def _judge(
    defended: RestoringClassifier,
    validation: Pairs,
    rows: dict[str, Rows],
    passes: Sequence[int],
    batch_size: int,
    draws: torch.Generator,
) -> list[list[float]]:
    """For each number of passes the SHARES, in one run of the ensemble."""

    def logits_of(images: Tensor) -> Tensor:
        parts = (to_unit_interval(part, defended) for part in images.split(batch_size))
        with torch.inference_mode():
            return torch.cat([autoencoder_ensemble(defended, part, draws, passes=max(passes)).cpu() for part in parts])

    attacked = {attack: logits_of(found.images) for attack, found in rows.items()}
    clean, labels = logits_of(validation.originals), validation.labels.cpu()
    figures = []
    for count in passes:
        shares = [(summarize_passes(clean[:, :count])["predicted"] == labels).double().mean().item()]
        for attack, found in rows.items():
            predicted = summarize_passes(attacked[attack][:, :count])["predicted"]
            for holds in (predicted != found.target_labels, predicted == found.labels):
                shares.append(float(shares_by_original(holds.numpy(), found.original_row.numpy()).mean()))
        figures.append(shares)
    return figures


def choose_dropout(trials: Sequence[AutoencoderTrial]) -> Choice:
    """DROPOUT_RULE, on the trials in which nothing but dropout is varied."""
    most = max(trial.passes for trial in trials)
    considered = [trial for trial in trials if trial.varied in ("base", "dropout") and trial.passes == most]
    tried = [
        {"dropout": trial.dropout, **{name: getattr(trial, name) for name in SHARES}, "average": trial.average}
        for trial in considered
    ]
    narrow = is_narrow(_largest_dropout, considered, _otherwise)
    return Choice(_largest_dropout(considered), DROPOUT_RULE, tried, narrow, DROPOUT_REASON)


def _largest_dropout(trials: Sequence[AutoencoderTrial]) -> float | None:
    kept = [trial for trial in trials if trial.dropout > 0]
    best = max((trial.average for trial in kept), default=0.0)
    return max((trial.dropout for trial in kept if trial.average >= best - ALLOWANCE - ROUNDING), default=None)


def _otherwise(trial: AutoencoderTrial, originals: int) -> list[AutoencoderTrial]:
    count = trial.originals
    return [
        replace(trial, clean_accuracy=moved(trial.clean_accuracy, originals, count)),
        replace(trial, minimal_recovered=moved(trial.minimal_recovered, originals, count)),
        replace(trial, extended_recovered=moved(trial.extended_recovered, originals, count)),
    ]


def choose_blur(tried: dict[float, NDArray[np.float64]], aim: NDArray[np.float64]) -> Choice:
    """SIGMA_RULE, from each sigma's errors and the autoencoder's on the same m originals, (m,) each.

    Narrow, if without one or two of the originals it would be another.
    """
    sigmas = sorted(tried)
    errors = np.stack([tried[sigma] for sigma in sigmas])

    def nearest(sums: NDArray[np.float64], aims: NDArray[np.float64]) -> NDArray[np.int64]:
        distances = np.abs(np.log(sums / aims))
        # The first, so the smallest, of those that are as near as the nearest.
        chosen: NDArray[np.int64] = (distances <= distances.min(0) + ROUNDING).argmax(0)
        return chosen

    sums, total = errors.sum(1), aim.sum()
    chosen = int(nearest(sums, total))
    narrow = False
    for left_out in range(len(aim)):  # it alone, and with each of the others
        others = np.where(np.arange(len(aim)) == left_out, 0, 1)
        rest = sums[:, None] - errors[:, [left_out]] - others * errors
        rest_aim = total - aim[left_out] - others * aim
        if len(aim) > 2 and (nearest(rest, rest_aim) != chosen).any():
            narrow = True
            break
    rows = [
        {"sigma": sigma, "reconstruction_error": float(values.mean()), "aim": float(aim.mean())}
        for sigma, values in zip(sigmas, errors, strict=True)
    ]
    return Choice(sigmas[chosen], SIGMA_RULE, rows, narrow, SIGMA_REASON)


def _with_dropout(materials: Materials, autoencoder: Autoencoder) -> Method:
    """One pass with dropout on; the same masks at each call."""

    def restore(images: Tensor) -> Tensor:
        with sampling(autoencoder, materials.generator(materials.key, "restorations")):
            return torch.cat([autoencoder(part) for part in images.split(materials.predict_batch)])

    return restore


def _measure_errors(
    materials: Materials, autoencoder: Autoencoder, sigmas: Sequence[float]
) -> dict[tuple[str, float, str], NDArray[np.float64]]:
    """By method, sigma and kind the mean squared error per pixel, for each validation original: float64 (m,)."""
    methods: dict[tuple[str, float], Method] = {
        (NOTHING, 0.0): lambda images: images,
        (materials.key, 0.0): _with_dropout(materials, autoencoder),
        (WITHOUT, 0.0): autoencoder,
        **{(BLUR, sigma): partial(blur, sigma=sigma) for sigma in sigmas},
    }
    rows = {attack: materials.rows(attack, materials.held_out) for attack in ATTACKS}
    minimal = rows["minimal"]
    errors = {}
    with torch.inference_mode():
        for kind in ("clean", *ATTACKS):
            found = minimal if kind == "clean" else rows[kind]
            originals = to_unit_interval(found.originals, autoencoder)
            inputs = originals if kind == "clean" else to_unit_interval(found.images, autoencoder)
            row = torch.arange(len(originals)) if kind == "clean" else found.original_row
            aims = originals[row.to(originals.device)]
            for (method, sigma), restore in methods.items():
                each = (restore(inputs) - aims).square().flatten(1).mean(1).double().cpu().numpy()
                errors[method, sigma, kind] = shares_by_original(each, row.numpy())
    return errors


def examine(materials: Materials, learned: Learned, *, sigma: Sigma | None = None) -> Examined:
    """Picture `restored`: a test original of each class and its adversarial images, and what becomes of them.

    Of each class the first test original that both attacks fooled towards the next class.

    sigma : of the blur beside it; if left out, the rule's choice, if there is one.
    """
    autoencoder = learned.models[""]
    assert isinstance(autoencoder, Autoencoder)
    autoencoder = for_inference(autoencoder, materials.device)
    if sigma is None and f"{BLUR}.sigma" in learned.choices:
        sigma = learned.choices[f"{BLUR}.sigma"].value
    methods: dict[str, Method] = {materials.key: _with_dropout(materials, autoencoder)}
    if sigma is not None:
        methods[BLUR] = partial(blur, sigma=sigma)
    labels, targets, shown = _shown(materials)
    with torch.inference_mode():
        restored = [
            [method(to_unit_interval(images, autoencoder)).cpu().numpy() for images in shown]
            for method in methods.values()
        ]
    picture = Restorations(
        kinds=("clean", *ATTACKS),
        methods=tuple(methods),
        labels=labels,
        target_labels=targets,
        inputs=np.stack([images.numpy() for images in shown]),
        restored=np.array(restored),
    )
    return Examined(pictures={"restored": picture})


def _shown(materials: Materials) -> tuple[NDArray[np.uint8], NDArray[np.uint8], list[Tensor]]:
    """Labels and targets, uint8 (e,), and the originals and each attack's images, float32 (e, c, h, w) in [0, 1]."""
    classes = len(materials.class_names)
    places: list[dict[int, int]] = []  # by attack, an original's place in the test split to its row
    found = [materials.rows(attack, split="test") for attack in ATTACKS]
    for rows in found:
        chosen = (rows.target_labels == (rows.labels + 1) % classes).nonzero()[:, 0]
        originals = rows.source_index[rows.original_row[chosen]]
        places.append(dict(zip(originals.tolist(), chosen.tolist(), strict=True)))
    first: dict[int, int] = {}
    for index, row in places[0].items():
        if all(index in other for other in places):
            first.setdefault(int(found[0].labels[row]), index)
    if not first:
        raise PipelineError(f"{materials.key}: expected test images that {' and '.join(ATTACKS)} fooled, found none")
    shown = [index for _, index in sorted(first.items())]
    images = [
        rows.images[torch.tensor([row_of[index] for index in shown])]
        for rows, row_of in zip(found, places, strict=True)
    ]
    kept = torch.tensor([places[0][index] for index in shown])
    minimal = found[0]
    clean = to_unit_interval(minimal.originals[minimal.original_row[kept]], materials.classifier).cpu()
    labels, targets = (values[kept].numpy().astype(np.uint8) for values in (minimal.labels, minimal.target_labels))
    return labels, targets, [clean, *images]


defense = Defense(
    predict=autoencoder_ensemble,
    randomized=True,
    learn=learn,
    examine=examine,
    tried=("trials", "sigmas"),
    primary=Contrast(BLUR),  # whether what it has learned is more than a blur of equal error
)
