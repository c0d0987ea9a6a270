"""The report's section on the dropout-enabled autoencoder ensemble (paper, Section 3.2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.metrics.restorations import BLUR, NOTHING
from pipeline.reporting import autoencoder_figures as figures
from pipeline.reporting.adaptive import median_needed
from pipeline.reporting.autoencoder_figures import VARIED, RestoredExamples, class_accuracy
from pipeline.reporting.formats import number, percent, rate
from pipeline.reporting.heatmaps import outcome_figure
from pipeline.reporting.names import families_of, label, study
from pipeline.reporting.outcomes import attacks_on, outcome_table
from pipeline.reporting.paper_numbers import reported
from pipeline.reporting.section import Section

METHOD = "autoencoder_ensemble"  # the paper's own family has its file's name
WITHOUT = "autoencoder_without_dropout"  # one of its controls; the other is BLUR


@dataclass(frozen=True)
class AutoencoderResults:
    """What was measured of a study's autoencoders: tables as `data/README.md` describes them."""

    evaluations: Mapping[str, pd.DataFrame]
    trials: pd.DataFrame | None
    curves: Mapping[str, pd.DataFrame]
    examples: RestoredExamples


def autoencoder_section(
    metrics: Mapping[str, Any], results: AutoencoderResults, class_names: tuple[str, ...]
) -> Section:
    """Figure 8 and its like, what training and dropout each buy, and the trade-off that short trainings show."""
    found = families_of(metrics, METHOD)
    heads = list(found)
    members = list(dict.fromkeys(member for family in found.values() for member in family))
    labels = {name: label(metrics, name) for name in members}
    attacks = attacks_on(metrics, heads[0])
    paper = reported(metrics)
    pictured = (*heads, BLUR) if _blur_by_rule(metrics) else heads  # the picture is of the rule's
    restored = [name for name in pictured if name in results.examples.restored]
    trials = results.trials
    tried = [attack for attack in attacks if trials is not None and f"{attack}_thwarted" in trials]
    curves = {name: table for name, table in results.curves.items() if name in found}
    drawn = {
        f"{name}_{outcome}": outcome_figure(results.evaluations[name], attacks, outcome, class_names)
        for name in heads
        for outcome in ("thwarted", "recovered")
    }
    if METHOD in found:
        drawn["figure_8_thwarted"] = drawn.pop(f"{METHOD}_thwarted")
    drawn["clean_accuracy_by_class"] = figures.by_class(
        results.evaluations, labels, class_names, paper.autoencoder_clean
    )
    for name in restored:
        drawn[f"restored_{name}"] = figures.strips(results.examples, name, label(metrics, name), class_names)
    if trials is not None and tried:
        drawn["trade_off"] = figures.trade_off(trials, metrics["defenses"], tried, labels, paper)
    if curves:
        drawn["autoencoder_curves"] = figures.curves(curves, labels)
    return Section(
        "autoencoder",
        {
            "judged": outcome_table(metrics, dict.fromkeys(["undefended", *heads, *members])),
            "configurations": [_configuration(metrics, name) for name in heads if name in metrics["trainings"]],
            "attacks": attacks,
            "heads": {name: labels[name] for name in heads},
            "paper_family": METHOD if METHOD in found else None,
            "study": study(metrics),
            "claims": _claims(metrics, results, heads, attacks, class_names),
            "errors": _errors(metrics, ["clean", *attacks]),
            "kinds": ["clean", *attacks],
            "no_nearer": _no_nearer(metrics, attacks),
            "controls": controls(metrics),
            "sets_over_the_blur": sets_over_the_blur(metrics),
            "restored": {name: label(metrics, name) for name in restored},
            "trials": _trials(metrics, trials, tried, labels) if trials is not None and tried else None,
            "has_curves": bool(curves),
            "knowing": knowing(metrics),
        },
        drawn,
    )


