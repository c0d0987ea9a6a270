"""PerturbationStats against NumPy on the whole arrays."""

import inspect
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from pipeline.artifacts import adversarial
from pipeline.errors import PipelineError
from pipeline.metrics.accumulators import PixelHistogram
from pipeline.perturbation_stats import PerturbationStats
from tests.sets import make_set


@pytest.fixture
def stats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PerturbationStats]:
    make_set(tmp_path / "set.h5")
    monkeypatch.setattr(adversarial, "BLOCK", 5)  # several blocks
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
    size = np.abs(flat)
    expected = {"pixel": flat, "l1": size.sum(1), "l2": np.sqrt((flat**2).sum(1)), "linf": size.max(1)}
    summary = stats.summary(kind=kind)
    assert list(summary.columns) == ["mean", "std", "min", "max"]
    assert list(summary.index) == list(expected)
    for name, part in expected.items():
        np.testing.assert_allclose(summary.loc[name], [part.mean(), part.std(), part.min(), part.max()], rtol=1e-5)


def test_label_and_target_come_first_and_the_rest_by_name() -> None:
    methods = [
        method
        for name, method in inspect.getmembers(PerturbationStats, inspect.isfunction)
        if not name.startswith("_") and name != "close"
    ]
    assert len(methods) >= 12
    for method in methods:
        names = list(inspect.signature(method).parameters.values())[1:]
        first = [one.name for one in names if one.kind is not one.KEYWORD_ONLY]
        assert first == (["path"] if method.__name__ == "save" else []) + ["label", "target_label"], method.__name__
        assert all(one.default is not one.empty for one in names if one.name != "path"), method.__name__


def test_misspelt_words_are_refused(stats: PerturbationStats, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="kind: expected perturbations or adversarial, found 'perturbation'"):
        stats.summary(kind="perturbation")
    with pytest.raises(PipelineError, match="quantity: expected pixel, l1, l2 or linf, found 'l7'"):
        stats.histogram(quantity="l7")
    with pytest.raises(PipelineError, match=r"suffix of the path: expected .csv or .parquet, found '.txt'"):
        stats.save(tmp_path / "a.txt")


@pytest.mark.parametrize("quantity", ["pixel", "l1", "l2", "linf"])
def test_histogram_counts_everything_once(stats: PerturbationStats, quantity: str) -> None:
    table = stats.histogram(quantity=quantity, bins=8)
    assert table["count"].sum() == (9 * 16 if quantity == "pixel" else 9)
    assert stats.histogram(0, 1, quantity=quantity)["count"].sum() == len(stats.rows(0, 1)) * (
        16 if quantity == "pixel" else 1
    )
    assert stats.plot_histogram("a", "b", quantity=quantity).axes[0].get_title().startswith("a towards b, minimal")


def test_histogram_counts_are_exact_next_to_the_edges(tmp_path: Path) -> None:
    """Multiples of 1/255 and thousandths lie on edges or a float32's rounding beside them."""
    make_set(tmp_path / "set.h5")
    random = np.random.default_rng(0)
    values = np.concatenate([random.integers(-255, 256, 8000) / 255, random.integers(-1000, 1001, 8000) / 1000])
    values = values.astype(np.float32)
    with h5py.File(tmp_path / "set.h5", "r+") as file:
        file["originals"][:] = 0
        file["images"][:] = np.abs(values[: 12 * 16]).reshape(12, 1, 4, 4)
    with PerturbationStats(tmp_path / "set.h5", include_failures=True) as stats:
        table, found = stats.histogram(quantity="pixel", bins=255), stats.perturbations().astype(float).ravel()
    edges = np.r_[table["low"], table["high"].iloc[-1]]
    assert edges.dtype == np.float64
    assert table["count"].tolist() == exact_counts(found, edges)
    histogram = PixelHistogram()
    histogram.add(values)
    assert histogram.counts.tolist() == exact_counts(values.astype(float), histogram.edges)


def exact_counts(values: np.ndarray, edges: np.ndarray) -> list[int]:
    inside = [int(((values >= low) & (values < high)).sum()) for low, high in pairwise(edges)]
    inside[-1] += int((values == edges[-1]).sum())
    return inside


def test_averages_and_grid(stats: PerturbationStats) -> None:
    np.testing.assert_allclose(stats.average_image(0, 1), stats.adversarial_images(0, 1).mean(0), rtol=1e-6)
    np.testing.assert_allclose(stats.average_perturbation(), stats.perturbations().mean(0), rtol=1e-5, atol=1e-7)
    (axes,) = stats.grid("a", "b").axes
    assert len(axes.get_yticks()) == 3
    assert len(axes.get_xticks()) == len(stats.rows("a", "b"))
    assert len(stats.grid(count=2).axes[0].get_xticks()) == 2


def test_an_empty_selection_is_one_kind_of_error(stats: PerturbationStats) -> None:
    for method in (stats.histogram, stats.plot_histogram, stats.average_image, stats.average_perturbation, stats.grid):
        with pytest.raises(PipelineError, match="no image of a towards a, minimal: expected one or more"):
            method(0, 0)
    assert len(stats.frame(0, 0)) == 0
    assert list(stats.frame(0, 0)) == list(stats.frame())
    assert len(stats.originals(0, 0)) == 0
    assert stats.summary(0, 0).isna().all(axis=None)


def test_a_closed_file_is_one_kind_of_error(tmp_path: Path) -> None:
    make_set(tmp_path / "set.h5")
    with PerturbationStats(tmp_path / "set.h5") as stats:
        blocks = stats.blocks()
    stats.close()
    for method in (
        len,
        PerturbationStats.summary,
        PerturbationStats.frame,
        PerturbationStats.grid,
        PerturbationStats.labels,
    ):
        with pytest.raises(PipelineError, match=r"set.h5: closed; open it again"):
            method(stats)
    with pytest.raises(PipelineError, match="closed"):
        next(blocks)
    assert repr(stats).endswith("set.h5', closed)")
    assert stats.class_names == ("a", "b", "c")


def test_the_frame_has_a_row_per_image_and_can_be_saved(stats: PerturbationStats, tmp_path: Path) -> None:
    table = stats.frame(1)
    assert table["row"].tolist() == stats.rows(1).tolist()
    assert set(table["label"]) == {1}
    assert table["is_adversarial"].all()
    flat = stats.perturbations(1).reshape(len(table), -1).astype(np.float64)
    np.testing.assert_allclose(table["l2"], np.linalg.norm(flat, axis=1), rtol=1e-6)
    np.testing.assert_allclose(table["linf"], np.abs(flat).max(1), rtol=1e-6)
    assert {"original_row", "target_label", "source_split", "source_index", "steps", "margin", "l0", "l1"} <= set(table)
    for suffix, read in (("csv", pd.read_csv), ("parquet", pd.read_parquet)):
        saved = read(stats.save(tmp_path / f"frame.{suffix}", 1))
        np.testing.assert_allclose(saved["l2"], table["l2"], rtol=1e-6)
        assert list(saved) == list(table)


def test_its_length_and_what_it_calls_itself(stats: PerturbationStats, tmp_path: Path) -> None:
    assert len(stats) == 9
    assert repr(stats).endswith("set.h5', minimal, 9 of 12 images, 3 classes)")
    assert stats
