"""What defenses did with adversarial images: the table of all of them."""

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.reporting.changes import weaker
from pipeline.reporting.formats import rate
from pipeline.reporting.names import one_training, transferred, with_trainings
from pipeline.reporting.replicates import again
from pipeline.reporting.section import Section
from pipeline.study_blocks import PAPER_ATTACKS

FEW = 100  # originals: the interval of a rate may be 20 points wide


def attacks_on(metrics: Mapping[str, Any], defense: str) -> list[str]:
    """Those of the paper's attacks whose sets the defense was judged on."""
    return [name for name in PAPER_ATTACKS if name in metrics["defenses"][defense]]


def outcome_table(metrics: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Clean accuracy, thwarted and recovered of these defenses, on the sets that the first was judged on.

    `columns`, `rows` and `originals`, for the templates' macro `outcomes`.
    """
    entries = {name: metrics["defenses"][name] for name in names}
    first = next(iter(entries))
    attacks = attacks_on(metrics, first)
    adaptive = metrics["adaptive"]

    def row(words: str, entry: Mapping[str, Any], setting: str, robust: str) -> list[str]:
        outcomes = (
            rate(entry[attack][outcome]) if attack in entry else "not judged"
            for attack in attacks
            for outcome in ("thwarted", "recovered")
        )
        return [words, rate(entry["test_accuracy"]), rate(entry["clean_accuracy"]), setting, *outcomes, robust]

    rows = []
    for name, entry in entries.items():
        words = with_trainings(metrics, name) + (f", {entry['passes']} passes" if entry["passes"] > 1 else "")
        setting = ", ".join(sorted({entry[attack]["setting"] for attack in attacks if attack in entry}))
        robust = (
            one_training(metrics, name, rate(adaptive[name]["every_attack"])) if name in adaptive else "not attacked"
        )
        rows.append(row(words, entry, setting, robust))
        if other := again(metrics, name):
            rows.append(row(*other, setting, ""))
    return {
        "columns": [f"{attack}: {outcome}" for attack in attacks for outcome in ("thwarted", "recovered")],
        "rows": rows,
        "originals": entries[first]["originals"],
        "transferred": transferred(metrics, names_of_heads(metrics, entries)),
    }


def names_of_heads(metrics: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """Of these defenses those that are no variant of another."""
    variants = {name for members in metrics["families"].values() for name in members[1:]}
    return [name for name in names if name not in variants]


def overview_section(metrics: Mapping[str, Any], earlier: Mapping[str, Any]) -> Section:
    """All defenses in one table, those added by a user included; first what is weaker than it was, or was changed.

    earlier : the headline numbers of an earlier commit by study, as in reports/earlier.json.
    """
    study = metrics["run"]["study"]
    return Section(
        "overview",
        {
            "judged": outcome_table(metrics, metrics["defenses"]),
            "few": FEW,
            "weaker": weaker(earlier["studies"].get(study, ()), metrics),
            "before": earlier["commit"],
            "changed": earlier["changed"].get(study, ()),
        },
    )
