"""The benchmarks, but for what they measure."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import ceiling, common, worker_tables
from pipeline.attacks import minimal
from pipeline.attacks.shared import ascent, engine
from pipeline.attacks.shared.goals import Goal
from pipeline.models.cnn import Classifier
from pipeline.models.inference import for_inference
from tests.root import ROOT


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py")))
def test_a_benchmark_finds_what_it_measures(name: str) -> None:
    """Each can be imported: what fails there would show first in a long run."""
    assert importlib.import_module(f"benchmarks.{name}").__doc__


def test_the_ceiling_clocks_the_engines_passes_and_stores_what_it_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    model = for_inference(Classifier((1, 8, 8), 10, channels=(4,), dropout=0.0), torch.device("cpu"))
    originals = torch.randint(256, (2, 1, 8, 8), dtype=torch.uint8)
    farthest = model(originals / 255).argmin(1)  # none is there within so small steps
    pairs = common.Pairs(model, originals, torch.arange(2), farthest)
    about = minimal.attack, model, originals, pairs.rows, Goal(pairs.targets), 2
    with common.counting(model) as counts, ceiling.clocked_passes() as took:
        images, steps = engine.run_attack(*about, step_size=1e-6, max_steps=3)
    assert len(took) == counts[0] == 2 * 4  # each of four steps forward and back, two images in each
    assert engine.forward is ascent.forward
    ceiling.store("toy", pairs, images.numpy(), steps)
    assert not list((tmp_path / "data").iterdir())


def test_what_follows_from_the_record_of_workers() -> None:
    """A core makes 450 images in 1.5 s, a card 10,000 a second, and the driver stores 40,000: four cards fill it."""
    record = {
        "device": "a CPU",
        "torch": "2",
        "workers": 2,
        "block": {"rows": 450, "seconds": 1.5, "one_ms": 0.001, "workers_ms": 2, "there_bytes_an_image": 100,
                  "back_bytes_an_image": 3138, "pixel_bytes_an_image": 3136, "task_bytes": 7},
        "sets": [
            {"images": 9000, "seconds": 1, "images_a_second": 9000, "mb_a_second": 28, "peak_memory_mib": 500,
             "originals_mib": 1},
            {"images": 90000, "seconds": 2.25, "images_a_second": 40000, "mb_a_second": 126, "peak_memory_mib": 700,
             "originals_mib": 7},
        ],
    }  # fmt: skip
    text = worker_tables.ahead(record, {"device": "a card", "sets": {"minimal": {"attack_images_per_second": 10000}}})
    assert "133 cores or 4.0 GPUs fill it" in text
    assert "| 2 cores | 600 | 2 | the workers | 4.2 |" in text
    assert "| 8 GPUs | 80,000 | 251 | the driver | 0.062 |" in text
    assert "0.001 (7e-05 %)" in worker_tables.block(record)
    assert "| 500 | 1 |" in worker_tables.sets(record)
    assert "700: missed" in worker_tables.sets(record)
    faults = {"two runs": {"rounds": 50, "images": 45000, "killed": 50, "spoiled": 150, "waited": 49}}
    assert "| 50 | 45,000 | 50 |  | 150 | 49 | all |" in worker_tables.faults(faults)


def test_an_error_that_a_user_can_mend_is_one_line() -> None:
    words = [sys.executable, "-m", "benchmarks.ceiling", "--studies", "gone"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: studies/gone: no such study")
    assert done.stderr.count("\n") == 1
