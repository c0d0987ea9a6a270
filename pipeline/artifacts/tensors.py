"""Safetensors' own errors while a file is written, as ours. Apart, so that sets need not know of models."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from pipeline.errors import PipelineError


@contextmanager
def writing_tensors(path: Path) -> Iterator[None]:
    """Inside the block safetensors' own error, such as of a full disk, becomes a PipelineError that names the file."""
    try:
        yield
    except SafetensorError as error:
        raise PipelineError(f"{path}: cannot be written: {' '.join(str(error).split())}") from None
