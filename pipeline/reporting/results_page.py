"""`reports/README.md`: the results of all studies, written whole from their metrics."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.metrics.restorations import BLUR
from pipeline.reporting import dropout
from pipeline.reporting.adaptive import clean_of_sample, easier, median_needed, one_table, standing
from pipeline.reporting.adversarial_training import METHOD as ADVERSARIAL_TRAINING
from pipeline.reporting.autoencoder import METHOD as AUTOENCODER
from pipeline.reporting.autoencoder import WITHOUT, controls, knowing, sets_over_the_blur
from pipeline.reporting.changes import moved, weaker
from pipeline.reporting.comparison import compared
from pipeline.reporting.detection import contest
from pipeline.reporting.earlier_analysis import EARLIER
from pipeline.reporting.formats import budget, number, percent, points, times
from pipeline.reporting.gac import gains_everywhere, still
from pipeline.reporting.gac_figures import MODELS
from pipeline.reporting.names import by_device, families, families_of, label, label_of
from pipeline.reporting.other_attacks import distances, yardsticks
from pipeline.reporting.outcomes import attacks_on
from pipeline.reporting.pairs import pair_tables
from pipeline.reporting.paper_numbers import GAC_GAIN
from pipeline.reporting.perturbations import unsure_choices
from pipeline.reporting.section import environment
from pipeline.reporting.sizes import averages
from pipeline.study_blocks import PAPER_ATTACKS

Metrics = Mapping[str, Any]


def results_page(
    metrics_by_study: Mapping[str, Metrics],
    pairs: Sequence[Mapping[str, Any]] = (),
    earlier: Mapping[str, Any] | None = None,
) -> str:
    """Markdown: a comparison of the studies, then a chapter for each with its tables and what they say.

    pairs : of studies on the same images, what `stages.transfer` found.
    earlier : the headline numbers of an earlier commit by study, as in reports/earlier.json.
    """
    template = environment().get_template("results.md.j2")
    earlier = earlier or {"studies": {}, "commit": "", "changed": {}}
    before = {name: earlier["studies"][name] for name in metrics_by_study if name in earlier["studies"]}
    text = template.render(
        comparison=compared(metrics_by_study),
        studies={name: study_results(metrics) for name, metrics in metrics_by_study.items()},
        pairs=[pair_tables(pair, metrics_by_study.values()) for pair in pairs],
        paper_attacks=PAPER_ATTACKS,
        models=list(MODELS.values()),
        paper_gain=GAC_GAIN,
        earlier=EARLIER if any(metrics["gac"] for metrics in metrics_by_study.values()) else None,
        changes={name: moved(found, metrics_by_study[name]) for name, found in before.items()},
        weaker={name: weaker(found, metrics_by_study[name]) for name, found in before.items()},
        changed=earlier["changed"],
        before=earlier["commit"],
        markdown=markdown,
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"  # what is left out leaves lines


def study_results(metrics: Metrics) -> dict[str, Any]:
    """What the page says of one study; None or empty where the study has not got it."""
    adaptive = metrics["adaptive"]
    ensemble = dropout.main_family(families_of(metrics, dropout.METHOD))
    return {
        "device": " and ".join(by_device(metrics)),
        "lossy": "lossy" in metrics["run"]["source"],
        "structure": metrics["attacks"]["minimal"]["class_correlation_mean"],
        "unsure": unsure_choices(metrics),
        "again": metrics["replicates"].get("originals"),
        "one_table": one_table(metrics) if adaptive else [],
        "budget": next((budget(entry["settings"]) for entry in adaptive.values()), None),
        "originals": next((entry["originals"] for entry in adaptive.values()), None),
        "undefended": adaptive["undefended"]["every_attack"] if adaptive else None,
        "standing": standing(metrics) if adaptive else None,
        "easier": easier(metrics) if adaptive else [],
        "alone": median_needed(adaptive["undefended"]) if adaptive else None,
        "tripwires": _tripwires(metrics),
        "dropout": _judged(metrics, ensemble) if ensemble else None,
        "rivals": dropout.rivals(metrics, ensemble) if ensemble else [],
        "contests": {attack: contest(metrics, attack) for attack in PAPER_ATTACKS if metrics["detection"]},
        "controls": controls(metrics),
        "whole": _over_the_blur(metrics),
        "sets_over_the_blur": sets_over_the_blur(metrics),
        "errors": _errors_on_originals(metrics),
        "knowing": knowing(metrics),
        "robust": [
            {"label": label(metrics, name), **adaptive[name], "sample": clean_of_sample(adaptive[name])}
            for name in families_of(metrics, ADVERSARIAL_TRAINING)
            if name in adaptive
        ],
        "gac": [
            {
                "label": label(metrics, version),
                "setting": entry["interval"],
                "trainings": entry["trainings"],
                "gains": gains_everywhere(metrics, version),
                "still": still(metrics, version),
                "originals": metrics["defenses"][version]["originals"],
            }
            for version, entry in metrics["gac"].items()
        ],
        "gac_rows": _gac_rows(metrics),
        "attacks": _attack_table(metrics),
        "distances": distances(metrics),
        "transfer": averages(metrics["sizes"]["transfer"]) if metrics.get("sizes") else {},
        "networks": list(metrics["sizes"]["models"].values()) if metrics.get("sizes") else [],
    }


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; a bar within a cell would end it."""
    lines = [list(header), ["---"] * len(header), *([*row] for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


def _judged(metrics: Metrics, name: str) -> dict[str, Any] | None:
    """What a defense does with the paper's sets, by attack, and with originals."""
    if name not in metrics["defenses"]:
        return None
    entry = metrics["defenses"][name]
    return {
        "label": label(metrics, name),
        "passes": entry["passes"],
        "clean": entry["clean_accuracy"],
        "sets": {attack: entry[attack] for attack in attacks_on(metrics, name)},
    }


def _over_the_blur(metrics: Metrics) -> dict[str, Any]:
    """What the autoencoder ensemble recovers more than a blur, if its claim rests on that: of originals, and by attack."""
    if (metrics["primary"].get(AUTOENCODER) or {}).get("over") != BLUR:
        return {}
    found = metrics["comparisons"].get(f"{AUTOENCODER}_minus_{BLUR}", {})
    return {kind: found[kind]["recovered"] for kind in ("clean", *PAPER_ATTACKS) if kind in found}


def _errors_on_originals(metrics: Metrics) -> dict[str, float] | None:
    """The reconstruction errors that the blur and the autoencoder are compared by; None without one of them."""
    errors = metrics["restorations"]["reconstruction_error"]
    names = {"blur": BLUR, "with_dropout": AUTOENCODER, "without": WITHOUT}
    if not errors.keys() >= set(names.values()):
        return None
    return {words: errors[name]["clean"] for words, name in names.items()}


def _tripwires(metrics: Metrics) -> list[str]:
    return [
        f"{key.replace('_', ' ')} on {label(metrics, name)} ({wire['value']:.3g})"
        for name, entry in metrics["adaptive"].items()
        for key, wire in entry["tripwires"].items()
        if wire["raised"]
    ]


def _gac_rows(metrics: Metrics) -> list[list[str]]:
    rows = []
    for version, entry in metrics["gac"].items():
        ratio = entry["minimal_against_it"]["l2_ratio"].get("over_control")
        clean = entry["accuracy"]["clean"]["test"]
        rows.append(
            [
                label(metrics, version),
                f"{entry['lambda']['used']:g}",
                f"{entry['trainings']} of {entry['settings']['training']['epochs']} epochs",
                number(entry["generator"]["test"]["perturbation_l2"]),
                " / ".join(percent(clean[model]) for model in MODELS),
                *(
                    points(entry["gain"][attack][over]) if attack in entry["gain"] else ""
                    for over in ("over_control", "over_noise_control")
                    for attack in PAPER_ATTACKS
                ),
                f"{times({'low': None, **ratio})}, n = {entry['minimal_against_it']['originals']}"
                if ratio
                else "not found",
            ]
        )
    return rows


def _attack_table(metrics: Metrics) -> dict[str, Any]:
    """A row per attack: its success, its size against the yardsticks', and what the families' main defenses recover."""
    heads = [name for name in families(metrics) if name != "undefended"]
    measures = [name for name in yardsticks(metrics) if name not in PAPER_ATTACKS]
    rows = []
    for attack, about in metrics["attacks"].items():
        judged = [metrics["defenses"][head].get(attack) for head in heads]
        ratios = [about["l2_ratio"].get(other) if other != attack else None for other in measures]
        rows.append(
            [
                attack,
                percent(about["success_rate"]["value"]),
                *(f"{ratio['median']:.2f}" if ratio else "" for ratio in ratios),
                *(
                    f"{percent(entry['thwarted']['value'])} / {percent(entry['recovered']['value'])}"
                    if entry
                    else "not judged"
                    for entry in judged
                ),
            ]
        )
    columns = [f"median L2 over {label_of(metrics, other)}'s" for other in measures]
    return {"header": ["attack", "fooled", *columns, *(label(metrics, head) for head in heads)], "rows": rows}
