"""How well a defense's scores tell adversarial images from others."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.errors import PipelineError
from pipeline.metrics.roc import Detector, Values, measure, resampled, thinned, with_intervals

# Column of an evaluation, and the sign that makes adversarial images score high.
SCORES = {
    "max_probability": -1,
    "logit_margin": -1,
    "predictive_entropy": 1,
    "vote_variance": 1,
    "score_variance": 1,
    "mutual_information": 1,
}
NEEDED = ("attack", "original_row", "passes", *SCORES)  # columns of an evaluation
BETWEEN_PASSES = ("vote_variance", "score_variance", "mutual_information")  # of one pass 0 for every image
NEGATIVES = ("clean", "clean_all", "noise")


@dataclass(frozen=True)
class Detected:
    """How well a defense's scores detect. Tables with a row per attack and kind of negatives, and:

    scores : per score too, what `detection` measures. curves : the ROC curves, per score too and per vertex `fpr, tpr`.
    chosen : the `score` that was chosen on validation images, and what `detection` measures of it on the test split;
    held_out : false where there are no validation images, and both was done on the same.
    resampled : by attack and kind of negatives, the areas of the chosen score, see `resampled`.
    """

    scores: pd.DataFrame
    curves: pd.DataFrame
    chosen: pd.DataFrame
    resampled: Mapping[tuple[str, str], Values]


def detect(evaluation: pd.DataFrame, validation: pd.DataFrame) -> Detected:
    """Every score of one defense against every set and every kind of negatives.

    Parameters
    ----------
    evaluation : rows of `data/evaluations/<study>/<defense>.parquet`, of the test split and one training. Negatives:
        `clean` (the attacked originals), `clean_all` (the whole test split, mistakes included), `noise` (originals with
        random noise of the perturbations' L2 norms).
    validation : its rows of validation images.

    The best of several scores on the very images that it is reported on looks better than it is. So of each attack
    and kind of negatives the score is chosen, by its area, on validation images; `chosen` is of the test split.
    Raises PipelineError if a score is no number.
    """
    groups, others = (
        {str(name): group for name, group in rows.groupby("attack", sort=False)} for rows in (evaluation, validation)
    )
    single = int(evaluation["passes"].max()) == 1
    names = [score for score in SCORES if not (single and score in BETWEEN_PASSES)]
    scores, curves, chosen, areas = [], [], [], {}
    for attack in (name for name in groups if f"noise_{name}" in groups):
        for negatives in NEGATIVES:
            parts = attack, f"noise_{attack}" if negatives == "noise" else negatives
            pair = Pair(groups[parts[0]], groups[parts[1]], negatives)
            held_out = all(part in others for part in parts)
            choosing = Pair(others[parts[0]], others[parts[1]], negatives) if held_out else pair
            key = {"attack": attack, "negatives": negatives}
            measured, again, reached = {}, {}, {}
            for score in names:
                try:
                    again[score] = resampled(*pair.scores(score), *pair.originals, pair.same_originals)
                    curve = Detector(*pair.scores(score)).roc()
                    measured[score] = with_intervals(measure(*curve), again[score])
                    reached[score] = measure(*Detector(*choosing.scores(score)).roc())["auc"]
                except PipelineError as error:
                    raise PipelineError(f"{score} of {attack} against {negatives}: {error}") from None
                scores.append({"score": score, **key, **measured[score]})
                fpr, tpr = thinned(*curve)
                curves.append(pd.DataFrame({"score": score, **key, "fpr": fpr, "tpr": tpr}))
            best = max(reached, key=lambda score: reached[score])
            about = {
                "held_out": held_out,
                "chosen_originals": len(np.unique(choosing.originals[0])),
                "originals": len(np.unique(pair.originals[0])),
                "chosen_auc": reached[best],
            }
            chosen.append({"score": best, **key, **about, **measured[best]})
            areas[attack, negatives] = again[best]["auc"]
    return Detected(pd.DataFrame(scores), pd.concat(curves, ignore_index=True), pd.DataFrame(chosen), areas)


def detect_named(block: tuple[str, pd.DataFrame, pd.DataFrame], advance: Callable[[int], object]) -> Detected:
    """A task of the mapper: `detect` of a defense, of its name and its evaluations, of which NEEDED is enough."""
    name, evaluation, validation = block
    try:
        found = detect(evaluation, validation)
    except PipelineError as error:
        raise PipelineError(f"evaluation of '{name}': {error}") from None
    advance(1)
    return found


@dataclass(frozen=True)
class Pair:
    """Rows of an evaluation: adversarial images, and others of one kind to tell them from."""

    images: pd.DataFrame
    others: pd.DataFrame
    negatives: str

    @property
    def same_originals(self) -> bool:
        """Whether the others number the same originals; the whole split numbers its own rows."""
        return self.negatives != "clean_all"

    @property
    def originals(self) -> tuple[Values, Values]:
        return self.images["original_row"].to_numpy(), self.others["original_row"].to_numpy()

    def scores(self, name: str) -> tuple[Values, Values]:
        """High where an image looks adversarial."""
        return SCORES[name] * self.images[name].to_numpy(float), SCORES[name] * self.others[name].to_numpy(float)


def area_gain(one: Detected, other: Detected) -> pd.DataFrame:
    """What the chosen scores' areas of `one` are above those of `other`, judged on the same images and originals.

    A row per attack and kind of negatives: `gain, gain_low, gain_high`, 95 % over originals, the same drawn in both.
    """
    keys = ["attack", "negatives"]
    both = one.chosen.merge(other.chosen, on=keys, suffixes=("", "_other"))
    rows = []
    for row in both.to_dict("records"):
        key = row["attack"], row["negatives"]
        low, high = np.nanquantile(one.resampled[key] - other.resampled[key], [0.025, 0.975])
        value = row["auc"] - row["auc_other"]
        rows.append({**dict(zip(keys, key, strict=True)), "gain": value, "gain_low": low, "gain_high": high})
    return pd.DataFrame(rows)
