"""What is measured of an adversarial set: statistics of its perturbations, and success against the budget."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.artifacts.adversarial import TEST, AdversarialSet, open_adversarial
from pipeline.artifacts.generation import SetBlock, attack_block, block_of
from pipeline.artifacts.statistics import MeanImages, write_frame, write_mean_images
from pipeline.attacks.shared.budgets import fooled_within
from pipeline.attacks.shared.protocol import Attack
from pipeline.devices import batching
from pipeline.mapper import Advance, in_order
from pipeline.metrics.budgets import success_curve, within_norms
from pipeline.metrics.noise import add_noise_of_norm
from pipeline.metrics.norms import example_statistics
from pipeline.metrics.outcomes import margins
from pipeline.metrics.perturbations import Block, PerturbationMeasurement
from pipeline.models.inference import predict
from pipeline.progress import bar
from pipeline.randomness import generator


def measure_perturbations(path: Path, folder: Path, model: nn.Module, seed: int, source: str) -> None:
    """Measure a set's perturbations in one pass over its file; memory stays that of a block.

    Writes examples.parquet, pairs.parquet, pixels.parquet, profile.parquet and mean_images.h5 into `folder`. seed and
    `source`, of the images, name the random noise that the perturbations are compared with.
    """
    device = next(model.parameters()).device

    def classify(images: NDArray[np.float32] | Tensor) -> Tensor:
        return predict(model, torch.as_tensor(images), batching(device, images.shape[1:]).predict).cpu()

    # Filled block by block: a frame kept of each would lie between the blocks' large arrays, and no later one of these
    # would fit where an earlier one has been (of 4,800 images of 3x96x96 this was 1.4 GB).
    columns: dict[str, NDArray[Any]] = {}
    with open_adversarial(path) as set_:
        sources, identity = set_.sources, set_.identity
        measurement = PerturbationMeasurement(len(identity.class_names), sources.originals.shape[1:])
        names = source, identity.attack, "noise"
        starts_original = np.diff(sources.original_row, prepend=-1) != 0
        with bar(len(set_), f"measure {identity.attack} {identity.dataset}", "image") as progress:
            for rows in set_.blocks():
                images, originals = set_.images(rows), set_.originals(rows)
                norms = torch.from_numpy(images - originals).flatten(1).norm(dim=1)
                draws = generator("cpu", seed, *names, rows.start)
                noisy = add_noise_of_norm(torch.from_numpy(originals), norms, draws)
                original_row = sources.original_row[rows]
                first, inverse = np.unique(original_row, return_index=True, return_inverse=True)[1:]
                frame = measurement.add(
                    Block(
                        images=images,
                        originals=originals,
                        labels=sources.labels[rows],
                        target_labels=sources.target_labels[rows],
                        is_adversarial=set_.is_adversarial[rows],
                        first_of_original=starts_original[rows],
                        logits=classify(images).numpy(),
                        original_logits=classify(originals[first]).numpy()[inverse],
                        noisy_images=noisy.numpy(),
                        noisy_logits=classify(noisy).numpy(),
                    )
                )
                rounded = torch.from_numpy(np.round(images * 255).astype(np.uint8))
                targets = torch.from_numpy(sources.target_labels[rows].astype(np.int64))
                known = pd.DataFrame(
                    {
                        "row": np.arange(rows.start, rows.stop, dtype=np.int32),
                        "original_row": original_row,
                        "label": sources.labels[rows],
                        "target_label": sources.target_labels[rows],
                        "source_split": sources.source_split[original_row],
                        "source_index": sources.source_index[original_row],
                        "is_adversarial": set_.is_adversarial[rows],
                        "is_adversarial_uint8": (margins(classify(rounded), targets) > 0).numpy(),
                        "steps": set_.steps[rows],
                        "margin": set_.margin[rows],
                    }
                )
                for name, values in [*known.items(), *frame.items()]:
                    columns.setdefault(str(name), np.empty(len(set_), values.dtype))[rows] = values
                progress.update(len(images))
    about = {
        "dataset": identity.dataset,
        "attack": identity.attack,
        "params": identity.params,
        "class_names": list(identity.class_names),
    }
    write_frame(folder / "examples.parquet", pd.DataFrame(columns), "examples", about)
    write_frame(folder / "pairs.parquet", measurement.pairs(), "pairs", about)
    write_frame(folder / "pixels.parquet", measurement.pixels(), "pixels", about)
    write_frame(folder / "profile.parquet", measurement.profile(), "profile", about)
    write_mean_images(folder / "mean_images.h5", MeanImages(**measurement.mean_images()))


def measure_success(
    path: Path,
    out: Path,
    count: int,
    attack: Attack,
    parameters: Mapping[str, Any],
    budget: tuple[str, str, tuple[float, ...]] | None,
    model: nn.Module,
    seed: int,
    source: str,
) -> None:
    """Success against the size that perturbations may have, on the first `count` originals of a set's test split.

    Of its train split, where it has no others.

    budget : the parameter that bounds the attack, its norm and the bounds to try: a run for each, on the images that no
    smaller one fooled. None: see `measure_success_by_norms`.
    """
    if not budget:
        measure_success_by_norms(path, out, count)
        return
    parameter, norm, bounds = budget
    with open_adversarial(path) as set_:
        rows = _first_rows(set_, count)
        fooled = _try_budgets(set_, rows, attack, parameters, parameter, bounds, model, seed, source)
        _write_success(out, set_, rows, fooled, norm)


def measure_success_by_norms(path: Path, out: Path, count: int) -> None:
    """The curve of `measure_success` read off the L2 norms of a set's perturbations, on the same originals."""
    with open_adversarial(path) as set_:
        rows = _first_rows(set_, count)
        norms = example_statistics(set_.images(rows) - set_.originals(rows))["l2"]
        _write_success(out, set_, rows, within_norms(norms, set_.is_adversarial[rows]), "l2")


