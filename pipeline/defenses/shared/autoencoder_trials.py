"""The dropout of an autoencoder ensemble: short trainings, alike but for one parameter each, and the rule on them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.defenses.protocol import Materials, Predict, Rows
from pipeline.defenses.shared.choices import ROUNDING, is_narrow, moved, shares_by_original
from pipeline.metrics.choices import Choice, above_zero
from pipeline.metrics.votes import summarize_passes
from pipeline.models.autoencoder import Autoencoder, RestoringClassifier
from pipeline.models.inference import place, to_unit_interval
from pipeline.randomness import generator, seeded_initialization
from pipeline.ranges import Range
from pipeline.study_blocks import PAPER_ATTACKS
from pipeline.training.autoencoder import AutoencoderTraining, Pairs, fit_autoencoder

Passes = Annotated[int, Range(1, 10000)]
Dropout = Annotated[float, Range(0, 0.9)]

ALLOWANCE = 0.01  # what a dropout rate may cost of the best mean of clean and recovered shares
DROPOUT_RULE = (
    "of the rates above 0, the largest whose mean of originals right, minimal recovered and extended recovered, at the "
    "most passes tried, is at most a point below the best such mean; there are no ties"
)
DROPOUT_REASON = (
    "dropout is there against attackers that know the defense (paper, Section 3.2), so as much of it as costs little"
)
SHARES = ("clean_accuracy", "minimal_thwarted", "minimal_recovered", "extended_thwarted", "extended_recovered")


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

    varied : the parameter in which it differs from the base ("base": in none). training_originals, epochs : what it
    was trained on. originals : what it was judged on. Of an attack, the means over originals of their images' shares.
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


def new_autoencoder(
    seed: int,
    source: str,
    device: torch.device,
    pairs: Pairs,
    architecture: Architecture,
    dropout: float,
    *names: str,
) -> Autoencoder:
    """Untrained, for the images of `pairs`; seed, source and `names` seed its weights."""
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


def try_all(
    materials: Materials,
    architecture: Architecture,
    training: AutoencoderTraining,
    trials: Trials,
    ensemble: Predict,
) -> list[AutoencoderTrial]:
    """The variations, trained and judged, with so many rows each as there are numbers of passes.

    ensemble : how the autoencoder and the classifier behind it predict.
    """
    wanted = list(variations(training, trials))
    passes = sorted(trials.passes)
    with (
        materials.pairs(PAPER_ATTACKS, ~materials.held_out, trials.originals) as pairs,
        materials.pairs(PAPER_ATTACKS, materials.held_out) as validation,
        materials.progress(len(wanted) * trials.epochs * len(pairs), "trials") as progress,
    ):
        rows = {attack: materials.rows(attack, materials.held_out) for attack in PAPER_ATTACKS}
        draws = partial(generator, materials.device, materials.seed, materials.source, "autoencoder trial")
        new = partial(new_autoencoder, materials.seed, materials.source, materials.device)
        task = _Trial(
            pairs, validation, rows, materials.classifier, architecture, ensemble, new, draws, passes,
            materials.predict_batch,
        )  # fmt: skip
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


@dataclass(frozen=True)
class _Trial:
    """A task of the mapper: an ensemble after a short training, of a dropout and settings, judged."""

    pairs: Pairs
    validation: Pairs
    rows: dict[str, Rows]
    classifier: nn.Module
    architecture: Architecture
    ensemble: Predict
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
        draws = self.draws("passes")
        figures = _judge(self.ensemble, defended, self.validation, self.rows, self.passes, self.batch_size, draws)
        return {"shares": np.array(figures)}


def _judge(
    ensemble: Predict,
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
            return torch.cat([ensemble(defended, part, draws, passes=max(passes)).cpu() for part in parts])

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
    eligible = above_zero(trial.dropout for trial in trials)
    kept = [trial for trial in trials if trial.dropout in eligible]
    best = max((trial.average for trial in kept), default=0.0)
    return max((trial.dropout for trial in kept if trial.average >= best - ALLOWANCE - ROUNDING), default=None)


def _otherwise(trial: AutoencoderTrial, originals: int) -> list[AutoencoderTrial]:
    count = trial.originals
    return [
        replace(trial, clean_accuracy=moved(trial.clean_accuracy, originals, count)),
        replace(trial, minimal_recovered=moved(trial.minimal_recovered, originals, count)),
        replace(trial, extended_recovered=moved(trial.extended_recovered, originals, count)),
    ]
