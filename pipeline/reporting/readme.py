"""The README's tables, written from committed metrics and benchmarks so that they cannot differ from them."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.reporting.outcomes import WORDS
from pipeline.reporting.paper_numbers import TABLE_1
from pipeline.reporting.section import number, percent, rate

RESULTS = "<!-- results: written by `make readme` from reports/metrics -->", "<!-- end of results -->"
ATTACKS = "<!-- attacks: written by `make readme` from reports/metrics -->", "<!-- end of attacks -->"
SPEEDS = "<!-- speeds: written by `make readme` from benchmarks/results/attacks.json -->", "<!-- end of speeds -->"
SHOWN = ("dropout_ensemble", "autoencoder_ensemble", "autoencoder_ensemble_tuned")

DEFENSES = (
    "dropout_ensemble",
    "gaussian_noise_ensemble",
    "autoencoder_ensemble",
    "autoencoder_ensemble_tuned",
    "autoencoder_without_dropout",
    "gaussian_blur",
)


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
    for defense in DEFENSES:
        words = WORDS[defense]
        row(f"{words}: attacked originals right", lambda _, m, d=defense: rate(m["defenses"][d]["clean_accuracy"]))
        for attack in ("minimal", "extended"):
            row(
                f"{words}: {attack}, thwarted / recovered (static)",
                lambda _, m, d=defense, a=attack: " / ".join(
                    rate(m["defenses"][d][a][outcome]) for outcome in ("thwarted", "recovered")
                ),
            )
    return _markdown(rows)


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
    return _markdown(rows)


def speeds_table(records: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a row per dataset and attack, from the records of benchmarks/attacks.py."""
    header = ["dataset", "attack", "images/s", "passes per image", "passes/s", "fooled", "median L2", "peak memory"]
    rows = [header, ["---"] * len(header)]
    for record in records:
        rows.append(
            [
                record["dataset"],
                record["attack"],
                f"{record['images_per_second']:,.0f}",
                f"{record['passes_per_image']:g}",
                f"{record['passes_per_second']:,}",
                percent(record["success_rate"]),
                "" if record["l2_median"] is None else f"{record['l2_median']:g}",
                f"{record['peak_memory_mib']:,} MiB",
            ]
        )
    first = records[0]
    return f"{_markdown(rows)}\n\n{first['images']} images each; {first['device']}, PyTorch {first['torch']}."


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def with_tables(readme: str, metrics: Mapping[str, Mapping[str, Any]], speeds: Sequence[Mapping[str, Any]]) -> str:
    """The README's text with its tables written anew. Raises ValueError if a table's markers are not there."""
    tables = {RESULTS: results_table(metrics), ATTACKS: attacks_table(metrics), SPEEDS: speeds_table(speeds)}
    for (first, last), table in tables.items():
        before, start, rest = readme.partition(first)
        _, end, after = rest.partition(last)
        if not start or not end:
            raise ValueError(f"the README has no markers {first} ... {last}")
        readme = f"{before}{first}\n{table}\n{last}{after}"
    return readme
