"""Workers on a card: two that share it, and this process alone, give the same bytes."""

from functools import partial

import numpy as np
import pytest
import torch

from pipeline import mapper
from pipeline.artifacts.generation import attack_block, block_of
from pipeline.attacks import minimal, pgd_linf
from pipeline.attacks.shared.protocol import Attack
from pipeline.devices import choose_device
from pipeline.models.cnn import Classifier
from pipeline.models.inference import for_inference
from pipeline.randomness import generator, seeded_initialization

if not torch.cuda.is_available():
    pytest.skip("no GPU", allow_module_level=True)
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore")]  # of another version of PyTorch


@pytest.mark.parametrize(
    ("attack", "parameters"),
    [
        (minimal.attack, {"step_size": 0.05, "max_steps": 60}),
        (pgd_linf.attack, {"epsilon": 0.2, "relative_step_size": 0.1, "steps": 10, "restarts": 2}),
    ],
)
def test_two_workers_on_one_card_give_the_bytes_of_one_process(
    monkeypatch: pytest.MonkeyPatch, attack: Attack, parameters: dict[str, float]
) -> None:
    device = choose_device()
    with seeded_initialization(0, "card"):
        model = for_inference(Classifier((1, 16, 16), 10, channels=(16, 32), dropout=0.1), device)
    random = np.random.default_rng(0)
    originals = random.integers(0, 256, (600, 1, 16, 16), np.uint8)
    targets = random.integers(0, 10, 600).astype(np.uint8)
    blocks = [block_of(number, originals, np.arange(600)[rows], targets[rows])
              for number, rows in enumerate(np.split(np.arange(600), 6))]  # fmt: skip
    task = partial(attack_block, attack, model, 64, partial(generator, device, 0, "card"), parameters)
    found = {}
    try:
        for workers in ("1", "2"):
            monkeypatch.setenv("WORKERS", workers)
            arrays = mapper.in_order("it", task, blocks)
            found[workers] = [one[name].tobytes() for one in arrays for name in ("images", "steps")]
    finally:
        mapper.close()
    assert found["1"] == found["2"]
