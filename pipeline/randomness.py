"""Where every random number comes from: a generator named by a seed and words, never global state."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed that depends on `seed` and on every name in order, and on nothing else."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(device: "torch.device | str", seed: int, *names: str | int) -> "torch.Generator":
    """A fresh generator on `device` for this use: `generator("cpu", seed, "mnist", "shuffle")`."""
    import torch  # here, so that what draws nothing with it starts without it

    return torch.Generator(device=device).manual_seed(derive_seed(seed, *names))


@contextmanager
def seeded_initialization(seed: int, *names: str | int) -> Iterator[None]:
    """Inside the block, the initial weights that PyTorch's modules draw depend on these names alone.

    Modules know no generator argument: the global one is seeded here, and put back afterwards.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        # The CPU's alone, where modules are made: `torch.manual_seed` would seed every GPU's too, and for good.
        torch.default_generator.manual_seed(derive_seed(seed, *names, "initialization"))
        yield


def draw_seed(generator: "torch.Generator") -> int:
    """The next draw of `generator`, as a seed for what knows no generator."""
    import torch

    return int(torch.randint(2**31, (1,), generator=generator, device=generator.device))


@contextmanager
def seeded_globally(generator: "torch.Generator") -> Iterator[None]:
    """Inside the block, the global generators of PyTorch and NumPy are seeded from one draw of `generator`.

    For libraries that know no generator argument; what the global ones were is put back afterwards. Of PyTorch's, the
    CPU's and that of the device that `generator` is on.
    """
    import torch

    seed = draw_seed(generator)
    before = np.random.get_state()  # noqa: NPY002
    cuda = generator.device.type == "cuda"
    devices = [generator.device.index or 0] if cuda else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        for index in devices:
            torch.cuda.default_generators[index].manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(before)  # noqa: NPY002
