"""Measure an attack's success against the size that its perturbations may have.

Reads:  the adversarial set; the classifier it was made against.
Writes: one row per budget: the share of images fooled within it.
Params: the attack's block (--block) with its `budgets`; of how many originals (--sources, `curve`); seed.
Cost:   an attack without a budget: none, the curve is read off the norms of its perturbations. One with a budget: a
        run per budget, on the images that no smaller one fooled.
"""

import argparse
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.artifacts.adversarial import AdversarialSet, open_adversarial
from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.statistics import write_frame
from pipeline.attacks.shared.budgets import budget_of, fooled_within
from pipeline.attacks.shared.engine import run_attack
from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.protocol import Attack, load_attack
from pipeline.devices import batching, choose_device, keep_freed_memory
from pipeline.metrics.budgets import success_curve, within_norms
from pipeline.metrics.norms import example_statistics
from pipeline.metrics.outcomes import margins
from pipeline.models.inference import for_inference, predict
from pipeline.params import arguments_for, check_value, read_block
from pipeline.progress import bar
from pipeline.randomness import generator
from pipeline.ranges import Range
from pipeline.registry import split_method
from pipeline.stages.command import run


def main(arguments: argparse.Namespace) -> None:
    params = arguments.params
    where = f"{arguments.sources}.curve"
    count = check_value(read_block(params, where), Annotated[int, Range(1, 10**7)], where)
    seed = check_value(read_block(params, "seed"), int, "seed")
    given = read_block(params, arguments.block)
    with open_adversarial(arguments.adversarial) as set_:
        identity, original_row = set_.identity, set_.sources.original_row
        file, own = split_method(identity.attack, given, arguments.block)
        attack = load_attack(file)
        parameters = arguments_for(attack.run, own, arguments.block)
        budget = budget_of(attack, parameters, given.get("budgets"), arguments.block)
        rows = np.flatnonzero(original_row < count)
        if budget:
            parameter, norm, budgets = budget
            fooled = _try_budgets(arguments, set_, rows, attack, parameters, parameter, budgets, seed)
        else:
            norm = "l2"
            norms = example_statistics(set_.images(rows) - set_.originals(rows))[norm]
            fooled = within_norms(norms, set_.is_adversarial[rows])
    about = {"dataset": identity.dataset, "attack": identity.attack, "params": identity.params}
    write_frame(arguments.curve, success_curve(fooled, original_row[rows], norm), "success", about)


def _try_budgets(
    arguments: argparse.Namespace,
    set_: AdversarialSet,
    rows: NDArray[np.int64],
    attack: Attack,
    parameters: Mapping[str, Any],
    parameter: str,
    budgets: tuple[float, ...],
    seed: int,
) -> dict[float, NDArray[np.bool_]]:
    """Which of the rows are fooled within each of the budgets, the values of `parameter`."""
    identity, sources = set_.identity, set_.sources
    keep_freed_memory()
    device = choose_device()
    settings = batching(device)
    model = for_inference(load_classifier(arguments.classifier), device)
    originals = torch.from_numpy(sources.originals).to(device)
    image_rows = torch.from_numpy(sources.original_row[rows]).to(device, torch.int64)
    targets = torch.from_numpy(sources.target_labels[rows]).to(device, torch.int64)
    with bar(len(budgets) * len(rows), f"budgets of {identity.attack} {identity.dataset}", "image") as progress:

        def attempt(budget: float, chosen: Tensor) -> Tensor:
            progress.update(len(rows) - len(chosen))
            chosen = chosen.to(device)
            found, _ = run_attack(
                attack,
                model,
                originals,
                image_rows[chosen],
                Goal(targets[chosen]),
                settings.attack,
                lambda finished, fooled: progress.update(finished),
                generator(device, seed, identity.dataset, identity.attack, "budget", str(budget)),
                **{**parameters, parameter: budget},
            )
            return margins(predict(model, found, settings.predict), targets[chosen]) > 0

        within = fooled_within(attempt, len(rows), budgets)
    return {budget: fooled.numpy() for budget, fooled in within.items()}


if __name__ == "__main__":
    run(
        main,
        __doc__,
        adversarial="path of the adversarial set (read)",
        classifier="path of the attacked classifier (read)",
        block="key of the attack's params (other_attacks.fgsm.mnist)",
        sources="key of how many images are attacked (other_sources.mnist)",
        curve="path of the curve (written)",
    )
