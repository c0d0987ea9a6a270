"""On a disk that is full: one line that names the file, no part, nothing that crashes."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.root import ROOT

PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from pipeline.artifacts.files import replacing
from pipeline.artifacts.storage import writing
from pipeline.stages.command import command

def store():
    with replacing(Path(sys.argv[1])) as part:
        with writing(part) as file:
            file.attrs["schema"] = "test"
            file.create_dataset("images", (int(sys.argv[2]), 4096), "float32")
            file.create_dataset("labels", data=np.ones(1000))
            for row in range(0, int(sys.argv[2]), 8):
                file["images"][row : row + 8] = np.ones((8, 4096), np.float32)

command(store, False, [])
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """One of 24 MiB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(tmp_path)]
    if not sys.platform.startswith("linux") or os.geteuid() or subprocess.run(mount, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_set_that_finds_no_room_is_one_line(small_disk: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = small_disk / "set.h5"

    def tried(rows: int) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, str(path), str(rows)], env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=tmp_path_factory.mktemp("work"), capture_output=True, text=True, check=False,
        )  # fmt: skip

    for rows in (4096, 3968):  # 64 and 62 MiB
        done = tried(rows)
        assert (done.returncode, done.stderr) == (
            1,
            f"error: {path}: No space left on device: make room, then run it again\n",
        )
        assert not list(small_disk.iterdir())
    (small_disk / "other").write_bytes(bytes(12 << 20))  # hardly any room from the start
    done = tried(8)
    assert (done.returncode, done.stderr) == (
        1,
        f"error: {path}: No space left on device: make room, then run it again\n",
    )
    (small_disk / "other").unlink()
    assert tried(8).returncode == 0
    assert path.is_file()


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    """Weights are written whole or not at all."""
    program = (
        "import sys\nfrom pathlib import Path\nfrom pipeline.stages.command import command\n"
        "from pipeline.artifacts.weights import save_model\nfrom pipeline.models.cnn import Classifier\n"
        "model = Classifier(channels=[32, 64], dropout=0.1, input_shape=(1, 8, 8), class_count=10)\n"
        "command(lambda: save_model(Path('out/model.safetensors'), model), False, [])"
    )

    def little() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=little,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "File too large" in done.stderr
    assert not list((tmp_path / "out").glob("*"))
