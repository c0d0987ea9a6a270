"""Downloads that say what they fetch, end some time, and leave all of it or nothing."""

import http.client
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.artifacts.raw.wanted import contents
from pipeline.errors import PipelineError

TIMEOUT = 30.0  # seconds without a byte


class _Telling(urllib.request.BaseHandler):
    """Says each address that is asked, and gives up on one that is silent."""

    handler_order = 100

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        request.timeout = TIMEOUT
        if request.get_method() == "GET":
            print(f"fetching {request.full_url}", file=sys.stderr, flush=True)
        return request

    https_request = http_request


@contextmanager
def _telling() -> Iterator[None]:
    """Inside the block every use of urllib, such as torchvision's, tells and has a timeout."""
    before = urllib.request._opener  # type: ignore[attr-defined]
    urllib.request.install_opener(urllib.request.build_opener(_Telling()))
    try:
        yield
    finally:
        urllib.request.install_opener(before)


def download(folder: Path, dataset: str, fetch: Callable[[Path], None]) -> None:
    """`fetch(folder)`, which downloads into it. If that fails or is interrupted, what has come is deleted again.

    Raises PipelineError with the ways to get the files.
    """
    parents = [path for path in (folder, *folder.parents) if not path.exists()]
    before = set(folder.rglob("*")) if folder.is_dir() else set()
    present = contents(folder) if folder.is_dir() else "nothing"
    done = False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        print(f"{dataset}: not in {folder}: downloading by torchvision", file=sys.stderr, flush=True)
        with _telling():
            fetch(folder)
        done = True
    except (OSError, RuntimeError, ValueError, EOFError, http.client.HTTPException) as error:
        reason = " ".join(str(error).split())
        raise PipelineError(
            f"{dataset}: no raw files in {folder} (found: {present}), and the download failed ({reason}). "
            f"Three ways to get them: (1) set DATASETS_DIR to a folder that holds {folder.name}/; (2) put the files "
            f"into data/raw/{folder.name}/; (3) run again with a network, and torchvision downloads them"
        ) from None
    finally:
        if not done:
            _delete_new(folder, before, parents)


def _delete_new(folder: Path, before: set[Path], parents: list[Path]) -> None:
    for path in sorted(set(folder.rglob("*")) - before, reverse=True):  # a folder's contents before the folder
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    for path in parents:
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
