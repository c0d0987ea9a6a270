"""The report's section on the attacks beside the paper's two."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pipeline.registry import IMPORTED
from pipeline.reporting import other_attacks_figures as figures
from pipeline.reporting.formats import in_words, number, rate
from pipeline.reporting.names import label, label_of, transferred, with_trainings
from pipeline.reporting.outcomes import names_of_heads
from pipeline.reporting.section import Section
from pipeline.reporting.statistics import Statistics, table_1_rows
from pipeline.reporting.style import MOST_CLASSES
from pipeline.study_blocks import PAPER_ATTACKS

ALL = 0.9985  # less is written as 99.8 % or below


def other_attacks_section(
    metrics: Mapping[str, Any],
    sets: Mapping[str, Statistics],
    success: Mapping[str, pd.DataFrame],
    class_names: tuple[str, ...],
) -> Section:
    """Norms, structure, success against the budget, and the defenses on the images of every attack.

    sets : of all attacks, the paper's first. success : the curves of the others.
    """
    attacks, defenses = metrics["attacks"], list(metrics["defenses"])
    measures = yardsticks(metrics)
    elsewhere = _made_elsewhere(metrics, sets)
    ends = {
        name: float(frame["attack_success_rate"].iloc[-1]) for name, frame in success.items() if name not in elsewhere
    }
    return Section(
        "other_attacks",
        {
            "others": [label_of(metrics, name) for name in success],
            "yardsticks": {name: label_of(metrics, name) for name in measures},
            "rows": [_size_row(name, attack, measures) for name, attack in attacks.items()],
            "distances": distances(metrics),
            "sets": list(sets),
            "table_1": table_1_rows([attacks[name] for name in sets]),
            "structure": [_structure_row(name, attacks[name]) for name in sets],
            "all_shown": len(class_names) <= MOST_CLASSES,
            "shown_classes": MOST_CLASSES,
            "made_elsewhere": elsewhere,
            "curve_originals": max(_originals(sets[name].examples, frame) for name, frame in success.items()),
            "below": {name: value for name, value in ends.items() if value < ALL},
            "transferred": transferred(metrics, names_of_heads(metrics, defenses)),
            "attacks": list(attacks),
            "outcomes": [_outcome_row(metrics, name) for name in defenses],
        },
        {
            "attack_norms": figures.norms(sets),
            "attack_examples": figures.examples({name: sets[name] for name in success}, class_names),
            "attack_average_perturbations": figures.averages(sets, class_names),
            "success_against_budget": figures.success_against_budget(success, sets),
            "defenses_against_attacks": figures.defenses(
                metrics, defenses, list(attacks), {name: label(metrics, name) for name in defenses}
            ),
        },
    )


def _made_elsewhere(metrics: Mapping[str, Any], sets: Mapping[str, Statistics]) -> dict[str, dict[str, Any]]:
    """By key the sets of images that were made elsewhere, and what is to be known of them."""
    return {
        name: {
            **{key: attack["params"][key] for key in ("file", "targeted", "of_wrong_originals")},
            "label": label_of(metrics, name),
            "originals": sets[name].examples["original_row"].nunique(),
        }
        for name, attack in metrics["attacks"].items()
        if attack["params"].get("method") == IMPORTED
    }


def _originals(examples: pd.DataFrame, success: pd.DataFrame) -> int:
    """Of how many originals the images of a curve are, which are a set's first."""
    return int(examples["original_row"].iloc[: success["images"].iloc[0]].nunique())


def yardsticks(metrics: Mapping[str, Any]) -> list[str]:
    """The attacks that every attack's perturbations are measured against, on the same originals and targets."""
    return list(dict.fromkeys(other for attack in metrics["attacks"].values() for other in attack["l2_ratio"]))


def distances(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How much longer minimal's perturbations are than those of each other yardstick, in the median."""
    ratios = metrics["attacks"]["minimal"]["l2_ratio"]
    return [
        {"label": label_of(metrics, other), **ratio} for other, ratio in ratios.items() if other not in PAPER_ATTACKS
    ]


def _size_row(name: str, attack: Mapping[str, Any], measures: list[str]) -> list[str]:
    def ratio(other: str) -> str:
        entry = attack["l2_ratio"].get(other)
        if entry is None or name == other:
            return ""
        return f"{entry['median']:.2f} ({entry['low_quartile']:.2f}, {entry['high_quartile']:.2f})"

    return [
        name,
        f"{attack['examples']:,}",
        rate(attack["success_rate"]),
        rate(attack["uint8_success_rate"]),
        *(ratio(other) for other in measures),
        in_words(attack["params"]),
    ]


def _structure_row(name: str, attack: Mapping[str, Any]) -> list[str]:
    return [
        name,
        "no pair" if attack["class_correlation_mean"] is None else f"{attack['class_correlation_mean']:.2f}",
        "constant size" if attack["edge_correlation_mean"] is None else f"{attack['edge_correlation_mean']:.2f}",
        number(attack["center_to_corner"]) if attack["center_to_corner"] is not None else "corners untouched",
        number(attack["sensitivity_mean"]),
        f"{attack['sensitivity_mean'] / attack['noise_sensitivity_mean']:.1f}",
    ]


def _outcome_row(metrics: Mapping[str, Any], name: str) -> list[str]:
    judged = metrics["defenses"][name]
    return [
        with_trainings(metrics, name),
        *(
            " / ".join(rate(judged[attack][outcome]) for outcome in ("thwarted", "recovered"))
            if attack in judged
            else "not judged"
            for attack in metrics["attacks"]
        ),
    ]
