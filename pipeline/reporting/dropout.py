"""The report's section on the dropout ensemble and what else is of its family (paper, Section 3.1)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline.reporting import dropout_figures as figures
from pipeline.reporting.formats import percent, rate
from pipeline.reporting.heatmaps import by_pair, outcome_figure
from pipeline.reporting.names import families, label, study
from pipeline.reporting.outcomes import attacks_on, outcome_table
from pipeline.reporting.predicates import gains, loses
from pipeline.reporting.section import Section

METHOD = "dropout_ensemble"
ABOVE = 0.6  # "above 60 % for several pairs", the paper says of the minimal images
GONE = 0.1  # fewer thwarted than this: "nearly none"


@dataclass(frozen=True)
class DropoutResults:
    """What was measured of the ensemble: tables as `data/README.md` describes them."""

    family: str
    evaluations: Mapping[str, pd.DataFrame]
    trials: pd.DataFrame  # of the strengths of the ensemble and its rivals
    trace: pd.DataFrame


def dropout_section(metrics: Mapping[str, Any], results: DropoutResults, class_names: tuple[str, ...]) -> Section:
    """Figures 5 to 7, the curves and the rivals, with the paper's claims beside them."""
    family = results.family
    attacks = attacks_on(metrics, family)
    ensemble, trace = results.evaluations[family], results.trace
    members = families(metrics)[family]
    tried = [name for name in members if name in metrics["defense_trials"]]
    return Section(
        "dropout",
        {
            "judged": outcome_table(metrics, dict.fromkeys(["undefended", *members])),
            "ensemble": {"label": label(metrics, family), **metrics["defenses"][family]},
            "rivals": rivals(metrics, family),
            "study": study(metrics),
            "claims": _claims(metrics, family, ensemble, attacks, len(class_names)),
            "extra_steps": metrics["attacks"]["extended"]["params"]["extra_steps"] if "extended" in attacks else None,
            "gone": _gone(trace),
            "trace": {"originals": int(trace["originals"].iloc[0]), "passes": int(trace["passes"].max())},
            "tried": bool(tried),
            "validation_originals": int(results.trials["originals"].iloc[0]) if tried else 0,
            "none_by_rule": family in tried and metrics["defense_trials"][family]["by_rule"] is None,
        },
        {
            "figure_5_votes": figures.votes(ensemble, attacks, class_names),
            "figure_6_thwarted": outcome_figure(ensemble, attacks, "thwarted", class_names),
            "recovered": outcome_figure(ensemble, attacks, "recovered", class_names),
            "figure_7_variance": figures.variances(ensemble, attacks, class_names),
            "dropout_curves": figures.traces(trace),
            **(
                {
                    "defense_strengths": figures.strengths(
                        results.trials, metrics["defense_trials"], {name: _strength(metrics, name) for name in tried}
                    )
                }
                if tried
                else {}
            ),
        },
    )


def main_family(families: Collection[str]) -> str | None:
    """Of the families of this method the one that the report is of: that of its name, or the first; None: none."""
    return METHOD if METHOD in families else next(iter(families), None)


def rivals(metrics: Mapping[str, Any], family: str) -> list[dict[str, Any]]:
    """The other defenses of an ensemble's family, each beside the ensemble on the sets that both were judged on.

    paid : of each whether one of the two gains on a set and keeps fewer originals right.
    """
    ours = metrics["defenses"][family]
    return [
        {
            "label": label(metrics, name),
            "clean_accuracy": metrics["defenses"][name]["clean_accuracy"],
            "price": (price := metrics["comparisons"][f"{family}_minus_{name}"]["clean"]["recovered"]),
            "paid": any(
                (loses(price) and gains(found)) or (gains(price) and loses(found))
                for attack in attacks_on(metrics, family)
                for found in [metrics["comparisons"][f"{family}_minus_{name}"][attack]["recovered"]]
            ),
            "originals": ours["originals"],
            "differences": {
                attack: metrics["comparisons"][f"{family}_minus_{name}"][attack]["recovered"]
                for attack in attacks_on(metrics, family)
            },
            "recovered": {
                attack: (ours[attack]["recovered"], metrics["defenses"][name][attack]["recovered"])
                for attack in attacks_on(metrics, family)
                if attack in metrics["defenses"][name]
            },
        }
        for name in families(metrics)[family][1:]
    ]


def _strength(metrics: Mapping[str, Any], name: str) -> str:
    """What the strength of a defense is called: the argument that its trial chose."""
    used = metrics["defense_trials"][name]["used"]
    return next((key for key, value in metrics["defenses"][name]["arguments"].items() if value == used), "strength")


def _claims(
    metrics: Mapping[str, Any], family: str, ensemble: pd.DataFrame, attacks: list[str], classes: int
) -> list[tuple[str, str, str]]:
    ours = metrics["defenses"][family]
    variance = {name: float(group["vote_variance"].mean()) for name, group in ensemble.groupby("attack")}
    pairs = by_pair(ensemble, "minimal", "thwarted", classes)
    above, found = int((pairs > ABOVE).sum()), int(np.isfinite(pairs).sum())
    rows = [
        (
            "minimal, thwarted",
            "above 60 % for several pairs",
            f"above {percent(ABOVE, 0)} for {above} of {found} pairs; {rate(ours['minimal']['thwarted'])} over all",
        ),
        ("attacked originals right", "100 %", rate(ours["clean_accuracy"])),
        (
            "variance of the votes, minimal",
            "far larger than on originals",
            f"{variance['minimal']:.3f} against {variance['clean']:.3f}",
        ),
    ]
    if "extended" in attacks:
        rows += [
            ("extended, thwarted", "nearly none", rate(ours["extended"]["thwarted"])),
            (
                "variance of the votes, extended",
                "essentially identical to originals",
                f"{variance['extended']:.3f} against {variance['clean']:.3f}",
            ),
        ]
    return rows


def _gone(trace: pd.DataFrame) -> dict[str, Any] | None:
    """After how many extra steps fewer than GONE are thwarted, or how many still are at the end of the curve."""
    after = trace[trace["extra_steps"] > 0]
    if not len(after):
        return None
    few = after[after["thwarted"] < GONE]
    last = (few if len(few) else after).iloc[0 if len(few) else -1]
    return {
        "few": bool(len(few)),
        "extra_steps": int(last["extra_steps"]),
        "thwarted": float(last["thwarted"]),
        "passes": int(after["passes"].iloc[0]),
        "originals": int(after["originals"].iloc[0]),
    }
