"""Models as they are attacked: normalization folded into the layers before it."""

import pytest
import torch
from torch import nn

from pipeline.models.cnn import Classifier
from pipeline.models.inference import for_inference
from tests.seeds import seeded


@pytest.mark.parametrize("classes", [3])
def test_the_inference_form_is_the_same_function(classes: int) -> None:
    torch.manual_seed(0)
    model = Classifier((3, 8, 8), classes, channels=(4, 8), dropout=0.3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    model.double().eval()
    images = torch.rand(5, 3, 8, 8, dtype=torch.float64, generator=seeded())
    expected = model(images).detach()
    folded = for_inference(model, torch.device("cpu"))
    assert folded is model
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    torch.testing.assert_close(folded(images), expected, rtol=0, atol=1e-12)
