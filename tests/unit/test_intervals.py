"""Intervals against SciPy's exact ones, and against the truth of simulated originals."""

import numpy as np
import pytest
from scipy.stats import binomtest

from pipeline.errors import PipelineError
from pipeline.metrics.intervals import Rate, _bootstrap, difference_with_interval, mean_with_interval, sign_test

EACH = 9  # images of an original


def outcomes(ones: int, count: int, minus: int = 0) -> np.ndarray:
    return np.r_[np.ones(ones), -np.ones(minus), np.zeros(count - ones - minus)]


@pytest.mark.parametrize(("successes", "trials"), [(0, 50), (1, 50), (25, 50), (300, 300), (4, 7)])
def test_a_proportion_of_originals_has_clopper_and_pearsons_interval(successes: int, trials: int) -> None:
    found = mean_with_interval(outcomes(successes, trials))
    exact = binomtest(successes, trials).proportion_ci(0.95, "exact")
    assert (found.value, found.low, found.high) == pytest.approx((successes / trials, exact.low, exact.high))


@pytest.mark.parametrize("each", [1, EACH])
def test_one_failure_has_no_narrower_interval_than_none(each: int) -> None:
    """Nor has one image of one original."""
    groups = np.repeat(np.arange(50), each)
    none, image, original = (mean_with_interval(outcomes(ones, 50 * each), groups) for ones in (0, 1, each))
    assert none.high == pytest.approx(0.0711, abs=1e-4)
    assert none.high - none.low < image.high - image.low <= original.high - original.low


@pytest.mark.parametrize(("more", "less"), [(0, 0), (4, 0), (6, 0), (0, 6), (10, 3), (30, 15)])
def test_p_of_a_paired_difference_is_the_exact_mcnemar_test(more: int, less: int) -> None:
    found = difference_with_interval(outcomes(more, 500, less))
    expected = binomtest(more, more + less).pvalue if more + less else 1
    assert found.p == pytest.approx(expected)
    assert sign_test(more, less) == found.p
    assert found.originals == 500
    assert (found.low > 0 or found.high < 0) == (expected < 0.05)
    assert found.low <= found.value <= found.high


def test_four_to_none_of_500_leave_zero_in() -> None:
    found = difference_with_interval(outcomes(4, 500))
    assert found.p == 0.125
    assert found.low < 0


@pytest.mark.parametrize(("value", "far"), [(0, 0.01222), (1, 0.01222 * 2**0.5), (-1, 0.01222 * 2**0.5)])
def test_differences_that_are_all_alike_have_honest_intervals(value: int, far: float) -> None:
    """300 of 300: a share of them may be 0.01222 = 1 - 0.025 ** (1 / 300) less, the opposite share as much more."""
    found = difference_with_interval(np.full(300, float(value)))
    assert found.value == value
    assert found.low == pytest.approx(max(-1, value - far), abs=1e-4)
    assert found.high == pytest.approx(min(1, value + far), abs=1e-4)


def test_images_of_few_failing_originals_count_as_what_they_are_worth() -> None:
    """All nine images alike are one trial; all independent, nearly nine."""
    groups = np.repeat(np.arange(300), EACH)
    alike = mean_with_interval(np.repeat(outcomes(10, 300), EACH), groups)
    exact = binomtest(10, 300).proportion_ci(0.95, "exact")
    assert (alike.low, alike.high) == pytest.approx((exact.low, exact.high), rel=1e-6)
    apart = mean_with_interval(np.tile(np.r_[1.0, np.zeros(8)], 300)[: 300 * EACH] * (groups < 20), groups)
    assert apart.value == pytest.approx(20 / 2700)
    images = binomtest(20, 2700).proportion_ci(0.95, "exact")
    assert images.high - images.low < apart.high - apart.low < 1.5 * (images.high - images.low)


def test_nothing_is_refused() -> None:
    with pytest.raises(PipelineError, match="no images"):
        mean_with_interval(np.array([]))


def covered(truth: float, rates: list[Rate]) -> float:
    return float(np.mean([rate.low <= truth <= rate.high for rate in rates]))


@pytest.mark.parametrize("truth", [0.01, 0.1, 0.98])
def test_proportions_cover_the_truth(truth: float) -> None:
    random = np.random.default_rng(0)
    assert covered(truth, [mean_with_interval(random.random(50) < truth) for _ in range(400)]) >= 0.94


@pytest.mark.parametrize(
    ("failing", "correlation"), [(1, 0.1), (1, 0.7), (3, 0.3), (3, 0.7), (6, 0.3), (12, 0.3), (60, 0.3)]
)
@pytest.mark.parametrize("reversed_", [False, True])
def test_clustered_rates_cover_the_truth(failing: int, correlation: float, reversed_: bool) -> None:
    """Nine images of each of 300 originals, beta-binomial; the last case has the bootstrap."""
    truth, groups = failing / 300, np.repeat(np.arange(300), EACH)
    random = np.random.default_rng(failing)
    spread = (1 - correlation) / correlation
    rates = []
    for _ in range(200):
        each = random.beta(truth * spread, (1 - truth) * spread, 300)
        values = random.random((300, EACH)) < each[:, None]
        rates.append(mean_with_interval((values ^ reversed_).ravel(), groups))
    assert covered(1 - truth if reversed_ else truth, rates) >= 0.92  # 0.95 and two standard errors of the simulation


def test_the_bootstrap_alone_would_not() -> None:
    """One failing original's worth of images nearly alike: why there are exact intervals."""
    truth, random = 1 / 300, np.random.default_rng(0)
    spread = 0.3 / 0.7
    rates = []
    for _ in range(200):
        each = random.beta(truth * spread, (1 - truth) * spread, 300)
        totals = (random.random((300, EACH)) < each[:, None]).sum(1).astype(float)
        rates.append(_bootstrap(totals, np.full(300, float(EACH))))
    assert covered(truth, rates) == pytest.approx(2 / 3, abs=0.1)


@pytest.mark.parametrize(("more", "less"), [(0.0, 0.0), (0.01, 0.0), (0.1, 0.05), (0.5, 0.0), (0.9, 0.05)])
@pytest.mark.parametrize("originals", [50, 300])
def test_paired_differences_cover_the_truth(more: float, less: float, originals: int) -> None:
    random = np.random.default_rng(1)
    rates: list[Rate] = []
    for _ in range(400):
        drawn = random.random(originals)
        rates.append(difference_with_interval((drawn < more) * 1.0 - (drawn > 1 - less)))
    assert covered(more - less, rates) >= 0.93
