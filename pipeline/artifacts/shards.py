"""Parts of an unfinished artifact, kept so that an interrupted stage goes on where it was."""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from pipeline.artifacts.files import canonical_json, replacing
from pipeline.artifacts.weights import writing_tensors
from pipeline.devices import choose_device, numerics
from pipeline.registry import own_sources

Arrays = dict[str, NDArray[Any]]
WORK = Path(".work")


class ShardStore:
    """Numbered groups of arrays in a work folder whose name is a hash of all that they come from.

    Other inputs, parameters, code, device, threads or version of PyTorch give another folder, so a shard is never
    taken for one of a different run. `arguments` hold all the rest that the bytes depend on, the seed too. `.work/` is
    ignored by git and DVC.
    """

    def __init__(self, inputs: Sequence[Path], arguments: Mapping[str, Any]) -> None:
        digest = hashlib.sha256(canonical_json([dict(arguments), numerics(choose_device())]).encode())
        code = sorted(Path(__file__).parents[1].rglob("*.py"))
        for path in [*inputs, *code, *own_sources()]:
            with open(path, "rb") as handle:
                digest.update(hashlib.file_digest(handle, "sha256").digest())
        self.folder = WORK / digest.hexdigest()[:16]

    def fill(self, shards: int, compute: Callable[[int], Arrays]) -> int:
        """Compute and store each shard that is not there yet; each appears whole or not at all.

        One is written while the next is computed. Returns how many were there already.
        """
        found = 0
        with ThreadPoolExecutor(1) as writer:
            written: Future[None] | None = None
            for index in range(shards):
                if self._whole(index):
                    found += 1
                    continue
                arrays = compute(index)
                if written:
                    written.result()
                written = writer.submit(self._store, index, arrays)
            if written:
                written.result()
        return found

    def _store(self, index: int, arrays: Arrays) -> None:
        contiguous = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
        with replacing(self._path(index)) as part, writing_tensors(self._path(index)):
            save_file(contiguous, part, metadata={"sha256": _digest(contiguous)})

    def _whole(self, index: int) -> bool:
        """Whether a shard is there as it was stored; a damaged one is computed again."""
        path = self._path(index)
        try:
            with safe_open(path, framework="np") as file:
                stored = (file.metadata() or {}).get("sha256")
            return bool(stored == _digest(load_file(path)))
        except (OSError, SafetensorError):
            return False

    def load(self, shards: int) -> Iterator[Arrays]:
        """The stored shards in order, one in memory at a time."""
        for index in range(shards):
            yield load_file(self._path(index))

    def clear(self) -> None:
        """Delete the folder, once the artifact is written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:05d}.safetensors"


def _digest(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).view(np.uint8).data if arrays[name].size else b"")
    return digest.hexdigest()
