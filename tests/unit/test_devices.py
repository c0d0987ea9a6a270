"""The same bytes in [0, 1] everywhere, arithmetic fixed, global generators left alone."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline import devices, pixels
from pipeline.artifacts.adversarial import blocks_of
from pipeline.artifacts.shards import ShardStore
from pipeline.defenses.dropout_ensemble import dropout_ensemble
from pipeline.defenses.gaussian_blur import blur, repeat_edges
from pipeline.defenses.gaussian_noise_ensemble import gaussian_noise_ensemble
from pipeline.models.cnn import Classifier
from pipeline.models.dropout import scaled_mask
from pipeline.models.inference import to_unit_interval
from pipeline.models.passes import folding
from pipeline.models.pixels import unit_interval
from pipeline.randomness import seeded_globally, seeded_initialization
from tests.networks import in_double

BYTES = torch.arange(256, dtype=torch.uint8)


class Called(TorchDispatchMode):
    """Names of the operations."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(function._schema.name)
        return function(*args, **(kwargs or {}))


def test_large_images_are_fewer_at_a_time() -> None:
    """Of the same memory; up to 64x64x3 the table's own numbers, and 32x32x3 for what is measured."""
    cpu = torch.device("cpu")
    assert devices.batching(cpu, (3, 64, 64)) == devices.batching(cpu) == devices.TABLE["cpu"]
    large = devices.batching(cpu, (3, 224, 224))
    assert (large.attack, large.predict, large.block) == (20, 20, 367)
    assert devices.batching(cpu, (3, 4096, 4096)).attack == 1
    assert list(blocks_of(9001, (1, 28, 28))) == [slice(0, 4500), slice(4500, 9000), slice(9000, 9001)]
    assert next(blocks_of(9001, (3, 32, 32))) == slice(0, 4500)
    assert [part.stop for part in blocks_of(200, (3, 224, 224))] == [91, 182, 200]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bytes_become_their_quotients(dtype: torch.dtype) -> None:
    assert torch.equal(unit_interval(BYTES, dtype), BYTES.to(dtype).div_(255))
    assert unit_interval(BYTES.view(4, 1, 8, 8)).shape == (4, 1, 8, 8)


def test_arrays_of_bytes_become_the_same() -> None:
    expected = BYTES.numpy().astype(np.float32) / np.float32(255)
    found = pixels.unit_interval(BYTES.numpy().reshape(16, 16))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.ravel(), expected)
    np.testing.assert_array_equal(unit_interval(BYTES).numpy(), expected)


def test_images_of_any_kind_come_to_the_model(network: Classifier) -> None:
    images = torch.randint(256, (3, 1, 8, 8), dtype=torch.uint8)
    found = to_unit_interval(images, network)
    assert found.dtype == torch.float64
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found, images.double() / 255)
    assert torch.equal(to_unit_interval(found, network), found)


def test_choosing_a_device_fixes_the_arithmetic() -> None:
    torch.backends.cudnn.benchmark = True
    devices.choose_device()
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark


@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (2, 3, 5, 7)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_edges_are_repeated_bit_by_bit(shape: tuple[int, ...], memory_format: torch.memory_format) -> None:
    gradients, results = torch.randn(*shape[:2], shape[2] + 6, shape[3] + 6), []
    start = torch.rand(shape).contiguous(memory_format=memory_format)
    for pad in (lambda x: functional.pad(x, (3, 3, 3, 3), mode="replicate"), lambda x: repeat_edges(x, 3)):
        images = start.clone().requires_grad_()
        padded = pad(images)
        results.append((padded.detach(), *torch.autograd.grad(padded, images, gradients)))
    assert results[0][0].stride() == results[1][0].stride()
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    images = start.clone().requires_grad_()
    blurred = blur(images, 0.7)
    assert blurred.shape == shape
    with Called() as called:
        torch.autograd.grad(blurred.sum(), images)
    assert not any("pad" in name for name in called.names), called.names  # its sums would come in any order on a GPU


