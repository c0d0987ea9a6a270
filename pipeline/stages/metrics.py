"""Measure how well each defense's passes detect adversarial images, and average everything into one small file.

Reads:  what was chosen, learned, evaluated and measured; labels of the defenses.
Writes: the tables of AUC and true positive rates, of every score and of the chosen one; the ROC curves; the metrics.
Params: seed, images, classifier, training, sources, threat, other_attacks, defenses, sizes: shown beside the results.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.artifacts.code import read_labels
from pipeline.artifacts.curves import read_curves
from pipeline.artifacts.evaluations import read_evaluation
from pipeline.artifacts.facts import read_facts
from pipeline.artifacts.images import read_description, read_summary
from pipeline.artifacts.left_out import what_applies
from pipeline.artifacts.metrics import PROTOCOL, write_metrics
from pipeline.artifacts.ran_on import read_devices
from pipeline.artifacts.statistics import read_frame, write_frame
from pipeline.machine import describe_machine
from pipeline.mapper import in_order
from pipeline.metrics.adaptive import check_same_budget, over_undefended, summarize_adaptive
from pipeline.metrics.comparisons import compare_family
from pipeline.metrics.detection import NEEDED, area_gain, detect_named
from pipeline.metrics.replicates import summarize_replicates
from pipeline.metrics.splits import VALIDATION
from pipeline.metrics.summary import (
    l2_ratio,
    nested_detection,
    rounded,
    summarize_attack,
    summarize_evaluation,
)
from pipeline.metrics.trainings import first_training
from pipeline.metrics.transfer import summarize_sizes
from pipeline.progress import bar
from pipeline.stages.command import run
from pipeline.stages.learned import choices_of, gains_of, learning_of, precisions, restorations_of
from pipeline.studies import Study

# What every attack's perturbations are measured against, on the same originals and targets, where the study has it.
YARDSTICKS = ("minimal", "ddn")


def main(study: Study) -> None:
    study, left_out = what_applies(study)
    description = read_description(study.path("images"))
    attacks = _attacks(study)
    evaluations = {
        name: read_evaluation(study.evaluation_path(family, name))
        for family, names in study.families.items()
        for name in names
    }
    scores, chosen = _detect(study, {name: frame for name, (frame, _) in evaluations.items()})
    defenses, everything = {}, {}
    for family, names in study.families.items():
        for name in names:
            frame, about = evaluations[name]
            other = study.path("other_evaluation", family) / f"{name}.parquet"
            if other.is_file():
                others, _ = read_evaluation(other)
                listed = others[others["attack"].isin(study.other_attacks)]  # one that was taken out is still there
                frame = pd.concat([frame, listed], ignore_index=True)
            everything[name] = frame
            described = {"arguments": about["arguments"], "trained": about["role"] is not None}
            defenses[name] = described | summarize_evaluation(frame)
    choices = choices_of(study, attacks, {name: about["arguments"] for name, (_, about) in evaluations.items()})
    abouts = {name: about for name, (_, about) in evaluations.items()}
    comparisons: dict[str, Any] = {}
    primary = {family: abouts[family]["primary"] for family in study.families}
    for family, names in study.families.items():
        comparisons |= compare_family({name: abouts[name]["role"] for name in names}, everything, primary[family])
    gac = gains_of(study, defenses, choices, comparisons)
    metrics = {
        "run": {
            "study": study.name,
            "dataset": study.source,
            "protocol": PROTOCOL,
            "device": describe_machine(),
            "devices": read_devices(study.path("devices"), {*study.families, *study.other_attacks}),
            "source": description.source,
            "source_checksum": description.source_checksum,
        },
        "images": read_summary(study.path("images")),
        "params": {key: study.value(key) for key in ("seed", "classifier", "training", "sources")} | precisions(study),
        "labels": read_labels(study.path("code") / "labels.json"),
        "families": study.families,
        "methods": {family: study.method(family) for family in study.families},
        "classifier": {
            "test_accuracy": defenses["undefended"]["test_accuracy"],
            **read_facts(study.path("classifier_facts")),
        },
        "left_out": left_out,
        "attacks": attacks,
        "choices": choices,
        "defenses": defenses,
        **learning_of(study, choices),
        "gac": gac,
        "comparisons": comparisons,
        "primary": primary,
        "restorations": restorations_of(study, choices),
        "sizes": {"models": {}, "transfer": {}} if "sizes" in left_out["parts"] else _sizes(study.path("sizes")),
        "replicates": {} if "replicates" in left_out["parts"] else _replicates(study.path("replicates"), primary),
        "detection": nested_detection(scores, ("defense", "score", "attack", "negatives")),
        "chosen_detection": nested_detection(chosen, ("defense", "attack", "negatives")),
        "adaptive": _adaptive(study, chosen),
    }
    write_metrics(study.path("metrics"), rounded(metrics))


def _attacks(study: Study) -> dict[str, Any]:
    attacks, examples = {}, {}
    for name in study.attacks:
        folder = study.path("statistics", name)
        examples[name], about = read_frame(folder / "examples.parquet", "examples")
        pairs, _ = read_frame(folder / "pairs.parquet", "pairs")
        profile, _ = read_frame(folder / "profile.parquet", "profile")
        attacks[name] = summarize_attack(name, examples[name], pairs, profile, about["params"])
    for name, entry in attacks.items():
        entry["l2_ratio"] = {
            other: l2_ratio(examples[name], examples[other]) for other in YARDSTICKS if other in attacks
        }
    return attacks


def _detect(study: Study, evaluations: dict[str, pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Detection, of the first training: by every score; by the chosen, with what it gains over undefended."""
    paths = {name: study.evaluation_path(family, name) for family, names in study.families.items() for name in names}

    def needed(frame: pd.DataFrame) -> pd.DataFrame:
        return first_training(frame)[list(NEEDED)]

    blocks = (
        (name, needed(frame), needed(read_evaluation(paths[name], VALIDATION)[0]))
        for name, frame in evaluations.items()
    )
    with bar(len(evaluations), f"detect {study.name}", "defense") as progress:
        what = f"detect {study.name}"
        detected = list(in_order(what, detect_named, blocks, progress.update, tensors=False))
    found = dict(zip(evaluations, detected, strict=True))
    keys = ["attack", "negatives"]
    tables = {
        "scores": {name: one.scores for name, one in found.items()},
        "curves": {name: one.curves for name, one in found.items()},
        "chosen": {
            name: one.chosen
            if name == "undefended"
            else one.chosen.merge(area_gain(one, found["undefended"]), on=keys, how="left")
            for name, one in found.items()
        },
    }
    whole = {
        kind: pd.concat([table.assign(defense=name) for name, table in by.items()], ignore_index=True)
        for kind, by in tables.items()
    }
    for kind, schema in (("scores", "detection"), ("curves", "roc"), ("chosen", "chosen_detection")):
        frame = whole[kind][["defense", *(column for column in whole[kind] if column != "defense")]]
        write_frame(study.path("detection") / f"{kind}.parquet", frame, schema, {"dataset": study.name})
    return whole["scores"], whole["chosen"]


