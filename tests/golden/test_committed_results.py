"""The committed numbers of a full run: what must hold."""

from typing import Any

import pytest

from benchmarks.pages import metrics as committed_metrics

DATASETS = ("digits", "mnist", "cifar10")


@pytest.fixture(scope="module")
def metrics() -> dict[str, dict[str, Any]]:
    return committed_metrics()


@pytest.mark.parametrize(("dataset", "floor"), [("digits", 0.95), ("mnist", 0.99), ("cifar10", 0.78)])
def test_classifiers_are_good_enough(metrics: dict[str, Any], dataset: str, floor: float) -> None:
    assert metrics[dataset]["classifier"]["test_accuracy"]["value"] >= floor


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("attack", ["minimal", "extended"])
def test_attacks_succeed(metrics: dict[str, Any], dataset: str, attack: str) -> None:
    entry = metrics[dataset]["attacks"][attack]
    assert entry["success_rate"]["value"] >= 0.999
    assert entry["examples"] == (11700 if dataset == "digits" else 90000)


@pytest.mark.parametrize("dataset", DATASETS)
def test_choices_are_those_of_their_rules(metrics: dict[str, Any], dataset: str) -> None:
    entry = metrics[dataset]
    choices = [entry["restorations"]["blur_sigma"]]
    for block in ("calibration", "defense_trials", "autoencoder_trials"):
        choices += entry[block].values()
    for choice in choices:
        assert choice["used"] == choice["by_rule"]


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_blur_has_about_the_autoencoders_error(metrics: dict[str, Any], dataset: str) -> None:
    errors = metrics[dataset]["restorations"]["reconstruction_error"]
    assert errors["gaussian_blur"]["clean"] == pytest.approx(errors["autoencoder_ensemble"]["clean"], rel=0.3)


def test_ratio_of_norms_is_near_the_papers(metrics: dict[str, Any]) -> None:
    attacks = metrics["cifar10"]["attacks"]
    assert attacks["extended"]["l2"]["mean"] / attacks["minimal"]["l2"]["mean"] == pytest.approx(
        0.651 / 0.418, rel=0.05
    )


def test_adversarial_directions_matter_more_than_noise(metrics: dict[str, Any]) -> None:
    for entry in metrics.values():
        minimal = entry["attacks"]["minimal"]
        assert minimal["sensitivity_mean"] > 1.5 * minimal["noise_sensitivity_mean"]


def test_dropout_ensemble_keeps_the_papers_main_claims(metrics: dict[str, Any]) -> None:
    cifar10, mnist = (metrics[name]["defenses"]["dropout_ensemble"] for name in ("cifar10", "mnist"))
    assert cifar10["minimal"]["thwarted"]["value"] >= 0.6
    assert cifar10["clean_accuracy"]["value"] >= 0.98
    assert mnist["clean_accuracy"]["value"] >= 0.98
    for entry in metrics.values():
        ensemble = entry["defenses"]["dropout_ensemble"]
        assert ensemble["extended"]["thwarted"]["value"] < ensemble["minimal"]["thwarted"]["value"]


def test_autoencoder_ensemble_reproduces_the_papers_trade_off(metrics: dict[str, Any]) -> None:
    """Issue 4: at least half of the minimal images thwarted with at least 70 % of the originals right."""
    ensemble = metrics["cifar10"]["defenses"]["autoencoder_ensemble"]
    assert ensemble["minimal"]["thwarted"]["value"] >= 0.5
    assert ensemble["clean_accuracy"]["value"] >= 0.7
    assert ensemble["passes"] == 20
    for entry in metrics.values():
        autoencoder, dropout = (entry["defenses"][name] for name in ("autoencoder_ensemble", "dropout_ensemble"))
        assert autoencoder["extended"]["recovered"]["low"] > dropout["extended"]["recovered"]["high"]


@pytest.mark.parametrize(("dataset", "recovered", "clean"), [("cifar10", 0.8, 0.88), ("mnist", 0.9, 0.98)])
def test_tuned_autoencoder_ensemble_beats_it(
    metrics: dict[str, Any], dataset: str, recovered: float, clean: float
) -> None:
    tuned = metrics[dataset]["defenses"]["autoencoder_ensemble_tuned"]
    assert tuned["clean_accuracy"]["value"] >= clean
    for attack in ("minimal", "extended"):
        assert tuned[attack]["recovered"]["value"] >= recovered


def setting_of(defense: str) -> str:
    """Images made for the undefended classifier are transfer for a defense that is another one."""
    return "transfer" if defense.startswith("gac_") or defense == "adversarial_training" else "static"


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_rate_has_its_interval_and_setting(metrics: dict[str, Any], dataset: str) -> None:
    for name, entry in metrics[dataset]["defenses"].items():
        rates = [entry["test_accuracy"], entry["clean_accuracy"]]
        for attack in ("minimal", "extended"):
            assert entry[attack]["setting"] == setting_of(name)
            rates += [entry[attack]["thwarted"], entry[attack]["recovered"]]
        for rate in rates:
            assert 0 <= rate["low"] <= rate["value"] <= rate["high"] <= 1, name
