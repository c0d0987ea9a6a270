"""What a defense is, in types: what its file says of itself, what it learns from, and what comes out of that."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.metrics.choices import Choice
from pipeline.metrics.contrasts import Contrast
from pipeline.registry import load

Predict = Callable[..., Tensor]


@dataclass(frozen=True, kw_only=True)
class Defense:
    """What a defense's file holds as `defense`; its label is the first line of the file's docstring.

    predict : (learned, images, generator, *, <parameters>) -> logits of all passes, float (n, passes, k), images in
        [0, 1]. Its keyword-only parameters are the keys of the block `predict`, or of a variant's block.
    randomized : whether it draws random numbers when it predicts.
    setting : what images made against the attacked classifier are for it: "static", that classifier stands behind the
        defense; "transfer", the defense is another classifier.
    role : which of its family's models it predicts with: "" the family's own (the attacked classifier, if it has
        none; behind an autoencoder, if that is it), None the attacked classifier whatever the family has learned. A
        variant's block may name another role (`learned: control`).
    roles : of the other models that `learn` makes: what `learned` of a variant may say. None: it is told when it is
        used.
    learn : (materials, *, <parameters>) -> Learned. Its keyword-only parameters are the keys of the block `learn`;
        None: there is nothing to try or to learn, and the block is empty. "auto" reaches it as it is.
    tried : those of its keys that say what is tried; without them, and with a number for each "auto", nothing is.
    chooses : the numbers that its rules choose, as `Learned.choices` names them, each with the key of `learn` without
        which it is not tried: an "auto" that nothing chooses is told at once. None: it is told when it is used.
    examine : (materials, learned, *, <parameters>) -> Examined: what else is measured once it has learned, with
        `learned` as it is read back: models, choices and trainings, no tables. A parameter is the key of that name of
        the block `examine`; where it stands not there, of `predict`, then of `learn`, so that no number stands
        twice. "auto" never reaches it.
    primary : the contrast within its family that the defense's claim rests on; None: it has none, and what is claimed
        is its robust accuracy against the undefended classifier's.

    Blocks within a block are frozen dataclasses of keyword-only annotated fields.
    """

    predict: Predict
    randomized: bool = False
    setting: Literal["static", "transfer"] = "static"
    role: str | None = ""
    roles: tuple[str, ...] | None = None
    learn: "Callable[..., Learned] | None" = None
    examine: "Callable[..., Examined] | None" = None
    primary: Contrast | None = None
    tried: tuple[str, ...] = ()
    chooses: Mapping[str, str] | None = None


def load_defense(name: str) -> Defense:
    """The defense of the file `pipeline/defenses/<name>.py`. Raises PipelineError if there is none."""
    return load("defenses", name, Defense)


@dataclass(frozen=True)
class Learned:
    """What a defense has after learning.

    models : by role, "" the defense's own model, others those of variants ("control"); empty: the attacked classifier
        itself. Each has `architecture`, the JSON-able keyword arguments that its class is built with, and that class
        stands in pipeline/models/ or in the defense's file.
    choices : by parameter, of the defense ("rate") or of a variant ("gaussian_blur.sigma"). tables : by name a list of
        instances of one dataclass. trials, curves : such lists too; curves hold `epoch, split, loss, accuracy`.
    trainings : number of a training to its models by role ("" the own one; a generator is a role too), of a defense
        that trains several times; `models` is then of the first that did not fail.
    pictures : by name, a dataclass of arrays and names, see `shared.pictures`, that the report shows.
    """

    models: Mapping[str, nn.Module] = field(default_factory=dict)
    choices: Mapping[str, Choice] = field(default_factory=dict)
    trials: Sequence[Any] = ()
    curves: Sequence[Any] = ()
    tables: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    trainings: Mapping[int, Mapping[str, nn.Module]] = field(default_factory=dict)
    pictures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Examined:
    """What else was measured: tables by name (lists of instances of one dataclass), and pictures by name."""

    tables: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    pictures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rows:
    """Some rows of an adversarial set that fooled the attacked classifier, r of them, of m originals; both in order.

    Only originals that have a row are there. images : float32 (r, c, h, w) in [0, 1]; labels, target_labels : int64
    (r,); original_row : int64 (r,), which of `originals`, uint8 (m, c, h, w), each comes from; source_index : int64
    (m,), where those stand in their split. All on the CPU. params : of the attack that made them.
    """

    images: Tensor
    labels: Tensor
    target_labels: Tensor
    original_row: Tensor
    originals: Tensor
    source_index: Tensor
    params: Mapping[str, Any]


class Materials(Protocol):
    """What a defense learns from and is examined on; a stage makes it, and nothing here touches a file.

    source : name of the images' source, which random numbers are named by. key : the family's. seed : the study's.
    attack_batch, predict_batch : images per pass on the device, with input gradients and without.
    """

    @property
    def source(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def attack_batch(self) -> int: ...
    @property
    def predict_batch(self) -> int: ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the k classes."""
        ...

    @property
    def classifier(self) -> nn.Module:
        """The attacked one, ready for inference, on the device."""
        ...

    @property
    def architecture(self) -> Mapping[str, Any]:
        """The attacked classifier's arguments, but for the shapes of what goes in and comes out (channels, dropout)."""
        ...

    @property
    def build(self) -> Callable[..., nn.Module]:
        """What makes another network of the attacked classifier's kind, still untrained: its class, or its maker's.

        Called with the images' shape, the number of classes, and of `architecture` what is to stay. Raises LeftOut
        where the classifier is somebody else's, and the study does not say that it may be trained anew.
        """
        ...

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """The validation images of the train split, bool (n,)."""
        ...

    def split(self, name: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Images (n, c, h, w) and labels (n,) of "train" or "test"."""
        ...

    def rows(self, attack: str, wanted: NDArray[np.bool_] | None = None, split: str = "train") -> Rows:
        """Rows of "minimal" or "extended" whose originals are of `split`, and there where `wanted`, bool (n,), holds.

        Maybe none.
        """
        ...

    def pairs(
        self, attacks: Sequence[str], wanted: NDArray[np.bool_], originals: int | None = None
    ) -> AbstractContextManager[Any]:
        """`training.autoencoder.Pairs` of these attacks on train-split originals that are `wanted`, bool (n,).

        originals : only so many of them, evenly spread.
        """
        ...

    def generator(self, *names: str | int) -> torch.Generator:
        """Random numbers on the device, named by seed and source before `names`."""
        ...

    def random(self, *names: str | int) -> np.random.Generator:
        """Random numbers of NumPy, named likewise."""
        ...

    def progress(self, total: int, what: str, unit: str = "image") -> Any:
        """A bar: a context manager with `update(n)` and `set_postfix(...)`."""
        ...

    def kept(
        self,
        what: str,
        about: Mapping[str, Any],
        task: Callable[..., dict[str, NDArray[Any]]],
        blocks: Sequence[Any],
        advance: Callable[..., object] = lambda *numbers: None,
    ) -> list[dict[str, NDArray[Any]]]:
        """`task(block, advance)` of each block, arrays by name; each is kept on disk: an interrupted run goes on.

        Several are done at once where the environment says so: a task is a function or callable class at the top
        of a module, or a `partial` of one, see `pipeline.mapper`; what it calls its `advance` with, this one is called
        with.

        what : a name within the family. about : everything that the results depend on beside images, sets, seed,
        device and code, JSON-able.
        """
        ...
