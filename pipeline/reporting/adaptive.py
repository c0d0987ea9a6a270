"""The report's section on attackers who know the defense: adaptive attacks, tripwires, and one table of it all."""

from collections.abc import Mapping
from typing import Any

from pipeline.metrics.adaptive import SURE
from pipeline.metrics.roc import FALSE_POSITIVE_RATES
from pipeline.reporting import adaptive_figures as figures
from pipeline.reporting.formats import NORMS, area, budget, flat, length_of, percent, points, rate
from pipeline.reporting.names import label, label_of, one_training, with_trainings
from pipeline.reporting.predicates import better
from pipeline.reporting.replicates import again
from pipeline.reporting.section import Section
from pipeline.study_blocks import PAPER_ATTACKS

# Of an attack's settings: told elsewhere on the page.
TOLD = {"norm", "budget", "epsilons", "originals", "sanity_originals", "gradient_free"}
TOLD_BLOCKS = ("doublings", "left_out")


def adaptive_section(metrics: Mapping[str, Any]) -> Section:
    """What remains of each defense when the attacker knows it."""
    entries = metrics["adaptive"]
    labels = {name: label(metrics, name) for name in entries}
    first = next(iter(entries.values()))
    outside = list(dict.fromkeys(attack for entry in entries.values() for attack in entry["sanity"]["lead"]))
    tripwires = list(dict.fromkeys(key for entry in entries.values() for key in entry["tripwires"]))
    return Section(
        "adaptive",
        {
            "originals": first["originals"],
            "budget": budget(first["settings"]),
            "norm": NORMS.get(first["settings"]["norm"], first["settings"]["norm"]),
            "paper_attacks": PAPER_ATTACKS,
            "one_table": one_table(metrics),
            "settings": _settings(entries, labels),
            "undefended": entries["undefended"]["every_attack"],
            "standing": standing(metrics),
            "easier": easier(metrics),
            "outside": {attack: label_of(metrics, attack) for attack in outside},
            "sanity": [_sanity(labels[name], entry, outside) for name, entry in entries.items()],
            "doubled": [_doubled(labels[name], entry) for name, entry in entries.items()],
            "randomized": [
                _randomness(labels[name], entry) for name, entry in entries.items() if entry.get("randomness")
            ],
            "resubmissions": next(
                (e["randomness"]["resubmissions"] for e in entries.values() if e.get("randomness")), 0
            ),
            "left_out": {
                label_of(metrics, attack): reason
                for entry in entries.values()
                for attack, reason in entry["settings"].get("left_out", {}).items()
            },
            "detection": [_detection(labels[name], entry["detection"]) for name, entry in entries.items()],
            "tripwires": {key: _raised(entries, labels, key) for key in tripwires},
        },
        {
            "robust_accuracy": figures.robust_accuracy(entries, labels),
            "l2_needed": figures.broken(entries, labels),
        },
    )


def one_table(metrics: Mapping[str, Any]) -> list[list[str]]:
    """A row per attacked defense: every static or transfer figure next to the adaptive one; one more of its replicates."""

    def judged(entry: Mapping[str, Any]) -> list[str]:
        return [
            " / ".join(rate(entry[attack][outcome]) for outcome in ("thwarted", "recovered")) if attack in entry else ""
            for attack in PAPER_ATTACKS
        ]

    rows = []
    for name, entry in metrics["adaptive"].items():
        mine = metrics["defenses"][name]
        setting = mine.get("minimal", {}).get("setting", "")
        attacked = (
            clean_of_sample(entry),
            rate(entry["every_attack"]),
            _needed(entry),
            f"{entry['detection']['static_auc']:.3f}",
            _adaptive_auc(entry["detection"]),
        )
        rows.append(
            [
                with_trainings(metrics, name),
                rate(mine["test_accuracy"]),
                setting,
                *judged(mine),
                *(one_training(metrics, name, cell) for cell in attacked),
                f"{entry['cost']:.3g}",
            ]
        )
        if other := again(metrics, name):
            words, means = other
            rows.append(
                [words, rate(means["test_accuracy"]), setting, *judged(means), *("" for _ in (*attacked, "cost"))]
            )
    return rows


def clean_of_sample(entry: Mapping[str, Any]) -> str:
    """Accuracy without attack of the originals that were attacked."""
    return rate(entry["clean_accuracy"])


