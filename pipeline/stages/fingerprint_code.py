"""Write down what code each stage, attack and defense is made of, for the other stages to depend on.

Reads:  the sources of the package.
Writes: a JSON file per script: the checksum of every module that it imports, comments and docstrings left out.
Params: none.
"""

import argparse

from pipeline.artifacts.code import write_fingerprints
from pipeline.stages.command import run


def main(arguments: argparse.Namespace) -> None:
    write_fingerprints(arguments.package, arguments.out)


if __name__ == "__main__":
    run(
        main,
        __doc__,
        package="path of the package (read)",
        out="path of the folder of checksums (written)",
    )
