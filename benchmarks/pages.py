"""Write benchmarks/README.md and reports/README.md whole, from benchmarks and committed metrics: `make results`.

The figures of the benchmarks are drawn anew beside their results.
"""

import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from benchmarks import tables

ROOT = Path(__file__).parents[1]
HEAD = """# Speed

What the engine, the attacks and the defenses take, beside what else there is; one question, one table. Written by `make results` from
`benchmarks/results/`, which `make bench` measures after a run of the studies. `python -m benchmarks.<name> --help` tells how each does it.
"""


class Question(NamedTuple):
    """A chapter: its title, how the answer is measured, the result that its table is made of, and a figure's words."""

    title: str
    words: str
    result: str
    table: Callable[[Any], str]
    figure: str = ""


QUESTIONS = (
    Question(
        "What does a study cost beside its computing?",
        "A small study from nothing, as `make demo` reproduces it after the installation; the same with commands that only copy finished outputs; "
        "and with nothing to do (`benchmarks/start_up.py`).",
        "start_up",
        tables.start_up_table,
    ),
    Question(
        "And which stage takes it?",
        "Seconds as the stages say themselves, once imported; each run is a process of its own, and imports its script first.",
        "start_up",
        tables.stages_table,
    ),
    Question(
        "Is the engine faster than the attack libraries on the same rule?",
        "Steps of one length along the normalized gradient of the target's log-probability. Ours stops each image at its first success; torchattacks, Foolbox and ART "
        "take the steps that 99.9 % success needs. They are given a frozen model with batch normalization folded, in channels_last, and their better batch, and so run near the "
        "ceiling too: what is left is the passes of the slowest image over the mean number of passes (`benchmarks/generation.py`).",
        "generation",
        tables.same_rule_table,
    ),
    Question(
        "And at each system's best?",
        "Every system over its own step sizes, numbers of steps and radii, each peer with the batch that was faster for it; what fools at least 99.9 %. Ours: *ours*, the pipeline's `minimal`; "
        "*ours-normalized*, the same with steps of one length; *ours-minimum_norm*, a walk along the boundary to the nearest image. Each of our configurations that no other of ours beats in speed and length "
        "at once, and the fastest peer whose perturbations are no longer.",
        "generation",
        partial(tables.best_table, ours_first=True),
        "images/s against mean L2",
    ),
    Question(
        "And seen from the peers' side?",
        "Each configuration of a peer that no other peer's beats in both, and the fastest of ours whose perturbations are no longer.",
        "generation",
        partial(tables.best_table, ours_first=False),
    ),
    Question(
        "How near is the engine to what the device gives?",
        "The fastest bare forward and input-gradient passes, over memory formats, batches and threads, the engine beside them, and where its time goes (`benchmarks/ceiling.py`).",
        "ceiling",
        tables.ceiling_table,
    ),
    Question(
        "Does time grow in proportion, and memory not at all?",
        "Step by step, of few images many repeated (`benchmarks/scaling.py`).",
        "scaling",
        tables.scaling_table,
        "time and memory against the number of images",
    ),
    Question(
        "What does each attack cost?",
        "A pass is one image through the classifier and back. JSMA shrinks its batch as images are fooled, and a small batch is slower (`benchmarks/attacks.py`).",
        "attacks",
        tables.speeds_table,
    ),
    Question(
        "What does an epoch of the GAC cost beside its forward and backward passes?",
        "Generator, classifier and both controls; the goal is a ratio of at most 1.25 (`benchmarks/gac.py`).",
        "gac",
        tables.gac_epochs_table,
    ),
    Question(
        "What does the dropout ensemble cost beside as many bare passes?",
        "Masks, votes, bookkeeping; the goal is a ratio of at most 1.25 (`benchmarks/dropout_ensemble.py`).",
        "dropout_ensemble",
        tables.ensemble_table,
    ),
)
FIGURES: dict[str, Callable[[Any], Figure]] = {
    "generation": tables.generation_figure,
    "scaling": tables.scaling_figure,
}


def benchmarks_page(results: dict[str, Any]) -> str:
    """Markdown, from the results by name; a question without one says so."""
    chapters = [HEAD]
    for question in QUESTIONS:
        body = "Not measured yet."
        if question.result in results:
            body = question.table(results[question.result])
            body += f"\n\n![{question.figure}](results/{question.result}.png)" if question.figure else ""
        chapters.append(f"## {question.title}\n{question.words}\n\n{body}\n")
    return "\n".join(chapters)


def results(root: Path = ROOT) -> dict[str, Any]:
    """The benchmarks' results by name."""
    return _of_json(sorted((root / "benchmarks/results").glob("*.json")))


def metrics(root: Path = ROOT) -> dict[str, Any]:
    """The metrics by study that git knows of; a study that it ignores is nobody's result."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "reports/metrics/*.json"],
        cwd=root, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    return _of_json([root / name for name in sorted(listed)])


def _of_json(paths: list[Path]) -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def main() -> None:
    from pipeline.reporting.results_page import results_page

    found = results()
    (ROOT / "benchmarks/README.md").write_text(benchmarks_page(found), encoding="utf-8")
    for name, figure in FIGURES.items():
        if name in found:
            figure(found[name]).savefig(ROOT / f"benchmarks/results/{name}.png", metadata={"Software": None})
    (ROOT / "reports/README.md").write_text(results_page(metrics()), encoding="utf-8")


if __name__ == "__main__":
    main()
