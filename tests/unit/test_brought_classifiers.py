"""Classifiers that somebody else has made: what is taken, and what is refused in one line, naming what is wrong."""

import itertools
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.images import Description, write_images
from pipeline.artifacts.left_out import leave_out, reason_left_out
from pipeline.artifacts.materials import StudyMaterials
from pipeline.artifacts.outside import read_weights
from pipeline.artifacts.weights import save_model
from pipeline.attacks.jsma import attack as jsma
from pipeline.attacks.shared.engine import run_attack
from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.precision import Lowered
from pipeline.defenses import adversarial_training
from pipeline.defenses.dropout_ensemble import check_drops, dropout_ensemble
from pipeline.defenses.undefended import undefended
from pipeline.errors import LeftOut, PipelineError
from pipeline.models.dropout import sampling
from pipeline.models.inference import for_inference, predict
from pipeline.models.outside import Outside, check_outside
from pipeline.registry import own_module
from pipeline.stages import check_params, fingerprint_code, train_classifier
from pipeline.studies import Study
from pipeline.training.classifier import ClassifierTraining
from tests.capabilities import needs_bfloat16
from tests.root import ROOT
from tests.study import NAMES, TRAINING, bands

NETS = """
import torch
from torch import nn
from torch.nn import functional


class Net(nn.Module):
    def __init__(self, dropped):
        super().__init__()
        self.dropped, self.first, self.norm = dropped, nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.last = nn.Linear(96, 3)

    def forward(self, images):
        assert images.shape[1:] == (1, 8, 8), "not my size"
        images.mul_(2)
        values = functional.relu(self.norm(self.first(images)), inplace=True)
        values = functional.max_pool2d(values, 2).view(len(images), -1)
        return self.last(functional.dropout(values, 0.5, self.training) if self.dropped else values)


class Behind(nn.Module):
    def __init__(self, net, function):
        super().__init__()
        self.net, self.function = net, function

    def forward(self, images):
        return self.function(self.net(images))


def make(dropped=True):
    return Net(dropped)


def wide(): return Behind(make(), lambda logits: torch.cat([logits, logits], 1))
def softmax(): return Behind(make(), lambda logits: logits.softmax(1))
def sigmoid(): return Behind(make(), lambda logits: logits.sigmoid())
def random(): return Behind(make(), lambda logits: logits + torch.rand_like(logits))
def infinite(): return Behind(make(), lambda logits: logits / 0)
def detached(): return Behind(make(), lambda logits: logits.detach())
def turned(): return Behind(make(), lambda logits: logits.roll(1, 1))
def constant(): return Behind(make(), lambda logits: logits * 0 + 2)
def large():
    net = make()
    net.last = nn.Linear(54, 3)
    net.forward = lambda images: net.last(images.flatten(1))
    return net
def failing(): raise RuntimeError("no\\nsuch thing")
def leaving(): raise SystemExit(3)
def lazy(): return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
def double(): return make().double()
def nothing(): return 3
def empty(): return nn.ReLU()
def tied():
    net = make()
    net.again = net.last
    return net
number = 3
"""
numbers = itertools.count()