def controls(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """What training buys over a blur and what dropout buys, one paired difference a kind; None without both controls.

    `training`, `dropout`: kind ("clean" or an attack) -> outcome -> difference; also the blur's clean accuracy, whether
    it is the one that its rule chose for its error, and that error on originals over the autoencoder's, if measured.
    """
    training = metrics["comparisons"].get(f"{WITHOUT}_minus_{BLUR}")
    dropout = metrics["comparisons"].get(f"{METHOD}_minus_{WITHOUT}")
    if training is None or dropout is None:
        return None
    errors = metrics["restorations"]["reconstruction_error"]
    return {
        "training": training,
        "dropout": dropout,
        "passes": metrics["defenses"][METHOD]["passes"],
        "originals": metrics["defenses"][METHOD]["originals"],
        "blur_clean_accuracy": metrics["defenses"][BLUR]["clean_accuracy"],
        "equal_error": _blur_by_rule(metrics),
        "error_ratio": errors[BLUR]["clean"] / errors[METHOD]["clean"] if BLUR in errors else None,
        "plain_ratio": errors[BLUR]["clean"] / errors[WITHOUT]["clean"] if {BLUR, WITHOUT} <= errors.keys() else None,
    }


def sets_over_the_blur(metrics: Mapping[str, Any]) -> dict[str, dict[str, list[str]]]:
    """By outcome the attacks on whose images the ensemble is above the blur, and below; verdicts are corrected."""
    differences = metrics["comparisons"].get(f"{METHOD}_minus_{BLUR}", {})
    return {
        outcome: {
            verdict: [
                name for name, found in differences.items() if name != "clean" and found[outcome]["verdict"] == verdict
            ]
            for verdict in ("gain", "loss")
        }
        for outcome in ("recovered", "thwarted")
        if len(differences) > 1
    }


def _no_nearer(metrics: Mapping[str, Any], attacks: list[str]) -> bool:
    """Whether no restoration brings any attack's images nearer to their originals than leaving them alone does."""
    errors = dict(metrics["restorations"]["reconstruction_error"])
    alone = errors.pop(NOTHING, None)
    return bool(alone and errors) and all(
        found[attack] >= alone[attack] for found in errors.values() for attack in attacks if attack in found
    )


def _blur_by_rule(metrics: Mapping[str, Any]) -> bool:
    """Whether there is a blur, and no number stands in place of its rule's."""
    sigma = metrics["restorations"].get("blur_sigma")
    return sigma is not None and sigma["used"] == sigma["by_rule"]


def knowing(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """What an attacker who knows of the autoencoder leaves, with dropout and without; None unless both were attacked."""
    on, off = (metrics["adaptive"].get(name) for name in (METHOD, WITHOUT))
    if not (on and off):
        return None
    others = ("undefended", BLUR)
    return {
        "on": on,
        "off": off,
        "on_needs": median_needed(on),
        "off_needs": median_needed(off),
        "others": [
            (label(metrics, name), median_needed(metrics["adaptive"][name]))
            for name in others
            if name in metrics["adaptive"]
        ],
    }


def _configuration(metrics: Mapping[str, Any], name: str) -> list[Any]:
    entry = metrics["trainings"][name]
    architecture, training = entry["architecture"], entry["training"]
    return [
        label(metrics, name),
        ", ".join(map(str, architecture["channels"])),
        f"{architecture['dropout']:g}",
        "a correction" if architecture["residual"] else "the image",
        " and ".join(entry["sets"]),
        percent(training["clean_share"], 0),
        f"{training['classifier_weight']:g}",
        "yes" if training["flip"] else "no",
        str(training["epochs"]),
    ]


def _claims(
    metrics: Mapping[str, Any],
    results: AutoencoderResults,
    heads: list[str],
    attacks: list[str],
    class_names: tuple[str, ...],
) -> list[list[str]]:
    rows = [
        [f"{attack}, {outcome}", claim, *(rate(metrics["defenses"][name][attack][outcome]) for name in heads)]
        for outcome, claim in (("thwarted", "roughly half"), ("recovered", "not given"))
        for attack in attacks
    ]
    spread = []
    for name in heads:
        classes = class_accuracy(results.evaluations[name])
        low, high = classes.idxmin(), classes.idxmax()
        spread.append(
            f"{rate(metrics['defenses'][name]['clean_accuracy'])}; from {percent(classes[low])} (class {class_names[low]})"
            f" to {percent(classes[high])} (class {class_names[high]})"
        )
    return [*rows, ["attacked originals right", "60 to 70 %, depending on the class", *spread]]


def _errors(metrics: Mapping[str, Any], kinds: list[str]) -> list[list[str]]:
    rows = []
    for name, entry in metrics["restorations"]["reconstruction_error"].items():
        words = "no restoration" if name == NOTHING else label(metrics, name)
        if name == BLUR:
            words += f", sigma {metrics['restorations']['blur_sigma']['used']:g} pixels"
        rows.append([words, *(number(entry[kind]) if kind in entry else "" for kind in kinds)])
    return rows


def _trials(
    metrics: Mapping[str, Any], trials: pd.DataFrame, attacks: list[str], labels: Mapping[str, str]
) -> dict[str, Any]:
    most = trials["passes"].max()
    columns = [(attack, outcome) for attack in attacks for outcome in ("thwarted", "recovered")]
    rows = [
        [
            labels.get(row["defense"], row["defense"]),
            "base" if row["varied"] == "base" else f"other {VARIED.get(row['varied'], row['varied'])}",
            f"{row['dropout']:g}",
            percent(row["clean_share"], 0),
            f"{row['classifier_weight']:g}",
            percent(row["clean_accuracy"]),
            *(percent(row[f"{attack}_{outcome}"]) for attack, outcome in columns),
        ]
        for _, row in trials[trials["passes"] == most].iterrows()
    ]
    return {
        "rows": rows,
        "columns": [f"{attack}: {outcome}" for attack, outcome in columns],
        "passes": int(most),
        "originals": int(trials["originals"].iloc[0]),
        "training_originals": int(trials["training_originals"].iloc[0]),
        "epochs": " or ".join(map(str, sorted(set(trials["epochs"])))),
        "chosen": {label(metrics, name): entry for name, entry in metrics["autoencoder_trials"].items()},
    }
