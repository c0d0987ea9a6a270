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
from pipeline.randomness import generator
from pipeline.stages.command import run
from pipeline.studies import Study
from pipeline.training.classifier import divide, fit_classifier, new_classifier


def main(study: Study) -> None:
    architecture = study.arguments(Classifier, "classifier.architecture")
    training = study.training(fit_classifier, "classifier.training")
    device, names = study.device, (study.seed, study.source, "classifier")

    split = read_split(study.path("images"), "train")
    class_count = len(read_description(study.path("images")).class_names)
    held_out = validation_mask(split.labels, study.seed, study.source)
    division = divide(split.images, split.labels, held_out, device)
    model = new_classifier(division.images, class_count, names, **architecture)

    curves = []
    draws = generator(device, *names, "training")
    with bar(training["epochs"] * len(division.images), f"train_classifier {study.name}", "image") as progress:
        for epoch in fit_classifier(model, *division, draws, progress.update, **training):
            curves.append(epoch)
            progress.set_postfix({f"{epoch.split} accuracy": f"{epoch.accuracy:.4f}"}, refresh=False)
    write_curves(study.path("classifier_curves"), curves)
    save_model(study.path("classifier"), model)


if __name__ == "__main__":
    run(main, __doc__)
