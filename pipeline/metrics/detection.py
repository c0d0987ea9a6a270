"""How well a number tells adversarial images from others."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

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


def detection(positives: NDArray[Any], negatives: NDArray[Any]) -> dict[str, float]:
    """AUC, and the true positive rates at false positive rates of at most 1 % and 5 %.

    Scores, (n,) each, high where an image looks adversarial. Equal scores stand or fall together, so a
    rate is that of the largest set of images that a threshold can pick; no interpolation.
    """
    fpr, tpr = _roc(positives, negatives)
    truth = np.r_[np.ones(len(positives)), np.zeros(len(negatives))]
    found = {"auc": float(roc_auc_score(truth, np.r_[positives, negatives]))}
    for limit in FALSE_POSITIVE_RATES:
        found[f"tpr_at_fpr_{limit:.2f}"] = float(tpr[fpr <= limit].max())
    return found


def detect(evaluation: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every score of one defense against every set and every kind of negatives.

    Parameters
    ----------
    evaluation : rows of `data/evaluations/<dataset>/<defense>.parquet`.

    Returns
    -------
    A table of `score, attack, negatives, auc, tpr_at_fpr_0.01, tpr_at_fpr_0.05`, and the ROC curves,
    `score, attack, negatives, fpr, tpr`, on a fixed grid. Negatives: `clean` (the attacked originals),
    `clean_all` (the whole test split, mistakes included), `noise` (originals with random noise of the
    perturbations' L2 norms).
    """
    groups = dict(iter(evaluation.groupby("attack", sort=False)))
    single = int(evaluation["passes"].max()) == 1
    attacks = [name for name in groups if f"noise_{name}" in groups]
    rows, curves = [], []
    for score, sign in (ONE_PASS if single else MANY_PASSES).items():
        for attack in attacks:
            positives = sign * groups[attack][score].to_numpy()
            for negatives in ("clean", "clean_all", "noise"):
                others = groups[f"noise_{attack}" if negatives == "noise" else negatives]
                values = sign * others[score].to_numpy()
                key = {"score": score, "attack": attack, "negatives": negatives}
                rows.append({**key, **detection(positives, values)})
                fpr, tpr = _roc(positives, values)
                # The curve's step function at the grid: the best rate at no more false positives.
                best = tpr[np.searchsorted(fpr, GRID, side="right") - 1]
                curves.append(pd.DataFrame({**key, "fpr": GRID, "tpr": best}))
    return pd.DataFrame(rows), pd.concat(curves, ignore_index=True)


def _roc(positives: NDArray[Any], negatives: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    truth = np.r_[np.ones(len(positives)), np.zeros(len(negatives))]
    fpr, tpr, _ = roc_curve(truth, np.r_[positives, negatives], drop_intermediate=False)
    return fpr, tpr