def standing(metrics: Mapping[str, Any]) -> dict[str, list[tuple[str, Mapping[str, float]]]]:
    """Where each defense stands at the budget against the undefended classifier, with its robust accuracy.

    "above" and "below" where an exact test on the same originals finds a difference (p below 0.05; of a defense that
    was attacked on another number of them, where the intervals lie apart), else "not shown".
    """
    none = metrics["adaptive"]["undefended"]["every_attack"]
    found: dict[str, list[tuple[str, Mapping[str, float]]]] = {"above": [], "below": [], "not shown": []}
    for name, entry in metrics["adaptive"].items():
        if name != "undefended":
            mine = entry["every_attack"]
            where = "above" if better(mine, none) else "below" if better(none, mine) else "not shown"
            if paired := entry.get("over_undefended"):
                where = "not shown" if paired["p"] >= SURE else "above" if paired["value"] > 0 else "below"
            found[where].append((label(metrics, name), mine))
    return found


def easier(metrics: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The defenses that an attacker needs shorter perturbations for than without them: the intervals lie apart."""
    needs = {name: median_needed(entry) for name, entry in metrics["adaptive"].items()}
    alone = needs.pop("undefended")
    return [
        (label(metrics, name), found)
        for name, found in needs.items()
        if found["over"] == alone["over"] and None not in (found["high"], alone["low"]) and found["high"] < alone["low"]
    ]


def median_needed(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The median L2 norm that attacks need, and what it is `over`: the originals that it gets right, or all if none."""
    if entry["l2_median_right"]:
        return {**entry["l2_median_right"], "over": "the originals that it gets right"}
    return {**entry["l2_median"], "over": "all originals, a wrong one needing 0"}


def _needed(entry: Mapping[str, Any]) -> str:
    right = entry["l2_median_right"]
    return length_of(entry["l2_median"]) + (f"; {length_of(right)}" if right else "")


def _adaptive_auc(found: Mapping[str, Any]) -> str:
    entry = found["adaptive"]
    if entry is None:
        return "too few got through"
    return area({"value": entry["auc"], "low": entry["auc_low"], "high": entry["auc_high"]})


def _settings(entries: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    """What the attacks were run with: a column for the `defenses` that were attacked alike, a row per number.

    rows : each the number's key, and its cells.
    """
    settings = {
        name: flat({key: value for key, value in entry["settings"].items() if key not in TOLD_BLOCKS})
        for name, entry in entries.items()
    }
    keys = dict.fromkeys(key for found in settings.values() for key in found if key.split(".")[-1] not in TOLD)

    def cell(value: Any) -> str:
        if isinstance(value, list):
            return ", ".join(map(str, value))
        return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)

    alike: dict[tuple[str, ...], list[str]] = {}
    for name, found in settings.items():
        cells = tuple(cell(found[key]) if key in found else "" for key in keys)
        alike.setdefault(cells, []).append(labels[name])
    return {
        "defenses": ["; ".join(names) for names in alike.values()],
        "rows": [[key, *cells] for key, cells in zip(keys, zip(*alike, strict=True), strict=True)],
    }


def _doubled(words: str, entry: Mapping[str, Any]) -> list[str]:
    doubled = entry["doubled"]
    left = rate(doubled["robust_accuracy"])
    if doubled["times"] == 1:
        return [words, left, "nothing was left to double", "", ""]
    before = doubled["robust_accuracy"]["value"] - doubled["change"]["value"]
    return [words, percent(before), f"{doubled['times']} times", left, points(doubled["change"])]


def _randomness(words: str, entry: Mapping[str, Any]) -> list[str]:
    found = entry["randomness"]
    keys = ("deployed_vote", "single_query", "worst_of", "fixed")
    return [words, rate(entry["every_attack"]), *(rate(found[key]) for key in keys)]


def _sanity(words: str, entry: Mapping[str, Any], outside: list[str]) -> list[str]:
    sanity, settings = entry["sanity"], entry["settings"]
    return [
        words,
        f"{min(settings['sanity_originals'], entry['originals'])}",
        rate(sanity["adaptive"]),
        *(rate(sanity[attack]) if attack in sanity else "" for attack in outside),
    ]


def _detection(words: str, found: Mapping[str, Any]) -> list[str]:
    adaptive = found["adaptive"]
    return [
        words,
        found["score"].replace("_", " "),
        f"{found['static_auc']:.3f}",
        _adaptive_auc(found),
        *(percent(adaptive[f"tpr_at_fpr_{limit}"]) if adaptive else "" for limit in FALSE_POSITIVE_RATES),
    ]


def _raised(entries: Mapping[str, Any], labels: Mapping[str, str], key: str) -> list[tuple[str, float]]:
    """Who raised a tripwire, with the number that did."""
    found = [(labels[name], entry["tripwires"].get(key)) for name, entry in entries.items()]
    return [(words, wire["value"]) for words, wire in found if wire and wire["raised"]]
