"""The report's section on telling adversarial images from others by a defense's own passes."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from pipeline.metrics.detection import NEGATIVES
from pipeline.metrics.roc import FALSE_POSITIVE_RATES
from pipeline.reporting.formats import area, percent
from pipeline.reporting.names import label, transferred
from pipeline.reporting.outcomes import names_of_heads
from pipeline.reporting.predicates import gains, loses
from pipeline.reporting.section import Section
from pipeline.reporting.style import LINES, new_figure
from pipeline.study_blocks import PAPER_ATTACKS

SCORES = {
    "vote_variance": "vote variance",
    "score_variance": "score variance",
    "predictive_entropy": "predictive entropy",
    "mutual_information": "mutual information",
    "max_probability": "maximum probability",
    "logit_margin": "logit margin",
}
GAIN = {"value": "gain", "low": "gain_low", "high": "gain_high"}
# The curves that are drawn, of one pass and of several: the plainest score, and the one that does better as a rule.
DRAWN = {False: ("max_probability", "logit_margin"), True: ("vote_variance", "logit_margin")}


def detection_section(metrics: Mapping[str, Any], detection: pd.DataFrame, curves: pd.DataFrame) -> Section:
    """How well each defense's scores tell adversarial images from others, and whether an ensemble earns its passes."""
    attacks = [name for name in PAPER_ATTACKS if (detection["attack"] == name).any()]
    return Section(
        "detection",
        {
            "transferred": transferred(metrics, names_of_heads(metrics, dict.fromkeys(detection["defense"]))),
            "tables": {attack: _rows(metrics, detection[detection["attack"] == attack]) for attack in attacks},
            "contests": {attack: contest(metrics, attack) for attack in attacks},
        },
        {"detection": _figure(metrics, curves, attacks)},
    )


def contest(metrics: Mapping[str, Any], attack: str) -> dict[str, Any]:
    """The chosen score of one undefended pass, and of each defense of several passes; whole test split as negatives.

    `one` and each of `many`: label, passes, score, area {value, low, high}, originals that it is measured on, and how it
    stands against `one`: "above", "below" (the interval of the paired difference leaves out zero) or "not shown".
    `held_out`: whether scores were chosen on other originals, `choosing`: on how many.
    """
    found = {}
    for name, by in metrics["chosen_detection"].items():
        entry = by[attack]["clean_all"]
        found[name] = {
            "label": label(metrics, name),
            "passes": metrics["defenses"][name]["passes"],
            "score": SCORES.get(entry["score"], entry["score"]),
            "area": {"value": entry["auc"], "low": entry["auc_low"], "high": entry["auc_high"]},
            "originals": entry["originals"],
            "held_out": entry["held_out"],
            "choosing": entry["chosen_originals"],
            "gain": {end: entry[key] for end, key in GAIN.items()} if "gain" in entry else None,
        }
    one = found.get("undefended")
    many = [entry for entry in found.values() if entry["passes"] > 1]
    if one:
        for entry in many:
            entry["stands"] = "above" if gains(entry["gain"]) else "below" if loses(entry["gain"]) else "not shown"
    held_out, choosing = ([entry[name] for entry in found.values()] for name in ("held_out", "choosing"))
    return {"one": one, "many": many, "held_out": all(held_out), "choosing": min(choosing, default=0)}


def _rows(metrics: Mapping[str, Any], detection: pd.DataFrame) -> list[list[str]]:
    rows = []
    for (defense, score), group in detection.groupby(["defense", "score"], sort=False):
        by = group.set_index("negatives")
        cells = [
            area({"value": row["auc"], "low": row["auc_low"], "high": row["auc_high"]})
            for row in (by.loc[negatives] for negatives in NEGATIVES)
        ]
        cells += [percent(by.loc["clean", f"tpr_at_fpr_{limit}"]) for limit in FALSE_POSITIVE_RATES]
        rows.append([f"{label(metrics, str(defense))}: {SCORES.get(str(score), str(score))}", *cells])
    return rows


def _figure(metrics: Mapping[str, Any], curves: pd.DataFrame, attacks: list[str]) -> Figure:
    """A color per defense; of the defenses those of several passes, and the undefended classifier."""
    figure, axes = new_figure(3.7 * len(attacks), 4.2, 1, len(attacks))
    names = [str(name) for name in dict.fromkeys(curves["defense"])]
    shown = [name for name in names if name == "undefended" or metrics["defenses"][name]["passes"] > 1]
    for plot, attack in zip(axes[0], attacks, strict=True):
        rows = curves[(curves["attack"] == attack) & (curves["negatives"] == "clean_all")]
        for (color, _), name in zip(LINES, shown, strict=False):
            for style, score in zip(("-", "--"), DRAWN[metrics["defenses"][name]["passes"] > 1], strict=True):
                line = rows[(rows["defense"] == name) & (rows["score"] == score)]
                words = f"{label(metrics, name)}: {SCORES[score]}"
                plot.plot(line["fpr"], line["tpr"], color=color, linestyle=style, label=words)
        plot.plot([0, 1], [0, 1], color="#bbbbbb", linestyle=":")
        plot.set_title(attack)
        plot.set_xlabel("false positive rate")
    axes[0, 0].set_ylabel("true positive rate")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=7)
    return figure
