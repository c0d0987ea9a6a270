"""What families of defenses have chosen, learned and gained over their controls, as the metrics tell it."""

from typing import Any

from pipeline.artifacts.choices import read_choices
from pipeline.artifacts.curves import read_curves
from pipeline.metrics.calibration import PAPER_RATIO, with_quarter
from pipeline.metrics.choices import Choice, above_zero
from pipeline.metrics.gac_summary import gains_on, summarize_gac
from pipeline.metrics.gains import CONTROLS
from pipeline.metrics.restorations import BLUR, NOTHING, summarize_restorations
from pipeline.params import AUTO
from pipeline.studies import Study
from pipeline.study_blocks import PAPER_ATTACKS

NO_RULE = Choice(None, "", [])  # of a number that stands in the params, with nothing tried for it
# Of the tried values of a parameter those that its rule may take.
ELIGIBLE = {"step_size": with_quarter, "dropout": above_zero}


def precisions(study: Study) -> dict[str, Any]:
    """In which precision families and sizes are trained, of those that say so themselves; of others `training` does."""
    keys = {family: f"defenses.{family}.learn.training.precision" for family in study.families}
    keys["sizes"] = "sizes.training.precision"
    return {f"training of {what}": {"precision": study.value(key)} for what, key in keys.items() if study.has(key)}


def choices_of(study: Study, attacks: dict[str, Any], arguments: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """choices.<family>.<parameter>: what the rule says, what was used, whether it hangs on one or two images."""
    found: dict[str, Any] = {"attacks": {}}
    used = {"step_size": attacks["minimal"]["params"], "extra_steps": attacks["extended"]["params"]}
    for name, choice in read_choices(study.path("attack_choices")).items():
        found["attacks"][name] = _told(choice, used[name][name], name) | {"narrow": None}  # nobody looks whether it is
    for family in study.families:
        records = read_choices(study.path("learning", family) / "choices.json")
        for name, choice in records.items():
            variant, _, parameter = name.rpartition(".")
            if variant and variant not in study.families[family]:  # chosen for one that was taken out since
                continue
            given = arguments[variant or family].get(parameter)
            if given is None:  # a number that was learned with
                given = _stated_at(study.value(f"defenses.{family}.learn"), parameter)
                given = choice.value if given in (AUTO, None) else given
            found.setdefault(family, {})[name] = _told(choice, given, parameter)
    return found


def gains_of(
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
            "lambda": choices.get(family, {}).get("lambda_") or _told(NO_RULE, learn["lambda_"], "lambda_"),
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
        gains[family]["gain_on"] = on = gains_on(controls)
        for attack in gains[family]["gain"].keys() & on.keys() - {"clean"}:  # which is of the whole split there
            gains[family]["gain"][attack] |= on[attack]
        defenses[family]["lambda"] = gains[family]["lambda"]["used"]
        for over, key in (("over_control", "gain"), ("over_noise_control", "gain_over_noise")):
            found = gains[family]["gain"]
            defenses[family][key] = {attack: found[attack][over] for attack in found if over in found[attack]}
    return gains


def restorations_of(study: Study, choices: dict[str, Any]) -> dict[str, Any]:
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


def learning_of(study: Study, choices: dict[str, Any]) -> dict[str, Any]:
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
            found["trainings"][family] = {
                "sets": list(PAPER_ATTACKS),
                "architecture": architecture,
                "training": training,
            }
        if "adversary" in learn:
            budget = study.threat(learn["adversary"]["norm"]).epsilon
            adversary = {"epsilon": budget, "trades": 0, **learn["adversary"]}
            found["robust"][family] = {"adversary": adversary, "training": training}
    return found


def _told(choice: Choice, used: Any, parameter: str) -> dict[str, Any]:
    """What the rule says, what was used, and all else that is told of a number."""
    told = {name: getattr(choice, name) for name in ("rule", "narrow", "reason")}
    end = choice.end(parameter, ELIGIBLE.get(parameter, set))
    return {"by_rule": choice.value, "used": used, "end": end, **told}


def _stated_at(block: Any, parameter: str) -> Any:
    """The value of a parameter at any depth of a block, None where it isn't."""
    if not isinstance(block, dict):
        return None
    if parameter in block and not isinstance(block[parameter], list):
        return block[parameter]
    return next((found for part in block.values() if (found := _stated_at(part, parameter)) is not None), None)
