"""The lambda of a GAC: trials of it, short trainings with seeds of their own, and the rule that chooses by them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.defenses.protocol import Materials
from pipeline.defenses.shared.choices import ROUNDING, is_narrow, moved, shares_by_original
from pipeline.defenses.shared.gac_samples import (
    WATCHED,
    Contest,
    as_floats,
    attacked,
    names_of,
    predicted,
    right,
    rows_of,
)
from pipeline.defenses.shared.kept import Arrays, packed, unpacked
from pipeline.defenses.shared.pictures import Generated
from pipeline.errors import PipelineError
from pipeline.metrics.choices import Choice
from pipeline.metrics.gains import ALLOWED_LOSS, GAC, GacTrial, compare_accuracy
from pipeline.randomness import generator
from pipeline.training.gac import (
    CONTROL,
    GacTraining,
    Sample,
    TrainingFailed,
    Widths,
    deceive,
    fit_gac,
    generate,
    new_contestants,
)

LAMBDA_RULE = (
    "the lambda of the largest gain over the control on minimal adversarial images of unseen originals, of those that "
    "cost at most a point of clean accuracy on unseen images; of equal gains the smallest lambda"
)
LAMBDA_REASON = (
    "the paper claims the gain for the right lambda (Section 3.3) and says nothing of a price; a gain that is paid for "
    "with clean accuracy is no defense's. Trials have seeds of their own: their luck is in no judged training"
)


def try_lambdas(
    materials: Materials,
    contest: Contest,
    widths: Widths,
    training: GacTraining,
    lambdas: Sequence[float],
    epochs: int,
    about: Mapping[str, Any],
) -> tuple[list[GacTrial], Generated | None]:
    """For each lambda, from the largest, a trial; and what the generators make of an unseen image of each class.

    A training that fails gives a trial that says why; the others go on. None if all fail.
    """
    rows = rows_of(materials, "minimal", contest.seen, "unseen")
    unseen, adversarial = contest.unseen, attacked(materials, rows)
    if not len(rows.labels):
        raise PipelineError(f"{materials.key}.learn: expected adversarial images of unseen originals, found none")
    first = torch.stack([(unseen.labels == label).nonzero()[0, 0] for label in unseen.labels.unique()])
    shown = unseen.images[first]
    wanted = sorted(set(lambdas), reverse=True)
    settings = {**about, "trial_epochs": epochs}
    task = _Trial(widths, contest, adversarial, shown, names_of(materials), materials.device, training, epochs)
    with materials.progress(len(wanted) * epochs * len(contest.training.labels), "trials") as progress:
        # The control knows no lambda: it is trained beside the largest, and if that fails, beside one that did not.
        blocks = [(lambda_, lambda_ == wanted[0]) for lambda_ in wanted]
        done = materials.kept("trials", {**settings, "lambdas": wanted}, task, blocks, progress.advance)
        found = dict(zip(wanted, done, strict=True))
        fit = [lambda_ for lambda_ in wanted if unpacked(found[lambda_]["status"]) == "ok"]
        if fit and fit[0] != wanted[0]:
            about_it = {**settings, "lambda": fit[0], "control": True}
            (found[fit[0]],) = materials.kept("control", about_it, task, [(fit[0], True)], progress.advance)
    control = {kind: found[fit[0]][f"{CONTROL}/{kind}"] for kind in ("clean", "adversarial")} if fit else {}
    trials, names, made = [], [], []
    for lambda_, one in found.items():
        trial = GacTrial(
            materials.key, lambda_, epochs, len(rows.originals), len(rows.labels), len(unseen.labels),
            unpacked(one["status"]),
        )  # fmt: skip
        if trial.status == "ok":
            trial = _with_figures(trial, one, control, rows.original_row.numpy())
            names.append(f"{materials.key} {lambda_:g}")
            made.append((one["made"], one["before"], one["after"]))
        trials.append(trial)
    if not made:
        return trials, None
    generated, before, after = zip(*made, strict=True)
    return trials, Generated(
        names=tuple(names),
        originals=as_floats(shown),
        labels=unseen.labels[first].cpu().numpy().astype(np.uint8),
        generated=np.array(generated, np.float32),
        predicted_before=np.array(before, np.uint8),
        predicted_after=np.array(after, np.uint8),
    )


@dataclass(frozen=True)
class _Trial:
    """A task of the mapper: a short training at a lambda, with the control beside it or without, and what it can do."""

    widths: Widths
    contest: Contest
    adversarial: Sample
    shown: Tensor
    names: tuple[int, str, str]
    device: torch.device
    training: GacTraining
    epochs: int

    def __call__(self, block: tuple[float, bool], advance: Callable[..., object]) -> Arrays:
        lambda_, with_control = block
        wanted = (GAC, CONTROL) if with_control else (GAC,)
        seen, unseen = self.contest.training, self.contest.unseen
        names = *self.names, "trial"
        contestants = new_contestants(self.widths, seen.images, self.contest.class_count, names, wanted)
        watched = Sample(seen.images[:WATCHED], seen.labels[:WATCHED], generated=False)
        order, noise = (generator(self.device, *names, what) for what in ("order", "noise"))
        settings = {**vars(self.training), "epochs": self.epochs, "lambda_": lambda_}
        try:
            for _epoch in fit_gac(
                contestants, seen.images, seen.labels, {"train": watched}, 0, order, noise, advance, **settings
            ):
                pass
        except TrainingFailed as failure:
            return {"status": packed(str(failure))}
        judged = {
            f"{name}/{kind}": right(model, sample)
            for name, model in contestants.classifiers.items()
            for kind, sample in (("clean", unseen), ("adversarial", self.adversarial))
        }
        classifier = contestants.classifiers[GAC]
        does = deceive(contestants.generator, classifier, unseen, torch.from_numpy(judged[f"{GAC}/clean"]))
        fakes = generate(contestants.generator, self.shown)
        return {
            "status": packed("ok"),
            **judged,
            "does": np.array(does),
            "made": fakes.cpu().numpy(),
            "before": predicted(classifier, self.shown),
            "after": predicted(classifier, fakes),
        }


def _with_figures(trial: GacTrial, found: Arrays, control: Arrays, original_row: NDArray[np.int64]) -> GacTrial:
    shares = {
        name: shares_by_original(judged, original_row)
        for name, judged in ((GAC, found[f"{GAC}/adversarial"]), (CONTROL, control["adversarial"]))
    }
    own, other = compare_accuracy(0, "minimal", "unseen", shares, np.arange(trial.originals))
    l2, fooled = found["does"].tolist()
    return replace(
        trial,
        clean_accuracy=float(found[f"{GAC}/clean"].mean()),
        control_clean_accuracy=float(control["clean"].mean()),
        accuracy=own.accuracy,
        control_accuracy=other.accuracy,
        gain=other.gain,
        gain_low=other.gain_low,
        gain_high=other.gain_high,
        perturbation_l2=l2,
        fooled=fooled,
    )


def choose_lambda(trials: Sequence[GacTrial]) -> Choice:
    """LAMBDA_RULE; trainings that failed are not considered."""
    tried = [
        {
            "lambda_": trial.lambda_,
            "status": trial.status,
            "clean_accuracy": trial.clean_accuracy,
            "control_clean_accuracy": trial.control_clean_accuracy,
            "gain": trial.gain,
            "gain_low": trial.gain_low,
            "gain_high": trial.gain_high,
        }
        for trial in trials
    ]
    narrow = is_narrow(_best_lambda, trials, _otherwise)
    return Choice(_best_lambda(trials), LAMBDA_RULE, tried, narrow, LAMBDA_REASON)


def _best_lambda(trials: Sequence[GacTrial]) -> float | None:
    kept = [
        (trial.gain, trial.lambda_)
        for trial in trials
        if trial.gain is not None
        and trial.clean_accuracy is not None
        and trial.control_clean_accuracy is not None
        and trial.control_clean_accuracy - trial.clean_accuracy <= ALLOWED_LOSS + ROUNDING
    ]
    best = max((gain for gain, _ in kept), default=0.0)
    return min((lambda_ for gain, lambda_ in kept if gain >= best - ROUNDING), default=None)


def _otherwise(trial: GacTrial, originals: int) -> list[GacTrial]:
    if trial.gain is None or trial.clean_accuracy is None:
        return []
    return [
        replace(trial, clean_accuracy=moved(trial.clean_accuracy, originals, trial.unseen)),
        replace(trial, gain=trial.gain + originals / trial.originals),
    ]
