"""Write down what code each stage, attack and defense is made of, for the other stages to depend on.

Reads:  the sources of the package.
Writes: a JSON file per script: the checksum of every module that it imports, comments and docstrings left out; a JSON
        file per dataset: which defenses and attacks there are.
Params: datasets, evaluations, other_attacks: only the names in them, and `method`.
"""

import argparse

from pipeline.artifacts.code import write_fingerprints
from pipeline.params import check_value, read_block
from pipeline.registry import split_method
from pipeline.stages.command import run


def main(arguments: argparse.Namespace) -> None:
    datasets = check_value(read_block(arguments.params, "datasets"), list[str], "datasets")
    attacks = read_block(arguments.params, "other_attacks")
    evaluations = read_block(arguments.params, "evaluations").values()
    methods = {name: split_method(name, block)[0] for name, blocks in attacks.items() for block in blocks.values()}
    listed = {
        dataset: {
            "defenses": [entry["defense"] for entry in evaluations if entry["dataset"] == dataset],
            "learned": sorted(
                {
                    entry["weights"].rpartition("/")[2]
                    for entry in evaluations
                    if entry["dataset"] == dataset and entry["weights"].startswith("defenses/")
                }
            ),
            "other_attacks": [name for name, blocks in attacks.items() if dataset in blocks],
        }
        for dataset in datasets
    }
    write_fingerprints(arguments.package, arguments.out, methods, listed)


if __name__ == "__main__":
    run(
        main,
        __doc__,
        package="path of the package (read)",
        out="path of the folder of checksums (written)",
    )
