"""What must hold of all images, whatever they come from; checked row by row while they are written."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.images import SPLITS, Description, Stream
from pipeline.artifacts.raw.decoding import resized, with_channels
from pipeline.artifacts.raw.rows import Raw, Row, Rows, check_label
from pipeline.artifacts.raw.wanted import SMALLEST, Images
from pipeline.errors import PipelineError

CLASSES = (2, 256)  # labels are stored as uint8


@dataclass
class Twice:
    """Counts rows that stand twice, by the checksums of their pixels.

    where : names all of the images in messages.
    repeated : training images that are the same as one before them. in_both : test images that are training images.
    """

    where: str
    repeated: int = 0
    in_both: int = 0
    seen: dict[str, dict[bytes, str]] = field(default_factory=lambda: {split: {} for split in SPLITS})

    def rows(self, split: str, rows: Iterable[Row]) -> Iterator[tuple[Row, bytes]]:
        """The rows of a split, train first, each with its checksum.

        Raises PipelineError, after the last, if most images of a file were in one before it, or most test images are
        training images.
        """
        found: Counter[str] = Counter()
        again: Counter[str] = Counter()  # rows of a file that stand in one before it
        for row in rows:
            key = hashlib.blake2b(row.image.tobytes() + str(row.image.shape).encode(), digest_size=8).digest()
            self.repeated += split == "train" and key in self.seen[split]
            self.in_both += split == "test" and key in self.seen["train"]
            found[row.part] += 1
            again[row.part] += self.seen[split].setdefault(key, row.part) != row.part
            yield row, key
        for part in found:
            if 2 * again[part] > found[part]:
                raise PipelineError(
                    f"{part}: expected other rows than those of the files before it, found the same twice: "
                    f"{again[part]} of its {found[part]}"
                )
        if 2 * self.in_both > found.total():
            raise PipelineError(
                f"{self.where}: expected other images in the test split than in the training split, found "
                f"{self.in_both} of {found.total()} in both"
            )


@dataclass
class Checked:
    """The rows of a source, of one size and one number of channels, and what was counted on the way.

    images : what the study says of them: `size` and `channels`.
    where : names the block in messages. seed : of the order.

    Raises PipelineError, where it is made, if the number of classes, or of images of a known data set, is wrong; and
    while rows are taken, if an image differs in size or channels from the first, a label has no class, most images of
    a file were in one before it, or most test images are training images.
    """

    raw: Raw
    images: Images
    where: str
    seed: int = 0
    shape: tuple[int, ...] = ()
    was_resized: bool = False
    counts: dict[str, NDArray[np.int64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names, low, high = self.raw.class_names, *CLASSES
        if not low <= len(names) <= high:
            raise PipelineError(f"{self.raw.where}: expected {low} to {high} classes, found {len(names)}")
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise PipelineError(f"{self.raw.where}: expected each class once, found {twice!r} twice")
        if self.images.size is not None and len(self.images.size) != 2:
            raise PipelineError(f"{self.where}.size: expected [height, width], found {list(self.images.size)}")
        for split, known in zip(SPLITS, self.raw.known or (), strict=False):
            if self.raw.splits[split].count != known:
                raise PipelineError(
                    f"{self.where}.source: {self.raw.dataset}: expected the {known} images of its {split} split, found "
                    f"{self.raw.splits[split].count} ({self.raw.where}): a part of it, or another data set, of which "
                    "parquet:<folder> or the like says how its files lie"
                )
        self._digest, self.twice = hashlib.sha256(), Twice(self.raw.where)

    def streams(self) -> dict[str, Stream]:
        """Both splits, train first, to be taken in that order; each mixed, if its classes come one after the other."""
        return {
            split: Stream(rows.count, self._rows(split), self.order(rows))
            for split, rows in ((split, self.raw.splits[split]) for split in SPLITS)
        }

    def order(self, rows: Rows) -> NDArray[np.int64] | None:
        """Where each row of a split is to stand in the stored file; None: they stay as they come."""
        return rows.order(np.random.default_rng(self.seed))

    def description(self) -> Description:
        """What the stored file says of itself, once all rows were taken.

        Raises PipelineError if a class has no image in a split.
        """
        for split, counts in self.counts.items():
            if len(empty := np.flatnonzero(counts == 0)):
                names = ", ".join(self.raw.class_names[label] for label in empty[:8])
                raise PipelineError(f"{self.raw.where}: expected {split} images of every class, found none of: {names}")
        source = self.raw.source
        if self.was_resized:
            source += f"; resized to {self.shape[0]}x{self.shape[1]} (bilinear, antialiased)"
        if self.images.channels is not None:
            source += f"; {'gray' if self.images.channels == 1 else 'RGB'}"
        return Description(
            dataset=self.raw.dataset,
            class_names=self.raw.class_names,
            source=source,
            source_checksum=self.raw.checksum or self._digest.hexdigest(),
            repeated_train_images=self.twice.repeated,
            test_images_in_train=self.twice.in_both,
        )

    def _rows(self, split: str) -> Iterator[tuple[NDArray[np.uint8], int]]:
        counts = self.counts[split] = np.zeros(len(self.raw.class_names), np.int64)
        for row, key in self.twice.rows(split, self.raw.splits[split].read()):
            check_label(row, len(counts))
            counts[row.label] += 1
            self._digest.update(key + row.label.to_bytes(2, "big"))
            yield self._fitted(row), row.label

    def _fitted(self, row: Row) -> NDArray[np.uint8]:
        """(c, h, w), resized and converted as the study says; PipelineError if it is not as the first was then."""
        image = fitted(row.image, self.images)
        self.was_resized |= image.shape[:2] != row.image.shape[:2]
        if not self.shape:
            self.shape = image.shape
            if min(image.shape[:2]) < SMALLEST:
                raise PipelineError(
                    f"{row.where}: expected at least {SMALLEST}x{SMALLEST} pixels, found {_size(image)}: resize all "
                    f"with {self.where}.size: [height, width]"
                )
        if image.shape[:2] != self.shape[:2]:
            raise PipelineError(
                f"{row.where}: expected {self.shape[0]}x{self.shape[1]} pixels as the images before it, found "
                f"{_size(image)}: resize all with {self.where}.size: [height, width]"
            )
        if image.shape != self.shape:
            kinds = {1: "a gray image", 3: "an RGB image"}
            raise PipelineError(
                f"{row.where}: expected {kinds[self.shape[2]]} as those before it, found {kinds[image.shape[2]]}: take "
                f"all as gray or as RGB with {self.where}.channels: 1 or 3"
            )
        return np.ascontiguousarray(image.transpose(2, 0, 1))


def fitted(image: NDArray[np.uint8], images: Images) -> NDArray[np.uint8]:
    """(h, w, c) of an image (h, w) or (h, w, 3): resized and converted as the study says."""
    if images.size is not None and image.shape[:2] != images.size:
        image = resized(image, *images.size)
    if images.channels is not None:
        image = with_channels(image, images.channels)
    return image[..., None] if image.ndim == 2 else image


def _size(image: NDArray[np.uint8]) -> str:
    return f"{image.shape[0]}x{image.shape[1]}"
