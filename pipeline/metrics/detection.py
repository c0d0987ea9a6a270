"""How well a number tells adversarial images from others."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

# Column of an evaluation, and the sign that makes adversarial images score high.
ONE_PASS = {"max_probability": -1, "logit_margin": -1, "predictive_entropy": 1}
MANY_PASSES = {
    "vote_variance": 1,
    "score_variance": 1,
    "predictive_entropy": 1,
    "mutual_information": 1,
    "max_probability": -1,
}
FALSE_POSITIVE_RATES = (0.01, 0.05)
GRID = np.concatenate([np.linspace(0, 0.1, 51), np.linspace(0.11, 1, 90)])
RESAMPLES = 100

Values = NDArray[Any]


class Detector:
    """ROC curve of scores that are high where an image looks adversarial.

    Equal scores stand or fall together. `roc` takes a weight per image, so that a bootstrap over
    originals needs one sort for all its resamples.
    """

    def __init__(self, positives: Values, negatives: Values) -> None:
        values, place = np.unique(np.r_[positives, negatives], return_inverse=True)
        # Highest score first.
        self._place = (len(values) - 1 - place).astype(np.int64)
        self._count = len(values)
        self._split = len(positives)

    def roc(
        self, positive_weights: Values | None = None, negative_weights: Values | None = None
    ) -> tuple[Values, Values]:
        """False and true positive rates at every threshold, from (0, 0) to (1, 1)."""
        rates = []
        for place, weights in (
            (self._place[self._split :], negative_weights),
            (self._place[: self._split], positive_weights),
        ):
            found = np.cumsum(np.bincount(place, weights, self._count))
            rates.append(np.r_[0, found / found[-1]])
        return rates[0], rates[1]


def measure(fpr: Values, tpr: Values) -> dict[str, float]:
    """Area under a ROC curve, and its true positive rates at false positive rates of at most 1 % and 5 %."""
    found = {"auc": float(np.trapezoid(tpr, fpr))}
    for limit in FALSE_POSITIVE_RATES:
        found[f"tpr_at_fpr_{limit:.2f}"] = float(tpr[np.searchsorted(fpr, limit, side="right") - 1])
    return found


def detection(
    positives: Values,
    negatives: Values,
    positive_groups: Values,
    negative_groups: Values,
    same_originals: bool,
) -> dict[str, float]:
    """`measure` with 95 % intervals by bootstrap over originals, `<name>_low` and `<name>_high`.

    positives, negatives: scores, (n,) each; groups: the original of each. `same_originals` says that both
    number the same originals, which are then drawn together.
    """
    detector = Detector(positives, negatives)
    found = measure(*detector.roc())
    positive_ids, positive_place = np.unique(positive_groups, return_inverse=True)
    negative_ids, negative_place = np.unique(negative_groups, return_inverse=True)
    random = np.random.default_rng(0)
    resampled = []
    for _ in range(RESAMPLES):
        if same_originals:
            largest = max(positive_ids[-1], negative_ids[-1]) + 1
            drawn = np.bincount(random.choice(negative_ids, len(negative_ids)), minlength=largest)
            weights = drawn[positive_groups], drawn[negative_groups]
        else:
            weights = (
                _drawn(random, len(positive_ids))[positive_place],
                _drawn(random, len(negative_ids))[negative_place],
            )
        resampled.append(measure(*detector.roc(*weights)))
    for name in list(found):
        low, high = np.quantile([entry[name] for entry in resampled], [0.025, 0.975])
        found[f"{name}_low"], found[f"{name}_high"] = float(low), float(high)
    return found


def detect(evaluation: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every score of one defense against every set and every kind of negatives.

    Parameters
    ----------
    evaluation : rows of `data/evaluations/<dataset>/<defense>.parquet`.

    Returns
    -------
    A table of `score, attack, negatives` with what `detection` measures, and the ROC curves, `score,
    attack, negatives, fpr, tpr`, on a fixed grid. Negatives: `clean` (the attacked originals),
    `clean_all` (the whole test split, mistakes included), `noise` (originals with random noise of the
    perturbations' L2 norms).
    """
    groups = dict(iter(evaluation.groupby("attack", sort=False)))
    single = int(evaluation["passes"].max()) == 1
    attacks = [name for name in groups if f"noise_{name}" in groups]
    rows, curves = [], []
    for score, sign in (ONE_PASS if single else MANY_PASSES).items():
        for attack in attacks:
            images = groups[attack]
            positives = sign * images[score].to_numpy()
            for negatives in ("clean", "clean_all", "noise"):
                others = groups[f"noise_{attack}" if negatives == "noise" else negatives]
                values = sign * others[score].to_numpy()
                key = {"score": score, "attack": attack, "negatives": negatives}
                originals = images["original_row"].to_numpy(), others["original_row"].to_numpy()
                found = detection(positives, values, *originals, same_originals=negatives != "clean_all")
                rows.append({**key, **found})
                fpr, tpr = Detector(positives, values).roc()
                # The curve's step function at the grid: the best rate at no more false positives.
                best = tpr[np.searchsorted(fpr, GRID, side="right") - 1]
                curves.append(pd.DataFrame({**key, "fpr": GRID, "tpr": best}))
    return pd.DataFrame(rows), pd.concat(curves, ignore_index=True)


def _drawn(random: np.random.Generator, count: int) -> Values:
    """How often each of `count` originals is drawn in one resample."""
    return np.bincount(random.integers(count, size=count), minlength=count)
