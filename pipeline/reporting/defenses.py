"""The report's sections on the dropout ensemble and its rival, and on detection (paper, Section 3.1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.reporting.outcomes import STATIC, WORDS, attacks_on, by_pair, outcome_table, pairs_figure
from pipeline.reporting.section import Section, percent, rate
from pipeline.reporting.style import COLORS, heatmap, label_ticks, new_figure

ENSEMBLE, RIVAL, NONE = "dropout_ensemble", "gaussian_noise_ensemble", "undefended"
SCORES = {
    "vote_variance": "vote variance",
    "score_variance": "score variance",
    "predictive_entropy": "predictive entropy",
    "mutual_information": "mutual information",
    "max_probability": "maximum probability",
    "logit_margin": "logit margin",
}


@dataclass(frozen=True)
class DefenseResults:
    """What was measured of the defenses of one dataset: tables as `data/README.md` describes them."""

    evaluations: Mapping[str, pd.DataFrame]
    trials: pd.DataFrame
    trace: pd.DataFrame
    detection: pd.DataFrame
    curves: pd.DataFrame


def dropout_section(metrics: Mapping[str, Any], results: DefenseResults, class_names: tuple[str, ...]) -> Section:
    """Figures 5 to 7, the curves and the rival, with the paper's claims beside them."""
    section = Section("Defense 1: dropout ensemble")
    attacks = attacks_on(metrics, ENSEMBLE)
    section.text(STATIC)
    outcome_table(section, metrics, (NONE, ENSEMBLE, RIVAL))
    _rival(section, metrics, attacks)
    _claims(section, metrics, results, attacks, class_names)
    ensemble = results.evaluations[ENSEMBLE]
    section.figure(
        "figure_5_votes",
        _votes(ensemble, attacks, class_names),
        "Figure 5. Votes of the passes for one original image and for its adversarial images (chosen: a recovered minimal image of median vote variance); blue: the original class, orange: the target class.",
    )
    for outcome in ("thwarted", "recovered"):
        name = "figure_6_thwarted" if outcome == "thwarted" else "recovered"
        words = "did not get the target" if outcome == "thwarted" else "got the original label back"
        section.figure(
            name,
            pairs_figure(ensemble, attacks, outcome, class_names),
            f"{'Figure 6. ' if outcome == 'thwarted' else ''}Share of adversarial images for which the dropout ensemble {words} (static), per (original label, target label).",
        )
    section.figure(
        "figure_7_variance",
        _variances(ensemble, attacks, class_names),
        "Figure 7. Mean variance of the votes (1 - sum of squared vote shares): on originals by class, and on adversarial images by pair.",
    )
    _traces(section, results)
    _trials(section, metrics, results)
    return section


def _rival(section: Section, metrics: Mapping[str, Any], attacks: Sequence[str]) -> None:
    rival, ours = metrics["defenses"][RIVAL], metrics["defenses"][ENSEMBLE]
    for attack in attacks:
        mine, its = ours[attack]["recovered"], rival[attack]["recovered"]
        verdict = (
            "the rival does better"
            if its["low"] > mine["high"]
            else "the dropout ensemble does better"
            if mine["low"] > its["high"]
            else "their intervals overlap: the rival does as well"
        )
        section.text(
            f"{attack}: the dropout ensemble recovers {rate(mine)}, and the simplest rival, Gaussian noise of the clean accuracy nearest to it "
            f"on validation images, {rate(its)}; attacked originals right {rate(ours['clean_accuracy'])} and {rate(rival['clean_accuracy'])}: {verdict}."
        )


def _claims(
    section: Section,
    metrics: Mapping[str, Any],
    results: DefenseResults,
    attacks: Sequence[str],
    class_names: tuple[str, ...],
) -> None:
    ours = metrics["defenses"][ENSEMBLE]
    ensemble = results.evaluations[ENSEMBLE]
    rows = []
    variance = {name: float(group["vote_variance"].mean()) for name, group in ensemble.groupby("attack")}
    pairs = by_pair(ensemble, "minimal", "thwarted", len(class_names))
    above = int((pairs[np.isfinite(pairs)] > 0.6).sum())
    rows.append(
        [
            "minimal, thwarted",
            "above 60 % for several pairs",
            f"above 60 % for {above} of {np.isfinite(pairs).sum()} pairs; {rate(ours['minimal']['thwarted'])} over all",
        ]
    )
    rows.append(["attacked originals right", "100 %", rate(ours["clean_accuracy"])])
    rows.append(
        [
            "variance of the votes, minimal",
            "far larger than on originals",
            f"{variance['minimal']:.3f} against {variance['clean']:.3f}",
        ]
    )
    if "extended" in attacks:
        rows.append(["extended, thwarted", "nearly none", rate(ours["extended"]["thwarted"])])
        rows.append(
            [
                "variance of the votes, extended",
                "essentially identical to originals",
                f"{variance['extended']:.3f} against {variance['clean']:.3f}",
            ]
        )
    section.table(
        ["CIFAR-10 in the paper", "paper", f"ours, {metrics['run']['dataset']}"],
        rows,
        "The paper's claims (Section 3.1) and what was measured here.",
    )
    if "extended" not in attacks:
        return
    after = results.trace[results.trace["extra_steps"] > 0]
    gone = after[after["thwarted"] < 0.1]
    words = (
        f"after {int(gone['extra_steps'].iloc[0])} extra steps fewer than 10 % of the images are still thwarted"
        if len(gone)
        else f"after {int(after['extra_steps'].iloc[-1])} extra steps {percent(float(after['thwarted'].iloc[-1]))} are still thwarted"
    )
    section.text(
        f"Our extended set takes {metrics['attacks']['extended']['params']['extra_steps']} extra steps, chosen for the paper's ratio of norms. "
        f"By the curve below ({int(after['passes'].iloc[0])} passes, {int(after['originals'].iloc[0])} originals), {words}. "
        "The paper says neither how many extra steps it took nor how large they were."
    )


