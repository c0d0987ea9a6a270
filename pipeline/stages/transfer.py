"""Show what fools one study's classifier to another's of the same images, and compare the two, original by original.

Without words: every two of the listed studies whose test splits are the same. With two studies: these, without DVC.

Reads:  of each study the images, the classifier, minimal's and extended's sets and statistics, the evaluations.
Writes: data/transfer.json; of two that were named reports/transfer/<one>+<other>.json.
Params: studies, of the root's params.yaml.
Cost:   for every two studies a pass of each classifier over the other's images of the originals that both attacked.
"""

import argparse
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.artifacts.evaluations import read_evaluation
from pipeline.artifacts.images import same_test_split
from pipeline.artifacts.left_out import what_applies
from pipeline.artifacts.metrics import write_metrics
from pipeline.artifacts.statistics import read_frame
from pipeline.errors import PipelineError
from pipeline.metrics.paired_studies import (
    compare_defenses,
    compare_perturbations,
    in_both,
    misled_more,
    outcomes_by_image,
    with_verdicts,
)
from pipeline.metrics.summary import rounded
from pipeline.metrics.transfer import measure_transfer, nested_rates
from pipeline.params import check_value, read_yaml
from pipeline.stages.command import command
from pipeline.studies import Study
from pipeline.study_blocks import PAPER_ATTACKS

PARAMS, LISTED, NAMED = Path("params.yaml"), Path("data/transfer.json"), Path("reports/transfer")


def main(names: Sequence[str]) -> None:
    if names:
        if len(names) != 2:
            raise PipelineError(f"expected two studies, or none, found {', '.join(names)}")
        one, other = names
        pair = compare(Study(one), Study(other)) if one != other else None
        if not pair:
            raise PipelineError(
                f"{one}, {other}: expected two different studies of the same test images, and two originals or more in "
                "common whose images fool their network in both"
            )
        path = NAMED / f"{one}+{other}.json"
        write_metrics(path, {"pairs": [rounded(pair)]})
        print(f"{path}: {pair['originals']} originals in common")
        return
    listed = check_value(read_yaml(PARAMS).get("studies"), list[str], f"{PARAMS}: studies")
    pairs = [pair for two in combinations(map(Study, listed), 2) if (pair := compare(*two))]
    write_metrics(LISTED, {"pairs": rounded(pairs)})


def compare(one: Study, other: Study) -> dict[str, Any] | None:
    """What there is to say of two studies.

    None if their test images differ, or if of an attack fewer than two originals in common have images that fool both.
    """
    if not same_test_split(one.path("images"), other.path("images")):
        return None
    examples = {study.name: {attack: _examples(study, attack) for attack in PAPER_ATTACKS} for study in (one, other)}
    both = {attack: in_both(*(found[attack] for found in examples.values())) for attack in PAPER_ATTACKS}
    fooled = (rows[rows["is_adversarial_one"] & rows["is_adversarial_other"]] for rows in both.values())
    if any(rows["source_index"].nunique() < 2 for rows in fooled):
        return None
    models = _classifiers(one, other)
    shown = {attack: _transfer(one, other, attack, rows, models) for attack, rows in both.items()}
    return {
        "one": one.name,
        "other": other.name,
        "originals": both["minimal"]["source_index"].nunique(),
        "transfer": {attack: made for attack, (made, _) in shown.items()},
        "misled": with_verdicts({attack: misled for attack, (_, misled) in shown.items()}),
        "perturbations": {
            attack: compare_perturbations(rows, _cosines(one, other, attack, rows)) for attack, rows in both.items()
        },
        "defenses": compare_defenses(
            *_judged(one, other, {name: found["minimal"] for name, found in examples.items()})
        ),
    }


def _examples(study: Study, attack: str) -> pd.DataFrame:
    return read_frame(study.path("statistics", attack) / "examples.parquet", "examples")[0]


def _classifiers(*studies: Study) -> dict[str, Any]:
    """By study its classifier, an nn.Module, ready for inference."""
    from pipeline.artifacts.checkpoint import load_classifier  # torch: not where there is nothing to be shown
    from pipeline.models.inference import for_inference

    return {study.name: for_inference(load_classifier(study.path("classifier")), study.device) for study in studies}


def _transfer(
    one: Study, other: Study, attack: str, rows: pd.DataFrame, models: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """By study that they were made on, of its images that fool its own network what the other's sees in them.

    Also, where both are fooled, how much oftener those of the other mislead.
    """
    from pipeline.artifacts.transfer import seen_by

    found, errs = {}, []
    for made_on, tried_on, end in ((one, other, "one"), (other, one, "other")):
        fooled = rows[rows[f"is_adversarial_{end}"]]
        predicted = seen_by(models[tried_on.name], made_on.path(attack), fooled[f"row_{end}"].to_numpy(np.int64))
        labels, targets, originals = (
            fooled[name].to_numpy() for name in (f"label_{end}", "target_label", "source_index")
        )
        rates = measure_transfer(attack, made_on.name, tried_on.name, predicted, labels, targets, originals)
        counts = {"originals": len(np.unique(originals)), "images": rates.images}
        found[made_on.name] = {"tried_on": tried_on.name, **counts, **nested_rates(vars(rates))}
        errs.append(pd.Series(predicted != labels, fooled.index))
    return found, misled_more(errs[0], errs[1], rows["source_index"])


def _cosines(one: Study, other: Study, attack: str, rows: pd.DataFrame) -> NDArray[np.float64]:
    from pipeline.artifacts.transfer import cosines

    mine, its = (rows[name].to_numpy(np.int64) for name in ("row_one", "row_other"))
    return cosines(one.path(attack), mine, other.path(attack), its)


def _judged(one: Study, other: Study, minimal: Mapping[str, pd.DataFrame]) -> list[dict[str, pd.DataFrame]]:
    """Of either study the outcomes of the defenses that both have: of one name, and made by one file."""
    applied = [what_applies(study)[0] for study in (one, other)]
    files = [
        {name: (family, study.method(family, name)) for family, names in study.families.items() for name in names}
        for study in applied
    ]
    shared = [
        name
        for name, (_, method) in files[0].items()
        if name in files[1] and files[1][name][1] == method and name != "undefended"  # which all of these images fool
    ]
    return [
        {
            name: outcomes_by_image(
                read_evaluation(study.evaluation_path(found[name][0], name))[0], minimal[study.name]
            )
            for name in shared
        }
        for study, found in zip(applied, files, strict=True)
    ]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="*", help="two studies, whether the root's params.yaml lists them or not")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args()


if __name__ == "__main__":
    words = parse()
    command(lambda: main(words.studies), words.debug, words.studies)
