"""Tables and images of a made-up study, as the report takes them, to go with its metrics."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from pipeline.defenses.shared.pictures import Generated
from pipeline.reporting.autoencoder import AutoencoderResults
from pipeline.reporting.autoencoder_figures import RestoredExamples
from pipeline.reporting.dropout import DropoutResults, main_family
from pipeline.reporting.gac import GacResults
from pipeline.reporting.gac_figures import EACH_CLASS, MODELS, SPLITS
from pipeline.reporting.report import Results, sections
from pipeline.reporting.section import Drawn, draw_all
from pipeline.reporting.sizes import SizeResults
from pipeline.reporting.statistics import Statistics
from tests.made_study import PAPER


def made_results(
    metrics: Mapping[str, Any],
    class_names: Sequence[str] = ("0", "1", "2"),
    channels: int = 1,
    height: int = 6,
    width: int = 6,
) -> Results:
    """Tables and images that go with `made_metrics`; what the study has not got is left out."""
    random = np.random.default_rng(0)
    names = tuple(class_names)
    classes = len(names)
    shape = (channels, height, width)
    labels = np.arange(classes, dtype=np.uint8)
    families, methods = metrics["families"], metrics["methods"]
    others = [name for name in metrics["attacks"] if name not in PAPER]
    evaluations = {name: _evaluation(random, classes, entry["passes"]) for name, entry in metrics["defenses"].items()}
    curve = pd.DataFrame(
        [(epoch, split, 1 / epoch, 1 - 0.5 / epoch) for epoch in (1, 2) for split in ("train", "validation")],
        columns=["epoch", "split", "loss", "accuracy"],
    )
    images = random.random((classes, *shape), np.float32)
    examples = Generated(
        ("made 1",),
        np.repeat(images, EACH_CLASS, 0),
        np.repeat(labels, EACH_CLASS),
        np.repeat(images, EACH_CLASS, 0)[None] * 0.9,
        np.repeat(labels, EACH_CLASS)[None],
        np.repeat(labels, EACH_CLASS)[None],
    )
    gac_curve = pd.concat(
        curve[curve["split"] == "train"].assign(split=split, model=model, seed=0, perturbation_l2=0.1, fooled=0.1)
        for split in SPLITS
        for model in MODELS
    )
    detection = pd.DataFrame(
        [
            {"defense": name, "score": score, "attack": attack, "negatives": negatives, **scores[attack][negatives]}
            for name, by_score in metrics["detection"].items()
            for score, scores in by_score.items()
            for attack in PAPER
            for negatives in ("clean", "clean_all", "noise")
        ]
    )
    roc = pd.concat(detection.assign(fpr=end, tpr=end) for end in (0.0, 1.0))
    of = {
        name: [family for family in families if methods.get(family, family) == name]
        for name in ("dropout_ensemble", "autoencoder_ensemble", "gac", "adversarial_training")
    }
    return Results(
        class_names=names,
        classifier_curves=curve,
        earlier={"commit": "0000000", "studies": {}, "changed": {}},
        sets={name: _statistics(random, classes, shape) for name in metrics["attacks"]},
        calibration=(
            pd.DataFrame({"step_size": [0.1, 0.2], "l2_mean": [1.0, 1.1]}),
            pd.DataFrame({"extra_steps": [1, 2], "ratio": [1.2, 1.6]}),
        ),
        detection=detection,
        detection_curves=roc,
        success={
            name: pd.DataFrame(
                {
                    "norm": "l2",
                    "budget": [1.0, 2.0],
                    "images": 90,
                    "attack_success_rate": [0.5, 0.9],
                    "low": [0.4, 0.8],
                    "high": [0.6, 1.0],
                }
            )
            for name in others
        },
        dropout=DropoutResults(
            main_family(of["dropout_ensemble"]) or "",
            evaluations,
            pd.DataFrame(
                [(name, strength, 30, 0.9, 0.5, 0.4) for name in metrics["defense_trials"] for strength in (0.2, 0.4)],
                columns=["defense", "strength", "originals", "clean_accuracy", "thwarted", "recovered"],
            ),
            pd.DataFrame(
                {
                    "extra_steps": [0, 0, 5],
                    "passes": [1, 50, 50],
                    "originals": 30,
                    **{
                        f"{outcome}{end}": [0.4, 0.5, 0.05]
                        for outcome in ("thwarted", "recovered")
                        for end in ("", "_low", "_high")
                    },
                }
            ),
        )
        if of["dropout_ensemble"]
        else None,
        autoencoder=AutoencoderResults(
            evaluations,
            None,
            dict.fromkeys(of["autoencoder_ensemble"], curve),
            RestoredExamples(
                dict.fromkeys(("clean", *PAPER), images),
                {name: dict.fromkeys(("clean", *PAPER), images * 0.9) for name in of["autoencoder_ensemble"]},
                labels,
            ),
        )
        if of["autoencoder_ensemble"]
        else None,
        gac=GacResults(None, {}, dict.fromkeys(of["gac"], gac_curve), dict.fromkeys(of["gac"], examples))
        if of["gac"]
        else None,
        robust_curves=dict.fromkeys(of["adversarial_training"], curve),
        sizes=_sizes(),
    )


def _evaluation(random: np.random.Generator, classes: int, passes: int) -> pd.DataFrame:
    rows = []
    for attack in ("clean", *PAPER):
        for row, (label, target) in enumerate(product(range(classes), repeat=2)):
            if (attack == "clean") != (label == target):
                continue
            votes = random.multinomial(passes, np.full(classes, 1 / classes))
            rows.append(
                {
                    "attack": attack,
                    "row": label if attack == "clean" else row,
                    "original_row": label,
                    "label": label,
                    "target_label": np.nan if attack == "clean" else target,
                    "votes": votes,
                    "passes": passes,
                    "vote_variance": 1 - ((votes / passes) ** 2).sum(),
                    "thwarted": bool(row % 2),
                    "recovered": bool(row % 3),
                }
            )
    return pd.DataFrame(rows)


def _statistics(random: np.random.Generator, classes: int, shape: tuple[int, ...]) -> Statistics:
    pairs = [(a, b) for a in range(classes) for b in range(classes) if a != b]
    count = len(pairs)
    examples = pd.DataFrame(pairs, columns=["label", "target_label"])
    examples["is_adversarial"], examples["source_split"], examples["steps"] = True, 1, random.integers(1, 20, count)
    examples["original_row"] = examples["label"]
    for column in ("l0", "l1", "l2", "linf", "sensitivity", "noise_sensitivity"):
        examples[column] = random.uniform(0.5, 2.0, count)
    table = examples[["label", "target_label"]].assign(
        success_rate=random.random(count), class_correlation=random.uniform(-1, 1, count)
    )
    means = random.normal(0, 0.1, (classes, classes, *shape)).astype(np.float32)
    means[np.arange(classes), np.arange(classes)] = np.nan
    originals = random.random((classes, *shape), np.float32)
    return Statistics(
        examples=examples,
        pairs=table,
        pixels=pd.DataFrame({"low": np.arange(-1, 1, 0.01), "high": np.arange(-1, 1, 0.01) + 0.01, "count": 5}),
        profile=pd.DataFrame({"radius": [0.0, 1.0, 2.0], "mean_absolute_perturbation": [0.3, 0.2, 0.25]}),
        mean_originals=originals,
        mean_adversarial=means + 0.5,
        mean_perturbations=means,
        samples=(
            originals,
            np.clip(originals + 0.1, 0, 1),
            np.arange(classes, dtype=np.uint8),
            np.roll(np.arange(classes, dtype=np.uint8), -1),
        ),
    )


def drawn(metrics: Mapping[str, Any], **shape: Any) -> list[Drawn]:
    """Every section of the made-up study."""
    return draw_all([*sections(metrics, made_results(metrics, **shape)).values()])


def _sizes() -> SizeResults:
    names = ("small", "large")
    return SizeResults(
        pd.DataFrame({"model": names, "depth": 2, "width": 8, "parameters": (1000, 9000)}),
        pd.DataFrame(
            {
                "model": np.repeat(names, 4),
                "attack": "minimal",
                "is_adversarial": True,
                "l2": 1.0,
                "steps": 5,
                "sensitivity": 2.0,
            }
        ),
        pd.DataFrame(
            [(attack, a, b, 0.5, 0.5) for attack in PAPER for a in names for b in names],
            columns=["attack", "made_on", "tried_on", "target", "error"],
        ),
    )
