"""Attack a defense and its variants, knowing all of each: white-box, untargeted, averaged over its randomness.

Reads:  the minimal set (its test originals), the attacked classifier, what the family has learned.
Writes: a folder, of the defense and in subfolders of its variants: one row per original and attack; checks of the
        defense as a function; the images found within the budget and the nearest ones.
Params: adaptive, threat, defenses.<key>.predict, defenses.<key>.variants, seed.
Cost:   originals x epsilons x steps x draws forward and backward passes at most; a broken original is not tried again.
"""

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from pipeline.artifacts.adversarial import TEST, open_adversarial
from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.curves import write_curves
from pipeline.artifacts.found import Found, write_found
from pipeline.artifacts.left_out import leave_out, reason_left_out
from pipeline.artifacts.statistics import write_frame
from pipeline.attacks.shared.adaptive import AdaptiveSettings, Attempt, attack_defense, attacks_of
from pipeline.attacks.shared.defended import Target, check_gradients, multiply_adds
from pipeline.devices import batching
from pipeline.errors import PipelineError
from pipeline.metrics.adaptive import Check
from pipeline.metrics.detection import SCORES
from pipeline.models.inference import for_inference, to_unit_interval
from pipeline.progress import bar
from pipeline.randomness import derive_seed, generator
from pipeline.stages.command import run
from pipeline.stages.families import Loaded, load_family
from pipeline.studies import Study

CHECKED = 100  # originals that the gradients are looked at on


def main(study: Study, key: str) -> None:
    folder = study.path("adaptive", key)
    if reason := reason_left_out(study.path("learning", key)):
        leave_out(reason, folder)
        return
    classifier = for_inference(load_classifier(study.path("classifier")), study.device)
    shutil.rmtree(folder, ignore_errors=True)  # of variants that are none any more
    for loaded in load_family(study, key):
        attack_one(study, loaded, classifier, folder if loaded.name == key else folder / loaded.name)


def settings_of(study: Study, name: str, randomized: bool) -> AdaptiveSettings:
    """How a defense is attacked: of `adaptive` the blocks `all`, `one_pass` or `randomized`, its own; later wins."""
    kinds = ("all", "randomized" if randomized else "one_pass")
    block: dict[str, Any] = {"draws": 1, "scored_draws": 1, "quiet": 0}
    adaptive = study.value("adaptive")
    for part in adaptive:
        if part not in ("all", "one_pass", "randomized", *study.defenses):
            known = ", ".join(("all", "one_pass", "randomized", *study.defenses))
            raise PipelineError(f"{study.where(f'adaptive.{part}')}: unknown parameter; expected one of: {known}")
    for part in (*kinds, name):
        block = merged(block, adaptive.get(part, {}))
    budgets = study.threat(block.get("norm", "linf"))
    block = {"epsilons": list(budgets.epsilons), "budget": budgets.epsilon} | block
    settings = AdaptiveSettings(**study.arguments(AdaptiveSettings, "adaptive", block))
    attacks_of(settings, study.where("adaptive"))  # better refused now than after hours
    return settings


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Nested blocks of both; where both have a value, the other's."""
    found = dict(one)
    for key, value in other.items():
        both = isinstance(value, Mapping) and isinstance(found.get(key), Mapping)
        found[key] = merged(found[key], value) if both else value
    return found


