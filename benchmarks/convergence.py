"""How near the white-box attack on an adversarially trained classifier comes to the longest there is, and at what cost.

    python -m benchmarks.convergence [--study digits]

On the originals that the study's adaptive attacks are made on, at the stated budget: AutoAttack at its published
settings (100 steps, 5,000 queries) and shortened, projected gradient ascent by steps and runs, the study's own among
them. A pass is one image through the network, forward alone or back too; robust accuracy is of all originals, those
wrong without an attack included. Writes benchmarks/results/convergence.json; `make results` renders the table.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import about, counting, options, seconds, write
from pipeline.attacks.autoattack import autoattack
from pipeline.attacks.pgd import pgd
from pipeline.attacks.shared.goals import Evasion
from pipeline.devices import batching
from pipeline.models.inference import to_unit_interval
from pipeline.randomness import generator
from pipeline.stages.attack_defense import sampled_originals, settings_of, target_of
from pipeline.stages.families import load_family
from pipeline.studies import Study

METHOD = "adversarial_training"


def main() -> None:
    arguments = options(__doc__, study="digits")
    torch.set_num_threads(1)
    study = Study(arguments.study)
    loaded = next(one for key in study.families for one in load_family(study, key) if study.method(key) == METHOD)
    settings = settings_of(study, loaded.name, randomized=False)
    images, labels, _ = sampled_originals(study, settings.originals)
    originals = to_unit_interval(images, loaded.model)
    model = target_of(study, loaded).model(1, "benchmark")
    with torch.no_grad():
        right = (model(originals).mean(1).argmax(1) == labels).nonzero()[:, 0]
    shared: dict[str, Any] = {"norm": settings.norm, "epsilon": settings.budget}

    def measure(words: str, attack: Callable[..., tuple[Tensor, Tensor]], **parameters: Any) -> dict[str, Any]:
        left = []

        def run() -> None:
            for block, rows in enumerate(right.split(batching(study.device).attack)):
                random = generator(study.device, study.seed, "benchmark", block)
                found, _ = attack(model, originals[rows], Evasion(labels[rows]), random, **shared, **parameters)
                with torch.no_grad():
                    left.append(int((model(found).mean(1).argmax(1) == labels[rows]).sum()))

        with counting(model) as counts:
            taken = seconds(run)
        robust = sum(left) / len(labels)
        record = {"attack": words, **parameters, "passes": counts[0], "seconds": round(taken, 1), "robust": robust}
        print(record, flush=True)
        return record

    ours: dict[str, Any] = {key: value for key, value in settings.ascent.items() if key != "method"}
    records = [
        measure("AutoAttack, published", autoattack, steps=100, queries=5000),
        measure("AutoAttack, shortened", autoattack, steps=20, queries=300),
        *(
            measure("ascent", pgd, **{**ours, "steps": steps}, restarts=restarts)
            for steps, restarts in ((20, 1), (20, 4), (40, 4), (40, 9), (100, 9), (300, 27))
        ),
        measure("ascent, the study's", pgd, **ours, restarts=settings.restarts),
        measure("ascent, doubled", pgd, **{**ours, "steps": 2 * ours["steps"]}, restarts=2 * settings.restarts),
    ]
    write(
        "convergence",
        {
            "study": study.name,
            **about(),
            **shared,
            "originals": len(labels),
            "clean": len(right) / len(labels),
            "records": records,
        },
    )


if __name__ == "__main__":
    main()
