"""Classifiers that somebody else has made: what is taken, and where its code is found."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.outside import read_weights
from pipeline.defenses.undefended import undefended
from pipeline.errors import PipelineError
from pipeline.models.outside import Outside
from pipeline.registry import own_module
from pipeline.stages import check_params, fingerprint_code
from pipeline.stages.replicates import network_of
from pipeline.studies import Study
from tests.brought import NETS, Project, images, project_in
from tests.root import ROOT


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return project_in(tmp_path, monkeypatch)


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


def test_prefixes_are_taken_off_whole_sets_alone(tmp_path: Path) -> None:
    torch.save({"module.a": torch.zeros(1), "b": torch.zeros(1)}, tmp_path / "w.pt")
    assert set(read_weights(tmp_path / "w.pt")) == {"module.a", "b"}


def test_replicates_of_another_network_are_not_taken_for_its(project: Project) -> None:
    """Finished replicates are kept after the stage: under a hash of what builds them, and how images are normalized."""
    training = {"epochs": 1}
    found = []
    for build, more in (("make", {}), ("make", {"normalization": {"mean": [0.5], "std": [0.5]}}), ("softmax", {})):
        project.bring(build, retrain=True, training=training, **more)
        found.append(network_of(Study("tiny")))
    assert found[0] != found[1]
    assert found[0] != found[2]
