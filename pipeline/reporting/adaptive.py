"""The report's section on attackers who know the defense: adaptive attacks, tripwires, and one table of it all."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from pipeline.reporting.outcomes import PAPER_ATTACKS, WORDS
from pipeline.reporting.paper_numbers import LITERATURE
from pipeline.reporting.section import Section, number, percent, rate
from pipeline.reporting.style import COLORS, new_figure

TABLE_CAPTION = (
    "Clean accuracy: whole test split. Static and transfer: images of an attacker who does not know of the defense; they are shown beside the adaptive figure and are no measure of robustness. "
    "Adaptive: the worst of all attacks of this section for each original, within the stated budget. L2 needed: the shortest perturbation found, infinite where none was. "
    "Detection: area under the ROC curve of the defense's own passes, by the score that is best on the minimal images; adaptive: on misclassified images made at the budget to cross the decision and keep the passes' disagreement low. "
    "Cost: multiply-adds of a prediction over those of one pass of the classifier. 95 % intervals over originals; no interval covers the training."
)
LINES = [(color, style) for style in ("-", "--", ":") for color in COLORS]
NORMS = {"linf": "L\u221e", "l2": "L2"}
TRAINED = "adversarial_training"
PAPERS = ("dropout_ensemble", "autoencoder_ensemble", "gac_vanilla", "gac_dcgan")
OUTSIDE = {"transfer": "transfer from the undefended", "square": "Square", "autoattack": "AutoAttack's ensemble"}
# Tripwire: what it is called, when it is raised, and why that matters.
TRIPWIRES = {
    "zero_gradients": (
        "zero gradients",
        "on more than 10 % of the originals the gradient that the attack climbs is zero everywhere",
        "An attack that stands still proves nothing: the defense hides its gradient, it need not be robust.",
    ),
    "softmax": (
        "softmax instead of logits",
        "outputs lie in [0, 1] and sum to 1",
        "Softmax scores saturate, and with them the gradient.",
    ),
    "random": (
        "a randomized model under a deterministic attack",
        "two passes over the same image differ, though the attack makes one draw a step",
        "The gradient has to be averaged over many draws.",
    ),
    "black_box": (
        "black-box better than white-box",
        "robust accuracy under Square or transfer is below that under the white-box attack on the same originals, and the interval of the difference leaves out zero",
        "Who knows more cannot do worse: the white-box attack is broken.",
    ),
    "autoattack": (
        "AutoAttack better than ours",
        "robust accuracy under AutoAttack's ensemble is below that under ours on the same originals, and the interval of the difference leaves out zero",
        "Our attack is not the strongest there is; the table takes the worst of all.",
    ),
    "largest_epsilon": (
        "robust at the largest budget",
        "robust accuracy at the largest epsilon is above zero",
        "With such a budget every image can be turned into another: the attack fails for another reason than robustness.",
    ),
    "doubled": (
        "doubling changes the verdict",
        "twice the steps and twice the draws move robust accuracy at the budget, and the interval of the change on the same originals leaves out zero",
        "The attack has not converged: the figure is an upper bound.",
    ),
}


def adaptive_section(metrics: Mapping[str, Any], curves: pd.DataFrame) -> Section:
    """What remains of each defense when the attacker knows it; `curves`: how adversarial training learned."""
    section = Section("Attackers who know the defense")
    entries = metrics["adaptive"]
    first = next(iter(entries.values()))
    settings = first["settings"]
    section.text(
        f"The paper judges its defenses on images made for the undefended classifier. Here each defense is attacked as a whole, white-box and untargeted: "
        f"projected gradient ascent through all of it in steps of falling length, where it is randomized every step averaged over several draws (EOT), "
        f"at each budget until nothing is left, each run after the first towards the original's next best other class; and a minimum-norm attack for the shortest perturbation. What was found is judged by the vote over many fresh draws. "
        f"{first['originals']} test originals that the undefended classifier gets right, the same for every defense; one that is broken within a budget counts as broken within all larger ones."
    )
    header, rows = one_table(metrics)
    section.table(header, rows, TABLE_CAPTION)
    _settings(section, entries)
    _verdicts(section, metrics)
    _adversarial_training(section, metrics, curves)
    section.figure(
        "robust_accuracy",
        _curves(entries),
        f"Robust accuracy against the budget ({NORMS[settings['norm']]}, adaptive) on {first['originals']} test originals, 95 % intervals as upright lines, side by side; at zero: accuracy without attack, its interval left out. The dotted line is the stated budget.",
    )
    _shortest(section, entries)
    _sanity(section, entries)
    _detection(section, entries)
    _tripwires(section, entries)
    return section


def one_table(metrics: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and a row per attacked defense: every static or transfer figure next to the adaptive one."""
    entries = metrics["adaptive"]
    settings = next(iter(entries.values()))["settings"]
    budget = f"{NORMS[settings['norm']]} {settings['budget']:g}"
    header = ["defense", "clean accuracy", "setting"]
    header += [f"{attack}: thwarted / recovered" for attack in PAPER_ATTACKS]
    header += [
        f"adaptive robust accuracy, {budget}",
        "adaptive L2 needed, median",
        "detection AUC, images made for the undefended",
        "detection AUC, adaptive",
        "cost",
    ]
    rows = []
    for name, entry in entries.items():
        judged = metrics["defenses"][name]
        rows.append(
            [
                WORDS.get(name, name),
                rate(judged["test_accuracy"]),
                judged["minimal"]["setting"] if "minimal" in judged else "",
                *(
                    f"{rate(judged[attack]['thwarted'])} / {rate(judged[attack]['recovered'])}"
                    if attack in judged
                    else ""
                    for attack in PAPER_ATTACKS
                ),
                rate(entry["every_attack"]),
                _length(entry["l2_median"]),
                f"{entry['detection']['static_auc']:.3f}",
                _adaptive_auc(entry["detection"]),
                f"{entry['cost']:.3g}",
            ]
        )
    return header, rows


