"""Train a study's classifier.

Reads:  the images file (train split; the test split never).
Writes: the classifier's weights; its learning curves.
Params: classifier, training, seed.
"""

from pipeline.artifacts.curves import write_curves
from pipeline.artifacts.images import read_description, read_split
from pipeline.artifacts.weights import save_model
from pipeline.metrics.splits import validation_mask
from pipeline.models.classifier import Classifier
from pipeline.progress import bar
from pipeline.stages.command import run
from pipeline.studies import Study
from pipeline.training.classifier import divide, fit_classifier, train_classifier


def main(study: Study) -> None:
    architecture = study.arguments(Classifier, "classifier.architecture")
    training = study.training(fit_classifier, "classifier.training")
    device, names = study.device, (study.seed, study.source, "classifier")

    split = read_split(study.path("images"), "train")
    class_count = len(read_description(study.path("images")).class_names)
    held_out = validation_mask(split.labels, study.seed, study.source)
    division = divide(split.images, split.labels, held_out, device)
    total = training["epochs"] * len(division.images)
    with bar(total, f"train_classifier {study.name}", "image") as progress:
        model, curves = train_classifier(division, class_count, names, architecture, training, progress)
    write_curves(study.path("classifier_curves"), curves)
    save_model(study.path("classifier"), model)


if __name__ == "__main__":
    run(main, __doc__)
