"""One more training of a study's classifier, with sets and defenses of its own: how much of a figure is its luck."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from pipeline.artifacts.adversarial import TEST, Identity, open_adversarial
from pipeline.artifacts.generation import make_set, start_from_images, start_from_set
from pipeline.artifacts.images import read_description, read_shape, read_split
from pipeline.artifacts.judging import Judged, Member, judge_parts, parts_to_judge
from pipeline.artifacts.learning import load_trained, write_learned
from pipeline.artifacts.materials import StudyMaterials
from pipeline.artifacts.outside import given_in, retraining
from pipeline.artifacts.shards import WORK, Arrays
from pipeline.artifacts.weights import save_model
from pipeline.attacks import extended, minimal
from pipeline.defenses.protocol import load_defense
from pipeline.devices import batching, choose_device
from pipeline.mapper import Advance, Task
from pipeline.metrics.norms import example_statistics
from pipeline.metrics.splits import TEST_SPLIT, validation_mask
from pipeline.models.inference import for_inference
from pipeline.progress import bar
from pipeline.randomness import derive_seed
from pipeline.registry import classifier_kinds
from pipeline.studies import STUDIES
from pipeline.training.classifier import divide, train_classifier

ATTACKS = {"minimal": minimal.attack, "extended": extended.attack}
# Columns of the two tables.
JUDGED = (
    "defense",
    "attack",
    "training",
    "row",
    "original_row",
    "label",
    "target_label",
    "predicted",
    "thwarted",
    "recovered",
)
EXAMPLES = ("attack", "source_index", "label", "target_label", "is_adversarial", "steps", "l1", "l2", "linf")
CLEAN = -1  # target of an image that has none
KINDS = ("clean_all", "clean", *ATTACKS)  # what is judged, numbered so among arrays
NORMS = ("l1", "l2", "linf")
FOLDERS = WORK / "replicates"  # by study the temporary folders


@dataclass(frozen=True)
class Family:
    """What is judged of a family: its members with their arguments, and what it learns by; None: nothing to learn."""

    key: str
    method: str
    members: tuple[Member, ...]
    learn: Mapping[str, Any] | None


@dataclass(frozen=True)
class Recipe:
    """All that a replicate comes from beside its number; it can be sent to another process.

    images : the file. seed, source : of the study, which draws the images that are attacked. kind : of the classifier,
    "" where the study brings one; architecture, training : its arguments. brought : what else tells one that is brought
    from others: what builds it, from which version, how its images are normalized. counts : of attacked images by
    split. targets : towards so many other classes each; None: all. attacks : arguments of the paper's two.
    """

    study: str
    images: Path
    seed: int
    source: str
    kind: str
    architecture: Mapping[str, Any]
    brought: Mapping[str, Any]
    training: Mapping[str, Any]
    counts: Mapping[str, int]
    targets: int | None
    attacks: Mapping[str, Mapping[str, Any]]
    families: tuple[Family, ...]

    @property
    def defenses(self) -> list[str]:
        """Names of all members, in the order that tables number them by."""
        return [member.name for family in self.families for member in family.members]


def replicate(number: int, recipe: Recipe) -> Arrays:
    """Train, attack, defend, judge; a function of its arguments, the images file, code and device alone.

    Random numbers are named by a seed derived from the study's and `number`; only which images are attacked is drawn as
    the study draws it, so that replicates differ by their trainings.

    Returns columns as arrays: of a row per defense and image of the test split `judged/<column>`, `attack` numbered in
    the order clean_all, clean, minimal, extended; of a row per adversarial image `examples/<column>`.
    """
    with TemporaryDirectory(dir=_folder(recipe.study), prefix=f"replicate_{number}_") as name:
        return _replicate(number, recipe, Path(name))


def task_of(recipe: Recipe) -> Task:
    """A task of the mapper, `replicate` by its number; the images file travels with it, to where no disk is shared."""
    return partial(_replicate_sent, recipe.images.read_bytes(), recipe)


def _replicate_sent(images: bytes, recipe: Recipe, number: int, advance: Advance) -> Arrays:
    with TemporaryDirectory(dir=_folder(recipe.study), prefix=f"images_{number}_") as name:
        path = Path(name) / recipe.images.name
        path.write_bytes(images)
        return replicate(number, replace(recipe, images=path))


def _folder(study: str) -> Path:
    """Where a study's replicates have their temporary folders."""
    folder = FOLDERS / study
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def tidied(study: str) -> Iterator[None]:
    """Before and after the block, delete the temporary folders that killed workers have left."""
    shutil.rmtree(FOLDERS / study, ignore_errors=True)
    try:
        yield
    finally:
        shutil.rmtree(FOLDERS / study, ignore_errors=True)