def attack_one(study: Study, loaded: Loaded, classifier: nn.Module, folder: Path) -> None:
    """All attacks on one defense, written into `folder`."""
    name, device = loaded.name, study.device
    settings = settings_of(study, name, loaded.defense.randomized)
    images, labels, source_index = _originals(study, settings.originals)
    batch_size = batching(device, images.shape[1:]).attack
    target = Target(
        loaded.defense.predict,
        loaded.model,
        loaded.arguments,
        partial(generator, device, study.seed, study.source, name, "adaptive"),
        randomized=loaded.defense.randomized,
        passes=loaded.arguments.get("passes", 1),
    )
    originals = to_unit_interval(images, loaded.model)
    itself = loaded.defense.role is not None and _same(loaded.model, classifier)
    frames: list[pd.DataFrame] = []
    kept: dict[tuple[bool, int], tuple[Tensor, bool]] = {}
    with bar(0, f"attack {name}", "image") as progress:

        def advance(what: str, count: int) -> None:
            progress.set_postfix(attack=what, refresh=False)
            progress.update(count)

        undefended = None if itself else classifier
        for attempt in attack_defense(target, undefended, images, labels, batch_size, settings, advance):
            frames.append(_rows(attempt, originals, labels, source_index))
            keep_found(kept, attempt, settings.budget)
    checks = check_gradients(target, settings.draws, images[:CHECKED], labels[:CHECKED], batch_size)
    cost = multiply_adds(target.model(target.passes, "cost"), originals[:1]) / multiply_adds(classifier, originals[:1])
    about = {"dataset": study.name, "defense": name, "settings": settings.described()}
    write_frame(folder / "examples.parquet", pd.concat(frames, ignore_index=True), "adaptive", about)
    write_curves(folder / "checks.csv", [Check(**checks, cost=cost)])
    order = sorted(kept)
    rows = np.array([row for _, row in order], np.int32)
    write_found(
        folder / "images.h5",
        study.name,
        name,
        Found(
            images=np.stack([kept[place][0].cpu().numpy() for place in order]),
            originals=images.cpu().numpy(),
            original_row=rows,
            source_index=source_index,
            labels=labels.cpu().numpy().astype(np.uint8)[rows],
            is_adversarial=np.array([kept[place][1] for place in order]),
            nearest=np.array([nearest for nearest, _ in order]),
        ),
    )


def keep_found(kept: dict[tuple[bool, int], tuple[Tensor, bool]], attempt: Attempt, budget: float) -> None:
    """Of each original the first image that breaks within the budget, the last one tried where none does; the nearest.

    kept : by (whether it is the nearest, which original) the image and whether it breaks.
    """
    nearest = attempt.attack == "shortest"
    if attempt.attack != "none" and not nearest and (attempt.epsilon is None or attempt.epsilon > budget):
        return
    for row, image, broken in zip(attempt.rows.tolist(), attempt.images, attempt.broken.tolist(), strict=True):
        place = nearest, row
        if place not in kept or not kept[place][1]:
            kept[place] = image, broken


def _originals(study: Study, count: int) -> tuple[Tensor, Tensor, Any]:
    """The same originals for every defense: images uint8, labels, and their places in the test split."""
    with open_adversarial(study.path("minimal")) as set_:
        sources = set_.sources
        test = np.flatnonzero(sources.source_split == TEST)
        random = np.random.default_rng(derive_seed(study.seed, study.source, "adaptive"))
        chosen = random.permutation(test)[:count]
        if not len(chosen):
            raise PipelineError(f"{study.path('minimal')}: expected originals of the test split, found none")
        _, first = np.unique(sources.original_row, return_index=True)
        labels = torch.from_numpy(sources.labels[first][chosen]).to(study.device, torch.int64)
        images = torch.from_numpy(sources.originals[chosen]).to(study.device)
        return images, labels, sources.source_index[chosen]


def _rows(attempt: Attempt, originals: Tensor, labels: Tensor, source_index: Any) -> pd.DataFrame:
    difference = (attempt.images - originals[attempt.rows]).flatten(1)
    rows = attempt.rows.cpu().numpy()
    return pd.DataFrame(
        {
            "attack": attempt.attack,
            "epsilon": np.nan if attempt.epsilon is None else attempt.epsilon,
            "original": rows.astype(np.int32),
            "source_index": source_index[rows],
            "label": labels[attempt.rows].cpu().numpy().astype(np.uint8),
            "predicted": attempt.predicted.cpu().numpy().astype(np.uint8),
            "broken": attempt.broken.cpu().numpy(),
            "l2": difference.norm(dim=1).cpu().numpy(),
            "linf": difference.abs().amax(1).cpu().numpy(),
            **{score: attempt.scores[score].cpu().numpy() if attempt.scores else np.nan for score in SCORES},
        }
    )


def _same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models have the same weights."""
    pair = one.state_dict(), other.state_dict()
    return pair[0].keys() == pair[1].keys() and all(torch.equal(pair[0][key], pair[1][key]) for key in pair[0])


if __name__ == "__main__":
    run(main, __doc__, key="defense")
