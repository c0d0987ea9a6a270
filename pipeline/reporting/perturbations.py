"""The report's sections on the classifier and the adversarial sets (paper, Sections 2.1 to 2.3)."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from pipeline.reporting import perturbation_figures as figures
from pipeline.reporting.formats import flat, in_words, points, rate
from pipeline.reporting.images import magnitude_matrix, matrix_figure
from pipeline.reporting.names import by_device, label
from pipeline.reporting.paper_numbers import EXAMPLES_PER_DATASET, reported
from pipeline.reporting.section import Section
from pipeline.reporting.statistics import Statistics, table_1_rows
from pipeline.reporting.style import MOST_CLASSES

RISE = 0.02  # of a profile's peak: a smaller rise outwards is noise


def classifier_section(metrics: Mapping[str, Any], curves: pd.DataFrame) -> Section:
    """What was run, on what, and how well the attacked classifier does."""
    return Section(
        "classifier",
        {
            "run": metrics["run"],
            "devices": [[f"computed on {name}", ", ".join(stages)] for name, stages in by_device(metrics).items()],
            "images": images_in_words(metrics["images"]),
            "classifier": metrics["classifier"],
            "left_out": left_out(metrics),
            "settings": [[name, in_words(value)] for name, value in metrics["params"].items()],
            "attacks": {
                name: ", ".join(f"{key} = {value}" for key, value in flat(attack["params"]).items())
                for name, attack in metrics["attacks"].items()
            },
            "choices": choices(metrics),
            "primary": primary(metrics),
        },
        {"learning_curves": figures.learning_curves(curves)} if len(curves) else {},
    )


def images_in_words(images: Mapping[str, Any]) -> list[list[str]]:
    """Rows of a table: how many there are of what size, and how many stand there twice."""
    channels, height, width = images["shape"]
    rows = [["size", f"{height}x{width} pixels, {'gray' if channels == 1 else 'RGB'}, {images['classes']} classes"]]
    for split, name in (("train", "training images"), ("test", "test images")):
        found = images[split]
        even = found["rarest"] == found["commonest"]
        each = str(found["rarest"]) if even else f"{found['rarest']} to {found['commonest']}"
        rows.append([name, f"{found['images']}, {each} of each class"])
    if images["repeated_train_images"]:
        rows.append(["training images that are the same as another", str(images["repeated_train_images"])])
    return [*rows, ["test images that are training images too", str(images["test_images_in_train"])]]


def left_out(metrics: Mapping[str, Any]) -> list[list[str]]:
    """A row for each attack, defense or part that does not apply to the study: what it is, and why."""
    words = {"attacks": "attack {}", "defenses": "{}", "parts": "{}"}
    return [
        [words[kind].format(metrics["labels"].get(key, key) if kind == "defenses" else key), reason]
        for kind, reasons in metrics["left_out"].items()
        for key, reason in reasons.items()
    ]


def primary(metrics: Mapping[str, Any]) -> list[str]:
    """The comparison that each family's claim rests on, in words, and what came of it."""
    found = []
    for family, declared in metrics["primary"].items():
        if declared:
            pair = metrics["comparisons"].get(f"{family}_minus_{declared['over']}", {})
            difference = pair.get(declared["attack"], {}).get(declared["outcome"])
            found.append(
                f"{label(metrics, family)} over {label(metrics, declared['over'])}, {declared['attack']} images "
                f"{declared['outcome']}" + (f": {points(difference)}" if difference else "")
            )
    return found


def choices(metrics: Mapping[str, Any]) -> list[list[str]]:
    """A row per number that a rule chooses: whose it is, what the rule says, what was used, whether it is narrow, why the rule."""
    return [
        [
            whose, by_rule, f"{choice['used']:g}", {True: "yes", False: "no"}.get(choice["narrow"], "not examined"), choice["rule"],
            choice.get("reason", ""),
        ]
        for whose, by_rule, choice in _chosen(metrics)
    ]  # fmt: skip


def unsure_choices(metrics: Mapping[str, Any]) -> list[str]:
    """Those that hang on an image or two, or lie at an end of what was tried: whose, and what the rule says."""
    found = _chosen(metrics)
    return [f"{whose} {by_rule}" for whose, by_rule, choice in found if choice["narrow"] or choice.get("end")]


