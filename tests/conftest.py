"""Fixtures: a small linear model with known answers, and a seeded generator."""

import pytest
import torch

from tests.linear import Linear


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


@pytest.fixture
def linear(generator: torch.Generator) -> Linear:
    return Linear(generator)
