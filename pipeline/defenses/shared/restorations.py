"""What an autoencoder makes of images: how far from their originals, beside blurs, and pictures of it.

The blur of a control is the one that comes as near to the originals.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.defenses.gaussian_blur import blur
from pipeline.defenses.protocol import Examined, Learned, Materials
from pipeline.defenses.shared.choices import ROUNDING, shares_by_original
from pipeline.defenses.shared.pictures import Restorations
from pipeline.errors import PipelineError
from pipeline.metrics.choices import Choice
from pipeline.metrics.restorations import BLUR, NOTHING
from pipeline.models.autoencoder import Autoencoder
from pipeline.models.dropout import sampling
from pipeline.models.inference import for_inference, to_unit_interval
from pipeline.ranges import Range
from pipeline.study_blocks import PAPER_ATTACKS

Sigma = Annotated[float, Range(0, 20)]
Method = Callable[[Tensor], Tensor]

WITHOUT = "autoencoder_without_dropout"
AT_ONCE = 1 << 24  # values that the networks restore at a time: of 28x28 pixels 21,000 images
SIGMA_RULE = (
    "the sigma whose reconstruction error on originals is nearest to the autoencoder's, as a ratio; of two equally "
    "near the smaller"
)
SIGMA_REASON = (
    "a control that comes as near to the originals and has learned nothing; on originals, because there a blur's error "
    "grows with sigma and can have any size"
)


def choose_blur(tried: dict[float, NDArray[np.float64]], aim: NDArray[np.float64]) -> Choice:
    """SIGMA_RULE, from each sigma's errors and the autoencoder's on the same m originals, (m,) each.

    Narrow, if without one or two of the originals it would be another.
    """
    sigmas = sorted(tried)
    errors = np.stack([tried[sigma] for sigma in sigmas])

    def nearest(sums: NDArray[np.float64], aims: NDArray[np.float64]) -> NDArray[np.int64]:
        distances = np.abs(np.log(sums / aims))
        # The first, so the smallest, of those that are as near as the nearest.
        chosen: NDArray[np.int64] = (distances <= distances.min(0) + ROUNDING).argmax(0)
        return chosen

    sums, total = errors.sum(1), aim.sum()
    chosen = int(nearest(sums, total))
    narrow = False
    for left_out in range(len(aim)):  # it alone, and with each of the others
        others = np.where(np.arange(len(aim)) == left_out, 0, 1)
        rest = sums[:, None] - errors[:, [left_out]] - others * errors
        rest_aim = total - aim[left_out] - others * aim
        if len(aim) > 2 and (nearest(rest, rest_aim) != chosen).any():
            narrow = True
            break
    rows = [
        {"sigma": sigma, "reconstruction_error": float(values.mean()), "aim": float(aim.mean())}
        for sigma, values in zip(sigmas, errors, strict=True)
    ]
    return Choice(sigmas[chosen], SIGMA_RULE, rows, narrow, SIGMA_REASON)


def _with_dropout(materials: Materials, autoencoder: Autoencoder) -> Method:
    """One pass with dropout on; the same masks at each call."""

    def restore(images: Tensor) -> Tensor:
        with sampling(autoencoder, materials.generator(materials.key, "restorations")):
            return torch.cat([autoencoder(part) for part in images.split(materials.predict_batch)])

    return restore


def _in_parts(restore: Method, images: Tensor) -> Tensor:
    return torch.cat([restore(part) for part in images.split(max(1, AT_ONCE // images[0].numel()))])


def measure_errors(
    materials: Materials, autoencoder: Autoencoder, sigmas: Sequence[float]
) -> dict[tuple[str, float, str], NDArray[np.float64]]:
    """By method, sigma and kind the mean squared error per pixel, for each validation original: float64 (m,)."""
    methods: dict[tuple[str, float], Method] = {
        (NOTHING, 0.0): lambda images: images,
        (materials.key, 0.0): _with_dropout(materials, autoencoder),
        (WITHOUT, 0.0): partial(_in_parts, autoencoder),
        **{(BLUR, sigma): partial(_in_parts, partial(blur, sigma=sigma)) for sigma in sigmas},
    }
    rows = {attack: materials.rows(attack, materials.held_out) for attack in PAPER_ATTACKS}
    minimal = rows["minimal"]
    errors = {}
    with torch.inference_mode():
        for kind in ("clean", *PAPER_ATTACKS):
            found = minimal if kind == "clean" else rows[kind]
            originals = to_unit_interval(found.originals, autoencoder)
            inputs = originals if kind == "clean" else to_unit_interval(found.images, autoencoder)
            row = torch.arange(len(originals)) if kind == "clean" else found.original_row
            aims = originals[row.to(originals.device)]
            for (method, sigma), restore in methods.items():
                each = (restore(inputs) - aims).square().flatten(1).mean(1).double().cpu().numpy()
                errors[method, sigma, kind] = shares_by_original(each, row.numpy())
    return errors


def examine(materials: Materials, learned: Learned, *, sigma: Sigma | None = None) -> Examined:
    """Picture `restored`: a test original of each class and its adversarial images, and what becomes of them.

    Of each class the first test original that both attacks fooled towards the next class, or where there is none
    towards any.

    sigma : of the blur beside it; if left out, the rule's choice, if there is one.
    """
    autoencoder = learned.models[""]
    assert isinstance(autoencoder, Autoencoder)
    autoencoder = for_inference(autoencoder, materials.device)
    if sigma is None and f"{BLUR}.sigma" in learned.choices:
        sigma = learned.choices[f"{BLUR}.sigma"].value
    methods: dict[str, Method] = {materials.key: _with_dropout(materials, autoencoder)}
    if sigma is not None:
        methods[BLUR] = partial(blur, sigma=sigma)
    labels, targets, shown = _shown(materials)
    with torch.inference_mode():
        restored = [
            [method(to_unit_interval(images, autoencoder)).cpu().numpy() for images in shown]
            for method in methods.values()
        ]
    picture = Restorations(
        kinds=("clean", *PAPER_ATTACKS),
        methods=tuple(methods),
        labels=labels,
        target_labels=targets,
        inputs=np.stack([images.numpy() for images in shown]),
        restored=np.array(restored),
    )
    return Examined(pictures={"restored": picture})


def _shown(materials: Materials) -> tuple[NDArray[np.uint8], NDArray[np.uint8], list[Tensor]]:
    """Labels and targets, uint8 (e,), and the originals and each attack's images, float32 (e, c, h, w) in [0, 1]."""
    classes = len(materials.class_names)
    found = [materials.rows(attack, split="test") for attack in PAPER_ATTACKS]
    # By attack, an original's place in the test split and how far the target is from the next class, to its row.
    places: list[dict[tuple[int, int], int]] = []
    for rows in found:
        further = (rows.target_labels - rows.labels - 1) % classes
        originals = rows.source_index[rows.original_row]
        places.append({key: row for row, key in enumerate(zip(originals.tolist(), further.tolist(), strict=True))})
    first: dict[int, tuple[int, int]] = {}
    both = [key for key in places[0] if all(key in other for other in places)]
    for key in sorted(both, key=lambda key: key[1] > 0):  # in the order of rows, the next class first
        first.setdefault(int(found[0].labels[places[0][key]]), key)
    if not first:
        raise PipelineError(
            f"{materials.key}: expected test images that {' and '.join(PAPER_ATTACKS)} fooled, found none"
        )
    shown = [key for _, key in sorted(first.items())]
    images = [
        rows.images[torch.tensor([row_of[key] for key in shown])] for rows, row_of in zip(found, places, strict=True)
    ]
    kept = torch.tensor([places[0][key] for key in shown])
    minimal = found[0]
    clean = to_unit_interval(minimal.originals[minimal.original_row[kept]], materials.classifier).cpu()
    labels, targets = (values[kept].numpy().astype(np.uint8) for values in (minimal.labels, minimal.target_labels))
    return labels, targets, [clean, *images]
