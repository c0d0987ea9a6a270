"""Dropout ensemble

Passes of the attacked classifier with dropout on, a vote each (paper, Section 3.1). Its family has a rival, Gaussian
noise of equal clean accuracy; how strong either is, is tried on validation images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.attacks.shared.ascent import ascend_steps
from pipeline.attacks.shared.goals import Goal
from pipeline.defenses.gaussian_noise_ensemble import gaussian_noise_ensemble
from pipeline.defenses.protocol import Defense, Examined, Learned, Materials, Rows
from pipeline.defenses.shared.choices import is_narrow, moved, shares_by_original
from pipeline.errors import LeftOut, PipelineError
from pipeline.mapper import in_order
from pipeline.metrics.choices import Choice
from pipeline.metrics.contrasts import Contrast
from pipeline.metrics.evaluation import evaluate
from pipeline.metrics.sources import one_row_per_original
from pipeline.metrics.traces import trace
from pipeline.models.dropout import Switched, sampling
from pipeline.models.inference import to_unit_interval
from pipeline.models.modes import evaluation_mode
from pipeline.models.outside import Outside
from pipeline.models.passes import make_passes
from pipeline.randomness import generator
from pipeline.ranges import Range

Passes = Annotated[int, Range(1, 10000)]
Rate = Annotated[float, Range(0, 0.95)]
Sigma = Annotated[float, Range(0, 2)]

NOISE = "gaussian_noise_ensemble"
ALLOWED_LOSS = 0.01  # share of the attacked validation originals that may be lost, to the nearest original
RATE_RULE = (
    "the largest rate tried that loses at most 1 % of the attacked validation originals, to the nearest original; "
    "there are no ties"
)
RATE_REASON = "as much randomness as is nearly free: the paper's ensemble keeps all originals right (Section 3.1)"
SIGMA_RULE = "the sigma whose clean accuracy is nearest to that of the rate chosen; of two equally near the smaller"
SIGMA_REASON = (
    "a rival at the same price on originals: only then does the difference on adversarial images say anything"
)


def dropout_ensemble(
    classifier: nn.Module, images: Tensor, generator: torch.Generator, *, passes: Passes, rate: Rate
) -> Tensor:
    """Logits of `passes` passes with dropout at `rate` in every dropout layer, float (n, passes, k).

    Everything else runs in evaluation mode, whatever mode the classifier is in; modes are restored
    afterwards, also after an exception. Masks are independent per image and pass. Of a sequence of layers those
    before the first dropout layer are computed once per image, not once per pass.

    classifier : with a `Dropout` in it, ValueError if there is none; or `Outside`, where a layer or function of
        PyTorch's drops (not attention's `dropout_p`).
    images : float (n, c, h, w) in [0, 1].

    The paper gives neither passes nor rate; `learn` tries rates on validation images.
    """
    before, behind = split_at_first_dropout(classifier)
    with evaluation_mode(classifier):
        kept = before(images)
        with sampling(behind, generator, rate):
            return make_passes(behind, passes, kept)


def split_at_first_dropout(classifier: nn.Module) -> tuple[nn.Sequential, nn.Sequential]:
    """The classifier's layers before the first with a Dropout, and from it on; the layers themselves, no copies.

    Of what is no sequence, nothing and all of it.
    """
    layers = list(classifier.children()) if isinstance(classifier, nn.Sequential) else [classifier]
    first = next((i for i, layer in enumerate(layers) if _drops(layer)), None)
    if first is None:
        raise ValueError("the classifier has no dropout layer")
    return nn.Sequential(*layers[:first]), nn.Sequential(*layers[first:])


def _drops(layer: nn.Module) -> bool:
    return any(isinstance(part, Switched) for part in layer.modules())


@dataclass(frozen=True)
class DefenseTrial:
    """A defense at one strength (dropout rate, or sigma of the noise), on so many originals and all their targets.

    clean_accuracy : share of the originals that are classified rightly. thwarted, recovered : means over originals of
    the shares of their adversarial images.
    """

    defense: str
    strength: float
    originals: int
    images: int
    clean_accuracy: float
    thwarted: float
    recovered: float

    @property
    def lost(self) -> int:
        """Originals that are no longer classified rightly."""
        return round((1 - self.clean_accuracy) * self.originals)


def learn(materials: Materials, *, passes: Passes, rate: tuple[Rate, ...], sigma: tuple[Sigma, ...] = ()) -> Learned:
    """Nothing is trained: try strengths on validation originals and all their minimal adversarial images.

    passes : of every trial. rate : dropout rates to try. sigma : of the Gaussian noise, likewise; none: no rival.
    """
    rows = materials.rows("minimal", materials.held_out)
    if not len(rows.labels):
        raise PipelineError(
            f"{materials.key}.learn: expected minimal images of validation originals, found none: raise sources.train"
        )
    check_drops(materials.classifier, rows.originals[:1])
    wanted: list[tuple[str, float, Callable[..., Tensor]]] = []
    for value in sorted(rate):
        wanted.append((materials.key, value, partial(dropout_ensemble, passes=passes, rate=value)))
    for value in sorted(sigma):
        wanted.append((NOISE, value, partial(gaussian_noise_ensemble, passes=passes, sigma=value)))
    draws = partial(generator, materials.device, materials.seed, materials.source)
    task = partial(_try, rows, materials.classifier, materials.predict_batch, draws)
    with materials.progress(len(wanted), "trials", "trial") as progress:
        trials = list(in_order(f"{materials.key} trial", task, wanted, progress.update))
    rates, sigmas = trials[: len(rate)], trials[len(rate) :]
    choices = {"rate": choose_rate(rates)}
    if sigmas:
        choices[f"{NOISE}.sigma"] = choose_sigma(rates, sigmas)
    return Learned(choices=choices, trials=trials)


def check_drops(classifier: nn.Module, images: Tensor) -> None:
    """Raise LeftOut if there is no dropout in it that could be switched on; seen on uint8 images (n, c, h, w)."""
    if isinstance(classifier, Outside):
        found = classifier.drops(to_unit_interval(images, classifier))
    else:
        found = _drops(classifier)
    if not found:
        raise LeftOut("the attacked classifier has no dropout that could be switched on")


def _try(
    rows: Rows,
    classifier: nn.Module,
    batch_size: int,
    generator_of: Callable[..., torch.Generator],
    block: tuple[str, float, Callable[..., Tensor]],
    advance: Callable[[int], object],
) -> DefenseTrial:
    """A task of the mapper: a defense, by its name, at one strength."""
    name, strength, ensemble = block
    predicted = {}
    for what, images in (("clean", rows.originals), ("minimal", rows.images)):
        draws = partial(generator_of, name, "trial", str(strength), what)
        predicted[what] = evaluate(ensemble, classifier, images, batch_size, draws)["predicted"].to_numpy()
    labels, original_row = rows.labels.numpy(), rows.original_row.numpy()
    _, first = np.unique(original_row, return_index=True)
    thwarted = shares_by_original(predicted["minimal"] != rows.target_labels.numpy(), original_row)
    recovered = shares_by_original(predicted["minimal"] == labels, original_row)
    advance(1)
    return DefenseTrial(
        name,
        strength,
        originals=len(first),
        images=len(labels),
        clean_accuracy=float((predicted["clean"] == labels[first]).mean()),
        thwarted=float(thwarted.mean()),
        recovered=float(recovered.mean()),
    )


def choose_rate(trials: Sequence[DefenseTrial]) -> Choice:
    """RATE_RULE, on trials of the dropout ensemble."""
    narrow = is_narrow(_largest_rate, trials, _otherwise)
    return Choice(_largest_rate(trials), RATE_RULE, _tried(trials, "rate"), narrow, RATE_REASON)


def choose_sigma(rates: Sequence[DefenseTrial], sigmas: Sequence[DefenseTrial]) -> Choice:
    """SIGMA_RULE, on trials of the dropout ensemble and of the noise; where no rate is chosen, no sigma is."""

    def choose(both: Sequence[DefenseTrial]) -> float | None:
        rate = _largest_rate(both[: len(rates)])
        if rate is None:
            return None
        aim = next(trial for trial in both if trial.strength == rate)
        return min(both[len(rates) :], key=lambda trial: (abs(trial.lost - aim.lost), trial.strength)).strength

    both = [*rates, *sigmas]
    narrow = is_narrow(choose, both, _otherwise)
    return Choice(choose(both), SIGMA_RULE, _tried(sigmas, "sigma"), narrow, SIGMA_REASON)


def _largest_rate(trials: Sequence[DefenseTrial]) -> float | None:
    kept = [trial.strength for trial in trials if trial.lost <= round(ALLOWED_LOSS * trial.originals)]
    return max(kept, default=None)


def _otherwise(trial: DefenseTrial, originals: int) -> list[DefenseTrial]:
    return [replace(trial, clean_accuracy=moved(trial.clean_accuracy, originals, trial.originals))]


def _tried(trials: Sequence[DefenseTrial], parameter: str) -> list[dict[str, Any]]:
    return [
        {
            parameter: trial.strength,
            "originals": trial.originals,
            "lost": trial.lost,
            "clean_accuracy": trial.clean_accuracy,
            "thwarted": trial.thwarted,
            "recovered": trial.recovered,
        }
        for trial in trials
    ]


def examine(
    materials: Materials,
    learned: Learned,
    *,
    rate: Rate,
    originals: Annotated[int, Range(1, 10**6)],
    passes: tuple[Passes, ...],
    extra_steps: tuple[Annotated[int, Range(1, 10000)], ...],
) -> Examined:
    """Thwarted and recovered against the number of passes, and against further steps of the attack: table `trace`.

    On the minimal adversarial images of at most so many test originals, one target each.

    rate : that of `predict`. passes, extra_steps : what to measure at.
    """
    name, classifier, device = materials.key, materials.classifier, materials.device
    rows = materials.rows("minimal", split="test")
    if not len(rows.labels):
        raise PipelineError(f"{name}: expected minimal adversarial images of the test split, found none")
    random = materials.random(name, "trace")
    chosen = one_row_per_original(rows.original_row.numpy(), random)
    kept = np.sort(random.permutation(chosen)[:originals])
    images = to_unit_interval(rows.images[kept], classifier)
    labels, targets = (values[kept].to(device) for values in (rows.labels, rows.target_labels))
    step_size = rows.params["step_size"]
    most = max(passes)

    def passes_over(images: Tensor, what: str) -> Tensor:
        draws = materials.generator(name, "trace", what)
        with torch.inference_mode():
            parts = images.split(materials.predict_batch)
            return torch.cat([dropout_ensemble(classifier, part, draws, passes=most, rate=rate) for part in parts])

    def carry_on(images: Tensor, steps: int) -> Tensor:
        parts = zip(images.split(materials.predict_batch), targets.split(materials.predict_batch), strict=True)
        return torch.cat(
            [ascend_steps(classifier, part, Goal(wanted), step_size=step_size, steps=steps) for part, wanted in parts]
        )

    return Examined(tables={"trace": trace(passes_over, carry_on, images, labels, targets, passes, extra_steps)})


defense = Defense(
    predict=dropout_ensemble,
    randomized=True,
    role=None,
    roles=(),
    learn=learn,
    examine=examine,
    chooses={"rate": "rate", f"{NOISE}.sigma": "sigma"},
    primary=Contrast(NOISE),  # whether dropout is more than noise of equal clean accuracy
)
