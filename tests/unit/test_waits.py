"""How often attacks make the host wait for the device: counted without one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.attacks.minimal import attack as minimal
from pipeline.attacks.shared.balls import BALLS
from pipeline.attacks.shared.engine import run_attack
from pipeline.attacks.shared.goals import Evasion, Goal
from pipeline.attacks.shared.precision import Lowered
from pipeline.attacks.shared.projected_gradient import projected_gradient_descent
from pipeline.attacks.shared.protocol import load_attack
from pipeline.defenses.dropout_ensemble import dropout_ensemble
from pipeline.models.cnn import Classifier
from tests.capabilities import needs_bfloat16
from tests.networks import Counted, in_double


@pytest.fixture
def network() -> Classifier:
    return in_double()


WAITS = {
    "aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::item", "aten::masked_select",
    "aten::equal", "aten::_unique2", "aten::repeat_interleave", "aten::bincount",
}  # fmt: skip


class Waits(TorchDispatchMode):
    """Counts what would wait for a GPU: operations with a size or a number that the host must know."""

    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += function._schema.name in WAITS
        indices = args[1] if function._schema.name in ("aten::index", "aten::index_put_") else ()
        self.count += any(index is not None and index.dtype == torch.bool for index in indices)
        return function(*args, **(kwargs or {}))


class Copies(TorchFunctionMode):
    """Counts copies to the host, which are none on a CPU and no operation there."""

    count = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += function in (Tensor.cpu, Tensor.tolist)
        if function is Tensor.to:  # by that word: here the device is the CPU too
            self.count += "cpu" in [one for one in (*args[1:], *(kwargs or {}).values()) if isinstance(one, str)]
        return function(*args, **(kwargs or {}))


@contextmanager
def waits() -> Iterator[Callable[[], int]]:
    with Copies() as copies, Waits() as counted:
        yield lambda: counted.count + copies.count


@needs_bfloat16
def test_in_bfloat16_the_engine_waits_twice_a_step(network: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once to hear who is fooled or stuck, once for whom float32 is to be asked about."""
    network.float()
    images = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    targets = (network(images).argmax(1) + 1) % 10
    forward, steps = Lowered.forward, []
    monkeypatch.setattr(Lowered, "forward", lambda model, images: steps.append(1) or forward(model, images))
    with waits() as count:
        arguments = {"max_steps": 20, "step_size": 1.0, "precision": "bfloat16"}
        run_attack(minimal, network, images, torch.arange(12), Goal(targets), 5, **arguments)
    assert len(steps) > 5
    assert len(steps) < count() <= 2 * len(steps) + 1  # and once whether the images lie in [0, 1]


def test_waits_are_counted() -> None:
    values = torch.ones(3)
    with waits() as count:
        values[values > 0].sum().item()
        values.nonzero()
        values.cpu()
        values.to("cpu"), values.to(device="cpu")
        values.masked_select(values > 0), torch.equal(values, values + 1), values.unique()
        if values.any():
            values.tolist()
    assert count() == 11


@pytest.mark.parametrize("attack", ["minimal", "ddn", "jsma", "pgd", "minimum_norm", "eot"])
def test_an_attack_waits_for_the_device_once_a_step_at_most(
    network: Classifier, generator: torch.Generator, attack: str
) -> None:
    images = torch.rand(12, 1, 8, 8, generator=generator, dtype=torch.float64)
    labels = network(images).argmax(1)
    targets = (labels + 1) % 10
    model = Counted(network)
    pgd = {"epsilon": 0.1, "relative_step_size": 0.1, "steps": 10, "restarts": 2, "random_start": True}

    class Ensemble(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = network

        def forward(self, images: Tensor) -> Tensor:
            model.calls += 1
            return dropout_ensemble(self.model, images, generator, passes=3, rate=0.3)

    with waits() as count:
        if attack == "minimal":
            run_attack(minimal, model, images, torch.arange(12), Goal(targets), 5, max_steps=20, step_size=1.0)
        elif attack == "ddn":
            load_attack(attack)(model, images, Goal(targets), steps=10)
        elif attack == "jsma":
            load_attack(attack)(model, images, Goal(targets), allowed_fraction=0.5, positions_per_step=2)
        elif attack == "minimum_norm":
            load_attack(attack)(Ensemble(), images, Evasion(labels), steps=10)
        elif attack == "pgd":
            projected_gradient_descent(model, images, Goal(targets), generator, BALLS["l2"], **pgd)
        else:
            projected_gradient_descent(Ensemble(), images, Evasion(labels), generator, BALLS["linf"], **pgd)
    assert model.calls > 8
    assert count() <= model.calls + (attack == "minimal")  # the engine looks once whether the images lie in [0, 1]
