"""Two studies on the same images: which rows belong together, and what is said of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import t
from torch import Tensor, nn

from pipeline.artifacts.adversarial import open_adversarial
from pipeline.artifacts.images import Description, Split, same_test_split, write_images
from pipeline.artifacts.transfer import cosines, seen_by
from pipeline.errors import PipelineError
from pipeline.metrics.intervals import ratio_with_interval
from pipeline.metrics.paired_studies import (
    compare_defenses,
    compare_perturbations,
    in_both,
    misled_more,
    outcomes_by_image,
    with_verdicts,
)
from pipeline.reporting.page import render_index
from pipeline.reporting.results_page import results_page
from tests.made_study import made_metrics
from tests.sets import make_set


def examples(originals: list[int], targets: list[int], l2: list[float], **more: Any) -> pd.DataFrame:
    count = len(originals)
    found = {
        "row": np.arange(count, dtype=np.int32),
        "original_row": np.unique(originals, return_inverse=True)[1].astype(np.int32),
        "source_split": np.ones(count, np.uint8),
        "source_index": np.array(originals, np.int32),
        "label": np.zeros(count, np.uint8),
        "target_label": np.array(targets, np.uint8),
        "is_adversarial": np.ones(count, bool),
        "l2": np.array(l2, np.float32),
        "linf": np.array(l2, np.float32),
        "sensitivity": np.ones(count, np.float32),
        "edge_correlation": np.full(count, 0.25, np.float32),
    }
    return pd.DataFrame(found | more)


def test_rows_of_the_same_original_and_target_of_the_test_split_are_put_together() -> None:
    one = examples([3, 3, 7, 9], [1, 2, 1, 1], [1, 2, 3, 4], source_split=np.array([1, 1, 1, 0], np.uint8))
    other = examples([9, 7, 3, 3], [1, 1, 2, 3], [5, 6, 7, 8])
    both = in_both(one, other)
    assert both[["source_index", "target_label"]].to_numpy().tolist() == [[3, 2], [7, 1]]
    assert both[["l2_one", "l2_other"]].to_numpy().tolist() == [[2, 7], [3, 6]]
    assert both[["row_one", "row_other"]].to_numpy().tolist() == [[1, 2], [2, 1]]


def test_whose_images_mislead_more_is_told_on_the_rows_that_fool_both() -> None:
    """Ten originals of two images; the other's mislead in nine more, of rows that both have."""
    originals = pd.Series(np.repeat(np.arange(10), 2))
    one = pd.Series(np.zeros(19, bool), range(19))
    other = pd.Series(np.arange(1, 20) < 18, range(1, 20))
    found = misled_more(one, other, originals)
    assert found["value"] == pytest.approx(17 / 18)
    assert found["originals"] == 10
    judged = with_verdicts({"minimal": found, "extended": misled_more(one, one, originals)})
    assert judged["minimal"]["verdict"] == "gain"
    assert judged["extended"]["verdict"] == "not shown"
    assert judged["minimal"]["p_holm"] == pytest.approx(min(1, 2 * found["p"]))


def test_sizes_are_compared_where_both_are_fooled() -> None:
    edges = np.array([0.1, np.nan, 0.3, 0.9], np.float32)
    one = examples([0, 1, 2, 3], [1] * 4, [1, 3, 2, 100], edge_correlation=edges)
    other = examples([0, 1, 2, 3], [1] * 4, [2, 4, 3, 1], is_adversarial=np.arange(4) < 3)
    found = compare_perturbations(in_both(one, other), np.array([1.0, 0.5, 0.0, -1.0]))
    assert (found["originals"], found["images"]) == (3, 3)
    assert (found["l2"]["one"], found["l2"]["other"]) == (2, 3)
    half = t.ppf(0.975, 2) * np.sqrt(3 / 2 * (0.5**2 + 0.5**2)) / 6  # what 1.5 times 1, 3, 2 leaves of 2, 4, 3
    assert found["l2"]["ratio"] == pytest.approx({"value": 1.5, "low": 1.5 - half, "high": 1.5 + half})
    assert found["edge_correlation"]["difference"]["value"] == pytest.approx(0.05)  # the second has none
    assert found["cosine"]["value"] == 0.5