def _first_rows(set_: AdversarialSet, count: int) -> NDArray[np.int64]:
    """Of the first originals: of the test split, as other attacks' curves are, or of the only one there is."""
    of_test = np.flatnonzero(set_.sources.source_split == TEST)
    first = (of_test if len(of_test) else np.arange(len(set_.sources.originals)))[:count]
    return np.flatnonzero(np.isin(set_.sources.original_row, first))


def _write_success(
    out: Path, set_: AdversarialSet, rows: NDArray[np.int64], fooled: Mapping[float, NDArray[np.bool_]], norm: str
) -> None:
    identity = set_.identity
    about = {"dataset": identity.dataset, "attack": identity.attack, "params": identity.params}
    write_frame(out, success_curve(fooled, set_.sources.original_row[rows], norm), "success", about)


def _try_budgets(
    set_: AdversarialSet,
    rows: NDArray[np.int64],
    attack: Attack,
    parameters: Mapping[str, Any],
    parameter: str,
    budgets: tuple[float, ...],
    model: nn.Module,
    seed: int,
    source: str,
) -> dict[float, NDArray[np.bool_]]:
    """Which of the rows are fooled within each of the budgets, the values of `parameter`."""
    identity, sources = set_.identity, set_.sources
    device = next(model.parameters()).device
    settings = batching(device, sources.originals.shape[1:])
    originals = sources.originals
    image_rows, targets = sources.original_row[rows], sources.target_labels[rows]
    with bar(len(budgets) * len(rows), f"budgets of {identity.attack} {identity.dataset}", "image") as progress:

        def attempt(budget: float, chosen: Tensor) -> Tensor:
            progress.update(len(rows) - len(chosen))
            draws = partial(generator, device, seed, source, identity.attack, "budget", str(budget))
            changed = {**parameters, parameter: budget}
            task = partial(fool_block, attack, model, settings.attack, settings.predict, draws, changed)
            blocks = (
                block_of(number, originals, image_rows[part], targets[part])
                for number, part in enumerate(map(Tensor.numpy, chosen.split(settings.block)))
            )
            what = f"{identity.attack} {identity.dataset} within {budget:g}"
            found = in_order(what, task, blocks, lambda finished, fooled=None: progress.update(finished))
            return torch.from_numpy(np.concatenate(list(found)))

        within = fooled_within(attempt, len(rows), budgets)
    return {budget: fooled.numpy() for budget, fooled in within.items()}


def fool_block(
    attack: Attack,
    model: nn.Module,
    batch_size: int,
    predict_batch: int,
    draws: Callable[[int], torch.Generator],
    parameters: Mapping[str, Any],
    block: SetBlock,
    advance: Advance,
) -> NDArray[np.bool_]:
    """A task of the mapper: which rows of a block are fooled; see `attack_block`."""
    found = attack_block(attack, model, batch_size, draws, parameters, block, advance)
    logits = predict(model, torch.from_numpy(found["images"]), predict_batch)
    targets = torch.from_numpy(block.target_labels).to(logits.device, torch.int64)
    fooled: NDArray[np.bool_] = (margins(logits, targets) > 0).cpu().numpy()
    return fooled
