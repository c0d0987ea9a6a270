"""The files of a study as what a defense learns from: an implementation of `defenses.protocol.Materials`."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.artifacts.adversarial import AdversarialSet, open_adversarial
from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.images import read_description, read_shape, read_split
from pipeline.artifacts.outside import rebuilder
from pipeline.artifacts.pairs import open_pairs
from pipeline.artifacts.shards import Arrays, ShardStore
from pipeline.defenses.protocol import Rows
from pipeline.devices import batching, choose_device
from pipeline.errors import PipelineError
from pipeline.mapper import Advance, Task
from pipeline.metrics.splits import validation_mask
from pipeline.models.inference import for_inference
from pipeline.models.outside import Outside
from pipeline.progress import bar
from pipeline.randomness import derive_seed, generator
from pipeline.training.autoencoder import Pairs

SHAPES = ("input_shape", "class_count")  # of a classifier's architecture: what goes in, what comes out


class StudyMaterials:
    """Files are read when they are asked for, so that a family depends on no others than those it uses.

    images, classifier : paths. sets : by attack the path of its adversarial set. source : name of the images' source.
    key : of the family. seed : of the study. device : the pipeline's, if it is left out.
    """

    def __init__(
        self,
        *,
        images: Path,
        classifier: Path,
        sets: Mapping[str, Path],
        source: str,
        key: str,
        seed: int,
        device: torch.device | None = None,
    ) -> None:
        self.source, self.key, self.seed = source, key, seed
        self.device = choose_device() if device is None else device
        self._images, self._classifier, self._sets = images, classifier, sets
        self._stores: list[ShardStore] = []

    @cached_property
    def attack_batch(self) -> int:
        return batching(self.device, read_shape(self._images)).attack

    @cached_property
    def predict_batch(self) -> int:
        return batching(self.device, read_shape(self._images)).predict

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        return read_description(self._images).class_names

    @cached_property
    def classifier(self) -> nn.Module:
        return for_inference(load_classifier(self._classifier), self.device)

    @cached_property
    def build(self) -> Callable[..., nn.Module]:
        model = load_classifier(self._classifier)
        return rebuilder(model) if isinstance(model, Outside) else type(model)

    @cached_property
    def architecture(self) -> Mapping[str, Any]:
        arguments = load_classifier(self._classifier).architecture
        arguments = arguments.get("arguments", arguments)  # of somebody else's those that its maker takes
        return {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in arguments.items()
            if name not in SHAPES
        }

    @cached_property
    def held_out(self) -> NDArray[np.bool_]:
        return validation_mask(self.split("train")[1], self.seed, self.source)

    def split(self, name: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        split = read_split(self._images, name)
        return split.images, split.labels

    def rows(self, attack: str, wanted: NDArray[np.bool_] | None = None, split: str = "train") -> Rows:
        with open_adversarial(self._path(attack)) as set_:
            sources, rows = set_.sources, set_.fooled_rows(split, wanted)
            originals, original_row = np.unique(sources.original_row[rows], return_inverse=True)
            return Rows(
                images=torch.from_numpy(_read(set_, rows)),
                labels=torch.from_numpy(sources.labels[rows]).to(torch.int64),
                target_labels=torch.from_numpy(sources.target_labels[rows]).to(torch.int64),
                original_row=torch.from_numpy(original_row).to(torch.int64),
                originals=torch.from_numpy(sources.originals[originals]),
                source_index=torch.from_numpy(sources.source_index[originals]).to(torch.int64),
                params=set_.identity.params,
            )

    def pairs(
        self, attacks: Sequence[str], wanted: NDArray[np.bool_], originals: int | None = None
    ) -> AbstractContextManager[Pairs]:
        return open_pairs([self._path(attack) for attack in attacks], wanted, self.device, originals)

    def generator(self, *names: str | int) -> torch.Generator:
        return generator(self.device, self.seed, self.source, *names)

    def random(self, *names: str | int) -> np.random.Generator:
        return np.random.default_rng(derive_seed(self.seed, self.source, *names))

    def progress(self, total: int, what: str, unit: str = "image") -> Any:
        return bar(total, f"{self.key} {what}", unit)

    def kept(
        self,
        what: str,
        about: Mapping[str, Any],
        task: Task,
        blocks: Sequence[Any],
        advance: Advance = lambda *numbers: None,
    ) -> list[Arrays]:
        inputs = [path for path in (self._images, self._classifier, *self._sets.values()) if path.is_file()]
        identity = {"what": what, "source": self.source, "key": self.key, "seed": self.seed}
        store = ShardStore(inputs, {**identity, "about": dict(about)})
        self._stores.append(store)
        store.fill(len(blocks), task, blocks.__getitem__, f"{self.key} {what}", advance)
        return list(store.load(len(blocks)))

    def clear(self) -> None:
        """Forget what was kept, once all that came of it is written."""
        for store in self._stores:
            store.clear()
        self._stores.clear()

    def _path(self, attack: str) -> Path:
        if attack not in self._sets:
            raise PipelineError(f"{self.key}: expected the adversarial set '{attack}', found {', '.join(self._sets)}")
        return self._sets[attack]


def _read(set_: AdversarialSet, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Images of some rows, which are sorted."""
    images = np.empty((len(rows), *set_.sources.originals.shape[1:]), np.float32)
    at = 0
    for part in set_.images_of(rows):
        images[at : at + len(part)] = part
        at += len(part)
    return images