def test_a_ratio_covers_the_truth() -> None:
    """Of two lengths that vary from original to original, three images each."""
    random = np.random.default_rng(0)
    groups, inside = np.repeat(np.arange(60), 3), []
    for _ in range(2000):
        size = np.repeat(random.lognormal(0, 0.5, 60), 3)
        mine, its = (size * random.lognormal(0, 0.2, 180) for _ in range(2))
        rate = ratio_with_interval(1.2 * its, mine, groups)
        inside.append(rate.low <= 1.2 <= rate.high)
    assert np.mean(inside) >= 0.93  # 0.944 of other seeds (lengths are skewed), and three standard errors
    with pytest.raises(PipelineError, match="two originals or more"):
        ratio_with_interval(np.ones(3), np.ones(3), np.zeros(3, int))


def evaluation(rows: list[tuple[str, int, int, float | None, bool]], training: int = 0) -> pd.DataFrame:
    """Rows of attack, original_row, target_label (-1: none), thwarted, recovered."""
    found = pd.DataFrame(rows, columns=["attack", "original_row", "target_label", "thwarted", "recovered"])
    found["target_label"] = found["target_label"].where(found["target_label"] >= 0)
    return found.assign(training=training)


def test_defenses_are_compared_on_the_same_images() -> None:
    mine = examples([5, 6], [1, 1], [1, 1])
    its = examples([6, 5], [1, 1], [1, 1], original_row=np.array([0, 1], np.int32))
    judged_one = evaluation([("clean", 0, -1, None, True), ("minimal", 0, 1, 1, True), ("minimal", 1, 1, 0, False)])
    again = evaluation([("minimal", 0, 1, 0, False), ("minimal", 1, 1, 0, False)], training=1)
    judged_other = evaluation(
        [("clean", 1, -1, None, False), ("minimal", 1, 1, 1, True), ("noise_x", 0, -1, None, True)]
    )
    one = outcomes_by_image(pd.concat([judged_one, again]), mine)
    other = outcomes_by_image(judged_other, its)
    found = compare_defenses({"d": one}, {"d": other})["d"]
    assert set(found) == {"clean", "minimal"}
    thwarted = found["minimal"]["thwarted"]  # original 5: half of the trainings against all of one
    assert (thwarted["one"], thwarted["other"], thwarted["value"], thwarted["images"]) == (0.5, 1, 0.5, 1)
    assert found["clean"]["recovered"]["value"] == -1
    assert {"low", "high", "p", "p_holm", "originals", "verdict"} < set(thwarted)


def test_many_differences_are_corrected_together() -> None:
    images = examples(list(range(40)), [1] * 40, [1.0] * 40)
    rows = [("minimal", row, 1, 1.0, row < 9) for row in range(40)]
    one, other = (
        outcomes_by_image(evaluation([(*row[:4], better and row[4]) for row in rows]), images)
        for better in (False, True)
    )
    alone = compare_defenses({"a": one}, {"a": other})["a"]["minimal"]["recovered"]
    assert (alone["verdict"], alone["p"]) == ("gain", pytest.approx(2 / 2**9))
    names = [f"d{number}" for number in range(20)]
    among = compare_defenses({"a": one} | dict.fromkeys(names, one), {"a": other} | dict.fromkeys(names, one))
    assert among["a"]["minimal"]["recovered"]["verdict"] == "not shown"


