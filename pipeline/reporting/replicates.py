"""The report's section on further trainings of the classifier."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from pipeline.reporting.formats import number, percent, rate
from pipeline.reporting.names import label
from pipeline.reporting.predicates import among
from pipeline.reporting.section import Section
from pipeline.reporting.style import COLORS, new_figure

Metrics = Mapping[str, Any]


def replicates_section(metrics: Metrics) -> Section:
    """Every figure that was measured again, beside the study's own."""
    found = metrics["replicates"]
    rows = list(shares(metrics))
    compared = [row for row in rows if row.comparable]
    return Section(
        "replicates",
        {
            "count": found["count"],
            "originals": found["originals"],
            "own_originals": metrics["defenses"]["undefended"]["originals"],
            "shares": [[row.words, rate(row.own), rate(row.again), _range(row.again)] for row in rows],
            "outside": [row.words for row in compared if not among(row.own, row.again)],
            "judged": len(compared),
            "fewer": [label(metrics, name) for name in found["defenses"] if not comparable(metrics, name)],
            "train": {"own": metrics["params"]["sources"]["train"], "again": found["sources"].get("train", 0)},
            "sizes": [
                [f"{attack}: {words}", number(own), _sized(again)] for attack, words, own, again in _sizes(metrics)
            ],
            "contrasts": contrasts(metrics),
        },
        {"replicates": _figure(metrics)},
    )


@dataclass(frozen=True)
class Share:
    """A rate in words, the study's own and that over replicates; comparable : both are of the same defense,
    and neither is what it is by selection.
    """

    words: str
    own: Mapping[str, float]
    again: Mapping[str, Any]
    comparable: bool


def comparable(metrics: Metrics, name: str) -> bool:
    """A defense is the study's: it learns nothing, or from images of as many originals."""
    own, again = metrics["params"]["sources"], metrics["replicates"]["sources"]
    return not metrics["defenses"][name]["trained"] or own.get("train", 0) == again.get("train", 0)


def shares(metrics: Metrics) -> list[Share]:
    """Of each replicated defense."""
    rows = []
    for name, entry in metrics["replicates"]["defenses"].items():
        own, words, same = metrics["defenses"][name], label(metrics, name), comparable(metrics, name)
        rows.append(Share(f"{words}: test split right", own["test_accuracy"], entry["test_accuracy"], same))
        for attack in (key for key, by in entry.items() if "thwarted" in by):
            for outcome in ("thwarted", "recovered"):
                shown = f"{words}: {attack} images {outcome}"
                selected = name == "undefended"  # its images are those that fool it
                rows.append(Share(shown, own[attack][outcome], entry[attack][outcome], same and not selected))
    return rows


def contrasts(metrics: Metrics) -> list[dict[str, Any]]:
    """The declared contrasts over replicates, with the labels of both defenses and the study's own difference."""
    found = []
    for family, again in metrics["replicates"]["contrasts"].items():
        if not comparable(metrics, family):
            continue
        pair = metrics["comparisons"][f"{family}_minus_{again['over']}"]
        found.append(
            {
                "label": label(metrics, family),
                "over": label(metrics, again["over"]),
                "attack": again["attack"],
                "outcome": again["outcome"],
                "again": again,
                "own": pair[again["attack"]][again["outcome"]],
            }
        )
    return found


def again(metrics: Metrics, name: str) -> tuple[str, Mapping[str, Any]] | None:
    """What a table's row of a defense's means over replicates is called, and these; None: it was not replicated as it is."""
    found = metrics["replicates"]
    entry = found.get("defenses", {}).get(name)
    if not entry or not comparable(metrics, name):
        return None
    return f"{label(metrics, name)}, over {found['count']} other trainings of the classifier", entry


def _range(found: Mapping[str, Any]) -> str:
    return f"{percent(min(found['each']))} to {percent(max(found['each']))}"


def _sizes(metrics: Metrics) -> list[tuple[str, str, float, Mapping[str, Any]]]:
    rows = []
    for attack, entry in metrics["replicates"]["attacks"].items():
        own = metrics["attacks"][attack]
        rows += [
            (attack, words, own[norm]["mean"], entry[f"{norm}_mean"])
            for norm, words in (("l1", "mean L1"), ("l2", "mean L2"), ("linf", "mean L∞"))
        ]
        if own["steps_mean"] is not None:
            rows.append((attack, "mean steps", own["steps_mean"], entry["steps_mean"]))
    return rows


def _sized(found: Mapping[str, Any]) -> str:
    return f"{number(found['value'])} [{number(found['low'])}, {number(found['high'])}]"


def _figure(metrics: Metrics) -> Figure:
    """A row per defense: what each replicate thwarts of each attack's images, and the study's own figure."""
    entries = {name: by for name, by in metrics["replicates"]["defenses"].items() if name != "undefended"}
    attacks = list(metrics["replicates"]["attacks"])
    figure, axes = new_figure(7.4, 1.3 + 0.4 * len(entries), 1, len(attacks))
    for plot, attack in zip(axes[0], attacks, strict=True):
        for row, (name, by) in enumerate(entries.items()):
            for color, outcome, shift in ((COLORS[0], "thwarted", -0.15), (COLORS[1], "recovered", 0.15)):
                values = [100 * value for value in by[attack][outcome]["each"]]
                words = outcome if row == 0 else None
                plot.plot(values, [row + shift] * len(values), "o", color=color, markersize=4, alpha=0.6, label=words)
                own = 100 * metrics["defenses"][name][attack][outcome]["value"]
                plot.plot(
                    own,
                    row + shift,
                    "|",
                    color="#222222",
                    markersize=12,
                    label="the study's own" if not row and shift > 0 else None,
                )
        names = [label(metrics, name) for name in entries]
        plot.set_yticks(range(len(entries)), names if plot is axes[0, 0] else [""] * len(entries), fontsize=8)
        plot.set_ylim(len(entries) - 0.5, -0.5)
        plot.set_title(f"{attack} images", fontsize=9)
        plot.set_xlabel("%")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7)
    return figure
