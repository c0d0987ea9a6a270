"""Write down what code each stage, attack and defense is made of, for the other stages to depend on.

Reads:  the sources of the package.
Writes: a JSON file per script: the checksum of every module that it imports, comments and docstrings left out; a JSON
        file per dataset: which defenses and attacks there are.
Params: datasets, attacked, evaluations, other_attacks, gac, trainings: the names in them, and `method`.
"""

import argparse
from collections.abc import Mapping
from typing import Any

from pipeline.artifacts.code import write_fingerprints
from pipeline.errors import PipelineError
from pipeline.params import check_value, read_block
from pipeline.registry import split_method
from pipeline.stages.command import run


def main(arguments: argparse.Namespace) -> None:
    datasets = check_value(read_block(arguments.params, "datasets"), list[str], "datasets")
    attacks = read_block(arguments.params, "other_attacks")
    attacked = read_block(arguments.params, "attacked").values()
    trainings = read_block(arguments.params, "trainings")
    evaluations = read_block(arguments.params, "evaluations").values()
    methods = {name: attack_file(name, blocks, datasets) for name, blocks in attacks.items()}
    retrained = [
        f"{version}{part}"
        for version in read_block(arguments.params, "gac")
        for part in ("", "_control", "_noise_control")
    ]
    listed = {
        dataset: {
            "defenses": [entry["defense"] for entry in evaluations if entry["dataset"] == dataset] + retrained,
            "learned": sorted(
                {
                    entry["weights"].rpartition("/")[2]
                    for entry in evaluations
                    if entry["dataset"] == dataset and entry["weights"].rpartition("/")[2] in trainings
                }
            ),
            "attacked": [entry["defense"] for entry in attacked if entry["dataset"] == dataset],
            "other_attacks": list(attacks),
        }
        for dataset in datasets
    }
    write_fingerprints(arguments.package, arguments.out, methods, listed)


def attack_file(name: str, blocks: Any, datasets: list[str]) -> str:
    """The file of an attack. Raises PipelineError if a dataset has no block, or the blocks name different files."""
    where = f"other_attacks.{name}"
    if not isinstance(blocks, Mapping) or not set(datasets) <= set(blocks):
        raise PipelineError(f"{where}: expected a block for each of {', '.join(datasets)}, found {blocks!r}")
    files = {split_method(name, blocks[dataset], f"{where}.{dataset}")[0] for dataset in datasets}
    if len(files) > 1:
        raise PipelineError(f"{where}: expected one file for all datasets, found {', '.join(sorted(files))}")
    return files.pop()


if __name__ == "__main__":
    run(
        main,
        __doc__,
        package="path of the package (read)",
        out="path of the folder of checksums (written)",
    )