class Brightest(nn.Module):
    """The class is the brightest of the first three pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :3] * self.weight


def test_chosen_rows_are_seen_and_compared_as_they_are_stored(tmp_path: Path) -> None:
    path = tmp_path / "set.h5"
    _, images, _ = make_set(path)
    rows = np.array([9, 2, 5])
    assert seen_by(Brightest(), path, rows).tolist() == images.reshape(12, -1)[rows, :3].argmax(1).tolist()
    assert seen_by(Brightest(), path, rows[:0]).tolist() == []
    with open_adversarial(path) as set_:
        moved = (images - set_.originals(slice(None))).reshape(12, -1)
    lengths = np.linalg.norm(moved, axis=1)
    expected = (moved[rows] * moved[rows - 1]).sum(1) / lengths[rows] / lengths[rows - 1]
    np.testing.assert_allclose(cosines(path, rows, path, rows - 1), expected, rtol=1e-5)
    np.testing.assert_allclose(cosines(path, rows, path, rows), 1, rtol=1e-6)


def test_studies_share_images_where_the_test_splits_are_the_same(tmp_path: Path) -> None:
    split = Split(np.arange(4 * 64, dtype=np.uint8).reshape(4, 1, 8, 8), np.array([0, 1, 0, 1], np.uint8))
    changed = Split(split.images.copy(), split.labels)
    changed.images[0, 0, 0, 0] += 1

    def written(name: str, test: Split, *names: str) -> Path:
        path = tmp_path / f"{name}.h5"
        write_images(path, Description(name, names or ("a", "b"), "made", "0"), {"train": changed, "test": test})
        return path

    one = written("one", split)
    assert same_test_split(one, written("other", split))
    assert not same_test_split(one, written("changed", changed))
    assert not same_test_split(one, written("named", split, "b", "a"))


def made_pair(**changes: Any) -> dict[str, Any]:
    rate = {"value": 0.5, "low": 0.4, "high": 0.6}
    difference = {
        **rate,
        "one": 0.1,
        "other": 0.6,
        "images": 9,
        "originals": 3,
        "p": 0.0,
        "p_holm": 0.0,
        "verdict": "gain",
    }
    made = {
        name: {"tried_on": other, "originals": 3, "images": 9, "target": rate, "error": rate}
        for name, other in (("a", "b"), ("b", "a"))
    }
    sizes = {
        "originals": 3,
        "images": 9,
        "cosine": rate,
        "l2": {"one": 1.0, "other": 2.0, "ratio": {"value": 2.0, "low": 1.5, "high": 2.5}},
    }
    edges = {"edge_correlation": {"one": 0.1, "other": 0.2, "difference": rate}}
    judged = {"thwarted": difference, "recovered": {**difference, "verdict": "not shown"}}
    return {
        "one": "a",
        "other": "b",
        "originals": 3,
        "transfer": {"minimal": made, "extended": made},
        "misled": {"minimal": {**difference, "verdict": "not shown"}, "extended": {**difference, "verdict": "loss"}},
        "perturbations": {"minimal": sizes, "extended": sizes | edges},
        "defenses": {"mine": {"minimal": judged}},
        **changes,
    }


def test_the_page_of_all_studies_says_what_two_of_them_have_in_common() -> None:
    metrics = {"a": made_metrics({"mine": ["mine"]}), "b": made_metrics({"mine": ["mine"]})}
    page = render_index(metrics, [made_pair()])
    for words in (
        "a and b, on the same images",
        "neither are shown to mislead the other network more often (b minus a: +50.0 points",
        "those of a mislead the other network more often",
        "The perturbations of b are longer: in mean L2 2.00 times those of a [1.50, 2.50]",
        "Thwarted: more by the mine +50.0 points", "Recovered: no difference shown by the mine",
        "10.0\N{NO-BREAK SPACE}% / 60.0\N{NO-BREAK SPACE}%",
    ):  # fmt: skip
        assert words in page
    misled = made_pair()["misled"]
    misled["minimal"]["verdict"] = "gain"
    page_of_gain = render_index(metrics, [made_pair(misled=misled)])
    assert "those of b mislead the other network more often" in page_of_gain
    assert "neither are" not in page_of_gain
    assert "The defenses of b" not in render_index(metrics, [made_pair(defenses={})])
    assert "on the same images" not in render_index(metrics)
    metrics["a"]["labels"]["mine"] = "<script>"
    page = render_index(metrics, [made_pair()])
    assert "<script>" not in page
    assert "more by &lt;script&gt; +50.0 points" in page


def test_the_results_say_it_too() -> None:
    metrics = {"a": made_metrics({"mine": ["mine"]})}
    text = results_page(metrics, [made_pair()])
    assert "## a and b, on the same images\n\nOn the 3 test images" in text
    assert "Recovered: no difference shown by the mine." in text
    assert "| minimal: mean L2 | 1 | 2 | 2.00 [1.50, 2.50] |\n" in text
    assert "| extended: mean correlation with edges | 0.1 | 0.2 | +0.500 [+0.400, +0.600] |\n" in text
    assert "\n\n\n" not in text
    assert "on the same images" not in results_page(metrics)