class Project:
    """A folder with one study of three classes, which brings `nets<n>:make`, trained."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "studies/tiny"
        self.folder.mkdir(parents=True)
        self.nets = f"nets{next(numbers)}"  # modules are loaded once a process
        (self.folder / f"{self.nets}.py").write_text(NETS)
        self.params = YAML(typ="safe").load(ROOT / "tests/tiny.yaml")
        write_images(folder / "data/images/tiny.h5", Description("toy", NAMES, "toy", "0"),
                     {"train": bands(300, 1), "test": bands(30, 2)})  # fmt: skip
        self.module = self.trained()
        self.save(self.module.state_dict())
        self.bring()

    def trained(self) -> nn.Module:
        space: dict[str, Any] = {}
        exec(NETS, space)
        split = bands(300, 1)
        images, labels = torch.from_numpy(split.images) / 255, torch.from_numpy(split.labels).long()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model: nn.Module = space["make"]()
            optimizer = torch.optim.Adam(model.parameters(), 0.01)
            for _ in range(15):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(images.clone()), labels).backward()
                optimizer.step()
        return model.eval()

    def save(self, weights: Any, name: str = "weights.pt") -> None:
        torch.save(weights, self.folder / name)

    def bring(self, build: str = "make", weights: str = "weights.pt", **more: Any) -> None:
        build = build if ":" in build else f"{self.nets}:{build}"
        self.params["classifier"] = {"build": build, "weights": weights, **more}
        YAML().dump(self.params, self.folder / "params.yaml")

    def take(self) -> Outside:
        train_classifier.main(Study("tiny"))
        model = load_classifier("data/classifiers/tiny.safetensors")
        assert isinstance(model, Outside)
        return for_inference(model, torch.device("cpu"))

    def refused(self) -> str:
        """One line, and nothing is written."""
        with pytest.raises(PipelineError) as caught:
            self.take()
        assert not Path("data/classifiers").exists()
        assert "\n" not in str(caught.value)
        return str(caught.value)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "none"))  # what is appended to it goes again
    return Project(tmp_path)


def images() -> Tensor:
    return torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(3))


def test_it_is_the_module_that_was_given(project: Project) -> None:
    model, some = project.take(), images()
    before = some.clone()
    # Ours are in another order of memory, and nobody may write into them.
    given = some.contiguous(memory_format=torch.channels_last)
    assert torch.equal(model(given), project.module(some.clone()))
    assert torch.equal(given, before)
    assert not any(module.training for module in model.modules())
    assert (Path("data/curves/tiny/classifier.csv")).read_text() == "epoch,split,loss,accuracy\n"


def test_the_normalization_stands_before_it(project: Project) -> None:
    project.bring(normalization={"mean": [0.25], "std": [0.5]})
    some = images()
    torch.testing.assert_close(project.take()(some), project.module((some - 0.25) / 0.5))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: {f"module.{name}": value for name, value in weights.items()},
        lambda weights: {"epoch": 3, "state_dict": weights, "optimizer": {"param_groups": []}},
        lambda weights: {"model": {f"module.{name}": value for name, value in weights.items()}, "ema": weights},
        lambda weights: {name: value for name, value in weights.items() if "num_batches" not in name},
    ],
)
def test_checkpoints_as_people_have_them(project: Project, wrap: Callable[[Any], Any]) -> None:
    project.save(wrap(project.module.state_dict()))
    assert torch.equal(project.take()(images()), project.module(images()))


def test_a_module_of_float64_becomes_one_of_float32(project: Project) -> None:
    project.bring("double")
    assert torch.equal(project.take()(images()), project.module(images()))


def test_safetensors_and_tied_weights(project: Project) -> None:
    save_file(dict(project.module.state_dict()), project.folder / "weights.safetensors")
    project.bring("tied", "weights.safetensors")
    weights = {**project.module.state_dict(), **project.module.last.state_dict(prefix="again.")}
    project.save(weights)
    project.bring("tied")
    assert torch.equal(project.take()(images()), project.module(images()))


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        ("wide", "expected logits (30, 3) of 30 images 1x8x8, found (30, 6)"),
        ("softmax", "found what looks like probabilities (all in [0, 1]): leave out the softmax"),
        ("sigmoid", "found what looks like probabilities (all in [0, 1]): leave out the sigmoid"),
        ("random", "expected the same logits of the same images, found others: is it random in eval()?"),
        ("infinite", "expected finite logits, found NaN or infinity among them"),
        ("detached", "expected logits that depend on the images by gradients, found none"),
        ("turned", "found 0.0% of 30 validation images right, no better than chance (33.3%): are these logits of"),
        ("constant", "no better than chance (33.3%)"),
    ],
)  # fmt: skip
def test_outputs_that_are_no_logits_of_the_images(project: Project, build: str, expected: str) -> None:
    project.save({f"net.{name}": value for name, value in project.module.state_dict().items()})
    project.bring(build)
    message = project.refused()
    assert message.startswith(f"studies/tiny/params.yaml: classifier: {project.nets}:{build}: ")
    assert expected in message


def test_a_few_images_all_right_are_not_taken_for_chance(project: Project) -> None:
    """Four images can show no more than that."""
    model, some = project.take(), images()[:4]
    right = model(some).argmax(1).numpy()
    assert check_outside(model, (some * 255).to(torch.uint8), right, 3, "it") == 1
    with pytest.raises(PipelineError, match="no better than chance"):
        check_outside(model, (some * 255).to(torch.uint8), np.array([*right[:2], *(2 - right[2:])]), 3, "it")


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        ("failing", "{nets}:failing raised RuntimeError: no such thing"),
        ("nothing", "expected {nets}:nothing to return a torch.nn.Module, found int"),
        ("empty", "expected a module with weights, found none in ReLU"),
        ("leaving", "{nets}:leaving raised SystemExit: 3"),
        ("lazy", "expected a module that knows its shapes, found lazy layers: give it its widths"),
        ("number", "expected a function 'number' in {nets}, found 3"),
        ("gone", "expected a function 'gone' in {nets}, found None"),
        ("nowhere.at_all:make", "needs the module nowhere, which is neither in studies/tiny nor installed"),
        ("json:loads", "raised TypeError: loads() missing 1 required positional argument: 's'"),
    ],
)
def test_what_builds_nothing(project: Project, build: str, expected: str) -> None:
    project.bring(build)
    message = project.refused()
    assert message.startswith("studies/tiny/params.yaml: classifier.build: ")
    assert expected.format(nets=project.nets) in message


def test_arguments_and_blocks_that_do_not_fit(project: Project) -> None:
    project.bring(arguments={"depth": 3})
    assert "raised TypeError: make() got an unexpected keyword argument 'depth'" in project.refused()
    project.bring(normalization={"mean": [0.5, 0.5, 0.5], "std": [1, 1, 1]})
    assert "classifier.normalization.mean: expected 1 numbers, one a channel, found 3" in project.refused()
    project.bring(architecture={"channels": [4]})
    assert "classifier.architecture: unknown parameter; expected one of: build, weights" in project.refused()
    project.bring("make me")
    assert "classifier.build: expected 'package.module:function', found" in project.refused()


def test_a_model_of_another_size(project: Project) -> None:
    project.save(project.module.state_dict())
    write_images(Path("data/images/tiny.h5"), Description("toy", NAMES, "toy", "0"),
                 {split: type(bands(1, 1))(np.repeat(bands(60, 1).images, 2, 3), bands(60, 1).labels)
                  for split in ("train", "test")})  # fmt: skip
    assert "expected a model of images 1x8x16, it raised AssertionError: not my size" in project.refused()


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda w: w | {"last.bias": torch.full((3,), torch.nan)}, "expected finite weights, found NaN or "),
        (lambda w: {k: v for k, v in w.items() if k != "last.bias"}, "missing: last.bias"),
        (lambda w: w | {"head.bias": torch.zeros(3)}, "not of the model: head.bias"),
        (lambda w: w | {"last.weight": torch.zeros(5, 96)}, "of another shape: last.weight (5, 96) for (3, 96)"),
        (lambda w: {"a": w, "b": w}, "expected one state_dict, found 'a', 'b'"),
        (lambda w: [1, 2], "expected a state_dict, names to tensors, found a list"),
        (lambda w: {"epoch": 3}, "expected a state_dict, names to tensors, found the keys epoch"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit(project: Project, spoil: Callable[[Any], Any], expected: str) -> None:
    project.save(spoil(dict(project.module.state_dict())))
    message = project.refused()
    assert message.startswith("studies/tiny/weights.pt: ")
    assert expected in message


def test_a_pickled_model_is_refused_without_being_loaded(project: Project) -> None:
    project.save(nn.Linear(2, 2))
    message = project.refused()
    assert "expected a state_dict, found a pickle of other things (a whole model?)" in message
    assert "torch.save(model.state_dict(), file)" in message
    for name, content in {"weights.safetensors": b"no such thing", "weights.pt": b"none"}.items():
        (project.folder / name).write_bytes(content)
        project.bring(weights=name)
        assert project.refused().startswith(f"studies/tiny/{name}: expected a ")


@pytest.mark.parametrize("path", ["../../weights.pt", "/etc/passwd", "gone.pt", "."])
def test_weights_lie_in_the_studys_folder(project: Project, path: str) -> None:
    project.bring(weights=path)
    message = project.refused()
    assert "classifier.weights: " in message
    assert "expected " in message


def test_a_file_of_weights_names_no_code(project: Project) -> None:
    """What is built stands in the study's params; the file says which study's it is."""
    project.take()
    project.bring("json:loads")
    with pytest.raises(PipelineError, match=r"params.yaml: classifier.build: json:loads raised TypeError"):
        load_classifier("data/classifiers/tiny.safetensors")


def test_two_studies_may_have_modules_of_one_name(project: Project) -> None:
    project.take()
    other = Path("studies/other")
    other.mkdir()
    (other / f"{project.nets}.py").write_text("number = 4")
    assert own_module(other, project.nets).number == 4
    assert own_module(project.folder, project.nets).number == 3
    assert isinstance(load_classifier("data/classifiers/tiny.safetensors"), Outside)


def test_another_process_finds_its_code(project: Project) -> None:
    """As workers do, who are sent it."""
    (project.folder / "model.pickle").write_bytes(pickle.dumps((undefended, project.take())))
    program = (
        "import pickle, torch, pipeline.registry\n"
        "_, model = pickle.load(open('studies/tiny/model.pickle', 'rb'))\n"
        "print(tuple(model(torch.rand(2, 1, 8, 8)).shape))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "(2, 3)\n"), done.stderr


def test_an_own_file_comes_before_what_is_installed(project: Project) -> None:
    (project.folder / "torchvision.py").write_text(NETS)
    project.bring("torchvision:make")
    assert torch.equal(project.take()(images()), project.module(images()))
    assert import_module("torchvision").__file__ != str(project.folder / "torchvision.py")


def test_a_package_with_relative_imports(project: Project) -> None:
    package = project.folder / "theirs"
    package.mkdir()
    (package / "parts.py").write_text(NETS)
    (package / "nets.py").write_text("from .parts import make\n")
    project.bring("theirs.nets:make")
    assert torch.equal(project.take()(images()), project.module(images()))


def test_its_files_are_looked_at_each_time(project: Project) -> None:
    study = Study("tiny")
    before = check_params.words(study)
    assert set(before["files"]) == {f"studies/tiny/{name}" for name in (f"{project.nets}.py", "weights.pt")}
    project.save({})
    after = check_params.words(study)
    assert after["files"]["studies/tiny/weights.pt"] != before["files"]["studies/tiny/weights.pt"]
    project.bring("torchvision.models:resnet18")
    assert check_params.words(Study("tiny"))["installed"].keys() == {"torchvision"}


def test_other_weights_under_the_same_name_are_taken_anew(project: Project, tmp_path: Path) -> None:
    """By the one stage that reads them; all others wait for what it writes."""
    (tmp_path / "pipeline").symlink_to(ROOT / "pipeline")

    def fingerprints() -> dict[Path, str]:
        fingerprint_code.main(Study("tiny"))
        return {path: path.read_text() for path in Path("data/code/tiny").rglob("*.json")}

    before = fingerprints()
    project.save({"last.weight": torch.zeros(3, 54)})
    after = fingerprints()
    assert {path.name for path in before if before[path] != after[path]} == {"train_classifier.json"}


# --- whatever it is made of ------------------------------------------------------------------------------------------
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


def test_prefixes_are_taken_off_whole_sets_alone(tmp_path: Path) -> None:
    torch.save({"module.a": torch.zeros(1), "b": torch.zeros(1)}, tmp_path / "w.pt")
    assert set(read_weights(tmp_path / "w.pt")) == {"module.a", "b"}


def test_a_reason_is_read_back(tmp_path: Path) -> None:
    paths = [tmp_path / "set.h5", tmp_path / "folder", tmp_path / "table.parquet"]
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/old").touch()
    leave_out("too large", *paths)
    assert [reason_left_out(path) for path in paths[:2]] == ["too large", "too large"]
    assert not (tmp_path / "folder/old").exists()
    assert paths[2].is_file()
    assert reason_left_out(tmp_path / "gone") is None
    assert reason_left_out(tmp_path / "gone.h5") is None
