"""Safetensors' own errors while a file is written, as others' are told. Apart, so that sets need not know of models."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from pipeline.artifacts.files import as_os_error
from pipeline.errors import PipelineError


@contextmanager
def writing_tensors(path: Path) -> Iterator[None]:
    """Inside the block safetensors' own error, such as of a full disk, becomes one that names the file.

    An OSError if the system has one, else a PipelineError.
    """
    try:
        yield
    except SafetensorError as error:
        if system := as_os_error(error, path):
            raise system from None
        raise PipelineError(f"{path}: cannot be written: {' '.join(str(error).split())}") from None
