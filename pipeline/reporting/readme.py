"""The README's table of results, written from the committed metrics so that it cannot differ from them."""

from collections.abc import Mapping
from typing import Any

from pipeline.reporting.outcomes import WORDS
from pipeline.reporting.paper_numbers import TABLE_1
from pipeline.reporting.section import number, rate

START, END = "<!-- results: written by `make readme` from reports/metrics -->", "<!-- end of results -->"

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
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def with_results(readme: str, metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """The README's text with its table written anew. Raises ValueError if the markers are not there."""
    before, start, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError("the README has no markers for its results")
    return f"{before}{START}\n{results_table(metrics)}\n{END}{after}"
