"""Write benchmarks/README.md and reports/README.md whole, from benchmarks and committed metrics: `make results`.

The figures of the benchmarks are drawn anew beside their results.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks import generation_tables, tables
from benchmarks.in_short import in_short
from benchmarks.questions import HEAD, QUESTIONS

ROOT = Path(__file__).parents[1]
FIGURES: dict[str, Callable[[Any], Figure]] = {
    "generation": generation_tables.generation_figure,
    "scaling": tables.scaling_figure,
}


def benchmarks_page(results: dict[str, Any]) -> str:
    """Markdown, from the results by name; a question that lacks one says so, and what its part on a GPU said."""
    failed = {
        name: result.get("error") or result.get("skipped")
        for name, result in results.items()
        if name.startswith("gpu/") and ("error" in result or "skipped" in result)
    }
    found = {name: result for name, result in results.items() if name not in failed}
    on_gpu = {name.removeprefix("gpu/"): result for name, result in found.items() if name.startswith("gpu/")}
    chapters = [f"{HEAD}\n{in_short(found)}\n"]
    for question in QUESTIONS:
        needed = [question.result, *filter(None, [question.beside])]
        body = " ".join(["Not measured yet.", *(f"{name}: {failed[name]}." for name in needed if name in failed)])
        if all(name in found for name in needed):
            given = [on_gpu if question.result.startswith("gpu/") else found[question.result]]
            body = question.table(*given, *(found[name] for name in needed[1:]))
            body += f"\n\n![{question.figure}](results/{question.result}.png)" if question.figure else ""
        chapters.append(f"## {question.title}\n{question.words}\n\n{body}\n")
    return "\n".join(chapters)


def results(root: Path = ROOT) -> dict[str, Any]:
    """The benchmarks' results by name; those of a GPU as `gpu/<part>`; as `metrics` the studies'."""
    folder = root / "benchmarks/results"
    on_gpu = {f"gpu/{name}": result for name, result in _of_json(sorted((folder / "gpu").glob("*.json"))).items()}
    return _of_json(sorted(folder.glob("*.json"))) | on_gpu | {"metrics": metrics(root)}


def metrics(root: Path = ROOT) -> dict[str, Any]:
    """The metrics by study that git knows of; a study that it ignores is nobody's result."""
    return _of_git("reports/metrics/*.json", root)


def pairs(root: Path = ROOT) -> list[dict[str, Any]]:
    """What was found of two studies on the same images (`python -m pipeline.stages.transfer <one> <other>`)."""
    return [pair for found in _of_git("reports/transfer/*.json", root).values() for pair in found["pairs"]]


def _of_git(pattern: str, root: Path) -> dict[str, Any]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern],
        cwd=root, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    return _of_json([root / name for name in sorted(listed)])


def _of_json(paths: list[Path]) -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def main() -> None:
    from pipeline.artifacts.metrics import read_earlier
    from pipeline.reporting.results_page import results_page

    found = results()
    (ROOT / "benchmarks/README.md").write_text(benchmarks_page(found), encoding="utf-8")
    for name, figure in FIGURES.items():
        if name in found:
            figure(found[name]).savefig(ROOT / f"benchmarks/results/{name}.png", metadata={"Software": None})
    (ROOT / "reports/README.md").write_text(
        results_page(metrics(), pairs(), read_earlier(ROOT / "reports/earlier.json")), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
