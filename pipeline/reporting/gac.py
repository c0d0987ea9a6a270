"""The report's section on the Generative Adversarial Classifier (paper, Section 3.3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.defenses.shared.pictures import Generated
from pipeline.metrics.gains import ALLOWED_LOSS, CONTROLS
from pipeline.metrics.trainings import FEWEST
from pipeline.reporting import gac_figures as figures
from pipeline.reporting.earlier_analysis import EARLIER
from pipeline.reporting.formats import number, percent, points, times
from pipeline.reporting.gac_figures import MODELS
from pipeline.reporting.names import families_of, label
from pipeline.reporting.outcomes import outcome_table
from pipeline.reporting.paper_numbers import GAC_GAIN, reported
from pipeline.reporting.predicates import verdict
from pipeline.reporting.section import Section

METHOD = "gac"
STILL = 0.05  # of a minimal perturbation's length: a generator that moves images by less is hardly one


@dataclass(frozen=True)
class GacResults:
    """What was measured of a study's versions: tables as `data/README.md` describes them; by version where not said."""

    trials: pd.DataFrame | None  # of all
    trial_examples: Mapping[str, Generated]  # by family, of those that tried
    curves: Mapping[str, pd.DataFrame]
    examples: Mapping[str, Generated]


def gac_section(metrics: Mapping[str, Any], results: GacResults, class_names: tuple[str, ...]) -> Section:
    """Figures 9 to 13, the gain over both controls, and how it depends on lambda, for every version of the study."""
    families = {name: family for name, family in families_of(metrics, METHOD).items() if name in metrics["gac"]}
    entries = {version: metrics["gac"][version] for version in families}
    labels = {version: label(metrics, version) for version in families}
    trials = results.trials
    used = {
        version: entries[version]["lambda"]["used"]
        for version in families
        if trials is not None and _tried(trials, version)
    }
    drawn = {"figure_9_structure": figures.structure()}
    changed, swept = {}, {}
    for version, title in labels.items():
        examples, tag = results.examples[version], version.removeprefix(f"{METHOD}_")
        changed[version] = figures.changed(examples, len(class_names)) > 0
        if changed[version]:
            drawn[f"figure_10_morphs_{tag}"] = figures.morphs(examples, title, class_names)
        drawn[f"figure_13_generated_{tag}"] = figures.generated(examples, title, class_names)
        swept[version] = version in results.trial_examples
        if swept[version]:
            drawn[f"figure_11_lambda_{tag}"] = figures.lambdas(results.trial_examples[version], title, class_names)
    curves = {version: results.curves[version] for version in families}
    drawn["figure_12_accuracy"] = figures.accuracies(curves, labels)
    everywhere = {version: gains_everywhere(metrics, version) for version in families}
    drawn["gains_on_every_attack"] = figures.gains(everywhere, labels)
    drawn["generator_curves"] = figures.generators(curves, labels)
    if trials is not None and used:
        drawn["gain_against_lambda"] = figures.gain_against_lambda(trials, used, labels)
    return Section(
        "gac",
        {
            "versions": {
                version: {
                    "label": labels[version],
                    "tag": version.removeprefix(f"{METHOD}_"),
                    "changed": changed[version],
                    "swept": swept[version],
                    "gains": everywhere[version],
                    "still": still(metrics, version),
                    "gained_in_trials": _gained_in_trials(trials, version),
                    **{key: entries[version][key] for key in ("failed", "interval")},
                }
                for version in families
            },
            "configurations": [_configuration(metrics, version) for version in families],
            "originals": {version: metrics["defenses"][version]["originals"] for version in families},
            "fewest": FEWEST,
            "earlier": EARLIER,
            "allowed_loss": ALLOWED_LOSS,
            "paper_gain": GAC_GAIN,
            "models": list(MODELS.values()),
            "claims": [row for version in families for row in _claims(entries[version], labels[version])],
            "parts": [row for version in families for row in _parts(entries[version], labels[version])],
            "judged": outcome_table(metrics, [member for family in families.values() for member in family]),
            "robustness": [row for version in families for row in _robustness(entries[version], labels[version])],
            "robust_originals": sorted({entry["minimal_against_it"]["originals"] for entry in entries.values()}),
            "lambdas_tried": bool(used),
            "trial_epochs": {
                labels[version]: trials.loc[trials["defense"] == version, "epochs"].iloc[0]
                for version in used
                if trials is not None
            },
            "failed_trials": []
            if trials is None
            else [
                {"label": labels[str(row.defense)], "lambda": row.lambda_, "status": row.status}
                for row in trials[trials["status"] != "ok"].itertuples()
                if row.defense in labels
            ],
        },
        drawn,
    )


