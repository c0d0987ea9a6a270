"""GAC (Generative Adversarial Classifier)

Trained against a generator of adversarial images (paper, Section 3.3); alone it predicts, in one pass. Version
"vanilla" is fully connected, after the vanilla GAN, "dcgan" convolutional, after DC-GAN. Its family has the paper's
control, and one that sees random noise instead of the generator's perturbations.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, make_dataclass
from typing import Annotated, Any, Literal

import torch
from torch import nn

from pipeline.defenses.protocol import Defense, Learned, Materials
from pipeline.defenses.shared.choices import settle
from pipeline.defenses.shared.gac_examination import GENERATOR, examine
from pipeline.defenses.shared.gac_lambda import LAMBDA_RULE, choose_lambda, try_lambdas
from pipeline.defenses.shared.gac_samples import Contest, Share, names_of, open_contest, watched
from pipeline.defenses.shared.kept import Arrays, packed, unpacked
from pipeline.defenses.undefended import undefended
from pipeline.errors import PipelineError
from pipeline.metrics.choices import Choice
from pipeline.metrics.contrasts import Contrast
from pipeline.metrics.gains import CONTROLS, GAC, GacTrial
from pipeline.randomness import generator
from pipeline.ranges import Range
from pipeline.training.gac import (
    Contestants,
    GacEpoch,
    GacTraining,
    Sample,
    TrainingFailed,
    Widths,
    fit_gac,
    new_contestants,
)

gac = undefended

Width = Annotated[int, Range(1, 16384)]
Lambda = Annotated[float, Range(0, 10000)]


@dataclass(frozen=True)
class TrainingStatus:
    """Whether a training came to something: "ok", or why not."""

    seed: int
    status: str


def learn(
    materials: Materials,
    *,
    version: Literal["vanilla", "dcgan"],
    share: Share,
    seeds: Annotated[int, Range(1, 100)],
    generator_widths: tuple[Width, ...],
    classifier_widths: tuple[Width, ...],
    training: GacTraining,
    lambda_: Lambda | Literal["auto"] = "auto",
    lambdas: tuple[Lambda, ...] = (),
    trial_epochs: Annotated[int, Range(1, 1000)] = 1,
) -> Learned:
    """Choose lambda by short trainings, then train the GAC beside its controls, several times from other numbers.

    share : of the train split that is learned from; never a validation image. seeds : trainings, alike but for their
    random numbers, which are others than those of the trials. generator_widths, classifier_widths : units of the
    hidden layers ("vanilla"), or channels ("dcgan"). lambdas, trial_epochs : of the trials that lambda is chosen by.

    Raises PipelineError if every training fails, or if lambda is "auto" and no trial meets the rule.
    """
    widths = Widths(version, generator_widths, classifier_widths)
    contest = open_contest(materials, share)
    about = {"widths": asdict(widths), "share": share, "training": asdict(training)}
    choices: dict[str, Choice] = {}
    trials: list[GacTrial] = []
    pictures = {}
    if lambdas:
        trials, made = try_lambdas(materials, contest, widths, training, lambdas, trial_epochs, about)
        choices["lambda_"] = choose_lambda(trials)
        if made:
            pictures["lambdas"] = made
    elif isinstance(lambda_, str):
        raise PipelineError(f"{materials.key}.learn.lambda_: auto, but there are no lambdas to try: give some")
    value = choices["lambda_"].value if choices else None
    used = settle(lambda_, value, f"{materials.key}.learn.lambda_", LAMBDA_RULE)

    samples = watched(materials, contest)

    task = _Training(widths, contest, samples, names_of(materials), materials.device, used, training)
    with materials.progress(seeds * training.epochs * len(contest.training.labels), "trainings") as progress:
        kept = materials.kept("trainings", {**about, "lambda": used}, task, range(seeds), progress.advance)
    curves: list[GacEpoch] = []
    statuses = []
    trainings: dict[int, dict[str, nn.Module]] = {}
    for number, arrays in enumerate(kept):
        contestants = task.new(number)
        epochs, status = unpack_training(arrays, contestants)
        statuses.append(TrainingStatus(number, status))
        if status == "ok":
            curves += epochs
            classifiers = {"" if name == GAC else name: model for name, model in contestants.classifiers.items()}
            trainings[number] = {GENERATOR: contestants.generator, **classifiers}
    if not trainings:
        failures = "; ".join(entry.status for entry in statuses)
        raise PipelineError(f"{materials.key}.learn: every training failed: {failures}")
    first = next(iter(trainings.values()))
    return Learned(
        models={role: model for role, model in first.items() if role != GENERATOR},
        choices=choices,
        trials=trials,
        curves=curves,
        tables={"trainings": statuses, "mean_curves": mean_curves(curves)},
        trainings=trainings,
        pictures=pictures,
    )


@dataclass(frozen=True)
class _Training:
    """A task of the mapper: a training beside its controls, by its number."""

    widths: Widths
    contest: Contest
    samples: Mapping[str, Sample]
    names: tuple[int, str, str]
    device: torch.device
    lambda_: float
    settings: GacTraining

    def new(self, number: int) -> Contestants:
        return new_contestants(
            self.widths, self.contest.training.images, self.contest.class_count, (*self.names, number)
        )

    def __call__(self, number: int, advance: Callable[..., object]) -> Arrays:
        contestants, curves, status = self.new(number), [], "ok"
        order, noise = (generator(self.device, *self.names, number, what) for what in ("order", "noise"))
        seen = self.contest.training
        try:
            for epoch in fit_gac(
                contestants, seen.images, seen.labels, self.samples, number, order, noise, advance,
                lambda_=self.lambda_, **vars(self.settings),
            ):  # fmt: skip
                curves.append(epoch)
                advance(0, {f"{number} {epoch.model} {epoch.split}": f"{epoch.accuracy:.4f}"})
        except TrainingFailed as failure:
            status = str(failure)
        return pack_training(contestants, curves, status)


def pack_training(contestants: Contestants, curves: Sequence[GacEpoch], status: str) -> Arrays:
    """A finished training as arrays."""
    arrays: Arrays = {"about": packed([status, [vars(epoch) for epoch in curves]])}
    for name, model in _models(contestants).items():
        arrays |= {f"{name}/{key}": value.cpu().numpy() for key, value in model.state_dict().items()}
    return arrays


def unpack_training(arrays: Arrays, contestants: Contestants) -> tuple[list[GacEpoch], str]:
    """Its curves and status back; `contestants`, of the same architectures, get its weights."""
    for name, model in _models(contestants).items():
        state = model.state_dict()
        model.load_state_dict(
            {key: torch.from_numpy(arrays[f"{name}/{key}"]).view_as(value) for key, value in state.items()}
        )
    status, curves = unpacked(arrays["about"])
    return [GacEpoch(**epoch) for epoch in curves], status


def _models(contestants: Contestants) -> dict[str, nn.Module]:
    return {GENERATOR: contestants.generator, **contestants.classifiers}


def mean_curves(curves: Sequence[GacEpoch]) -> list[Any]:
    """Accuracy by epoch, mean over trainings: rows of `epoch` and a field `<model>_<split>` each."""
    accuracies: dict[str, dict[int, list[float]]] = {}
    for row in curves:
        accuracies.setdefault(f"{row.model}_{row.split}", {}).setdefault(row.epoch, []).append(row.accuracy)
    row_type = make_dataclass("MeanEpoch", [("epoch", int), *((name, float) for name in accuracies)], frozen=True)
    epochs = sorted({row.epoch for row in curves})
    return [row_type(epoch, *(sum(each[epoch]) / len(each[epoch]) for each in accuracies.values())) for epoch in epochs]


defense = Defense(
    predict=gac,
    setting="transfer",
    roles=CONTROLS,
    learn=learn,
    examine=examine,
    tried=("lambdas", "trial_epochs"),
    chooses={"lambda_": "lambdas"},
    primary=Contrast("control"),  # the paper's claim, Section 3.3
)
