"""The tasks that `benchmarks.workers` gives to one process and to several: MNIST's, with a network trained short."""

import dataclasses
import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import ROOT
from benchmarks.gpu_context import SMALL, Context
from benchmarks.gpu_inputs import WORKLOADS, fitted, images_of, read_one
from pipeline import devices
from pipeline.artifacts.adversarial import Identity
from pipeline.artifacts.generation import attack_block, block_of, make_set, start_from_images
from pipeline.attacks import minimal
from pipeline.attacks.shared.adaptive import attack_defense
from pipeline.attacks.shared.adaptive_settings import AdaptiveSettings
from pipeline.attacks.shared.defended import Target
from pipeline.attacks.shared.protocol import Attack
from pipeline.attacks.shared.runs import each_block
from pipeline.defenses.adversarial_training import Adversary
from pipeline.defenses.dropout_ensemble import dropout_ensemble
from pipeline.devices import batching, prepare_device
from pipeline.models.inference import for_inference
from pipeline.randomness import generator
from pipeline.training.classifier import fit_classifier, new_classifier

MNIST = "mnist"
WORK = ROOT / ".work/workers"
CLASSES = tuple("0123456789")
BATCHES, BATCH = 20, 128  # of the adversarial training


class Work:
    """The measured tasks, by name."""

    def __init__(self, originals: int, attacked: int, rows: int) -> None:
        WORK.mkdir(parents=True, exist_ok=True)
        devices.TABLE["cpu"] = dataclasses.replace(devices.TABLE["cpu"], block=rows)
        self.device = device = prepare_device()
        scale = dataclasses.replace(SMALL, train=20000, epochs=2)
        context = Context(WORK, WORK, scale, device)
        if not (WORK / f"{MNIST}_read.json").exists():
            read_one(context, MNIST)
        self.workload = WORKLOADS[MNIST]
        self.model = for_inference(fitted(context, MNIST, {})[0], device)
        half = {"train": originals // 2, "test": originals - originals // 2}
        self.start = start_from_images(WORK / f"{MNIST}.h5", self.model, half, 0, MNIST, MNIST)
        self.images, self.labels = (torch.from_numpy(part[:attacked]) for part in images_of(context, MNIST, "test"))
        images, labels = (torch.from_numpy(part[: BATCHES * BATCH]) for part in images_of(context, MNIST, "train"))
        self.train = images.to(device), labels.long().to(device)
        self.parameters = {"step_size": self.workload.step_size, "max_steps": 1000}

    def minimal(self) -> str:
        """The checksum of a minimal set."""
        identity = Identity(MNIST, "minimal", self.parameters, CLASSES, 0)
        with scratch() as folder:
            make_set(
                folder / "set.h5", "minimal", minimal.attack, self.parameters, self.start, self.model,
                WORK / f"{MNIST}.pt", identity, MNIST,
            )  # fmt: skip
            return hashlib.sha256((folder / "set.h5").read_bytes()).hexdigest()

    def adaptive(self) -> str:
        """The checksum of all that an adaptive attack finds: the stage's, of fewer steps and runs, where all fall."""
        draws = partial(generator, self.device, 0)
        target = Target(dropout_ensemble, self.model, {"rate": 0.3}, draws, randomized=True, passes=10)
        epsilon = self.workload.epsilon  # at which all are broken: what is left is doubled in few blocks
        settings = AdaptiveSettings(
            norm="linf", epsilons=(epsilon,), budget=epsilon, originals=len(self.labels), sanity_originals=1,
            restarts=2, curve_restarts=1, draws=10, scored_draws=20, resubmissions=1, quiet=0.0,
            ascent={"method": "pgd", "steps": 10, "relative_step_size": 0.5}, shortest={"steps": 5},
        )  # fmt: skip
        digest, sizes = hashlib.sha256(), batching(self.device)
        for attempt in attack_defense(
            target, None, self.images, self.labels.long(), sizes.attack, settings,
            each=partial(each_block, "attack"), blocks=sizes.adaptive,
        ):  # fmt: skip
            digest.update(attempt.images.numpy().tobytes())
        return digest.hexdigest()

    def training(self) -> str:
        """The checksum of a network after some batches of adversarial training, of two parts each."""
        training = {**self.workload.training, "epochs": 1, "batch_size": BATCH}
        model = new_classifier(
            self.train[0], len(CLASSES), (0, "benchmark"), channels=self.workload.channels, dropout=0.0
        )
        adversary = Adversary(
            generator=generator(self.device, 0, "adversary"), norm="linf", epsilon=self.workload.epsilon, steps=10,
            relative_step_size=0.2, warmup=0.0,
        )  # fmt: skip
        order = generator(self.device, 0, "order")
        validation = (part[:BATCH] for part in self.train)
        list(fit_classifier(model, *self.train, *validation, order, objective=adversary, **training))
        return hashlib.sha256(
            b"".join(value.cpu().numpy().tobytes() for value in model.state_dict().values())
        ).hexdigest()

    def block(self) -> Any:
        """The first block of the minimal set."""
        sources, rows = self.start.sources, slice(0, devices.TABLE["cpu"].block)
        return block_of(0, sources.originals, sources.original_row[rows], sources.target_labels[rows])

    def do(self, attack: Attack, **parameters: float) -> Callable[..., Any]:
        """A task that makes a block's images."""
        draws = partial(generator, self.device, 0, "benchmark")
        return partial(attack_block, attack, self.model, batching(self.device).attack, draws, parameters)


@contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        yield Path(folder)
