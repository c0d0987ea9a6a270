"""Tables and heatmaps of what defenses did with adversarial images."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.reporting.section import Section, rate
from pipeline.reporting.style import heatmap, new_figure

WORDS = {
    "undefended": "undefended, one pass",
    "dropout_ensemble": "dropout ensemble",
    "gaussian_noise_ensemble": "Gaussian noise ensemble",
    "autoencoder_ensemble": "autoencoder ensemble (paper's)",
    "autoencoder_ensemble_tuned": "autoencoder ensemble, tuned",
    "autoencoder_without_dropout": "paper's autoencoder, dropout off",
    "gaussian_blur": "Gaussian blur",
    "adversarial_training": "adversarial training",
    "gac_vanilla": "vanilla GAC",
    "gac_vanilla_control": "vanilla GAC's control",
    "gac_vanilla_noise_control": "vanilla GAC's noise control",
    "gac_dcgan": "DC-GAN GAC",
    "gac_dcgan_control": "DC-GAN GAC's control",
    "gac_dcgan_noise_control": "DC-GAN GAC's noise control",
}
PAPER_ATTACKS = ("minimal", "extended")
STATIC = (
    "The figures of this section are static, but for those of defenses that are another classifier than the attacked one (GAC and its controls, "
    "adversarial training), which are transfer: the adversarial images were made against the undefended classifier, as in the paper, by an attacker "
    "who does not know of the defense. None of them is a measure of robustness."
)
TRANSFER = (
    "The stored adversarial images were made against another classifier than these, the undefended one: their figures are transfer, "
    "by an attacker who does not know of the defense. None of them is a measure of robustness; the attacks on each trained classifier itself are."
)


def attacks_on(metrics: Mapping[str, Any], defense: str) -> list[str]:
    """Those of the paper's attacks whose sets the defense was judged on."""
    return [name for name in PAPER_ATTACKS if name in metrics["defenses"][defense]]


def outcome_table(section: Section, metrics: Mapping[str, Any], names: Iterable[str]) -> None:
    """Clean accuracy, thwarted and recovered of these defenses, on the sets that the first was judged on."""
    entries = {name: metrics["defenses"][name] for name in names}
    first = next(iter(entries))
    attacks = attacks_on(metrics, first)
    header = ["defense", "test split right", "attacked originals right", "setting"]
    header += [f"{attack}: {outcome}" for attack in attacks for outcome in ("thwarted", "recovered")]
    adaptive = metrics["adaptive"]
    header.append("robust accuracy, adaptive")
    rows = [
        [
            WORDS.get(name, name) + (f", {entry['passes']} passes" if entry["passes"] > 1 else ""),
            rate(entry["test_accuracy"]),
            rate(entry["clean_accuracy"]),
            ", ".join(sorted({entry[attack]["setting"] for attack in attacks if attack in entry})),
            *(
                rate(entry[attack][outcome]) if attack in entry else "not judged"
                for attack in attacks
                for outcome in ("thwarted", "recovered")
            ),
            rate(adaptive[name]["every_attack"]) if name in adaptive else "not attacked",
        ]
        for name, entry in entries.items()
    ]
    section.table(
        header,
        rows,
        f"Test split only: {entries[first]['originals']:,} originals. Thwarted: not classified as the target. "
        "Recovered: classified as the original label. Static: made against the undefended classifier that stands behind the defense; "
        "transfer: made against it, and shown to another. Adaptive: made against the defense itself, see “Attackers who know the defense”.",
    )


def overview_section(metrics: Mapping[str, Any]) -> Section:
    """All defenses in one table, those added by a user included."""
    section = Section("All defenses")
    section.text(
        "The attacker of this table does not know of the defense: its images were made against the undefended classifier. "
        "None of its figures is a measure of robustness."
    )
    outcome_table(section, metrics, metrics["defenses"])
    return section


def by_pair(evaluation: pd.DataFrame, attack: str, column: str, classes: int) -> NDArray[np.float64]:
    """Mean of `column` by (label, target label), (k, k); NaN where there is no image."""
    chosen = evaluation[evaluation["attack"] == attack]
    means = chosen.groupby([chosen["label"].astype(int), chosen["target_label"].astype(int)])[column].mean()
    matrix = np.full((classes, classes), np.nan)
    for (label, target), value in means.items():
        matrix[label, target] = value
    return matrix


def pairs_figure(
    evaluation: pd.DataFrame, attacks: Sequence[str], outcome: str, class_names: tuple[str, ...]
) -> Figure:
    """Share of images with `outcome` by (label, target label), a heatmap per attack, on one scale."""
    figure, axes = new_figure(4.6 * len(attacks), 4.2, 1, len(attacks))
    for plot, attack in zip(axes[0], attacks, strict=True):
        matrix = by_pair(evaluation, attack, outcome, len(class_names))
        heatmap(plot, matrix, class_names, f"{outcome}, {attack}", low=0, high=1)
    return figure
