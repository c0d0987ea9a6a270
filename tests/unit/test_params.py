"""Parameters: types, ranges, and messages that name the thing, what was expected and what was found."""

import inspect
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args

import pytest

from pipeline.attacks.ddn import ddn
from pipeline.attacks.extended import extended
from pipeline.attacks.fgsm import fgsm
from pipeline.attacks.foolbox import foolbox
from pipeline.attacks.jsma import jsma
from pipeline.attacks.minimal import minimal
from pipeline.attacks.pgd_l2 import pgd_l2
from pipeline.attacks.pgd_linf import pgd_linf
from pipeline.attacks.shared.calibration import calibrate
from pipeline.defenses.gaussian_blur import gaussian_blur
from pipeline.errors import PipelineError
from pipeline.models.autoencoder import Autoencoder
from pipeline.models.classifier import Classifier
from pipeline.params import arguments_for, check_value, parameters_of, read_block
from pipeline.ranges import Range
from pipeline.registry import split_method
from pipeline.training.autoencoder import fit_autoencoder
from pipeline.training.classifier import fit_classifier

PARAMS = Path("params.yaml")
BY_DATASET = (
    "images", "classifier", "sources", "other_sources", "sizes", "calibration", "defense_trials", "autoencoder_trials",
    "restorations",
)  # fmt: skip
BLOCKS: list[tuple[str, Callable[..., Any], dict[str, Any]]] = [
    ("attacks.minimal.digits", minimal, {}),
    ("attacks.extended.digits", extended, {"step_size": 0.1}),
    ("other_attacks.fgsm.digits", fgsm, {}),
    ("other_attacks.jsma.digits", jsma, {"step_size": 1}),
    ("other_attacks.pgd_linf.digits", pgd_linf, {"random_start": True}),
    ("other_attacks.pgd_l2.digits", pgd_l2, {"random_start": True}),
    ("other_attacks.ddn.digits", ddn, {"initial_norm": 1, "gamma": 0.05}),
    ("other_attacks.foolbox_mi_fgsm.digits", foolbox, {}),
    ("sizes.digits.classifiers.standard", Classifier, {}),
    ("sizes.digits.training", fit_classifier, {}),
    ("sizes.digits.minimal", minimal, {}),
    ("sizes.digits.extended", extended, {"step_size": 0.1}),
    ("classifier.digits.architecture", Classifier, {}),
    ("classifier.digits.training", fit_classifier, {}),
    ("calibration.digits.trials", calibrate, {}),
    ("defenses.gaussian_blur.digits.arguments", gaussian_blur, {}),
    ("trainings.autoencoder_ensemble.digits.architecture", Autoencoder, {}),
    ("trainings.autoencoder_ensemble_tuned.digits.training", fit_autoencoder, {}),
]


def block_of(key: str, more: dict[str, Any]) -> dict[str, Any]:
    """The params block as a function's arguments, what it leaves out filled in."""
    return more | split_method("", read_block(PARAMS, key), key)[1]


def ranges(annotation: Any) -> list[Range]:
    """Ranges declared anywhere inside an annotation."""
    found = [extra for extra in getattr(annotation, "__metadata__", ()) if isinstance(extra, Range)]
    return found + [r for inner in get_args(annotation) for r in ranges(inner)]


def declared() -> list[tuple[str, Callable[..., Any], dict[str, Any], str, Range]]:
    return [
        (key, function, more, name, found)
        for key, function, more in BLOCKS
        for name, (annotation, _) in parameters_of(function).items()
        for found in ranges(annotation)
    ]


@pytest.mark.parametrize(("key", "function", "more", "name", "allowed"), declared())
@pytest.mark.parametrize("side", ["below", "above"])
def test_every_declared_range_is_enforced(
    key: str, function: Callable[..., Any], more: dict[str, Any], name: str, allowed: Range, side: str
) -> None:
    block = block_of(key, more)
    value = block[name]
    wrong: Any = allowed.low - 1 if side == "below" else allowed.high + 1
    block[name] = [wrong] if isinstance(value, list) else wrong
    with pytest.raises(PipelineError, match=rf"{key}\.{name}.*expected .*found .*{wrong:g}"):
        arguments_for(function, block, key)


@pytest.mark.parametrize(("key", "function", "more"), BLOCKS)
def test_wrong_types_unknown_and_missing_keys_are_named(
    key: str, function: Callable[..., Any], more: dict[str, Any]
) -> None:
    good = block_of(key, more)
    arguments_for(function, good, key)
    for name in good:
        annotation, default = parameters_of(function)[name]
        with pytest.raises(PipelineError, match=rf"{key}\.{name}"):
            arguments_for(function, {**good, name: 7 if annotation is str else "nonsense"}, key)
        if default is not inspect.Parameter.empty:
            continue
        with pytest.raises(PipelineError, match=rf"{key}\.{name}: missing"):
            arguments_for(function, {k: v for k, v in good.items() if k != name}, key)
    with pytest.raises(PipelineError, match=rf"{key}\.stepsize: unknown parameter; expected one of"):
        arguments_for(function, {**good, "stepsize": 1}, key)
    with pytest.raises(PipelineError, match="expected a block"):
        arguments_for(function, 3, key)


def test_exponents_without_a_point_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("attack: {step_size: 1e-3}\n")
    value = read_block(path, "attack.step_size")
    assert check_value(value, Annotated[float, Range(0, 1, low_open=True)], "x") == 0.001


def test_zero_is_outside_an_open_range() -> None:
    with pytest.raises(PipelineError, match=r"in \(0, 1\], found 0"):
        check_value(0, Annotated[float, Range(0, 1, low_open=True)], "x")


@pytest.mark.parametrize("value", [True, "1", 1.5, None, [1]])
def test_whole_numbers_are_just_that(value: Any) -> None:
    with pytest.raises(PipelineError, match="x: expected a whole number"):
        check_value(value, int, "x")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "0.1"])
def test_numbers_are_finite(value: Any) -> None:
    with pytest.raises(PipelineError, match="x: expected a number"):
        check_value(value, float, "x")


def test_missing_keys_and_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"no 'svhn' in classifier: expected one of: digits, mnist, cifar10"):
        read_block(PARAMS, "classifier.svhn")
    with pytest.raises(PipelineError, match=r"nothing\.yaml: no such file"):
        read_block(tmp_path / "nothing.yaml", "a")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1,\n")
    with pytest.raises(PipelineError, match=r"broken\.yaml: not valid YAML"):
        read_block(broken, "a")


def test_every_dataset_has_every_block() -> None:
    for dataset, block in itertools.product(read_block(PARAMS, "datasets"), BY_DATASET):
        read_block(PARAMS, f"{block}.{dataset}")