def frames_of(replicates: Sequence[Arrays], defenses: Sequence[str]) -> dict[str, pd.DataFrame]:
    """What so many replicates returned as two tables, names in place of numbers, with a column `replicate`."""
    found = {}
    for table, kinds, columns in (("judged", KINDS, JUDGED), ("examples", tuple(ATTACKS), EXAMPLES)):
        frames = []
        for number, arrays in enumerate(replicates):
            mine = {name: arrays[f"{table}/{name}"] for name in columns if name != "thwarted"}
            frame = pd.DataFrame({"replicate": np.int16(number), **mine})
            frame["attack"] = np.array(kinds)[frame["attack"]]
            if table == "judged":
                frame["defense"] = np.array(defenses)[frame["defense"]]
                clean = frame["target_label"] == CLEAN
                thwarted = (frame["predicted"] != frame["target_label"]).astype("boolean").mask(clean)
                targets = frame["target_label"].astype("Int16").mask(clean).astype("UInt8")
                frame = frame.assign(target_label=targets, thwarted=thwarted)
            frames.append(frame[["replicate", *columns]])
        found[table] = pd.concat(frames, ignore_index=True)
    return found


def _replicate(number: int, recipe: Recipe, folder: Path) -> Arrays:
    seed, source, device = derive_seed(recipe.seed, recipe.source, "replicate", number), recipe.source, choose_device()
    split, class_names = read_split(recipe.images, "train"), read_description(recipe.images).class_names
    division = divide(split.images, split.labels, validation_mask(split.labels, seed, source), device)
    names = (seed, source, "classifier")
    with bar(recipe.training["epochs"] * len(division.images), f"replicate {number} classifier", "image") as progress:
        trained, _ = train_classifier(
            division, len(class_names), names, recipe.architecture, recipe.training, progress, build=_build(recipe)
        )
    classifier = folder / "classifier.safetensors"
    save_model(classifier, trained)
    model = for_inference(trained, device)

    sets = {attack: folder / f"{attack}.h5" for attack in ATTACKS}
    drawn = recipe.counts, recipe.seed, source, f"replicate {number}", recipe.targets
    start = start_from_images(recipe.images, model, *drawn)
    for attack, path in sets.items():
        arguments = recipe.attacks[attack]
        identity = Identity(recipe.study, attack, dict(arguments), class_names, seed)
        make_set(path, attack, ATTACKS[attack], arguments, start, model, classifier, identity, source)
        start = start_from_set(path)
    tables = {"examples": _examples(sets), "judged": _judged(recipe, seed, classifier, sets, folder)}
    return {f"{table}/{column}": frame[column].to_numpy() for table, frame in tables.items() for column in frame}


def _build(recipe: Recipe) -> Callable[..., nn.Module]:
    if recipe.kind:
        return classifier_kinds()[recipe.kind]
    folder = STUDIES / recipe.study
    return retraining(folder, given_in(folder))


def _examples(sets: Mapping[str, Path]) -> pd.DataFrame:
    """A row per adversarial image of the test split."""
    frames = []
    for number, path in enumerate(sets.values()):
        with open_adversarial(path) as set_:
            sources = set_.sources
            rows = np.flatnonzero(sources.source_split[sources.original_row] == TEST)
            found = example_statistics(set_.images(rows) - set_.originals(rows))
            frames.append(
                pd.DataFrame(
                    {
                        "attack": np.full(len(rows), number, np.int8),
                        "source_index": sources.source_index[sources.original_row[rows]],
                        "label": sources.labels[rows],
                        "target_label": sources.target_labels[rows],
                        "is_adversarial": set_.is_adversarial[rows],
                        "steps": set_.steps[rows],
                        **{norm: found[norm] for norm in NORMS},
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def _judged(recipe: Recipe, seed: int, classifier: Path, sets: Mapping[str, Path], folder: Path) -> pd.DataFrame:
    """A row per defense and image of the test split: all of it, the attacked originals, the sets."""
    device = choose_device()
    batch_size, frames = batching(device, read_shape(recipe.images)).predict, []
    for family in recipe.families:
        weights, learning = folder / f"{family.key}.safetensors", folder / family.key
        if family.learn is not None:
            materials = StudyMaterials(
                images=recipe.images, classifier=classifier, sets=sets, source=recipe.source, key=family.key, seed=seed
            )
            learn = load_defense(family.method).learn
            assert learn is not None
            write_learned(weights, folder / f"{family.key}.csv", learning, learn(materials, **family.learn))
            materials.clear()
        for member in family.members:
            models = load_trained(weights, learning, classifier, member.role if family.learn is not None else None)
            ready = {number: for_inference(model, device) for number, model in models.items()}
            parts = parts_to_judge(recipe.images, sets, batch_size, seed, recipe.source)
            wanted = (part for part in takewhile(lambda part: part.split == TEST_SPLIT, parts) if part.attack in KINDS)
            judge = Judged(member.name, member.predict(), ready, "")
            frame = judge_parts(judge, wanted, batch_size, seed, recipe.source)
            assert frame is not None  # the test split is never empty
            frame = frame.assign(target_label=frame["target_label"].astype("Int16").fillna(CLEAN).astype(np.int16))
            number = np.int16(recipe.defenses.index(member.name))
            frame = frame.assign(defense=number, attack=frame["attack"].map(KINDS.index).astype(np.int8))
            frames.append(frame[[name for name in JUDGED if name != "thwarted"]])
    return pd.concat(frames, ignore_index=True)
