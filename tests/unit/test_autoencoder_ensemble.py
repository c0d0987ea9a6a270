"""What the family of the autoencoder learns and chooses by trials: dropout, the blur beside it, the rest."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from pipeline.defenses import autoencoder_ensemble as defense
from pipeline.defenses.gaussian_blur import blur
from pipeline.defenses.shared import restorations
from pipeline.defenses.shared.autoencoder_trials import (
    Architecture,
    AutoencoderTrial,
    Trials,
    choose_dropout,
    variations,
)
from pipeline.defenses.shared.restorations import choose_blur, examine
from pipeline.errors import PipelineError
from pipeline.metrics.restorations import summarize_restorations
from pipeline.training.autoencoder import AutoencoderTraining
from tests.autoencoders import SETTINGS
from tests.study import Study


def trial(
    varied: str, dropout: float, shares: tuple[float, float, float], passes: int = 20, originals: int = 10000
) -> AutoencoderTrial:
    clean, minimal, extended = shares
    return AutoencoderTrial("a", varied, dropout, 0, 0, 10, 1, originals, passes, clean, 1, minimal, 1, extended)


BASE = trial("base", 0.1, (0.9, 0.9, 0.9))


@pytest.mark.parametrize(
    ("trials", "chosen", "narrow"),
    [
        (
            [
                BASE,
                trial("dropout", 0.0, (0.99, 0.99, 0.99)),
                trial("dropout", 0.2, (0.91, 0.89, 0.88)),
                trial("dropout", 0.4, (0.95, 0.8, 0.8)),
                trial("clean_share", 0.4, (1, 1, 1)),  # varied in something else
                trial("dropout", 0.6, (1, 1, 1), passes=1),  # fewer passes
            ],
            0.2,
            False,
        ),
        ([BASE, trial("dropout", 0.2, (0.89, 0.89, 0.89))], 0.2, True),  # a point exactly, and an original more
        ([BASE, trial("dropout", 0.2, (0.88, 0.89, 0.9))], 0.2, True),  # the same mean by other shares
        ([BASE, trial("dropout", 0.2, (0.9, 0.9, 0.9))], 0.2, False),  # equally good: there is no tie, more is meant
        ([BASE, trial("dropout", 0.2, (0.88, 0.89, 0.899), originals=1000)], 0.1, True),
        ([trial("base", 0.0, (1, 1, 1))], None, False),  # nothing above 0 was tried
    ],
)
def test_dropout_is_the_largest_that_costs_little(
    trials: list[AutoencoderTrial], chosen: float | None, narrow: bool
) -> None:
    choice = choose_dropout(trials)
    assert (choice.value, choice.narrow) == (chosen, narrow)
    assert all(row["average"] == pytest.approx(np.mean([row["clean_accuracy"], row["minimal_recovered"],
        row["extended_recovered"]])) for row in choice.tried)  # fmt: skip


def test_trials_differ_from_the_base_in_one_parameter() -> None:
    training = AutoencoderTraining(**{**SETTINGS, "clean_share": 0.3})
    trials = Trials(
        originals=9, epochs=1, passes=(1,), dropout=(0.1, 0, 0.3), clean_share=(0.3, 0), classifier_weight=(0.1,)
    )
    found = [
        (varied, dropout, settings.clean_share, settings.classifier_weight, settings.epochs)
        for varied, dropout, settings in variations(training, trials)
    ]
    assert found == [
        ("base", 0.1, 0.3, 0, 1),
        ("dropout", 0, 0.3, 0, 1),
        ("dropout", 0.3, 0.3, 0, 1),
        ("clean_share", 0.1, 0, 0, 1),  # the other is the base's
        ("classifier_weight", 0.1, 0.3, 0.1, 1),
    ]


@pytest.mark.parametrize(
    ("errors", "chosen", "narrow"),
    [
        ({0.4: 0.1, 0.5: 0.7, 1.0: 1.2, 2.0: 9.0}, 1, False),  # as a ratio
        ({2.0: 2.0, 0.5: 0.5}, 0.5, False),  # a tie: the smaller
        ({0.5: 0.2}, 0.5, False),
    ],
)
def test_blur_is_the_one_of_nearest_error_on_originals(errors: dict[float, float], chosen: float, narrow: bool) -> None:
    choice = choose_blur({sigma: np.full(20, error) for sigma, error in errors.items()}, np.ones(20))
    assert (choice.value, choice.narrow) == (chosen, narrow)
    assert [row["sigma"] for row in choice.tried] == sorted(errors)


@pytest.mark.parametrize("odd", [1, 2])
def test_a_blur_that_hangs_on_few_originals_is_narrow(odd: int) -> None:
    """Without its odd originals the smaller sigma is the nearest; with them the larger one."""
    small, large = np.full(20, 1.1), np.full(20, 1.2)
    large[:odd] = 1.2 - 2.5 / odd
    assert choose_blur({0.5: small, 1.0: large}, np.ones(20)).value == 1
    assert choose_blur({0.5: small, 1.0: large}, np.ones(20)).narrow
    assert not choose_blur({0.5: small, 1.0: large[odd:].repeat(2)[:20]}, np.ones(20)).narrow


def test_summary_of_restorations_has_the_blur_that_is_used() -> None:
    rows: list[dict[str, Any]] = [
        {"method": method, "sigma": sigma, "kind": kind, "reconstruction_error": error * scale}
        for kind, scale in (("clean", 1), ("minimal", 10))
        for method, sigma, error in (("nothing", 0, 0.1), ("gaussian_blur", 0.4, 0.5), ("gaussian_blur", 0.5, 0.7))
    ]
    assert summarize_restorations(rows, 0.5) == {
        "nothing": {"clean": 0.1, "minimal": 1.0},
        "gaussian_blur": {"clean": 0.7, "minimal": 7.0},
    }
    assert set(summarize_restorations(rows)) == {"nothing"}


BLOCK: dict[str, Any] = {
    "architecture": Architecture(channels=(4, 8), residual=False),
    "training": AutoencoderTraining(**{**SETTINGS, "epochs": 2}),
    "trials": Trials(originals=30, epochs=1, passes=(1, 3), dropout=(0.1, 0.0), clean_share=(0.5,)),
    "sigmas": (0.3, 0.6),
}


def test_a_family_learns_and_is_examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.artifacts.shards.WORK", tmp_path / "work")
    study = Study(tmp_path)
    learned = defense.learn(study.materials("toy"), **BLOCK)
    assert [(row.varied, row.dropout, row.clean_share, row.passes) for row in learned.trials] == [
        (varied, dropout, share, passes)
        for varied, dropout, share in (("base", 0.1, 0), ("dropout", 0, 0), ("clean_share", 0.1, 0.5))
        for passes in (1, 3)
    ]
    assert {row.training_originals for row in learned.trials} == {30}
    assert {row.originals for row in learned.trials} == {12}
    assert learned.choices["dropout"].value == learned.models[""].architecture["dropout"] == 0.1
    assert learned.choices["gaussian_blur.sigma"].value in (0.3, 0.6)
    assert [row.epoch for row in learned.curves if row.split == "validation"] == [1, 2]
    errors = {(row.method, row.sigma, row.kind): row for row in learned.tables["errors"]}
    assert len(errors) == 5 * 3
    assert errors["nothing", 0, "clean"].reconstruction_error == 0
    # By hand: of each original the mean over its images, then over originals.
    rows = study.materials("toy").rows("minimal", study.materials("toy").held_out)
    squares = ((rows.images - rows.originals[rows.original_row] / 255) ** 2).flatten(1).mean(1)
    each = [squares[rows.original_row == number].mean() for number in range(len(rows.originals))]
    assert errors["nothing", 0, "minimal"].reconstruction_error == pytest.approx(float(np.mean(each)), rel=1e-5)

    examined = examine(study.materials("toy"), learned)
    picture = examined.pictures["restored"]
    assert (picture.kinds, picture.methods) == (("clean", "minimal", "extended"), ("toy", "gaussian_blur"))
    assert picture.labels.tolist() == [0, 1, 2]
    assert picture.target_labels.tolist() == [1, 2, 0]
    assert picture.inputs.shape == (3, 3, 1, 8, 8)
    assert picture.restored.shape == (2, 3, 3, 1, 8, 8)
    originals = study.splits["test"].images / np.float32(255)
    assert all((picture.inputs[0, row] == originals).all((1, 2, 3)).any() for row in range(3))
    np.testing.assert_allclose(
        picture.restored[1, 1],
        blur(torch.from_numpy(picture.inputs[1]), learned.choices["gaussian_blur.sigma"].value),
        atol=1e-6,
    )
    given = examine(study.materials("toy"), learned, sigma=0.0).pictures["restored"]
    np.testing.assert_array_equal(given.restored[1], given.inputs)


def test_a_number_for_dropout_is_used_and_auto_needs_trials(tmp_path: Path) -> None:
    study = Study(tmp_path)
    number = Architecture(channels=(4, 8), residual=False, dropout=0.4)
    block = {**BLOCK, "trials": None, "sigmas": ()}
    learned = defense.learn(study.materials("toy"), **{**block, "architecture": number})
    assert learned.models[""].architecture["dropout"] == 0.4
    assert learned.choices == {}
    assert examine(study.materials("toy"), learned).pictures["restored"].methods == ("toy",)
    with pytest.raises(PipelineError, match=r"toy\.learn\.architecture\.dropout: auto, but there are no trials"):
        defense.learn(study.materials("toy"), **block)


def test_images_towards_the_next_class_are_shown_or_where_there_are_none_others(tmp_path: Path) -> None:
    study = Study(tmp_path)
    labels, targets, _ = restorations._shown(study.materials("toy"))
    assert (targets == (labels + 1) % 3).all()
    with h5py.File(study.sets["extended"], "r+") as file:
        file["is_adversarial"][:] = file["target_labels"][:] != (file["labels"][:] + 1) % 3
    labels, targets, shown = restorations._shown(study.materials("toy"))
    assert (targets == (labels + 2) % 3).all()
    assert len(labels) == len(shown[0]) == 3
    with h5py.File(study.sets["extended"], "r+") as file:
        file["is_adversarial"][:] = False
    with pytest.raises(PipelineError, match="toy: expected test images that minimal and extended fooled, found none"):
        restorations._shown(study.materials("toy"))