def test_a_cpu_is_kept_to_instructions_by_either_name(monkeypatch: pytest.MonkeyPatch) -> None:
    found = set()
    for name, value in (("ONEDNN_MAX_CPU_ISA", ""), ("ONEDNN_MAX_CPU_ISA", "AVX2"), ("DNNL_MAX_CPU_ISA", "SSE41")):
        with monkeypatch.context() as patch:
            patch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
            patch.setenv(name, value)
            found.add(devices.numerics(torch.device("cpu"))["instructions"])
    assert len(found) == 3


def test_a_shard_is_not_taken_for_one_of_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {ShardStore([], {}).folder}
    for about in ("kind", "device", "torch", "instructions"):
        changed = {**devices.numerics(torch.device("cpu")), about: "other"}
        with monkeypatch.context() as patch:
            patch.setattr("pipeline.artifacts.shards.numerics", lambda device, changed=changed: changed)
            folders.add(ShardStore([], {}).folder)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        folders.add(ShardStore([], {}).folder)
    finally:
        torch.set_num_threads(threads)
    with monkeypatch.context() as patch:  # of one name, but limited
        patch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")  # CI sets AVX2 itself
        folders.add(ShardStore([], {}).folder)
    assert len(folders) == 7


def test_global_generators_are_left_as_they_were(generator: torch.Generator) -> None:
    before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    drawn = []
    for _ in range(2):
        with seeded_globally(generator.clone_state()):
            drawn.append((torch.rand(2), np.random.rand(2)))  # noqa: NPY002
        with seeded_initialization(3, "x"):
            drawn.append((torch.rand(2), np.zeros(2)))
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(before_numpy, np.random.get_state()[1])  # noqa: NPY002
    for one, two in zip(drawn[:2], drawn[2:], strict=True):
        assert torch.equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])


def test_masks_of_expanded_values_are_independent(generator: torch.Generator) -> None:
    mask = scaled_mask(torch.ones(1, 500).expand(8, 500), 0.5, generator)
    assert len({tuple(row) for row in mask.tolist()}) == 8
    strided = scaled_mask(torch.ones(8, 500)[:, ::2], 0.5, generator)
    assert strided.shape == (8, 250)
    assert 0.4 < (strided == 0).double().mean() < 0.6


@pytest.fixture
def network() -> Classifier:
    return in_double()


@pytest.mark.parametrize(
    ("defense", "arguments"), [(dropout_ensemble, {"rate": 0.3}), (gaussian_noise_ensemble, {"sigma": 0.1})]
)
def test_folded_passes_are_as_random_and_as_many(
    network: Classifier, monkeypatch: pytest.MonkeyPatch, defense: Callable[..., Tensor], arguments: dict[str, float]
) -> None:
    images = torch.rand(3, 1, 8, 8, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    images[1] = images[0]
    results = []
    for folded, block in ((0, nullcontext()), (30, nullcontext()), (0, folding())):  # one, then ten passes at a time
        row = replace(devices.TABLE["cpu"], folded=folded, attack=30)
        monkeypatch.setitem(devices.TABLE, "cpu", row)
        draws = torch.Generator().manual_seed(1)
        with torch.no_grad(), block:
            results.append(defense(network, images, draws, passes=404, **arguments))
    assert torch.equal(results.pop(), results[1])
    for logits in results:
        assert logits.shape == (3, 404, 10)
        assert len({tuple(row) for row in logits.flatten(0, 1).tolist()}) == 3 * 404
        torch.testing.assert_close(logits[0].mean(0), logits[1].mean(0), rtol=0, atol=0.05)
    torch.testing.assert_close(results[0].mean(1), results[1].mean(1), rtol=0, atol=0.05)
    # Without randomness a folded pass is a pass.
    silent = dict.fromkeys(arguments, 0.0)
    with torch.no_grad():
        logits = defense(network, images, draws, passes=4, **silent)
        torch.testing.assert_close(logits, network(images)[:, None].expand(-1, 4, -1))
