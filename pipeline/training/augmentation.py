"""Random shifts and flips of a whole batch at once."""

import torch
from torch import Tensor
from torch.nn import functional


def shift_and_flip(images: Tensor, generator: torch.Generator, shift: int, flip: bool) -> Tensor:
    """Each image moved by up to `shift` pixels each way (zeros move in) and mirrored half of the time.

    images : (n, c, h, w) of any type, on the generator's device; the result has the same shape.
    """
    count, _, height, width = images.shape
    if shift:
        device = images.device
        padded = functional.pad(images, (shift, shift, shift, shift))
        offsets = torch.randint(2 * shift + 1, (2, count, 1), generator=generator, device=device)
        rows = offsets[0] + torch.arange(height, device=device)
        columns = offsets[1] + torch.arange(width, device=device)
        index = torch.arange(count, device=device)
        images = padded.permute(0, 2, 3, 1)[index[:, None, None], rows[:, :, None], columns[:, None, :]].permute(
            0, 3, 1, 2
        )
    if flip:
        mirrored = torch.rand(count, 1, 1, 1, generator=generator, device=images.device) < 0.5
        images = torch.where(mirrored, images.flip(3), images)
    return images