def _sizes(folder: Path) -> dict[str, Any]:
    schemas = {"sizes": "sizes", "examples": "size_examples", "transfer": "transfer"}
    return summarize_sizes(*(read_frame(folder / f"{name}.parquet", schemas[name])[0] for name in schemas))


def _replicates(folder: Path, primary: dict[str, Any]) -> dict[str, Any]:
    judged, about = read_frame(folder / "judged.parquet", "replicated_evaluation")
    examples, _ = read_frame(folder / "examples.parquet", "replicated_examples")
    return summarize_replicates(judged, examples, primary, about["sources"])


def _adaptive(study: Study, chosen: pd.DataFrame) -> dict[str, Any]:
    adaptive, tables = {}, {}
    for family, names in study.families.items():
        for name in names:
            folder = study.path("adaptive", family) / ("" if name == family else name)
            tables[name], about = read_frame(folder / "examples.parquet", "adaptive")
            check = (
                read_curves(folder / "checks.csv", ("zero_gradients", "softmax", "random", "cost")).iloc[0].to_dict()
            )
            own = chosen[chosen["defense"] == name]
            adaptive[name] = summarize_adaptive(tables[name], about["settings"], check, own)
    check_same_budget({name: entry["settings"] for name, entry in adaptive.items()}, study.where("adaptive"))
    plain = tables["undefended"]
    for name, entry in adaptive.items():
        if name != "undefended" and entry["originals"] == adaptive["undefended"]["originals"]:
            entry["over_undefended"] = over_undefended(tables[name], plain, entry["settings"])
    return adaptive


if __name__ == "__main__":
    run(main, __doc__)