def _chosen(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Of each number that a rule chooses: whose it is, what the rule says, and all else."""
    for family, found in metrics["choices"].items():
        for name, choice in found.items():
            variant, _, parameter = name.rpartition(".")
            by_rule = "none meets it" if choice["by_rule"] is None else f"{choice['by_rule']:g}"
            if choice.get("end"):
                by_rule += f", the {choice['end']} that it could take"
            yield f"{label(metrics, variant or family)}: {parameter.strip('_').replace('_', ' ')}", by_rule, choice


def attacks_section(
    metrics: Mapping[str, Any],
    sets: Mapping[str, Statistics],
    calibration: tuple[pd.DataFrame, pd.DataFrame],
    class_names: tuple[str, ...],
) -> Section:
    """Table 1, Figures 1 to 4, and what the paper says of structure, measured.

    sets : the paper's, minimal first. calibration : what was tried of step sizes and of extra steps.
    """
    minimal = sets["minimal"]
    matrix = minimal.mean_adversarial.copy()
    index = np.arange(len(matrix))
    matrix[index, index] = minimal.mean_originals[index]
    sizes, scale = magnitude_matrix(minimal.mean_perturbations)
    chosen = metrics["calibration"]
    return Section(
        "attacks",
        {
            "success": [_success_row(name, metrics["attacks"][name], sets[name]) for name in sets],
            "examples_per_dataset": EXAMPLES_PER_DATASET,
            "table_1": _table_1(metrics, sets),
            "compared": _compared(metrics, sets),
            "lossy": "lossy" in metrics["run"]["source"],
            "one_channel": minimal.mean_originals.shape[1] == 1,
            "from_class": class_names[0],
            "to_classes": [class_names[target] for target in figures.averaged_targets(len(class_names))],
            "shown_classes": min(len(matrix), MOST_CLASSES),
            "all_shown": len(class_names) <= min(len(matrix), MOST_CLASSES),
            "attacks": {name: metrics["attacks"][name] for name in sets},
            "rises": {name: _rises(sets[name]) for name in sets},
            "rise": RISE,
            "chosen": chosen,
        },
        {
            "success_and_steps": figures.success_and_steps(minimal, class_names),
            "histograms": figures.histograms(sets),
            "figure_1_average_adversarial_images": matrix_figure(
                matrix, class_names, "Average minimal adversarial image", low=0, high=1
            ),
            **{f"examples_{name}": figures.examples(sets[name], class_names, name) for name in sets},
            "figure_2_errors": figures.error_diagram(),
            "sensitivity": figures.sensitivity(sets),
            "figure_3_average_perturbations": figures.two_averages(minimal, class_names),
            "figure_4_average_perturbations": matrix_figure(
                sizes, class_names, f"|average perturbation|, full brightness = {scale:.3g}", low=0, high=scale
            ),
            "structure": figures.structure(sets, class_names),
            "calibration": figures.calibration(chosen, *calibration),
        },
    )


def _success_row(name: str, attack: Mapping[str, Any], statistics: Statistics) -> list[str]:
    return [
        name,
        f"{attack['examples']:,}",
        rate(attack["success_rate"], 2),
        rate(attack["uint8_success_rate"], 1),
        f"{attack['steps_mean']:.1f}",
        f"{statistics.examples['steps'].max()}",
    ]


def _table_1(metrics: Mapping[str, Any], sets: Mapping[str, Statistics]) -> dict[str, Any]:
    """Whose numbers each column holds ("ours" or "paper", of which set), and the rows."""
    theirs = reported(metrics).table_1
    heads, columns = [], []
    for name in sets:
        heads.append(f"{name}, ours")
        columns.append(metrics["attacks"][name])
        if name in theirs:
            heads.append(f"{name}, paper")
            columns.append(theirs[name])
    return {"columns": heads, "rows": table_1_rows(columns)}


def _compared(metrics: Mapping[str, Any], sets: Mapping[str, Statistics]) -> list[dict[str, Any]]:
    """Our mean L2 norm against the paper's, where it has one."""
    found = []
    for name, theirs in reported(metrics).table_1.items():
        if name in sets:
            ours, paper = metrics["attacks"][name]["l2"], theirs["l2"]
            fooled = sets[name].examples.query("is_adversarial")
            found.append(
                {
                    "attack": name,
                    "ratio": ours["mean"] / paper["mean"],
                    "longest": paper["max"],
                    "below": float((fooled["l2"] <= paper["max"]).mean()),
                }
            )
    return found


def _rises(statistics: Statistics) -> dict[str, int]:
    """At how many of the radial profile's steps outwards it rises by more than RISE of its peak."""
    profile = statistics.profile["mean_absolute_perturbation"].to_numpy()
    return {"count": int((np.diff(profile) > RISE * profile.max()).sum()), "steps": len(profile) - 1}
