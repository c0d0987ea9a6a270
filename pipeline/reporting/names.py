"""What a study and its defenses are called and how they belong together, as its metrics say."""

from collections.abc import Iterable, Mapping
from typing import Any

Metrics = Mapping[str, Any]


def label(metrics: Metrics, key: str) -> str:
    """What a defense or an attack is called."""
    return str(metrics["labels"].get(key, key.replace("_", " ")))


def families(metrics: Metrics) -> dict[str, list[str]]:
    """Family -> its defenses that were judged, itself first."""
    kept = {
        name: [member for member in members if member in metrics["defenses"]]
        for name, members in metrics["families"].items()
    }
    return {name: members for name, members in kept.items() if members}


def families_of(metrics: Metrics, method: str) -> dict[str, list[str]]:
    """The families that this file of `pipeline/defenses` makes."""
    return {name: members for name, members in families(metrics).items() if metrics["methods"][name] == method}


def study(metrics: Metrics) -> str:
    """The study's name."""
    return str(metrics["run"]["study"])


def source(metrics: Metrics) -> str:
    """The key of where the images came from: what the paper reports, it reports of images."""
    return str(metrics["run"]["dataset"])


def label_of(metrics: Metrics, attack: str) -> str:
    """What an attack is called: by its key, if the metrics give it no label."""
    return str(metrics["labels"].get(attack, attack))


def trainings_of(metrics: Metrics, name: str) -> str:
    """Of how many trainings a defense's figures are: "one training", "mean of 3 trainings"; "" if it learns nothing."""
    entry = metrics["defenses"][name]
    count = entry.get("trainings", 1)
    if not entry["trained"]:
        return ""
    return f"mean of {count} trainings" if count > 1 else "one training"


def with_trainings(metrics: Metrics, name: str) -> str:
    """What a defense is called, and of how many trainings its figures are."""
    return ", ".join(filter(None, [label(metrics, name), trainings_of(metrics, name)]))


def one_training(metrics: Metrics, name: str, cell: str) -> str:
    """A figure of the first of a defense's several trainings says so."""
    return f"{cell}, one training" if metrics["defenses"].get(name, {}).get("trainings", 1) > 1 else cell


def transferred(metrics: Metrics, names: Iterable[str]) -> list[str]:
    """The labels of those that are another classifier than the attacked one: their figures are transfer."""
    entries = metrics["defenses"]
    return [label(metrics, name) for name in names if entries[name].get("minimal", {}).get("setting") == "transfer"]


def by_device(metrics: Metrics) -> dict[str, list[str]]:
    """By device in words the stages that ran on it, those of all attacks or defenses once."""
    found: dict[str, list[str]] = {}
    for stage, device in metrics["run"]["devices"].items():
        name = stage.split("-", 1)[0]
        if name not in found.setdefault(device, []):
            found[device].append(name)
    return found
