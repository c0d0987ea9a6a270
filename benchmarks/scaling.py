"""Time and peak memory of generate, measure and evaluate against the number of images.

    python -m benchmarks.scaling [--study mnist] [--images 900 9000 90000] [--repeated digits] [--most 900000]

What the stages `minimal` and `evaluate` do, step by step, each in a process of its own, on sources of the train and
test split in equal parts, with the study's parameters; evaluate judges the undefended classifier on the test half.
`repeated` is a study of few images: its originals are repeated, for more than the studies have. The goal: time linear,
memory flat. Writes benchmarks/results/scaling.json.
"""

import tempfile
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import about, options, peak_mib, seconds, write
from pipeline.artifacts.adversarial import Identity
from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.evaluations import write_evaluation
from pipeline.artifacts.generation import make_set, start_from_images
from pipeline.artifacts.images import Split, read_description, read_split, write_images
from pipeline.artifacts.judging import Judged, judge_parts, parts_to_judge
from pipeline.artifacts.measurement import measure_perturbations
from pipeline.attacks.minimal import attack
from pipeline.defenses.undefended import undefended
from pipeline.devices import batching
from pipeline.models.inference import for_inference
from pipeline.stages.sets import minimal_arguments
from pipeline.studies import Study

CLASSES = 10
MINIMAL = "minimal"


def generate(name: str, folder: Path, counts: dict[str, int]) -> None:
    """The minimal set of so many originals of the images file in `folder`."""
    study = Study(name)
    parameters = minimal_arguments(study)
    path = study.path("classifier")
    model = for_inference(load_classifier(path), study.device)
    start = start_from_images(folder / "images.h5", model, counts, study.seed, study.source, "images")
    identity = Identity(name, MINIMAL, parameters, start.class_names, study.seed)
    make_set(folder / f"{MINIMAL}.h5", MINIMAL, attack, parameters, start, model, path, identity, study.source)


def measure(name: str, folder: Path, counts: dict[str, int]) -> None:
    """Its statistics."""
    study = Study(name)
    model = for_inference(load_classifier(study.path("classifier")), study.device)
    measure_perturbations(folder / f"{MINIMAL}.h5", folder / "statistics", model, study.seed, study.source)


def evaluate(name: str, folder: Path, counts: dict[str, int]) -> None:
    """The undefended classifier on its test half."""
    study = Study(name)
    model = for_inference(load_classifier(study.path("classifier")), study.device)
    size, sets = batching(study.device).predict, {MINIMAL: folder / f"{MINIMAL}.h5"}
    parts = parts_to_judge(folder / "images.h5", sets, size, study.seed, study.source)
    judged = Judged("undefended", undefended, {0: model}, "static")
    frame = judge_parts(judged, parts, size, study.seed, study.source)
    assert frame is not None
    write_evaluation(folder / "undefended.parquet", frame, {"dataset": name})


STEPS: tuple[Callable[[str, Path, dict[str, int]], None], ...] = (generate, measure, evaluate)


def alone(step: Callable[[str, Path, dict[str, int]], None], *arguments: Any) -> tuple[float, int]:
    """Seconds and peak memory in MiB of a step."""
    return seconds(lambda: step(*arguments)), peak_mib()


def repeated(study: Study, originals: int, path: Path) -> None:
    """An images file with each split's images over and over, so that `originals` can be chosen from it."""
    source = study.path("images")
    splits = {}
    for name in ("train", "test"):
        split = read_split(source, name)
        rows = np.resize(np.arange(len(split.labels)), max(len(split.labels), round(0.7 * originals)))
        splits[name] = Split(split.images[rows], split.labels[rows])
    write_images(path, read_description(source), splits)


def run(name: str, count: int) -> list[dict[str, Any]]:
    """All steps on `count` adversarial images of a study."""
    originals = count // (CLASSES - 1)
    half = originals // 2 // CLASSES * CLASSES
    counts = {"train": originals - half, "test": half}
    records = []
    with tempfile.TemporaryDirectory(dir="data") as temporary:
        folder = Path(temporary)
        repeated(Study(name), originals, folder / "images.h5")
        for step in STEPS:
            with get_context("spawn").Pool(1) as pool:
                taken, memory = pool.apply(alone, (step, name, folder, counts))
            records.append(
                {"study": name, "stage": step.__name__, "images": 9 * originals, "seconds": round(taken, 1),
                 "peak_memory_mib": memory}
            )  # fmt: skip
            print(records[-1], flush=True)
    return records


def main() -> None:
    arguments = options(__doc__, study="mnist", images=[900, 9000, 90000], repeated="digits", most=900000)
    records = []
    for count in sorted(arguments.images):
        records += run(arguments.study, count)
    if arguments.most:
        for count in (arguments.most // 100, arguments.most // 10, arguments.most):
            records += run(arguments.repeated, count)
    write("scaling", {**about(), "runs": records})


if __name__ == "__main__":
    main()
