"""A study's report: all that is read, and the sections that come of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from pipeline.reporting import adversarial_training, autoencoder, gac
from pipeline.reporting.adaptive import adaptive_section
from pipeline.reporting.adversarial_training import adversarial_training_section
from pipeline.reporting.autoencoder import AutoencoderResults, autoencoder_section
from pipeline.reporting.detection import detection_section
from pipeline.reporting.dropout import DropoutResults, dropout_section
from pipeline.reporting.gac import GacResults, gac_section
from pipeline.reporting.names import families_of
from pipeline.reporting.other_attacks import other_attacks_section
from pipeline.reporting.outcomes import overview_section
from pipeline.reporting.perturbations import attacks_section, classifier_section
from pipeline.reporting.replicates import replicates_section
from pipeline.reporting.section import Section
from pipeline.reporting.sizes import SizeResults, sizes_section
from pipeline.reporting.statistics import Statistics
from pipeline.study_blocks import PAPER_ATTACKS


@dataclass(frozen=True)
class Results:
    """What was measured in a study, as `data/README.md` describes the tables; None or empty: the study has none."""

    class_names: tuple[str, ...]
    classifier_curves: pd.DataFrame
    earlier: Mapping[str, Any]  # the headline numbers of an earlier commit by study
    sets: Mapping[str, Statistics]  # by attack, the paper's first
    calibration: tuple[pd.DataFrame, pd.DataFrame]  # trials of step sizes, of extra steps
    detection: pd.DataFrame
    detection_curves: pd.DataFrame
    success: Mapping[str, pd.DataFrame] = field(default_factory=dict)  # by other attack
    dropout: DropoutResults | None = None
    autoencoder: AutoencoderResults | None = None
    gac: GacResults | None = None
    robust_curves: Mapping[str, pd.DataFrame] = field(default_factory=dict)  # of adversarial training, by family
    sizes: SizeResults | None = None


def sections(metrics: Mapping[str, Any], results: Results) -> dict[str, Callable[[], Section]]:
    """The report's sections in reading order, each still to be made, by template; of defenses those of the study."""
    names = results.class_names
    paper = {name: results.sets[name] for name in PAPER_ATTACKS if name in results.sets}
    found: dict[str, Callable[[], Section]] = {
        "overview": lambda: overview_section(metrics, results.earlier),
        "classifier": lambda: classifier_section(metrics, results.classifier_curves),
        "attacks": lambda: attacks_section(metrics, paper, results.calibration, names),
    }
    if of_dropout := results.dropout:
        found["dropout"] = lambda: dropout_section(metrics, of_dropout, names)
    if (of_autoencoder := results.autoencoder) and families_of(metrics, autoencoder.METHOD):
        found["autoencoder"] = lambda: autoencoder_section(metrics, of_autoencoder, names)
    if (of_gac := results.gac) and families_of(metrics, gac.METHOD):
        found["gac"] = lambda: gac_section(metrics, of_gac, names)
    if families_of(metrics, adversarial_training.METHOD):
        found["adversarial_training"] = lambda: adversarial_training_section(metrics, results.robust_curves)
    found["detection"] = lambda: detection_section(metrics, results.detection, results.detection_curves)
    if metrics["adaptive"]:
        found["adaptive"] = lambda: adaptive_section(metrics)
    if results.success:
        found["other_attacks"] = lambda: other_attacks_section(metrics, results.sets, results.success, names)
    if metrics["replicates"]:
        found["replicates"] = lambda: replicates_section(metrics)
    if (of_sizes := results.sizes) and metrics["sizes"]["models"]:
        found["sizes"] = lambda: sizes_section(metrics, of_sizes)
    return found