def _adaptive_auc(found: Mapping[str, Any]) -> str:
    entry = found["adaptive"]
    return (
        "too few got through"
        if entry is None
        else f"{entry['auc']:.3f} [{entry['auc_low']:.3f}, {entry['auc_high']:.3f}]"
    )


def _length(entry: Mapping[str, float | None]) -> str:
    value, low, high = (
        ("\u221e" if entry[end] is None else number(entry[end] or 0.0)) for end in ("value", "low", "high")
    )
    return f"{value} [{low}, {high}]"


def _adversarial_training(section: Section, metrics: Mapping[str, Any], curves: pd.DataFrame) -> None:
    entry = metrics["robust"][TRAINED]
    adversary, training = entry["adversary"], entry["training"]
    dataset = metrics["run"]["dataset"]
    section.heading("Adversarial training")
    section.text(
        "The paper names it as the most popular method and does not run it. Here: the attacked classifier's architecture on the same split, "
        f"{training['epochs']} epochs, trained on images that {adversary['steps']} steps of projected gradient ascent make against it, {NORMS[adversary['norm']]} up to {adversary['epsilon']:g}, reached after {percent(adversary['warmup'], 0)} of the training"
        + (f", with TRADES' loss (beta {adversary['trades']:g})." if adversary["trades"] else " (Madry).")
    )
    rows = [[words, f"{clean:.2f} %", f"{robust:.2f} %"] for words, clean, robust in LITERATURE.get(dataset, ())]
    attacked = metrics["adaptive"].get(TRAINED)
    if attacked:
        budget = f"{NORMS[attacked['settings']['norm']]} {attacked['settings']['budget']:g}"
        clean_accuracy = rate(metrics["defenses"][TRAINED]["test_accuracy"])
        rows.append([f"ours, {budget}, worst of all attacks here", clean_accuracy, rate(attacked["every_attack"])])
    section.table(
        ["adversarial training", "clean accuracy", "robust accuracy"],
        rows,
        "The literature's figures, of the papers and of RobustBench, are of AutoAttack on the whole test split and of larger networks, Linf 0.3 on MNIST and 8/255 on CIFAR-10."
        if dataset in LITERATURE
        else "The literature has no figure of this dataset.",
    )
    rivals = {name: metrics["adaptive"][name]["every_attack"] for name in PAPERS if name in metrics["adaptive"]}
    if attacked and rivals:
        beaten = [name for name, rival in rivals.items() if attacked["every_attack"]["low"] > rival["high"]]
        section.text(
            f"Of the paper's {len(rivals)} defenses that were attacked it stands above {len(beaten)} at the budget"
            + (f": {', '.join(WORDS[name] for name in beaten)}." if beaten else ".")
        )
    figure, axes = new_figure(7.4, 2.6, 1, 2)
    for color, (split, words) in zip(COLORS, (("train", "adversarial training images"), ("validation", "validation images, clean")), strict=False):  # fmt: skip
        rows_of = curves[curves["split"] == split]
        for plot, column in zip(axes[0], ("loss", "accuracy"), strict=True):
            plot.plot(rows_of["epoch"], rows_of[column], color=color, marker=".", label=words)
            plot.set_xlabel("epoch")
            plot.set_ylabel(column)
    axes[0, 1].legend(fontsize=7)
    section.figure("adversarial_training_curves", figure, "Learning curves of adversarial training.")


