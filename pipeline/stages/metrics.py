"""Measure how well each defense's passes detect adversarial images, and average everything into one small file.

Reads:  what was chosen, learned, evaluated and measured; labels of the defenses.
Writes: the tables of AUC and true positive rates, of every score and of the chosen one; the ROC curves; the metrics.
Params: seed, images, classifier, training, sources, threat, other_attacks, defenses: shown beside the results.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.artifacts.choices import read_choices
from pipeline.artifacts.code import read_labels
from pipeline.artifacts.curves import read_curves
from pipeline.artifacts.evaluations import read_evaluation
from pipeline.artifacts.facts import read_facts
from pipeline.artifacts.images import read_description, read_summary
from pipeline.artifacts.left_out import what_applies
from pipeline.artifacts.metrics import write_metrics
from pipeline.artifacts.statistics import read_frame, write_frame
from pipeline.errors import PipelineError
from pipeline.machine import describe_machine
from pipeline.mapper import in_order
from pipeline.metrics.adaptive import over_undefended, summarize_adaptive
from pipeline.metrics.calibration import PAPER_RATIO
from pipeline.metrics.comparisons import compare_family
from pipeline.metrics.detection import NEEDED, area_gain, detect_named
from pipeline.metrics.gac_summary import gains_on, summarize_gac
from pipeline.metrics.gains import CONTROLS
from pipeline.metrics.replicates import summarize_replicates
from pipeline.metrics.restorations import BLUR, NOTHING, summarize_restorations
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
from pipeline.params import AUTO, stated_at
from pipeline.progress import bar
from pipeline.stages.command import run
from pipeline.studies import Study

PROTOCOL = 3  # raised when what a figure means changes
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
    choices = _choices(study, attacks, {name: about["arguments"] for name, (_, about) in evaluations.items()})
    abouts = {name: about for name, (_, about) in evaluations.items()}
    comparisons: dict[str, Any] = {}
    primary = {family: abouts[family]["primary"] for family in study.families}
    for family, names in study.families.items():
        comparisons |= compare_family({name: abouts[name]["role"] for name in names}, everything, primary[family])
    gac = _gains(study, defenses, choices, comparisons)
    metrics = {
        "run": {
            "study": study.name,
            "dataset": study.source,
            "protocol": PROTOCOL,
            "device": describe_machine(),
            "source": description.source,
            "source_checksum": description.source_checksum,
        },
        "images": read_summary(study.path("images")),
        "params": {key: study.value(key) for key in ("seed", "classifier", "training", "sources")} | precisions(study),
        "labels": read_labels(study.path("code") / "labels.json"),
        "families": study.families,
        "methods": {family: study.method(family) for family in study.families},
        "classifier": {
            "test_accuracy": defenses[next(iter(defenses))]["test_accuracy"],
            **read_facts(study.path("classifier_facts")),
        },
        "left_out": left_out,
        "attacks": attacks,
        "choices": choices,
        "defenses": defenses,
        **_learning(study, choices),
        "gac": gac,
        "comparisons": comparisons,
        "primary": primary,
        "restorations": _restorations(study, choices),
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


def precisions(study: Study) -> dict[str, Any]:
    """In which precision families are trained, of those that say so themselves: of the others `training` does."""
    keys = {family: f"defenses.{family}.learn.training.precision" for family in study.families}
    return {f"training of {family}": {"precision": study.value(key)} for family, key in keys.items() if study.has(key)}


def _detect(study: Study, evaluations: dict[str, pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Detection, of the first training: by every score; by the chosen, with what it gains over the first defense's."""
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
    first = next(iter(found))
    keys = ["attack", "negatives"]
    tables = {
        "scores": {name: one.scores for name, one in found.items()},
        "curves": {name: one.curves for name, one in found.items()},
        "chosen": {
            name: one.chosen if name == first else one.chosen.merge(area_gain(one, found[first]), on=keys, how="left")
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


def _choices(study: Study, attacks: dict[str, Any], arguments: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """choices.<family>.<parameter>: what the rule says, what was used, whether it hangs on one or two images."""

    def entry(choice: Any, used: Any) -> dict[str, Any]:
        told = {name: getattr(choice, name) for name in ("rule", "narrow", "reason")}
        return {"by_rule": choice.value, "used": used, **told}

    found: dict[str, Any] = {"attacks": {}}
    used = {"step_size": attacks["minimal"]["params"], "extra_steps": attacks["extended"]["params"]}
    for name, choice in read_choices(study.path("attack_choices")).items():
        found["attacks"][name] = entry(choice, used[name][name])
    for family in study.families:
        records = read_choices(study.path("learning", family) / "choices.json")
        for name, choice in records.items():
            variant, _, parameter = name.rpartition(".")
            if variant and variant not in study.families[family]:  # chosen for one that was taken out since
                continue
            given = arguments[variant or family].get(parameter)
            if given is None:  # a number that was learned with
                given = stated_at(study.value(f"defenses.{family}.learn"), parameter)
                given = choice.value if given in (AUTO, None) else given
            found.setdefault(family, {})[name] = entry(choice, given)
    return found


def _gains(
    study: Study, defenses: dict[str, Any], choices: dict[str, Any], comparisons: dict[str, Any]
) -> dict[str, Any]:
    """What a defense that was trained beside its controls gains over them."""
    gains = {}
    for family in study.families:
        folder = study.path("examination", family)
        if not (folder / "robustness.csv").is_file():
            continue
        statuses = read_curves(study.path("learning", family) / "trainings.csv", ("seed", "status"))
        learn = study.value(f"defenses.{family}.learn")
        kind = "hidden" if learn["version"] == "vanilla" else "channels"
        gains[family] = {
            "settings": {
                "share": learn["share"],
                "generator": {kind: learn["generator_widths"]},
                "classifier": {kind: learn["classifier_widths"]},
                "training": learn["training"],
            },
            "lambda": choices.get(family, {}).get("lambda_"),
            **summarize_gac(
                read_curves(folder / "accuracies.csv", ("seed", "model", "attack", "part", "accuracy", "gain")),
                read_curves(folder / "robustness.csv", ("seed", "model", "original_row", "l2")),
                statuses[statuses["status"] != "ok"],
            ),
        }
        variants = study.value(f"defenses.{family}.variants")
        controls = {
            block["learned"]: comparisons[f"{family}_minus_{name}"]
            for name, block in variants.items()
            if block.get("learned") in CONTROLS
        }
        gains[family]["gain_on"] = gains_on(controls)
        for attack in gains[family]["gain"].keys() - {"clean"}:  # which is of the whole split there
            gains[family]["gain"][attack] |= gains[family]["gain_on"][attack]
        if gains[family]["lambda"]:
            defenses[family]["lambda"] = gains[family]["lambda"]["used"]
        for over, key in (("over_control", "gain"), ("over_noise_control", "gain_over_noise")):
            found = gains[family]["gain"]
            defenses[family][key] = {attack: found[attack][over] for attack in found if over in found[attack]}
    return gains


def _restorations(study: Study, choices: dict[str, Any]) -> dict[str, Any]:
    """reconstruction_error.<method>.<kind>, of the blur at the sigma used; blur_sigma: {by_rule, used}."""
    found: dict[str, Any] = {"reconstruction_error": {}}
    for family in study.families:
        path = study.path("learning", family) / "errors.csv"
        if path.is_file():
            blur = choices.get(family, {}).get(f"{BLUR}.sigma")
            table = read_curves(path, ("method", "sigma", "kind", "reconstruction_error"))
            # Every such family has an autoencoder without dropout; only one that is its variant has that name.
            own = table[table["method"].isin([NOTHING, family, *study.value(f"defenses.{family}.variants")])]
            found["reconstruction_error"] |= summarize_restorations(own.to_dict("records"), blur and blur["used"])
            if blur:
                found["blur_sigma"] = blur
    return found


def _sizes(folder: Path) -> dict[str, Any]:
    schemas = {"sizes": "sizes", "examples": "size_examples", "transfer": "transfer"}
    return summarize_sizes(*(read_frame(folder / f"{name}.parquet", schemas[name])[0] for name in schemas))


def _learning(study: Study, choices: dict[str, Any]) -> dict[str, Any]:
    """What was learned with (`trainings` of other networks, `robust` of adversaries), and what was chosen."""
    found: dict[str, Any] = {
        "calibration": {**choices["attacks"]},
        "defense_trials": {},
        "autoencoder_trials": {},
        "trainings": {},
        "robust": {},
    }
    found["calibration"]["extra_steps"] = {**choices["attacks"]["extra_steps"], "paper_ratio": PAPER_RATIO}
    for family in study.families:
        learn = study.value(f"defenses.{family}.learn")
        for name, choice in choices.get(family, {}).items():
            variant, _, parameter = name.rpartition(".")
            if parameter == "dropout":
                found["autoencoder_trials"][family] = choice
            elif parameter != "lambda_":
                found["defense_trials"][variant or family] = choice
        training = {**study.value("training"), **learn.get("training", {})}
        if "architecture" in learn:
            dropout = choices.get(family, {}).get("dropout", {}).get("used", learn["architecture"].get("dropout"))
            architecture = {**learn["architecture"], "dropout": dropout}
            sets = ["minimal", "extended"]
            found["trainings"][family] = {"sets": sets, "architecture": architecture, "training": training}
        if "adversary" in learn:
            budget = study.threat(learn["adversary"]["norm"]).epsilon
            adversary = {"epsilon": budget, "trades": 0, **learn["adversary"]}
            found["robust"][family] = {"adversary": adversary, "training": training}
    return found


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
    budgets = {name: {key: entry["settings"][key] for key in ("norm", "budget")} for name, entry in adaptive.items()}
    first, wanted = next(iter(budgets.items()))
    for name, found in budgets.items():
        if found != wanted:
            raise PipelineError(f"{study.where('adaptive')}: {name}: expected {first}'s {wanted}, found {found}")
    plain = tables["undefended"]
    for name, entry in adaptive.items():
        if name != "undefended" and entry["originals"] == adaptive["undefended"]["originals"]:
            entry["over_undefended"] = over_undefended(tables[name], plain, entry["settings"])
    return adaptive


if __name__ == "__main__":
    run(main, __doc__)
