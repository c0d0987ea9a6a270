"""The command for a machine with a GPU, run here: on the CPU, smaller, without a network."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from benchmarks.on_gpu import folder
from tests.capabilities import able
from tests.root import ROOT


def write_raw(folder: Path) -> None:
    """MNIST's and CIFAR-10's place taken by digits of their sizes, as `.npz`."""
    digits = load_digits()
    small = (digits.images * 255 / 16).astype(np.uint8)
    for name, times, shape in (("mnist", 3, (1, 28, 28)), ("cifar10", 4, (3, 32, 32))):
        large = small.repeat(times, 1).repeat(times, 2)
        pad = (shape[1] - large.shape[1]) // 2
        large = np.pad(large, ((0, 0), (pad, pad), (pad, pad)))
        images = np.broadcast_to(large[:, None], (len(large), *shape))
        labels = digits.target.astype(np.uint8)
        (folder / name).mkdir(parents=True)
        np.savez(
            folder / f"{name}/{name}.npz", train_images=images[:1200], train_labels=labels[:1200],
            test_images=images[1200:], test_labels=labels[1200:],
        )  # fmt: skip


def test_its_parts_end_without_an_error(tmp_path: Path) -> None:
    write_raw(tmp_path / "raw")
    (tmp_path / "raw/cifar10/cifar10.npz").unlink()
    out = tmp_path / "out"
    parts = ["generation_mnist", *(["precision_mnist"] if able() else [])]
    environment = {
        **os.environ, "PYTHON": sys.executable, "OUT": str(out), "DATASETS_DIR": str(tmp_path / "raw"),
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    done = subprocess.run(
        ["benchmarks/on_gpu.sh", "--small", "--parts", ",".join([*parts, "generation_cifar10"])], cwd=ROOT,
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    for part in parts:
        record = json.loads((out / f"{part}.json").read_text())
        assert "error" not in record, record["traceback"]
    why = json.loads((out / "generation_cifar10.json").read_text())["error"]
    assert why.startswith("PipelineError: cifar10: expected raw images in DATASETS_DIR, found none that can be read: ")
    assert re.findall("(\\w+) failed: (.*)", done.stdout) == [("generation_cifar10", why)]
    made = json.loads((out / "generation_mnist.json").read_text())["sets"]
    assert all(found["success_rate"] > 0.9 for found in made.values()), made


def test_a_small_run_leaves_the_committed_results(tmp_path: Path) -> None:
    assert folder("", small=True) == Path(".work/gpu")
    assert folder(str(tmp_path), small=True) == tmp_path


def test_its_core_needs_little() -> None:
    """The card's machine may have PyTorch, NumPy and h5py alone."""
    others = [
        "pandas",
        "pyarrow",
        "matplotlib",
        "PIL",
        "sklearn",
        "dvc",
        "tqdm",
        "ruamel.yaml",
        "safetensors",
        "psutil",
    ]
    code = f"import sys\nsys.modules.update(dict.fromkeys({others}))\nimport benchmarks.gpu_parts"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