def _settings(section: Section, entries: Mapping[str, Any]) -> None:
    keys = ("steps", "relative_step_size", "restarts", "draws", "scored_draws", "l2_steps", "queries", "quiet")
    rows = [
        [WORDS.get(name, name), *(f"{entry['settings'][key]:g}" for key in keys)] for name, entry in entries.items()
    ]
    section.table(
        [
            "attacked defense",
            "steps",
            "first step, share of epsilon",
            "restarts",
            "draws a step",
            "draws that judge",
            "minimum-norm steps",
            "queries of Square",
            "weight of disagreement",
        ],
        rows,
        "How each defense was attacked; a defense of one pass has no draws.",
    )


def _verdicts(section: Section, metrics: Mapping[str, Any]) -> None:
    """Who stands beside the undefended classifier at the budget; and what dropout buys the autoencoder."""
    entries = metrics["adaptive"]
    none = entries["undefended"]["every_attack"]
    groups: dict[str, list[str]] = {}
    for name, entry in entries.items():
        if name == "undefended":
            continue
        mine = entry["every_attack"]
        verdict = (
            "stands above it"
            if mine["low"] > none["high"]
            else "does worse than it"
            if mine["high"] < none["low"]
            else "is not shown to be better than it"
        )
        groups.setdefault(verdict, []).append(f"{WORDS.get(name, name)} {rate(mine)}")
    section.text(
        f"Robust accuracy at the budget, against {rate(none)} of the undefended classifier. "
        + " ".join(f"What {verdict}: {', '.join(found)}." for verdict, found in groups.items())
    )
    on, off = entries.get("autoencoder_ensemble"), entries.get("autoencoder_without_dropout")
    if on and off:
        section.text(
            f"The paper adds dropout to the autoencoder because a random defense should be harder to attack. With dropout the median L2 needed is {_length(on['l2_median'])}, "
            f"without {_length(off['l2_median'])}; robust accuracy at the budget {rate(on['every_attack'])} and {rate(off['every_attack'])}"
            + (
                ", under the same number of steps."
                if _effort(on) == _effort(off)
                else ", under attacks of different effort."
            )
        )


def _effort(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(entry["settings"][key] for key in ("steps", "relative_step_size", "restarts", "l2_steps"))


def _curves(entries: Mapping[str, Any]) -> Figure:
    figure, axes = new_figure(7.4, 4.2)
    plot = axes[0, 0]
    for index, ((color, style), (name, entry)) in enumerate(zip(LINES, entries.items(), strict=False)):
        curve = entry[entry["settings"]["norm"]]
        at = [float(epsilon) for epsilon in curve]
        values = {end: [point[end] for point in curve.values()] for end in ("value", "low", "high")}
        plot.plot(at, values["value"], color=color, linestyle=style, marker=".", label=WORDS.get(name, name))
        beside = [x * 1.012 ** (index - len(entries) / 2) for x in at[1:]]
        plot.vlines(beside, values["low"][1:], values["high"][1:], color=color, linestyle=style, alpha=0.4, linewidth=1)
    settings = next(iter(entries.values()))["settings"]
    plot.axvline(settings["budget"], color="#999999", linestyle=":")
    small = min(epsilon for entry in entries.values() for epsilon in entry["settings"]["epsilons"])
    plot.set_xscale("symlog", linthresh=small, linscale=0.5)
    ticks = sorted({0.0, *(float(e) for entry in entries.values() for e in entry["settings"]["epsilons"])})
    plot.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks], fontsize=7, rotation=45)
    plot.minorticks_off()
    plot.set_xlim(left=0)
    plot.set_ylim(0, 1.02)
    plot.set_xlabel(f"epsilon ({NORMS[settings['norm']]})")
    plot.set_ylabel("robust accuracy")
    figure.legend(loc="outside lower center", ncols=3, fontsize=7, handlelength=4)
    return figure


