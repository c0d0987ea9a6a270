"""Attack a defense and its variants, knowing all of each: white-box, untargeted, averaged over its randomness.

Reads:  the images (a random sample of the whole test split), the attacked classifier, what the family has learned.
Writes: a folder, of the defense and in subfolders of its variants: one row per original and attack; checks of the
        defense as a function; the images found within the budget and the nearest ones.
Params: adaptive, threat, defenses.<key>.predict, defenses.<key>.variants, seed.
Cost:   about originals x epsilons x restarts x steps x draws forward and backward passes, of what no smaller epsilon
        broke; then up to 8 and 64 times as many an original that is left at the budget. Each defense that is done is
        kept until the family is: an interrupted run goes on with the next.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.curves import write_curves
from pipeline.artifacts.files import replacing_folder
from pipeline.artifacts.found import Found, write_found
from pipeline.artifacts.images import read_split
from pipeline.artifacts.left_out import leave_out, reason_left_out
from pipeline.artifacts.shards import ShardStore
from pipeline.artifacts.statistics import write_frame
from pipeline.attacks.shared.adaptive import attack_defense
from pipeline.attacks.shared.adaptive_settings import AdaptiveSettings, attacks_of
from pipeline.attacks.shared.attempts import Attempt
from pipeline.attacks.shared.defended import Target, check_gradients, multiply_adds
from pipeline.attacks.shared.runs import each_block
from pipeline.devices import batching
from pipeline.errors import PipelineError
from pipeline.metrics.adaptive import Check
from pipeline.metrics.detection import SCORES
from pipeline.models.inference import for_inference, to_unit_interval
from pipeline.params import check_value, parameters_of
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
    paths = [study.path("images"), study.path("classifier"), study.path("learned", key), study.path("learning", key)]
    inputs = [file for path in paths for file in [path, *sorted(path.rglob("*"))] if file.is_file()]
    store = ShardStore(inputs, {"attack_defense": key, "params": study.params, "device": str(study.device)})
    with replacing_folder(folder) as part:
        for number, loaded in enumerate(load_family(study, key)):
            own = part if loaded.name == key else part / loaded.name
            own.mkdir(exist_ok=True)
            for name, content in store.kept(number, partial(_files, study, loaded, classifier, own)).items():
                (own / name).write_bytes(content.tobytes())
    store.clear()


def _files(study: Study, loaded: Loaded, classifier: nn.Module, folder: Path) -> dict[str, NDArray[np.uint8]]:
    """By name the bytes of what `attack_one` writes."""
    attack_one(study, loaded, classifier, folder)
    return {path.name: np.frombuffer(path.read_bytes(), np.uint8) for path in folder.iterdir() if path.is_file()}


def settings_of(study: Study, name: str, randomized: bool) -> AdaptiveSettings:
    """How a defense is attacked: of `adaptive` the blocks `all`, `one_pass` or `randomized`, its own; later wins."""
    kinds = ("all", "randomized" if randomized else "one_pass")
    block: dict[str, Any] = {"draws": 1, "scored_draws": 1, "resubmissions": 1, "quiet": 0}
    adaptive = study.value("adaptive")
    for part in adaptive:
        if part not in ("all", "one_pass", "randomized", *study.defenses):
            known = ", ".join(("all", "one_pass", "randomized", *study.defenses))
            raise PipelineError(f"{study.where(f'adaptive.{part}')}: unknown parameter; expected one of: {known}")
    stated: dict[str, str] = {}  # where each of them stands, for messages
    for part in (*kinds, name):
        block = merged(block, adaptive.get(part, {}))
        stated |= {key: f"adaptive.{part}.{key}" for key in adaptive.get(part, {})}
    declared = parameters_of(AdaptiveSettings)
    for key in sorted(stated.keys() & declared.keys()):
        check_value(block[key], declared[key][0], study.where(stated[key]))
    norm = block.get("norm", "linf")
    budgets = study.threat(norm)
    block = {"epsilons": list(budgets.epsilons), "budget": budgets.epsilon} | block
    settings = AdaptiveSettings(**study.arguments(AdaptiveSettings, "adaptive", block))
    budget = study.where(stated.get("budget", f"threat.{norm}.epsilon"))
    epsilons = stated.get("epsilons", f"threat.{norm}.epsilons")
    attacks_of(settings, study.where("adaptive"), budget, epsilons)  # better refused now than after hours
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
    images, labels, source_index = sampled_originals(study, settings.originals)
    sizes = batching(device, images.shape[1:])
    target = target_of(study, loaded)
    originals = to_unit_interval(images, loaded.model)
    itself = loaded.defense.role is not None and _same(loaded.model, classifier)
    # Before the attacks, which take hours.
    checks = check_gradients(target, settings.draws, images[:CHECKED], labels[:CHECKED], sizes.attack)
    cost = multiply_adds(target.model(target.passes, "cost"), originals[:1]) / multiply_adds(classifier, originals[:1])
    frames: list[pd.DataFrame] = []
    found: dict[str, Attempt] = {}
    with bar(0, f"attack {name}", "image") as progress:

        def advance(what: str, count: int) -> None:
            progress.set_postfix(attack=what, refresh=False)
            progress.update(count)

        undefended = None if itself else classifier
        each = partial(each_block, f"attack {name}")
        for attempt in attack_defense(
            target, undefended, images, labels, sizes.attack, settings, advance, each, sizes.adaptive
        ):
            frames.append(attempt_rows(attempt, originals, labels, source_index))
            found[attempt.attack] = attempt
    about = {"dataset": study.name, "defense": name, "settings": settings.described(*images.shape[2:])}
    write_frame(folder / "examples.parquet", pd.concat(frames, ignore_index=True), "adaptive", about)
    write_curves(folder / "checks.csv", [Check(**checks, cost=cost)])
    worst = found["worst"].at(~found["none"].broken)
    kept = [(worst, False), *([(found["shortest"], True)] if "shortest" in found else [])]
    rows = np.concatenate([attempt.rows.cpu().numpy() for attempt, _ in kept]).astype(np.int32)
    write_found(
        folder / "images.h5",
        study.name,
        name,
        Found(
            images=np.concatenate([attempt.images.cpu().numpy() for attempt, _ in kept]),
            originals=images.cpu().numpy(),
            original_row=rows,
            source_index=source_index,
            labels=labels.cpu().numpy().astype(np.uint8)[rows],
            is_adversarial=np.concatenate([attempt.broken.cpu().numpy() for attempt, _ in kept]),
            nearest=np.concatenate([np.full(len(attempt.rows), nearest) for attempt, nearest in kept]),
        ),
    )


def target_of(study: Study, loaded: Loaded) -> Target:
    """A defense as it is attacked."""
    return Target(
        loaded.defense.predict,
        loaded.model,
        loaded.arguments,
        partial(generator, study.device, study.seed, study.source, loaded.name, "adaptive"),
        randomized=loaded.defense.randomized,
        passes=loaded.arguments.get("passes", 1),
    )


def sampled_originals(study: Study, count: int) -> tuple[Tensor, Tensor, Any]:
    """The same random sample of the test split for every defense: images uint8, labels, and their places in it."""
    test = read_split(study.path("images"), "test")
    random = np.random.default_rng(derive_seed(study.seed, study.source, "adaptive"))
    chosen = random.permutation(len(test.labels))[:count]
    labels = torch.from_numpy(test.labels[chosen]).to(study.device, torch.int64)
    return torch.from_numpy(test.images[chosen]).to(study.device), labels, chosen.astype(np.int32)


def attempt_rows(attempt: Attempt, originals: Tensor, labels: Tensor, source_index: Any) -> pd.DataFrame:
    """A row per image of an attempt: the columns of `examples.parquet`."""
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
            "label_share": attempt.label_share.cpu().numpy().astype(np.float32),
            "resubmitted": np.nan if attempt.resubmitted is None else attempt.resubmitted.cpu().numpy(),
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
    run(main, __doc__, key="defense", computes=True)