def _votes(ensemble: pd.DataFrame, attacks: Sequence[str], class_names: tuple[str, ...]) -> Figure:
    """A minimal image of median vote variance among those that are recovered and are in every set."""
    minimal = ensemble[ensemble["attack"] == "minimal"]
    in_all = [set(ensemble.loc[ensemble["attack"] == attack, "row"]) for attack in attacks]
    minimal = minimal[minimal["row"].isin(set.intersection(*in_all))]
    chosen = minimal[minimal["recovered"]] if minimal["recovered"].any() else minimal
    row = chosen.loc[(chosen["vote_variance"] - chosen["vote_variance"].median()).abs().idxmin()]
    original = ensemble[(ensemble["attack"] == "clean") & (ensemble["row"] == row["original_row"])].iloc[0]
    shown = [("original", original)]
    for attack in attacks:
        same = ensemble[(ensemble["attack"] == attack) & (ensemble["row"] == row["row"])]
        shown.append((attack, same.iloc[0]))
    figure, axes = new_figure(2.6 * len(shown), 2.7, 1, len(shown))
    for plot, (name, image) in zip(axes[0], shown, strict=True):
        colors = ["#bbbbbb"] * len(class_names)
        colors[int(row["label"])], colors[int(row["target_label"])] = COLORS[0], COLORS[1]
        plot.bar(range(len(class_names)), image["votes"], color=colors)
        plot.set_xticks(range(len(class_names)), class_names, rotation=90 if len(class_names[0]) > 2 else 0)
        plot.set_title(f"{name}\nvote variance {image['vote_variance']:.2f}")
        plot.set_ylim(0, int(image["passes"]))
    axes[0, 0].set_ylabel(f"votes of {int(row['passes'])} passes")
    return figure


def _variances(ensemble: pd.DataFrame, attacks: Sequence[str], class_names: tuple[str, ...]) -> Figure:
    classes = len(class_names)
    clean = ensemble[ensemble["attack"] == "clean"].groupby("label")["vote_variance"].mean()
    matrices = {attack: by_pair(ensemble, attack, "vote_variance", classes) for attack in attacks}
    high = max(float(np.nanmax(matrix)) for matrix in matrices.values())
    high = max(high, float(clean.max()))
    figure = Figure(figsize=(4.6 * len(attacks), 5.6), layout="constrained")
    grid = figure.add_gridspec(2, len(attacks), height_ratios=[1, 3.2])
    top = figure.add_subplot(grid[0, :])
    top.bar(range(classes), [clean.get(label, np.nan) for label in range(classes)], color=COLORS[0])
    top.set_xticks(range(classes), class_names, fontsize=7)
    top.set_ylim(0, high)
    top.set_ylabel("vote variance")
    top.set_title("originals, by class (axis as the color scale below)")
    for column, (attack, matrix) in enumerate(matrices.items()):
        heatmap(figure.add_subplot(grid[1, column]), matrix, class_names, attack, low=0, high=high)
    return figure


def _traces(section: Section, results: DefenseResults) -> None:
    figure, axes = new_figure(7.4, 2.9, 1, 2)
    trace = results.trace
    most = trace["passes"].max()
    parts = (
        (trace[trace["extra_steps"] == 0], "passes", "passes"),
        (
            trace[trace["passes"] == most].drop_duplicates("extra_steps"),
            "extra_steps",
            "extra steps of the attack after its first success",
        ),
    )
    for plot, (rows, x, words) in zip(axes[0], parts, strict=True):
        for color, outcome in zip(COLORS, ("thwarted", "recovered"), strict=False):
            plot.plot(rows[x], rows[outcome], color=color, marker="o", markersize=3, label=outcome)
            plot.fill_between(
                rows[x], rows[f"{outcome}_low"], rows[f"{outcome}_high"], color=color, alpha=0.2, linewidth=0
            )
        plot.set_xlabel(words)
        plot.set_ylim(0, 1)
    axes[0, 0].set_xscale("log")
    label_ticks(axes[0, 0], parts[0][0]["passes"])
    axes[0, 0].set_ylabel("share of images")
    axes[0, 1].legend()
    section.figure(
        "dropout_curves", figure,
        f"Dropout ensemble on {int(trace['originals'].iloc[0])} test originals, one target each (static): minimal images against the number of passes, and {int(most)} passes against further steps of the attack. Bands: 95 % intervals.",
    )  # fmt: skip


