"""What the headline numbers of a study were before, and are now."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.reporting.formats import number, rate
from pipeline.reporting.names import families, label
from pipeline.study_blocks import PAPER_ATTACKS

Metrics = Mapping[str, Any]
Figure = Mapping[str, float]  # value, and low and high where there is an interval


class Headline(NamedTuple):
    """kind : what is counted, by which a change is explained. of : the defense, by its key; "" : the study's own."""

    kind: str
    of: str = ""


def headlines(metrics: Metrics) -> Iterator[tuple[Headline, Figure]]:
    """Of the classifier, of the paper's sets, and of each family's main defense."""
    yield Headline("accuracy"), metrics["classifier"]["test_accuracy"]
    for attack in PAPER_ATTACKS:
        yield Headline(f"mean L2, {attack}"), {"value": metrics["attacks"][attack]["l2"]["mean"]}
    for name in families(metrics):
        judged = metrics["defenses"][name]
        yield Headline("originals kept", name), judged["clean_accuracy"]
        for attack in PAPER_ATTACKS:
            for outcome in ("thwarted", "recovered"):
                yield Headline(f"{attack} {outcome}", name), judged[attack][outcome]
        if name in metrics["adaptive"]:
            attacked = metrics["adaptive"][name]
            yield Headline("robust accuracy", name), attacked["every_attack"]
            yield Headline("L2 needed", name), attacked["l2_median"]


# Why a figure of that kind differs by more than its intervals, where its own entry of reports/earlier.json gives no reason.
REASONS = {
    "robust accuracy": "of a larger sample of the whole test split, with more restarts and attacks; before, of originals that the undefended classifier gets right",
    "L2 needed": "over a sample of the whole test split, where an original that is wrong needs none; before, over originals that the undefended classifier gets right",
}  # fmt: skip


def moved(earlier: Sequence[Mapping[str, Any]], metrics: Metrics) -> list[list[str]]:
    """A row a headline: whose, what, before, now, and where the intervals lie apart, why."""
    before = {Headline(entry["kind"], entry["of"]): entry for entry in earlier}
    now = dict(headlines(metrics))
    return [
        [
            label(metrics, one.of) if one.of else "",
            one.kind,
            *(_words(one, found.get(one)) for found in (before, now)),
            (_reason(one, before[one]) or "not explained") if _apart(before.get(one), now.get(one)) else "",
        ]
        for one in dict.fromkeys([*before, *now])
        if one.of in metrics["labels"] or not one.of
    ]


def weaker(earlier: Sequence[Mapping[str, Any]], metrics: Metrics) -> list[str]:
    """What lies below what it was by more than the intervals, of the classifier and of what defends it."""
    before = {Headline(entry["kind"], entry["of"]): entry for entry in earlier}
    return [
        f"{label(metrics, one.of) if one.of else 'Classifier'}, {one.kind}: {_words(one, before[one])} before, "
        f"{_words(one, figure)} now" + (f" ({why})" if (why := _reason(one, before[one])) else "")
        for one, figure in headlines(metrics)
        if one.of != "undefended" and _apart(before.get(one), figure) and figure["high"] < before[one]["low"]
    ]


def _reason(one: Headline, entry: Mapping[str, Any]) -> str | None:
    reason: str | None = entry.get("reason", REASONS.get(one.kind))
    return reason


def _words(one: Headline, figure: Figure | None) -> str:
    if figure is None or figure["value"] is None:
        return "—"
    if "L2" not in one.kind:
        return rate(figure)
    ends = f" [{number(figure['low'])}, {number(figure['high'])}]" if "low" in figure else ""
    return number(figure["value"]) + ends


def _apart(before: Figure | None, now: Figure | None) -> bool:
    """Whether the two are there and their intervals share nothing."""
    if before is None or now is None or "low" not in before or None in (before["value"], now["value"]):
        return False
    return before["high"] < now["low"] or now["high"] < before["low"]
