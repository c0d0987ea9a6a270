"""The autoencoder, its ensemble, and the blur beside it."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from pipeline.defenses.autoencoder_ensemble import autoencoder_ensemble
from pipeline.defenses.autoencoder_without_dropout import autoencoder_without_dropout
from pipeline.defenses.gaussian_blur import blur, gaussian_blur
from pipeline.errors import PipelineError
from pipeline.models.autoencoder import Autoencoder, RestoringClassifier
from pipeline.models.dropout import Dropout, sampling
from tests.autoencoders import make_autoencoder, make_classifier
from tests.seeds import seeded


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("channels", "side"), [(1, 8), (1, 28), (3, 32)])
def test_shape_and_range(channels: int, side: int, residual: bool) -> None:
    model = Autoencoder((channels, side, side), channels=(4, 8, 16), dropout=0.1, residual=residual).eval()
    images = torch.rand(3, channels, side, side, generator=seeded())
    images[0], images[1] = 0, 1
    with torch.inference_mode(), sampling(model, seeded()):
        restored = model(images)
    assert restored.shape == images.shape
    assert restored.min() >= 0
    assert restored.max() <= 1
    assert torch.isfinite(restored).all()


def test_it_is_purely_convolutional() -> None:
    kinds = {type(module) for module in make_autoencoder().modules() if not list(module.children())}
    assert kinds == {nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU, Dropout}


def test_a_size_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(PipelineError, match=r"a 7x28 image cannot be halved 3 times"):
        Autoencoder((1, 7, 28), channels=(4, 4, 4, 4), dropout=0.0, residual=False)


@pytest.mark.parametrize("residual", [False, True])
def test_any_sides_come_out_as_they_went_in(residual: bool) -> None:
    model = Autoencoder((3, 13, 10), channels=(4, 4, 4), dropout=0.1, residual=residual).eval()
    images = torch.rand(2, 3, 13, 10, generator=seeded())
    assert model(images).shape == images.shape


def test_a_residual_decoder_of_zeros_gives_the_image_back() -> None:
    model = make_autoencoder(residual=True).eval()
    nn.init.zeros_(model.decoder[-1].weight)
    nn.init.zeros_(model.decoder[-1].bias)
    images = torch.rand(5, 1, 8, 8, generator=seeded())
    with torch.inference_mode():
        torch.testing.assert_close(model(images), images, atol=1.1e-3, rtol=0)


def test_ensemble_passes_are_the_whole_model_with_dropout_of_the_autoencoder_alone() -> None:
    model = RestoringClassifier(make_autoencoder(), make_classifier()).eval()
    images = torch.rand(4, 1, 8, 8, generator=seeded())
    with torch.inference_mode():
        logits = autoencoder_ensemble(model, images, seeded(5), passes=3)
        with sampling(model.autoencoder, seeded(5)):
            expected = torch.stack([model.classifier(model.autoencoder(images)) for _ in range(3)], dim=1)
    assert logits.shape == (4, 3, 3)
    torch.testing.assert_close(logits, expected)
    assert not torch.equal(logits[:, 0], logits[:, 1])
    assert all(layer.generator is None for layer in model.modules() if isinstance(layer, Dropout))


def test_without_dropout_it_is_one_plain_pass() -> None:
    model = RestoringClassifier(make_autoencoder(), make_classifier()).eval()
    images = torch.rand(4, 1, 8, 8, generator=seeded())
    with torch.inference_mode():
        logits = autoencoder_without_dropout(model, images, seeded())
        torch.testing.assert_close(logits[:, 0], model(images))


def test_the_mode_does_not_matter_and_is_restored() -> None:
    model = RestoringClassifier(make_autoencoder(), make_classifier()).eval()
    images = torch.rand(4, 1, 8, 8, generator=seeded())
    with torch.inference_mode():
        expected = autoencoder_ensemble(model, images, seeded(), passes=2)
        plain = autoencoder_without_dropout(model, images, seeded())
        model.train()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        assert torch.equal(autoencoder_ensemble(model, images, seeded(), passes=2), expected)
        assert torch.equal(autoencoder_without_dropout(model, images, seeded()), plain)
    assert all(module.training for module in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_gradients_do_not_vanish_at_black_and_white() -> None:
    model = make_autoencoder(residual=True).eval().requires_grad_(False)
    nn.init.zeros_(model.decoder[-1].weight)
    images = torch.tensor([0.0, 0.0005, 0.5, 0.9999, 1.0]).view(5, 1, 1, 1).expand(5, 1, 8, 8).clone()
    expected = torch.logit(images, eps=1e-3).sigmoid()
    restored = model(images.requires_grad_())
    (gradient,) = torch.autograd.grad(restored.sum(), images)
    assert gradient.abs().min() > 0.5
    torch.testing.assert_close(restored.detach(), (expected.logit() + model.decoder[-1].bias).sigmoid())


def test_masks_differ_between_images_of_a_batch() -> None:
    model = RestoringClassifier(make_autoencoder(), make_classifier()).eval()
    one = torch.rand(1, 1, 8, 8, generator=seeded()).expand(2, 1, 8, 8)
    with torch.inference_mode():
        logits = autoencoder_ensemble(model, one, seeded(), passes=1)
    assert not torch.equal(logits[0], logits[1])


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.5])
def test_blur_equals_scipys(sigma: float) -> None:
    images = torch.rand(2, 3, 16, 16, generator=seeded(), dtype=torch.float64)
    expected = gaussian_filter(images.numpy(), sigma, mode="nearest", truncate=4.0, axes=(2, 3))
    np.testing.assert_allclose(blur(images, sigma).numpy(), expected, atol=1e-12)


def test_no_blur_is_the_classifier_itself() -> None:
    classifier, images = make_classifier(), torch.rand(2, 1, 8, 8, generator=seeded())
    assert blur(images, 0) is images
    torch.testing.assert_close(gaussian_blur(classifier, images, seeded(), sigma=0)[:, 0], classifier(images))
