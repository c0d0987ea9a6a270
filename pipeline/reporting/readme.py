"""The README's tables, written from committed metrics and benchmarks so that they cannot differ from them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.metrics.gains import CONTROLS, GAC
from pipeline.reporting.adaptive import one_table
from pipeline.reporting.outcomes import WORDS
from pipeline.reporting.paper_numbers import TABLE_1
from pipeline.reporting.section import number, percent, points, rate

SHOWN = ("dropout_ensemble", "autoencoder_ensemble", "autoencoder_ensemble_tuned")


def results_table(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: a column per dataset; the paper's number beside ours where it has one."""
    rows: list[list[str]] = [["", *metrics], ["---"] * (len(metrics) + 1)]

    def row(name: str, cell: Any) -> None:
        rows.append([name, *(cell(dataset, entry) for dataset, entry in metrics.items())])

    row("images", lambda _, m: m["run"]["source"])
    row("device", lambda _, m: m["run"]["device"])
    row("classifier, test accuracy", lambda _, m: rate(m["classifier"]["test_accuracy"], 2))
    for attack in ("minimal", "extended"):
        row(f"{attack}: images", lambda _, m, a=attack: f"{m['attacks'][a]['examples']:,}")
        row(f"{attack}: fooled, as stored", lambda _, m, a=attack: rate(m["attacks"][a]["success_rate"], 2))
        row(f"{attack}: mean steps", lambda _, m, a=attack: f"{m['attacks'][a]['steps_mean']:.1f}")
        row(
            f"{attack}: mean L2 (paper)",
            lambda d, m, a=attack: (
                number(m["attacks"][a]["l2"]["mean"])
                + (f" ({number(TABLE_1[d, a]['l2']['mean'])})" if (d, a) in TABLE_1 else "")
            ),
        )
    row(
        "correlation of mean perturbation with class difference",
        lambda _, m: f"{m['attacks']['minimal']['class_correlation_mean']:.2f}",
    )
    return markdown(rows)


def attacks_table(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: a row per dataset and attack; its success, its size against DDN's, and what the ensembles recover."""
    names = [f"{WORDS[defense]}: thwarted / recovered" for defense in SHOWN]
    rows = [["dataset", "attack", "fooled", "median L2 over DDN's", *names]]
    rows.append(["---"] * len(rows[0]))
    for dataset, entry in metrics.items():
        for attack, about in entry["attacks"].items():
            ratio = about["l2_ratio"].get("ddn")
            rows.append(
                [
                    dataset,
                    attack,
                    percent(about["success_rate"]["value"]),
                    f"{ratio['median']:.2f}" if ratio and attack != "ddn" else "",
                    *(
                        " / ".join(
                            percent(entry["defenses"][defense][attack][outcome]["value"])
                            for outcome in ("thwarted", "recovered")
                        )
                        if attack in entry["defenses"][defense]
                        else "not judged"
                        for defense in SHOWN
                    ),
                ]
            )
    return markdown(rows)


def gac_table(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: a row per dataset and version of the GAC; clean accuracy and gains over both controls, test split."""
    rows = [
        [
            "dataset",
            "version",
            "lambda",
            "trainings",
            "generator's mean L2",
            "clean: GAC / control / noise control",
            "over control: minimal",
            "over control: extended",
            "over noise control: minimal",
            "over noise control: extended",
            "L2 needed, over control's",
        ]
    ]
    rows.append(["---"] * len(rows[0]))
    for dataset, entry in metrics.items():
        for version, about in entry["gac"].items():
            ratio = about["minimal_against_it"]["l2_ratio"].get("over_control")
            rows.append(
                [
                    dataset,
                    WORDS[version],
                    f"{about['lambda']['used']:g}",
                    f"{about['trainings']}",
                    number(about["generator"]["test"]["perturbation_l2"]),
                    " / ".join(percent(about["accuracy"]["clean"]["test"][model]) for model in (GAC, *CONTROLS)),
                    *(
                        points(about["gain"][attack][f"over_{control}"])
                        for control in CONTROLS
                        for attack in ("minimal", "extended")
                    ),
                    f"{ratio['value']:.2f}" if ratio else "not found",
                ]
            )
    return markdown(rows)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table, the first row its header."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def defenses_table(metrics: Mapping[str, Any]) -> str:
    """Markdown: the report's one table of a dataset, a row per attacked defense."""
    header, rows = one_table(metrics)
    return markdown([header, ["---"] * len(header), *rows])


def with_tables(readme: str, tables: Mapping[str, str]) -> str:
    """The README's text with its tables written anew, each between `<!-- name: ... -->` and `<!-- end of name -->`.

    Raises ValueError if a table's markers are not there.
    """
    for name, table in tables.items():
        pattern = re.compile(rf"(<!-- {name}: [^>]*-->\n).*?(\n<!-- end of {name} -->)", re.DOTALL)
        readme, count = pattern.subn(lambda found, table=table: found[1] + table + found[2], readme)  # type: ignore[misc]
        if count != 1:
            raise ValueError(f"the README has no markers <!-- {name}: ... --> and <!-- end of {name} -->")
    return readme
