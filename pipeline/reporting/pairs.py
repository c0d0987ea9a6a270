"""Two studies on the same images: what fools either network on the other, and what differs between them."""

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.reporting.formats import number, percent, points, rate, times
from pipeline.reporting.names import label
from pipeline.reporting.outcomes import PAPER_ATTACKS

Metrics = Mapping[str, Any]
QUANTITIES = {
    "l2": "mean L2",
    "linf": "mean L\u221e",
    "sensitivity": "mean sensitivity",
    "edge_correlation": "mean correlation with edges",
}
COLUMNS = (
    ("clean", "recovered"),
    *((attack, outcome) for attack in PAPER_ATTACKS for outcome in ("thwarted", "recovered")),
)


def pair_tables(pair: Mapping[str, Any], named: Iterable[Metrics]) -> dict[str, Any]:
    """Tables of two studies, and what their sentences rest on. named : metrics that may say what defenses are called."""
    everyone = list(named)
    words = {
        name: next((label(metrics, name) for metrics in everyone if name in metrics["labels"]), name)
        for name in pair["defenses"]
    }
    return {
        **{key: pair[key] for key in ("one", "other", "originals", "transfer")},
        "transfer_rows": [
            [
                f"{attack}, made on {made_on}, shown to {entry['tried_on']}",
                f"{entry['images']:,}",
                *(rate(entry[outcome]) for outcome in ("target", "error")),
            ]
            for attack, made in pair["transfer"].items()
            for made_on, entry in made.items()
        ],
        "perturbation_rows": [row for attack, found in pair["perturbations"].items() for row in _sizes(attack, found)],
        "lengths": {attack: found["l2"]["ratio"] for attack, found in pair["perturbations"].items()},
        "cosine": pair["perturbations"]["minimal"]["cosine"],
        "columns": [f"{attack}: {outcome}" if attack != "clean" else "originals right" for attack, outcome in COLUMNS],
        "defense_rows": [[words[name], *_cells(found)] for name, found in pair["defenses"].items()],
        "differences": {
            outcome: {
                words[name]: found["minimal"][outcome] for name, found in pair["defenses"].items() if "minimal" in found
            }
            for outcome in ("thwarted", "recovered")
        },
    }


def _sizes(attack: str, found: Mapping[str, Any]) -> Iterable[list[str]]:
    for name, words in QUANTITIES.items():
        if name in found:
            entry = found[name]
            compared = times(entry["ratio"]) if "ratio" in entry else _difference(entry["difference"])
            yield [f"{attack}: {words}", number(entry["one"]), number(entry["other"]), compared]


def _difference(entry: Mapping[str, float]) -> str:
    return f"{entry['value']:+.2f} [{entry['low']:+.2f}, {entry['high']:+.2f}]"


def _cells(found: Mapping[str, Any]) -> Iterable[str]:
    """Of a defense the two rates, and the difference of the same images."""
    for attack, outcome in COLUMNS:
        entry = found.get(attack, {}).get(outcome)
        yield f"{percent(entry['one'])} / {percent(entry['other'])}, {points(entry)}" if entry else ""