def still(metrics: Mapping[str, Any], version: str) -> dict[str, float] | None:
    """How far the generator moves images and how far minimal perturbations do, mean L2; None: it does move them."""
    moves = metrics["gac"][version]["generator"]["test"]["perturbation_l2"]
    minimal = metrics["attacks"]["minimal"]["l2"]["mean"]
    return {"moves": moves, "minimal": minimal} if moves < STILL * minimal else None


def _gained_in_trials(trials: pd.DataFrame | None, version: str) -> bool | None:
    """Whether any lambda tried is shown to gain on unseen originals; None: none was tried."""
    if trials is None or not _tried(trials, version):
        return None
    return bool((trials.loc[trials["defense"] == version, "gain_low"] > 0).any())


def gains_everywhere(metrics: Mapping[str, Any], version: str) -> dict[str, dict[str, Mapping[str, Any]]]:
    """By control, then by kind of image, what the version gains over it: on images as they are, and on every attack's."""
    return {
        name: {
            attack: by[f"over_{control}"]
            for attack, by in metrics["gac"][version]["gain_on"].items()
            if f"over_{control}" in by
        }
        for control, name in MODELS.items()
        if control in CONTROLS
    }


def _tried(trials: pd.DataFrame, version: str) -> bool:
    return bool(((trials["defense"] == version) & (trials["status"] == "ok")).any())


def _configuration(metrics: Mapping[str, Any], version: str) -> list[Any]:
    entry, paper = metrics["gac"][version], reported(metrics).gac_epochs
    settings = entry["settings"]
    rule = entry["lambda"]["by_rule"]
    return [
        label(metrics, version),
        *(
            ", ".join(map(str, settings[part].get("hidden") or settings[part]["channels"]))
            for part in ("generator", "classifier")
        ),
        percent(settings["share"], 0),
        f"{settings['training']['epochs']} (paper: {'not used' if paper is None else paper})",
        f"{entry['lambda']['used']:g} (by the rule {'none' if rule is None else f'{rule:g}'})",
        f"{entry['trainings']}",
    ]


def _claims(entry: Mapping[str, Any], words: str) -> list[list[str]]:
    low, high = GAC_GAIN
    rows = []
    for attack, gains in entry["gain"].items():
        if attack != "clean":
            claim = f"{100 * low:.0f} to {100 * high:.0f} points, for the right lambda"
            accuracy = entry["accuracy"][attack]["test"]
            rows.append(
                [
                    f"{words}: {attack}",
                    claim if attack == "minimal" else "not given",
                    _against(gains["over_control"], attack, entry["trainings"]),
                    points(gains["over_noise_control"]),
                    *(percent(accuracy[model]) for model in MODELS),
                ]
            )
    clean, gains = entry["accuracy"]["clean"]["test"], entry["gain"]["clean"]
    unperturbed = [points(gains["over_control"]), points(gains["over_noise_control"])]
    return [
        *rows,
        [
            f"{words}: test images without perturbation",
            "high",
            *unperturbed,
            *(percent(clean[model], 2) for model in MODELS),
        ],
    ]


def _against(gain: Mapping[str, float], attack: str, trainings: int) -> str:
    """A gain over the control, and of minimal images whether the paper's claim holds: at least its smallest."""
    if attack != "minimal":
        return points(gain)
    few = trainings < FEWEST
    return f"{points(gain)}: {'no verdict from so few trainings' if few else verdict(gain, (GAC_GAIN[0], 1.0))}"


def _parts(entry: Mapping[str, Any], words: str) -> list[list[str]]:
    rows = []
    for attack, parts in entry["accuracy"].items():
        for part, models in parts.items():
            made = entry["generator"].get(part) if attack == "clean" else None
            rows.append(
                [
                    f"{words}: {attack}, {part}",
                    *(percent(models[model], 2) for model in MODELS),
                    *(["", ""] if made is None else [number(made["perturbation_l2"]), percent(made["fooled"], 2)]),
                ]
            )
    return rows


def _robustness(entry: Mapping[str, Any], words: str) -> list[list[str]]:
    against = entry["minimal_against_it"]
    rows = []
    for model, name in MODELS.items():
        ratio, median = against["l2_ratio"].get(f"over_{model}"), against["l2_median"][model]
        rows.append(
            [
                f"{words}: {name}",
                "none found for half of them" if median is None else number(median),
                percent(against["success_rate"][model]),
                "" if ratio is None else times(ratio),
            ]
        )
    return rows