def _shortest(section: Section, entries: Mapping[str, Any]) -> None:
    figure, axes = new_figure(7.4, 0.9 + 0.26 * len(entries))
    plot = axes[0, 0]
    names = list(entries)
    for position, name in enumerate(names):
        entry = entries[name]["l2_median"]
        if entry["value"] is None:
            plot.text(0, position, " none found for half of the originals", va="center", fontsize=7)
            continue
        plot.barh(position, entry["value"], color=COLORS[0])
        high = entry["value"] if entry["high"] is None else entry["high"]
        if entry["high"] is None:
            plot.text(entry["value"], position, "  interval without upper end", va="center", fontsize=7)
        plot.errorbar(
            entry["value"], position, xerr=[[entry["value"] - entry["low"]], [high - entry["value"]]], color="black",
            capsize=2, linewidth=1,
        )  # fmt: skip
    plot.set_yticks(range(len(names)), [WORDS.get(name, name) for name in names], fontsize=7)
    plot.invert_yaxis()
    plot.set_xlim(left=0)
    plot.set_xlabel("median L2 needed")
    section.figure(
        "l2_needed", figure,
        "The shortest adversarial perturbation found against each defense (a minimum-norm attack through all of it, stretched until the vote over fresh draws is wrong), median over originals with its 95 % interval.",
    )  # fmt: skip


def _sanity(section: Section, entries: Mapping[str, Any]) -> None:
    rows = []
    for name, entry in entries.items():
        sanity, settings = entry["sanity"], entry["settings"]
        rows.append(
            [
                WORDS.get(name, name),
                f"{min(settings['sanity_originals'], entry['originals'])}",
                f"{settings['queries']:,}",
                rate(sanity["adaptive"]),
                *(rate(sanity[attack]) if attack in sanity else "" for attack in OUTSIDE),
            ]
        )
    section.table(
        ["robust accuracy at the budget", "originals", "queries of Square", "our adaptive attack", *OUTSIDE.values()],
        rows,
        "Sanity: the gradient-free attack (Square) and the images made for the undefended classifier must be weaker than the white-box attack. The ensemble is AutoAttack's (Auto-PGD, targeted Auto-PGD, FAB, Square; of a randomized defense, on its averaged scores, the rand version: Auto-PGD on two losses), by torchattacks, with our number of steps instead of 100 and of queries instead of 5,000. On the first originals, as many as the table says; every other one that our attacks at the budget leave is tried too, and counts in the table at the top.",
    )


def _detection(section: Section, entries: Mapping[str, Any]) -> None:
    rows = []
    for name, entry in entries.items():
        found = entry["detection"]
        rows.append(
            [
                WORDS.get(name, name),
                found["score"].replace("_", " "),
                f"{found['static_auc']:.3f}",
                _adaptive_auc(found),
                *(
                    percent(found["adaptive"][f"tpr_at_fpr_{limit}"]) if found["adaptive"] else ""
                    for limit in ("0.01", "0.05")
                ),
            ]
        )
    section.table(
        [
            "detector",
            "score",
            "AUC, minimal images made for the undefended",
            "AUC, adaptive",
            "found at 1 % false alarms",
            "found at 5 %",
        ],
        rows,
        "Negatives are originals that the defense gets right. The score is the best of several on the test split's minimal images themselves, of which a defense may have recovered many, and a recovered image need not look adversarial. Adaptive: images made at the budget to be misclassified and to keep the passes' disagreement low (of one pass: to be misclassified as surely as the budget allows), those that are misclassified. Below 0.5 the detector takes adversarial images for the better ones.",
    )


def _tripwires(section: Section, entries: Mapping[str, Any]) -> None:
    rows = []
    for key, (name, raised_if, why) in TRIPWIRES.items():
        raised = [
            f"{WORDS.get(defense, defense)} ({entry['tripwires'][key]['value']:.3g})"
            for defense, entry in entries.items()
            if entry["tripwires"][key]["raised"]
        ]
        rows.append([name, raised_if, why, "; ".join(raised) or "nobody"])
    section.table(
        ["tripwire", "raised if", "explanation", "raised by (with the number)"],
        rows,
        "Signs that a figure of this section is not what it seems. A raised tripwire is no proof; an unraised one is none either.",
    )
