"""What the dropout ensemble costs beyond its own passes: masks, votes, bookkeeping.

    python -m benchmarks.dropout_ensemble [--study cifar10] [--images 1024] [--passes 50] [--rounds 5]

Compares `evaluate` on the trained classifier with one bare pass of the layers before the first dropout
plus `passes` bare passes of those behind it, in turns, on the same images, and writes the median of each
and their ratio to benchmarks/results/dropout_ensemble.json. The goal is a ratio of at most 1.25.
"""

import statistics
from functools import partial

import torch

from benchmarks.common import about, options, seconds, write
from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.images import read_split
from pipeline.defenses.dropout_ensemble import dropout_ensemble, split_at_first_dropout
from pipeline.devices import batching, choose_device, keep_freed_memory
from pipeline.metrics.evaluation import evaluate
from pipeline.models.inference import for_inference, to_unit_interval
from pipeline.randomness import generator
from pipeline.studies import Study


def main() -> None:
    arguments = options(__doc__, study="cifar10", images=1024, passes=50, rounds=5)

    keep_freed_memory()
    device = choose_device()
    batch_size = batching(device).predict
    study = Study(arguments.study)
    model = for_inference(load_classifier(study.path("classifier")), device)
    images = torch.from_numpy(read_split(study.path("images"), "test").images[: arguments.images])
    before, behind = split_at_first_dropout(model)
    defense = partial(dropout_ensemble, passes=arguments.passes, rate=0.3)

    def bare() -> None:
        with torch.inference_mode():
            for batch in images.split(batch_size):
                kept = before(to_unit_interval(batch, model))
                for _ in range(arguments.passes):
                    behind(kept)

    def ours() -> None:
        evaluate(defense, model, images, batch_size, lambda batch: generator(device, 0, "benchmark", batch))

    taken: dict[str, list[float]] = {"bare": [], "ours": []}
    for _ in range(arguments.rounds):
        for name, run in (("bare", bare), ("ours", ours)):
            taken[name].append(seconds(run))
    medians = {name: statistics.median(values) for name, values in taken.items()}
    record = {
        "study": study.name,
        **about(),
        "images": arguments.images,
        "passes": arguments.passes,
        "rounds": arguments.rounds,
        "bare_passes_seconds": round(medians["bare"], 3),
        "ensemble_seconds": round(medians["ours"], 3),
        "ratio": round(medians["ours"] / medians["bare"], 3),
    }
    write("dropout_ensemble", record)
    print(record)


if __name__ == "__main__":
    main()
