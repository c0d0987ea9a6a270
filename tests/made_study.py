"""A made-up study as the report takes it: metrics of any number of classes, defenses and attacks."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.artifacts.metrics import PROTOCOL
from pipeline.reporting.gac_figures import MODELS

SCORES = ("max_probability", "logit_margin", "vote_variance", "mutual_information")
ENSEMBLES = ("dropout_ensemble", "gaussian_noise_ensemble", "autoencoder_ensemble")
PAPER = ("minimal", "extended")
DROPOUT = {"dropout_ensemble": ["dropout_ensemble", "gaussian_noise_ensemble"]}
AUTOENCODER = {"autoencoder_ensemble": ["autoencoder_ensemble"]}
GAC = {"gac_vanilla": ["gac_vanilla", "gac_vanilla_control"]}
ROBUST = {"adversarial_training": ["adversarial_training"]}
METHODS = {"gac_vanilla": "gac"}


def rate(value: float, spread: float = 0.05) -> dict[str, float]:
    return {"value": value, "low": value - spread, "high": value + spread}


def made_metrics(
    families: Mapping[str, Sequence[str]] | None = None,
    methods: Mapping[str, str] | None = None,
    others: Sequence[str] = ("fgsm", "ddn", "foolbox_x"),
    yardsticks: Sequence[str] = ("minimal", "ddn"),
) -> dict[str, Any]:
    """Metrics of a study with these families; every rate 0.5, every attack alike."""
    families = {"undefended": ["undefended"], **(families or {})}
    methods = {name: (methods or {}).get(name, name) for name in families}
    names = [name for members in families.values() for name in members]
    attacks = [*PAPER, *others]
    gacs = [name for name in families if methods[name] == "gac"]
    autoencoders = [name for name in families if methods[name] == "autoencoder_ensemble"]
    robust = [name for name in families if methods[name] == "adversarial_training"]
    ratio = {"images": 90, "low_quartile": 1.0, "median": 1.5, "high_quartile": 2.0}
    size = {"mean": 1.0, "std": 0.1, "min": 0.5, "max": 2.5}
    auc = {"auc": 0.8, "auc_low": 0.7, "auc_high": 0.9, "tpr_at_fpr_0.01": 0.1, "tpr_at_fpr_0.05": 0.2}
    lead = {"square": rate(0.0), "autoattack": rate(0.0)}
    passes = {name: 10 if name in ENSEMBLES else 1 for name in names}
    return {
        "run": {
            "study": "made",
            "dataset": "made",
            "source": "made up",
            "source_checksum": "0" * 64,
            "device": "a pencil",
            "devices": {"minimal": "a pencil"},
            "protocol": PROTOCOL,
        },
        "images": {
            "shape": [3, 40, 24],
            "classes": 10,
            "train": {"images": 1000, "rarest": 60, "commonest": 200},
            "test": {"images": 100, "rarest": 10, "commonest": 10},
            "repeated_train_images": 2,
            "test_images_in_train": 1,
        },
        "labels": {name: f"the {name}" for name in names},
        "families": {name: list(members) for name, members in families.items()},
        "methods": methods,
        "params": {"seed": 0},
        "classifier": {"test_accuracy": rate(0.9), "trained_by": "the study", "parameters": 1000},
        "left_out": {"attacks": {}, "defenses": {}, "parts": {}},
        "attacks": {
            name: {
                "params": {"steps": 3, "extra_steps": 7},
                "examples": 90,
                "success_rate": rate(0.9),
                "uint8_success_rate": rate(0.8),
                "steps_mean": 5.0,
                **dict.fromkeys(("pixel", "l1", "l2", "linf"), size),
                "sensitivity_mean": 3.0,
                "noise_sensitivity_mean": 1.0,
                "class_correlation_mean": 0.5,
                "edge_correlation_mean": None if name == "fgsm" else 0.1,
                "center_to_corner": 2.0,
                "l2_ratio": dict.fromkeys(yardsticks, ratio),
            }
            for name in attacks
        },
        "calibration": {
            "step_size": {"by_rule": 0.1, "used": 0.1},
            "extra_steps": {"by_rule": 7, "used": 7, "paper_ratio": 1.557},
        },
        "defenses": {
            name: {
                "arguments": {"passes": 10, "rate": 0.4} if passes[name] > 1 else {},
                "originals": 30,
                "passes": passes[name],
                "trainings": 3 if name.startswith("gac") else 1,
                "trained": name.startswith(("gac", "adversarial", "autoencoder")),
                "test_accuracy": rate(0.9),
                "clean_accuracy": rate(0.9),
                **{
                    attack: {
                        "thwarted": rate(0.5),
                        "recovered": rate(0.4),
                        "setting": "transfer" if name.startswith(("gac", "adversarial")) else "static",
                        "vote_variance_mean": 0.1,
                    }
                    for attack in attacks
                },
            }
            for name in names
        },
        "defense_trials": {name: {"by_rule": 0.4, "used": 0.4} for name in names if name in ENSEMBLES[:2]},
        "gac": {name: _gac() for name in gacs},
        "comparisons": {
            f"{head}_minus_{rival}": {
                kind: {outcome: {**rate(0.0), "verdict": "not shown"} for outcome in ("thwarted", "recovered")}
                for kind in ("clean", *PAPER)
            }
            for head, *rivals in families.values()
            for rival in rivals
        },
        "trainings": {
            name: {
                "sets": list(PAPER),
                "architecture": {"channels": [4], "dropout": 0.1, "residual": False},
                "training": {"clean_share": 0.0, "classifier_weight": 0.0, "flip": False, "epochs": 2},
            }
            for name in autoencoders
        },
        "autoencoder_trials": {name: {"by_rule": None, "used": 0.1} for name in autoencoders},
        "restorations": {
            "reconstruction_error": {
                name: dict.fromkeys(("clean", *PAPER), 0.01) for name in ("nothing", *autoencoders)
            }
        },
        "sizes": {
            "models": {
                name: {
                    "depth": 2,
                    "width": 8,
                    "parameters": 1000,
                    "epochs": 2,
                    "test_accuracy": 0.9,
                    "success_rate": 1.0,
                    "l2_median": 1.0,
                    "steps_mean": 5.0,
                    "sensitivity_median": 2.0,
                }
                for name in ("small", "large")
            },
            "transfer": {
                attack: {
                    made: {
                        tried: {"target": rate(1.0 if made == tried else 0.25), "error": rate(0.5)}
                        for tried in ("small", "large")
                    }
                    for made in ("small", "large")
                }
                for attack in PAPER
            },
        },
        "replicates": {},
        "choices": {},
        "primary": {},
        "detection": {
            name: {
                score: {attack: dict.fromkeys(("clean", "clean_all", "noise"), auc) for attack in PAPER}
                for score in SCORES
            }
            for name in names
        },
        "chosen_detection": {
            name: {attack: dict.fromkeys(("clean", "clean_all", "noise"), _chosen(name, auc)) for attack in PAPER}
            for name in names
        },
        "robust": {
            name: {
                "adversary": {"norm": "linf", "epsilon": 0.1, "steps": 5, "warmup": 0.3, "trades": 0},
                "training": {"epochs": 2},
            }
            for name in robust
        },
        "adaptive": {
            name: {
                "setting": "adaptive",
                "originals": 20,
                "settings": {
                    "norm": "linf",
                    "budget": 0.1,
                    "epsilons": [0.05, 0.1, 0.2],
                    "originals": 20,
                    "sanity_originals": 20,
                    "ascent": {"method": "pgd", "steps": 20, "draws": passes[name]},
                    "left_out": {"square": "expected images of at least 5 x 5 pixels, found 4 x 4"},
                    "doublings": {"pgd_doubled": 2},
                },
                "clean_accuracy": rate(0.9),
                "doubled": {"times": 2, "robust_accuracy": rate(0.1), "change": rate(0.0)},
                "randomness": None
                if passes[name] == 1
                else {
                    "resubmissions": 4,
                    **dict.fromkeys(("deployed_vote", "single_query", "worst_of", "fixed"), rate(0.05)),
                },
                "linf": {"0": rate(0.9), "0.05": rate(0.5), "0.1": rate(0.1), "0.2": rate(0.0)},
                "every_attack": rate(0.1),
                "over_undefended": {**rate(0.0), "p": 1.0},
                "l2_median": {"value": 0.5, "low": 0.4, "high": None},
                "l2_median_right": {"value": 0.6, "low": 0.5, "high": None},
                "l2_curve": {"l2": [0.0, 0.3, 0.5], "broken": [0.1, 0.3, 0.6]},
                "sanity": {"adaptive": rate(0.1), "lead": lead, **lead},
                "detection": {"score": "logit_margin", "static_auc": 0.9, "adaptive": None},
                "cost": passes[name],
                "tripwires": {"softmax": {"value": 0.0, "raised": False}, "another": {"value": 1.0, "raised": True}},
            }
            for name in names
        },
    }


def _chosen(name: str, auc: dict[str, float]) -> dict[str, Any]:
    gain = {} if name == "undefended" else {"gain": 0.0, "gain_low": -0.1, "gain_high": 0.1}
    where = {"held_out": True, "originals": 15, "chosen_originals": 5, "chosen_auc": 0.9}
    return {"score": "logit_margin", **where, **auc, **gain}


def _gac() -> dict[str, Any]:
    accuracy = dict.fromkeys(MODELS, 0.9)
    gain = {"over_control": rate(0.0), "over_noise_control": rate(0.0)}
    return {
        "settings": {
            "share": 0.5,
            "generator": {"hidden": [8]},
            "classifier": {"channels": [4, 8]},
            "training": {"epochs": 2},
        },
        "lambda": {"by_rule": None, "used": 1.0},
        "trainings": 3,
        "failed": [],
        "interval": "over trainings and originals",
        "accuracy": {attack: {"unseen": accuracy, "test": accuracy} for attack in ("clean", *PAPER)},
        "gain": dict.fromkeys(("clean", *PAPER), gain),
        "gain_on": {
            attack: {over: {**found, "trainings": 3, "originals": originals, "verdict": verdict} for over in gain}
            for attack, found, originals, verdict in (
                *((name, rate(0.0), 30, "not shown") for name in ("clean", *PAPER)),
                ("fgsm", rate(-0.3), 10, "loss"),
            )
        },
        "generator": {
            "unseen": {"perturbation_l2": 0.1, "fooled": 0.1},
            "test": {"perturbation_l2": 0.1, "fooled": 0.1},
        },
        "minimal_against_it": {
            "originals": 10,
            "l2_median": {"gac": 1.0, "control": None, "noise_control": 1.0},
            "success_rate": accuracy,
            "l2_ratio": {"over_control": {"value": 1.1, "low": None, "high": None}},
        },
    }
