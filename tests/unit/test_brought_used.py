"""Classifiers that somebody else has made, whatever they are made of: defended, trained anew, attacked, lowered."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.materials import StudyMaterials
from pipeline.artifacts.weights import save_model
from pipeline.attacks.jsma import attack as jsma
from pipeline.attacks.shared.engine import run_attack
from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.precision import Lowered
from pipeline.defenses import adversarial_training
from pipeline.defenses.dropout_ensemble import check_drops, dropout_ensemble
from pipeline.errors import LeftOut
from pipeline.models.dropout import sampling
from pipeline.models.inference import predict
from pipeline.models.outside import Outside
from pipeline.training.classifier import ClassifierTraining
from tests.brought import Project, images, project_in
from tests.capabilities import needs_bfloat16
from tests.study import TRAINING


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return project_in(tmp_path, monkeypatch)


def test_dropout_as_a_function_is_switched_on_by_our_generator(project: Project) -> None:
    model, some = project.take(), images()
    state = torch.random.get_rng_state()
    check_drops(model, (255 * some[:1]).to(torch.uint8))

    def passes(seed: int, rate: float) -> Tensor:
        return dropout_ensemble(model, some, torch.Generator().manual_seed(seed), passes=3, rate=rate)

    assert torch.equal(passes(0, 0.5), passes(0, 0.5))
    assert not torch.equal(passes(0, 0.5), passes(1, 0.5))
    assert torch.equal(passes(0, 0.0)[:, 1], model(some))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(model(some), model(some))


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.Dropout1d(0.5), nn.Dropout2d(0.5), nn.Dropout3d(0.5)])
def test_layers_of_pytorch_drop_as_they_are_meant_to(layer: nn.Module) -> None:
    shape = {"Dropout1d": (64, 16, 9), "Dropout3d": (64, 16, 3, 3, 1)}.get(type(layer).__name__, (64, 16, 3, 3))
    body = nn.Sequential(nn.Unflatten(1, shape[1:]), layer, nn.Flatten())
    model = Outside(nn.Sequential(nn.Flatten(), nn.Linear(144, 144), body), {"input_shape": [1, 12, 12]})
    model.module[1].weight.data.copy_(torch.eye(144))
    model.module[1].bias.data.zero_()
    with sampling(model.eval(), torch.Generator().manual_seed(0)), torch.no_grad():
        found = model(torch.ones(64, 1, 12, 12)).view(shape)
    assert set(found.unique().tolist()) == {0.0, 2.0}
    assert found.mean().item() == pytest.approx(1, abs=0.15)
    channels = found.flatten(2)
    whole = (channels == channels[..., :1]).all(2).float().mean().item()
    assert (whole == 1) == (type(layer) is not nn.Dropout)


def test_it_is_trained_anew_where_the_study_says_so(project: Project) -> None:
    """By adversarial training, the same bytes twice; its dropout is drawn from our generator there too."""
    project.take()
    files = {"images": Path("data/images/tiny.h5"), "classifier": Path("data/classifiers/tiny.safetensors")}

    def materials() -> StudyMaterials:
        return StudyMaterials(**files, sets={}, source="toy", key="robust", seed=0)

    settings = {"norm": "linf", "epsilon": 0.05, "steps": 1, "relative_step_size": 1.0, "warmup": 0.0}
    adversary = adversarial_training.AdversarySettings(**settings)
    training = ClassifierTraining(**{**TRAINING, "epochs": 3})
    with pytest.raises(LeftOut, match=r"somebody else's here .*\(classifier.retrain: true in studies/tiny/params.yaml"):
        adversarial_training.learn(materials(), adversary=adversary, training=training)
    project.bring(retrain=True)
    stored = []
    for name in ("one", "two"):
        learned = adversarial_training.learn(materials(), adversary=adversary, training=training)
        save_model(Path(name), learned.models[""])
        stored.append(Path(name).read_bytes())
    assert stored[0] == stored[1]
    model = load_classifier(Path("one"))
    assert isinstance(model, Outside)
    assert learned.curves[-1].accuracy > 0.9
    assert not torch.equal(model(images()), project.take()(images()))


def test_without_any_dropout_the_ensemble_is_left_out(project: Project) -> None:
    project.bring(arguments={"dropped": False})
    with pytest.raises(LeftOut, match="the attacked classifier has no dropout that could be switched on"):
        check_drops(project.take(), torch.zeros(1, 1, 8, 8, dtype=torch.uint8))


def test_it_can_be_attacked(project: Project) -> None:
    model, some = project.take(), images()
    goal = Goal((project.module(some.clone()).argmax(1) + 1) % 3)
    arguments = {"allowed_fraction": 0.5, "positions_per_step": 4}
    found, _ = run_attack(jsma, model, some, torch.arange(40), goal, 16, **arguments)
    assert (predict(model, found, 16).argmax(1) == goal.labels).float().mean() > 0.5


@needs_bfloat16
def test_it_can_be_lowered(project: Project) -> None:
    model, some = project.take(), images()
    lowered = Lowered(model)(some)
    assert lowered.dtype == torch.float32
    torch.testing.assert_close(lowered, model(some), rtol=0.1, atol=0.1)
