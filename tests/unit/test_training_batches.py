"""In which batches an epoch's images are taken."""

import pytest
import torch

from pipeline.training.batches import batch_count, in_batches


@pytest.mark.parametrize(
    ("count", "size", "lengths"),
    [
        (10, 4, [4, 4, 2]),
        (8, 4, [4, 4]),
        (9, 4, [4, 5]),  # none of one image
        (5, 4, [5]),
        (3, 4, [3]),
        (1, 4, [1]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_the_last_batch_has_more_than_one_image(count: int, size: int, lengths: list[int]) -> None:
    parts = in_batches(torch.arange(count), size)
    assert [len(part) for part in parts] == lengths
    assert len(parts) == batch_count(count, size)
    assert torch.equal(torch.cat(parts), torch.arange(count))
