"""Several studies side by side: their images, classifiers and attacks, and what each defense is worth on each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.reporting.formats import budget, number, rate
from pipeline.reporting.names import families, label, trainings_of
from pipeline.reporting.paper_numbers import reported

Metrics = Mapping[str, Any]
NONE = "—"


@dataclass(frozen=True)
class Comparison:
    """A column per study; `groups`: a heading and rows below it, the row's name first."""

    studies: list[str]
    groups: list[tuple[str, list[list[str]]]]


def compared(metrics_by_study: Mapping[str, Metrics]) -> Comparison:
    """The studies' main numbers. A defense's row is there if any study has it as a family's main defense."""
    studies = list(metrics_by_study.values())
    heads = list(dict.fromkeys(head for metrics in studies for head in families(metrics)))
    words = {head: next(label(m, head) for m in studies if head in m["defenses"]) for head in heads}
    basics = [
        ["images", *(str(metrics["run"]["source"]) for metrics in studies)],
        ["classifier, test accuracy", *(rate(metrics["classifier"]["test_accuracy"], 2) for metrics in studies)],
        ["adversarial images, minimal", *(f"{metrics['attacks']['minimal']['examples']:,}" for metrics in studies)],
        ["mean L2, minimal (paper)", *(_mean_l2(metrics, "minimal") for metrics in studies)],
        ["mean L2, extended (paper)", *(_mean_l2(metrics, "extended") for metrics in studies)],
    ]
    outcomes = {
        f"minimal images {outcome}, test split": [
            [words[head], *(_outcome(metrics, head, outcome) for metrics in studies)] for head in heads
        ]
        for outcome in ("thwarted", "recovered")
    }
    adaptive = [
        ["budget", *(_budget(metrics) for metrics in studies)],
        *([words[head], *(_robust(metrics, head) for metrics in studies)] for head in heads),
    ]
    return Comparison(
        list(metrics_by_study),
        [("images and classifier", basics), *outcomes.items(), ("robust accuracy under adaptive attack", adaptive)],
    )


def _mean_l2(metrics: Metrics, attack: str) -> str:
    if attack not in metrics["attacks"]:
        return NONE
    paper = reported(metrics).table_1.get(attack)
    theirs = f" ({number(paper['l2']['mean'])})" if paper else ""
    return number(metrics["attacks"][attack]["l2"]["mean"]) + theirs


def _outcome(metrics: Metrics, head: str, outcome: str) -> str:
    judged = metrics["defenses"].get(head, {}).get("minimal")
    return ", ".join(filter(None, [rate(judged[outcome]), trainings_of(metrics, head)])) if judged else NONE


def _budget(metrics: Metrics) -> str:
    return next((budget(entry["settings"]) for entry in metrics["adaptive"].values()), NONE)


def _robust(metrics: Metrics, head: str) -> str:
    if head not in metrics["adaptive"]:
        return NONE
    figure = rate(metrics["adaptive"][head]["every_attack"])
    return f"{figure}, one training" if trainings_of(metrics, head) else figure
