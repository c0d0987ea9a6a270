"""PerturbationStats against NumPy on the whole arrays."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline import perturbation_stats
from pipeline.errors import PipelineError
from pipeline.perturbation_stats import PerturbationStats
from tests.sets import make_set


@pytest.fixture
def stats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PerturbationStats]:
    make_set(tmp_path / "set.h5")
    monkeypatch.setattr(perturbation_stats, "BLOCK", 5)  # several blocks
    with PerturbationStats(tmp_path / "set.h5") as opened:
        yield opened


def test_selections(stats: PerturbationStats, tmp_path: Path) -> None:
    assert len(stats.rows()) == 9  # three of twelve are not fooled
    labels, targets = stats.labels(label=0)
    assert set(labels) == {0}
    assert set(targets) == {1, 2}
    assert np.array_equal(stats.rows("a", "b"), stats.rows(0, 1))
    assert len(stats.rows(0, 0)) == 0
    with PerturbationStats(tmp_path / "set.h5", include_failures=True) as everything:
        assert len(everything.rows()) == 12
    with pytest.raises(PipelineError, match="class 'z': expected 0 to 2 or one of: a, b, c"):
        stats.rows("z")
    with pytest.raises(PipelineError, match="class 3"):
        stats.rows(3)


def test_perturbations_are_differences(stats: PerturbationStats) -> None:
    difference = stats.adversarial_images(1) - stats.originals(1)
    np.testing.assert_array_equal(stats.perturbations(1), difference)


@pytest.mark.parametrize("kind", ["perturbations", "adversarial"])
def test_summary_equals_numpys(stats: PerturbationStats, kind: str) -> None:
    values = (stats.perturbations() if kind == "perturbations" else stats.adversarial_images()).astype(np.float64)
    flat = values.reshape(len(values), -1)
    expected = {"pixel": flat, "l1": np.abs(flat).sum(1), "l2": np.sqrt((flat**2).sum(1))}
    summary = stats.summary(kind)
    assert list(summary.columns) == ["mean", "std", "min", "max"]
    for name, part in expected.items():
        np.testing.assert_allclose(summary.loc[name], [part.mean(), part.std(), part.min(), part.max()], rtol=1e-5)


def test_a_misspelt_kind_is_refused(stats: PerturbationStats) -> None:
    with pytest.raises(ValueError, match="kind: expected perturbations or adversarial, found 'perturbation'"):
        stats.summary("perturbation")


@pytest.mark.parametrize("quantity", ["pixel", "l1", "l2"])
def test_histogram_counts_everything_once(stats: PerturbationStats, quantity: str) -> None:
    table = stats.histogram(quantity, bins=8)
    assert table["count"].sum() == (9 * 16 if quantity == "pixel" else 9)
    with pytest.raises(ValueError, match="expected pixel, l1 or l2"):
        stats.histogram("l7")
    with pytest.raises(ValueError, match="no image"):
        stats.histogram("l2", label=0, target_label=0)


def test_averages_and_grid(stats: PerturbationStats) -> None:
    np.testing.assert_allclose(stats.average_image(0, 1), stats.adversarial_images(0, 1).mean(0), rtol=1e-6)
    np.testing.assert_allclose(stats.average_perturbation(), stats.perturbations().mean(0), rtol=1e-5, atol=1e-7)
    with pytest.raises(ValueError, match="no image"):
        stats.average_image(0, 0)
    (axes,) = stats.grid("a", "b").axes
    assert len(axes.get_yticks()) == 3
    assert len(axes.get_xticks()) == len(stats.rows("a", "b"))
