"""The numbers that are proposed for a study: they fit its images and classes."""

import pytest

from pipeline.params import read_yaml
from pipeline.proposal import long_enough, numbers, shape_for
from tests.root import ROOT


def test_images_of_several_sizes_are_to_be_resized() -> None:
    assert shape_for({(40, 24): 9}, {3: 9}).shape == (3, 40, 24)
    assert shape_for({(40, 24): 9}, {3: 9}).size is None
    several = shape_for({(300, 200): 5, (310, 190): 4}, {3: 8, 1: 1})
    assert (several.size, several.channels, several.shape) == ((64, 44), 3, (3, 64, 44))
    assert shape_for({(224, 224): 9}, {1: 9}).size == (64, 64)
    # A classifier that is brought takes images of its own size.
    assert shape_for({(224, 224): 9}, {3: 9}, brought=True).shape == (3, 224, 224)
    assert shape_for({(300, 200): 5, (310, 190): 4}, {3: 9}, brought=True).size == (224, 148)
    assert shape_for({(9, 30): 9, (8, 30): 1}, {1: 10}).size == (8, 32)


@pytest.mark.parametrize("classes", [2, 10, 25, 100])
def test_numbers_fit_the_classes(classes: int) -> None:
    names = tuple(map(str, range(classes)))
    found = numbers((1, 28, 28), names, {"train": [600] * classes, "test": [30] * (classes - 1) + [7]})
    for key in ("sources.train", "sources.test", "other_sources.test"):
        assert found[key] % classes == 0
        assert found[key] > 0
    targets = {found[key] for key in found if key.endswith(".targets")}
    assert targets == {"all" if classes <= 20 else 3}
    assert found["sources.test"] <= 3 * classes
    towards = classes - 1 if classes <= 20 else 3
    for key, most in {"sources.train": 3000, "replicates.sources.train": 3000, "sizes.originals": 1000}.items():
        assert found[key] * towards <= most
    assert found["threat.linf.epsilon"] == 0.3
    assert found["threat.l2.epsilon"] == 3


@pytest.mark.parametrize(("classes", "each"), [(2, 40), (2, 20_000), (10, 600), (10, 6000), (100, 50)])
def test_trials_of_a_restoration_update_its_weights_often_enough(classes: int, each: int) -> None:
    """After 30 updates an autoencoder of MNIST restores nothing, and of equal trials a rule chooses anything."""
    counts = {"train": [each] * classes, "test": [each // 4] * classes}
    values = numbers((1, 28, 28), tuple(map(str, range(classes))), counts)
    originals, towards = min(50, values["sources.train"]), classes - 1 if classes <= 20 else 3
    batches = 2 * originals * towards / values["training.batch_size"]
    assert 60 <= long_enough(50, values, classes) * batches < 60 + batches


def test_the_demos_trials_do_too() -> None:
    demo = read_yaml(ROOT / "studies/demo/params.yaml")
    trials = demo["defenses"]["autoencoder_ensemble"]["learn"]["trials"]
    assert trials["epochs"] * 2 * trials["originals"] * 9 / demo["training"]["batch_size"] >= 60
