"""Two studies on the same images: what fools either network on the other, and what differs between them."""

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.metrics.paired_studies import OUTCOMES
from pipeline.reporting.formats import number, percent, points, rate, times
from pipeline.reporting.names import label

Metrics = Mapping[str, Any]
QUANTITIES = {
    "l2": "mean L2",
    "linf": "mean L\u221e",
    "sensitivity": "mean sensitivity",
    "edge_correlation": "mean correlation with edges",
}
COLUMNS = tuple((attack, outcome) for attack, outcomes in OUTCOMES.items() for outcome in outcomes)


def pair_tables(pair: Mapping[str, Any], named: Iterable[Metrics]) -> dict[str, Any]:
    """Three tables of two studies, and what their sentences rest on. named : metrics that say what defenses are called."""
    labels: dict[str, str] = {}
    for metrics in named:
        labels = {name: label(metrics, name) for name in metrics["labels"]} | labels
    words = {name: labels.get(name, name) for name in pair["defenses"]}
    one, other = pair["one"], pair["other"]
    return {
        **{key: pair[key] for key in ("one", "other", "originals", "transfer", "misled")},
        "lengths": {attack: found["l2"]["ratio"] for attack, found in pair["perturbations"].items()},
        "cosine": pair["perturbations"]["minimal"]["cosine"],
        "differences": {
            outcome: {
                words[name]: found["minimal"][outcome] for name, found in pair["defenses"].items() if "minimal" in found
            }
            for outcome in ("thwarted", "recovered")
        },
        "shown": {
            "header": ["images", "number", "the other network sees the target", "it errs"],
            "rows": [
                [
                    f"{attack}, made on {made_on}, shown to {entry['tried_on']}",
                    f"{entry['images']:,}",
                    *(rate(entry[outcome]) for outcome in ("target", "error")),
                ]
                for attack, made in pair["transfer"].items()
                for made_on, entry in made.items()
            ],
        },
        "perturbations": {
            "header": ["perturbations", one, other, f"{other} over {one}"],
            "rows": [row for attack, found in pair["perturbations"].items() for row in _sizes(attack, found)],
        },
        "defenses": {
            "header": [
                "defense",
                *("originals right" if attack == "clean" else f"{attack}: {outcome}" for attack, outcome in COLUMNS),
            ],
            "rows": [[words[name], *_cells(found)] for name, found in pair["defenses"].items()],
        },
    }


def _sizes(attack: str, found: Mapping[str, Any]) -> Iterable[list[str]]:
    for name, words in QUANTITIES.items():
        if name in found:
            entry = found[name]
            compared = times(entry["ratio"]) if "ratio" in entry else _difference(entry["difference"])
            yield [f"{attack}: {words}", number(entry["one"]), number(entry["other"]), compared]


def _difference(entry: Mapping[str, float]) -> str:
    value, low, high = (f"{entry[end]:+.3f}".replace("-0.000", "+0.000") for end in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _cells(found: Mapping[str, Any]) -> Iterable[str]:
    """Of a defense the two rates, and the difference of the same images."""
    for attack, outcome in COLUMNS:
        entry = found.get(attack, {}).get(outcome)
        yield f"{percent(entry['one'])} / {percent(entry['other'])}, {points(entry)}" if entry else ""
