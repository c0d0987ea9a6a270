"""The losses of the Generative Adversarial Classifier (paper, Section 3.3), as functions of logits and images.

    min over C, max over G of  L(C(x), y) + L(C(G(x)), y) - lambda ||G(x) - x||_2^2

L: cross-entropy, averaged over the batch. ||.||_2^2: squared pixel differences summed over an image, averaged over the
batch. So lambda is in nats per squared L2 norm of an image with pixels in [0, 1].
"""

from torch import Tensor
from torch.nn import functional


def squared_l2(generated: Tensor, images: Tensor) -> Tensor:
    """||G(x) - x||_2^2, averaged over the batch, of images (n, c, h, w): a scalar."""
    return (generated - images).square().flatten(1).sum(1).mean()


def classifier_loss(logits: Tensor, generated_logits: Tensor, labels: Tensor) -> Tensor:
    """What C lowers: L(C(x), y) + L(C(G(x)), y), from logits (n, k) on images and on generated ones; a scalar."""
    return functional.cross_entropy(logits, labels) + functional.cross_entropy(generated_logits, labels)


def generator_loss(
    generated_logits: Tensor, labels: Tensor, generated: Tensor, images: Tensor, lambda_: float
) -> Tensor:
    """What G lowers: -(L(C(G(x)), y) - lambda ||G(x) - x||_2^2), all of the objective that depends on it; a scalar."""
    return lambda_ * squared_l2(generated, images) - functional.cross_entropy(generated_logits, labels)