def _trials(section: Section, metrics: Mapping[str, Any], results: DefenseResults) -> None:
    figure, axes = new_figure(7.4, 2.8, 1, 2)
    for plot, defense, words in ((axes[0, 0], ENSEMBLE, "dropout rate"), (axes[0, 1], RIVAL, "sigma of the noise")):
        rows = results.trials[results.trials["defense"] == defense]
        for color, (column, name) in zip(COLORS, (("clean_accuracy", "originals right"), ("thwarted", "minimal thwarted"), ("recovered", "minimal recovered")), strict=False):  # fmt: skip
            plot.plot(rows["strength"], rows[column], color=color, marker="o", markersize=3, label=name)
        used = metrics["defense_trials"][defense]["used"]
        plot.axvline(used, color="#777777", linestyle="--", label=f"used: {used:g}")
        plot.locator_params(axis="x", nbins=6)
        plot.set_xlabel(words)
        plot.set_ylim(0, 1.02)
        plot.legend(fontsize=7)
    axes[0, 0].set_ylabel("share of images")
    count = int(results.trials["originals"].iloc[0])
    none = metrics["defense_trials"][ENSEMBLE]["by_rule"] is None
    missed = " Here none of the rates tried does." if none else ""
    section.figure(
        "defense_strengths", figure,
        f"Choice of the strengths on {count} validation originals, never on the test split: the largest dropout rate tried that loses at most 1 % of them, and of the noises tried the one of the nearest clean accuracy.{missed}",
    )  # fmt: skip


def detection_section(metrics: Mapping[str, Any], results: DefenseResults) -> Section:
    """How well each defense's scores tell adversarial images from others, and whether an ensemble earns its passes."""
    section = Section("Detection")
    attacks = attacks_on(metrics, ENSEMBLE)
    section.text(STATIC)
    detection = results.detection
    for attack in attacks:
        rows = []
        for (defense, score), group in detection[detection["attack"] == attack].groupby(
            ["defense", "score"], sort=False
        ):
            by = group.set_index("negatives")
            cells = [_auc(by.loc[n]) for n in ("clean", "clean_all", "noise")]
            cells += [percent(by.loc["clean", f"tpr_at_fpr_{limit}"]) for limit in ("0.01", "0.05")]
            rows.append([f"{WORDS.get(str(defense), defense)}: {SCORES[str(score)]}", *cells])
        section.table(
            [
                "detector",
                "AUC, originals",
                "AUC, whole test split",
                "AUC, noise of equal norm",
                "found at 1 % false alarms",
                "found at 5 %",
            ],
            rows,
            f"{attack} images against three kinds of negatives (static); false alarms among the attacked originals. AUC 0.5 is guessing; below 0.5 the score points the wrong way.",
        )
        one = detection[(detection["attack"] == attack) & (detection["negatives"] == "clean_all")]
        best = {name: group.loc[group["auc"].idxmax()] for name, group in one.groupby("defense")}
        cheap, many = best[NONE], best[ENSEMBLE]
        verdict = (
            "the ensemble earns its passes"
            if many["auc_low"] > cheap["auc_high"]
            else "the ensemble's passes buy nothing"
            if many["auc_low"] <= cheap["auc"]
            else "too close to call"
        )
        section.text(
            f"{attack}, whole test split as negatives: the best score of a single undefended pass ({SCORES[cheap['score']]}) reaches AUC {_auc(cheap)}, "
            f"the best of the {metrics['defenses'][ENSEMBLE]['passes']} passes of the ensemble ({SCORES[many['score']]}) {_auc(many)}: {verdict}. "
            "Each is the best of several scores on these very images."
        )
    figure, axes = new_figure(3.7 * len(attacks), 3.9, 1, len(attacks))
    lines = (
        (NONE, "max_probability"),
        (NONE, "logit_margin"),
        (ENSEMBLE, "vote_variance"),
        (ENSEMBLE, "mutual_information"),
        (RIVAL, "vote_variance"),
    )
    for plot, attack in zip(axes[0], attacks, strict=True):
        for color, (defense, score) in zip(COLORS, lines, strict=False):
            curves = results.curves
            line = curves[
                (curves["defense"] == defense)
                & (curves["score"] == score)
                & (curves["attack"] == attack)
                & (curves["negatives"] == "clean_all")
            ]
            plot.plot(line["fpr"], line["tpr"], color=color, label=f"{WORDS[defense]}: {SCORES[score]}")
        plot.plot([0, 1], [0, 1], color="#bbbbbb", linestyle=":")
        plot.set_title(attack)
        plot.set_xlabel("false positive rate")
    axes[0, 0].set_ylabel("true positive rate")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=7)
    section.figure(
        "detection", figure, "ROC curves with the whole test split as negatives, mistakes included (static)."
    )
    return section


def _auc(row: Any) -> str:
    return f"{row['auc']:.3f} [{row['auc_low']:.3f}, {row['auc_high']:.3f}]"
