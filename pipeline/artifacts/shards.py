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
from pipeline.artifacts.tensors import writing_tensors
from pipeline.devices import choose_device, numerics
from pipeline.errors import PipelineError
from pipeline.mapper import Advance, Task, completed
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
            digest.update(path.name.encode())  # two studies that are alike have a folder each: each locks only its own
            with open(path, "rb") as handle:
                digest.update(hashlib.file_digest(handle, "sha256").digest())
        self.folder = WORK / digest.hexdigest()[:16]

    def fill(
        self,
        shards: int,
        task: Task,
        block: Callable[[int], Any] = lambda index: index,
        what: str = "",
        advance: Advance = lambda *numbers: None,
    ) -> int:
        """Let the mapper do and store each shard that is not there yet; each appears whole or not at all.

        task : makes the arrays of a shard of its block, which `block` makes of the shard's number; see `mapper`.
        One is written while others are computed. Returns how many were there already.
        """
        missing = [index for index in range(shards) if self._read(index) is None]
        blocks = ((index, block(index)) for index in missing)
        with ThreadPoolExecutor(1) as writer:
            written: Future[None] | None = None
            for index, arrays in completed(what, task, blocks, advance):
                if written:
                    written.result()
                written = writer.submit(self._store, index, arrays)
            if written:
                written.result()
        return shards - len(missing)

    def _store(self, index: int, arrays: Arrays) -> None:
        contiguous = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
        with replacing(self._path(index)) as part, writing_tensors(self._path(index)):
            save_file(contiguous, part, metadata={"sha256": self._digest(index, contiguous)})

    def _read(self, index: int) -> Arrays | None:
        """A shard as it was stored here under this number; None if it is not there, damaged, or another."""
        path = self._path(index)
        try:
            with safe_open(path, framework="np") as file:
                stored = (file.metadata() or {}).get("sha256")
            arrays = load_file(path)
        except (OSError, SafetensorError):
            return None
        return arrays if stored == self._digest(index, arrays) else None

    def kept(self, index: int, make: Callable[[], Arrays]) -> Arrays:
        """A shard, made and stored first if it is not there yet: of work that hands its own parts to the mapper."""
        arrays = self._read(index)
        if arrays is None:
            arrays = make()
            self._store(index, arrays)
        return arrays

    def load(self, shards: int) -> Iterator[Arrays]:
        """The stored shards in order, one in memory at a time. Raises PipelineError if one was damaged since."""
        for index in range(shards):
            arrays = self._read(index)
            if arrays is None:
                raise PipelineError(f"{self._path(index)}: expected what was stored there, found another: run it again")
            yield arrays

    def clear(self) -> None:
        """Delete the folder, once the artifact is written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:05d}.safetensors"

    def _digest(self, index: int, arrays: Arrays) -> str:
        """Of the arrays, and of which shard they are of which run."""
        digest = hashlib.sha256(f"{self.folder.name}/{index}".encode())
        for name in sorted(arrays):
            array = np.ascontiguousarray(arrays[name])
            digest.update(f"/{name}/{array.dtype}/{array.shape}/".encode())
            digest.update(array.reshape(-1).view(np.uint8).data)
        return digest.hexdigest()
