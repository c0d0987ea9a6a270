"""The report's figures: of images and classes of any shape and name, with legends and ticks that can be read."""

import itertools
from dataclasses import replace

import matplotlib
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection

from pipeline.reporting.adaptive_figures import robust_accuracy
from pipeline.reporting.gac_figures import gain_against_lambda
from pipeline.reporting.perturbation_figures import calibration
from pipeline.reporting.report import sections
from pipeline.reporting.section import draw
from pipeline.reporting.sizes import size_curves
from pipeline.reporting.style import shortened, towards
from tests.made_results import drawn, made_results
from tests.made_study import AUTOENCODER, DROPOUT, GAC, METHODS, made_metrics


@pytest.mark.parametrize(
    "shape",
    [
        {"class_names": ("no", "yes")},
        {"class_names": tuple(f"a class of a very long name {i}" for i in range(25)), "channels": 3},
        {"class_names": ("a", "b", "c"), "height": 4, "width": 9},
        {"class_names": ("a", "b", "c"), "channels": 3, "height": 9, "width": 4},
    ],
    ids=["two classes", "25 classes", "wide", "tall and colored"],
)
def test_images_and_classes_of_any_shape(shape: dict) -> None:
    metrics = made_metrics({**DROPOUT, **AUTOENCODER, **GAC}, METHODS)
    makers = sections(metrics, made_results(metrics, **shape))
    for name in ("attacks", "dropout", "autoencoder", "gac", "other_attacks"):  # those that show images or classes
        assert all(picture.startswith(b"\x89PNG") for picture in draw(makers[name]()).pictures.values())


def test_the_palette_is_not_a_persons() -> None:
    assert matplotlib.rcParams["font.size"] == 9
    assert matplotlib.rcParams["axes.facecolor"] == "white"


def test_a_dollar_in_a_classs_name_begins_no_formula() -> None:
    metrics = made_metrics({**DROPOUT, **AUTOENCODER, **GAC}, METHODS)
    names = ("a$_{$b", "$x$ & <b>", "cost $5, and long")
    assert len(drawn(metrics, class_names=names)) > 5
    for name in names:
        for text in (shortened(name), towards(name, "b")):
            assert text.replace(r"\$", "").count("$") == 0


def overlapping(axes: Axes) -> bool:
    """Whether two ticks of the x axis that are upright lie on one another."""
    assert axes.figure is not None
    FigureCanvasAgg(axes.figure).draw()  # type: ignore[no-untyped-call, arg-type]
    boxes = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
    upright = not any(label.get_rotation() for label in axes.get_xticklabels())
    return upright and any(one.x1 > other.x0 for one, other in itertools.pairwise(boxes))


def test_ticks_of_many_step_sizes_do_not_meet() -> None:
    """As many as `make study` proposes."""
    sizes = pd.DataFrame({"step_size": [0.16 / 2**power for power in range(10)], "l2_mean": 1.0})
    extras = pd.DataFrame({"extra_steps": [1, 2], "ratio": [1.2, 1.5]})
    chosen = {"step_size": {"used": 0.04}, "extra_steps": {"used": 2, "paper_ratio": 1.56}}
    assert not overlapping(calibration(chosen, sizes, extras).axes[0])


@pytest.mark.parametrize("versions", [1, 2])
def test_a_legend_of_the_lambdas_is_within_the_figure(versions: int) -> None:
    names = [f"gac_{number}" for number in range(versions)]
    row = {"status": "ok", "gain": 0.0, "gain_low": -0.1, "gain_high": 0.1, "clean_accuracy": 0.9}
    more = {"control_clean_accuracy": 0.9, "perturbation_l2": 0.1, "fooled": 0.1}
    trials = pd.DataFrame([{"defense": name, "lambda_": size, **row, **more} for name in names for size in (0.3, 3)])
    figure = gain_against_lambda(trials, dict.fromkeys(names, 0.3), {name: name for name in names})
    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
    box, width = figure.legends[0].get_window_extent(), figure.get_window_extent().width
    assert 0 <= box.x0 < box.x1 <= width


@pytest.mark.parametrize("parameters", [(1000, 9000), (1900, 6000), (75290, 172506), (400000, 410000)])
def test_sizes_near_one_another_have_ticks_too(parameters: tuple[int, int]) -> None:
    results = made_results(made_metrics()).sizes
    assert results is not None
    for axes in size_curves(replace(results, sizes=results.sizes.assign(parameters=parameters))).axes:
        low, high = axes.get_xlim()
        assert sum(low <= tick <= high for tick in axes.get_xticks()) >= 3
        assert not overlapping(axes)


def test_intervals_of_robust_accuracy_stand_on_their_points() -> None:
    adaptive = made_metrics(DROPOUT)["adaptive"]
    (axes,) = robust_accuracy(adaptive, {name: name for name in adaptive}).axes
    assert len(axes.collections) == len(adaptive) > 2
    for line, upright in zip(axes.lines, axes.collections, strict=False):
        assert isinstance(upright, LineCollection)
        for x, y, ((left, low), (right, high)) in zip(*line.get_data(), upright.get_segments(), strict=True):
            assert left == right == x
            assert low <= y <= high
