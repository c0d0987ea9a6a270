"""Train a study's classifier, or take the one that it brings.

Reads:  the images file (train split; the test split never); of one that is brought, its module and its weights.
Writes: the classifier's weights; who trained it, and how many weights it has; its learning curves, if it was trained.
Params: classifier, training, seed.
"""

import torch
from torch import nn

from pipeline.artifacts.curves import write_curves
from pipeline.artifacts.facts import write_facts
from pipeline.artifacts.images import read_description, read_shape, read_split
from pipeline.artifacts.outside import given_classifier, take_classifier
from pipeline.artifacts.weights import save_model
from pipeline.metrics.splits import validation_mask
from pipeline.models.classifier import check_buildable
from pipeline.models.inference import place, weight_count
from pipeline.models.outside import check_outside
from pipeline.own_files import weights_file
from pipeline.progress import bar
from pipeline.stages.command import run
from pipeline.studies import Study
from pipeline.training.classifier import Epoch, divide, fit_classifier, train_classifier


def main(study: Study) -> None:
    if study.brings_classifier:
        model, words = take(study)
        curves: list[Epoch] = []
    else:
        model, curves = train(study)
        words = "the study"
    write_curves(study.path("classifier_curves"), curves, Epoch)
    write_facts(study.path("classifier_facts"), words, weight_count(model))
    save_model(study.path("classifier"), model)


def train(study: Study) -> tuple[nn.Module, list[Epoch]]:
    """A classifier of the study's kind, and how it learned."""
    architecture = study.arguments(study.kind, "classifier.architecture")
    training = study.training(fit_classifier, "classifier.training")
    device, names = study.device, (study.seed, study.source, "classifier")

    class_count = len(read_description(study.path("images")).class_names)
    where = study.where("classifier.architecture")
    check_buildable(study.kind, read_shape(study.path("images")), class_count, architecture, where)
    split = read_split(study.path("images"), "train")
    held_out = validation_mask(split.labels, study.seed, study.source)
    division = divide(split.images, split.labels, held_out, device)
    total = training["epochs"] * len(division.images)
    with bar(total, f"train_classifier {study.name}", "image") as progress:
        return train_classifier(division, class_count, names, architecture, training, progress, build=study.kind)


def take(study: Study) -> tuple[nn.Module, str]:
    """The classifier that the study brings, found to be one of its images; and who trained it, in words."""
    given = given_classifier(study.file, study.value("classifier"))
    class_count = len(read_description(study.path("images")).class_names)
    shape = read_shape(study.path("images"))
    model = take_classifier(study.folder, given, weights_file(study), shape, class_count)

    split = read_split(study.path("images"), "train")
    held_out = validation_mask(split.labels, study.seed, study.source)
    some = torch.from_numpy(split.images[held_out])
    where = f"{study.where('classifier')}: {given.build}"
    accuracy = check_outside(place(model, study.device), some, split.labels[held_out], class_count, where)
    print(f"{given.build}: {accuracy:.2%} of {len(some)} validation images right")
    return model, f"somebody else: {given.build}, weights {given.weights}"


if __name__ == "__main__":
    run(main, __doc__, computes=True)
