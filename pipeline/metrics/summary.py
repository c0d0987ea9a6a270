"""Per-example measurements averaged into the numbers of `reports/metrics/<study>.json`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline.errors import PipelineError
from pipeline.metrics.intervals import mean_with_interval
from pipeline.metrics.trainings import by_training, mean_rate


def summarize_attack(
    name: str, examples: pd.DataFrame, pairs: pd.DataFrame, profile: pd.DataFrame, params: dict[str, Any]
) -> dict[str, Any]:
    """The metrics of one adversarial set: its size, success, norms, sensitivity and structure."""
    originals = examples["original_row"].to_numpy()
    fooled = examples[examples["is_adversarial"]]
    if fooled.empty:
        raise PipelineError(f"{name}: no image fools the classifier: expected some; see its block in params.yaml")
    sizes = profile["mean_absolute_perturbation"].to_numpy()
    return {
        "params": params,
        "examples": len(examples),
        "success_rate": mean_with_interval(examples["is_adversarial"].to_numpy(), originals).as_dict(),
        "uint8_success_rate": mean_with_interval(examples["is_adversarial_uint8"].to_numpy(), originals).as_dict(),
        "steps_mean": float(fooled["steps"].mean()) if examples["steps"].any() else None,  # Foolbox does not tell
        "pixel": _pooled(fooled["pixel_mean"], fooled["pixel_std"], fooled["pixel_min"], fooled["pixel_max"]),
        **{norm: _moments(fooled[norm]) for norm in ("l1", "l2", "linf")},
        "sensitivity_mean": float(fooled["sensitivity"].mean()),
        "noise_sensitivity_mean": float(fooled["noise_sensitivity"].mean()),
        "class_correlation_mean": _mean(pairs["class_correlation"]),
        "edge_correlation_mean": _mean(fooled["edge_correlation"]),
        "center_to_corner": float(sizes[0] / sizes[-1]) if sizes[-1] > 0 else None,
    }


def _mean(values: pd.Series) -> float | None:
    """Of those that are numbers; None where none is."""
    return None if values.isna().all() else float(values.mean())


def _moments(values: pd.Series) -> dict[str, float]:
    return {
        "mean": float(values.mean()),
        "std": float(values.std(ddof=0)),
        "min": float(values.min()),
        "max": float(values.max()),
    }


def _pooled(mean: pd.Series, std: pd.Series, low: pd.Series, high: pd.Series) -> dict[str, float]:
    """Moments over the pixels of all images, from each image's; images are of one size."""
    within = np.square(std.astype(np.float64)).mean()
    between = mean.astype(np.float64).var(ddof=0)
    return {
        "mean": float(mean.astype(np.float64).mean()),
        "std": float(np.sqrt(within + between)),
        "min": float(low.min()),
        "max": float(high.max()),
    }


def rounded(value: Any, digits: int = 6) -> Any:
    """Floats of a nested structure to `digits` significant digits, so that the text is short and stable."""
    if isinstance(value, dict):
        return {key: rounded(entry, digits) for key, entry in value.items()}
    if isinstance(value, list):
        return [rounded(entry, digits) for entry in value]
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    return value


def summarize_evaluation(evaluation: pd.DataFrame) -> dict[str, Any]:
    """The metrics of one defense: accuracies, and per set thwarted and recovered with the setting.

    Means over its trainings, as many as `trainings`; `interval` says what the intervals are over.
    """
    groups = {str(name): group for name, group in evaluation.groupby("attack", sort=False)}
    clean, everything = (by_training(groups[name], ["recovered"]) for name in ("clean", "clean_all"))
    count = len(clean["recovered"])
    metrics: dict[str, Any] = {
        "originals": len(clean["row"]),
        "passes": int(groups["clean"]["passes"].iloc[0]),
        "trainings": count,
        "interval": "over trainings and originals" if count > 1 else "over originals",
        "test_accuracy": mean_rate(everything["recovered"]).as_dict(),
        "clean_accuracy": mean_rate(clean["recovered"]).as_dict(),
    }
    for name, group in groups.items():
        if group["target_label"].notna().all():
            found = by_training(group, ["thwarted", "recovered", "vote_variance"])
            metrics[name] = {
                "thwarted": mean_rate(found["thwarted"], found["original_row"]).as_dict(),
                "recovered": mean_rate(found["recovered"], found["original_row"]).as_dict(),
                "setting": str(group["setting"].iloc[0]),
                "vote_variance_mean": float(found["vote_variance"].mean()),
            }
    return metrics


def l2_ratio(one: pd.DataFrame, other: pd.DataFrame) -> dict[str, float] | None:
    """Quartiles of ||perturbation of one||_2 / ||perturbation of other||_2, where both fooled the classifier.

    one, other : rows of `examples.parquet` of two sets; originals and targets that both have are compared. None if
    there are none.
    """
    pair = ["source_split", "source_index", "target_label"]
    columns = [*pair, "l2"]
    both = one.loc[one["is_adversarial"], columns].merge(other.loc[other["is_adversarial"], columns], on=pair)
    both = both[both["l2_y"] > 0]
    if both.empty:
        return None
    low, median, high = (both["l2_x"] / both["l2_y"]).quantile([0.25, 0.5, 0.75])
    return {"images": len(both), "low_quartile": float(low), "median": float(median), "high_quartile": float(high)}


def nested_detection(table: pd.DataFrame, keys: Sequence[str]) -> dict[str, Any]:
    """A table of detection as a nested structure by its `keys`: what else is in a row under the last of them."""
    nested: dict[str, Any] = {}
    for row in table.to_dict("records"):
        inner = nested
        for key in keys:
            inner = inner.setdefault(row[key], {})
        inner.update({name: row[name] for name in row if name not in keys and row[name] == row[name]})  # no NaN
    return nested
