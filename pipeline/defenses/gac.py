"""GAC (Generative Adversarial Classifier)

Trained against a generator of adversarial images (paper, Section 3.3); alone it predicts, in one pass. Version
"vanilla" is fully connected, after the vanilla GAN, "dcgan" convolutional, after DC-GAN. Its family has the paper's
control, and one that sees random noise instead of the generator's perturbations.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, make_dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.attacks.shared.comparison import needed_against
from pipeline.defenses.protocol import Defense, Examined, Learned, Materials, Rows
from pipeline.defenses.shared.choices import ROUNDING, is_narrow, moved, settle, shares_by_original
from pipeline.defenses.shared.pictures import Generated
from pipeline.defenses.undefended import undefended
from pipeline.errors import PipelineError
from pipeline.metrics.choices import Choice
from pipeline.metrics.contrasts import Contrast
from pipeline.metrics.gains import (
    ALLOWED_LOSS,
    CONTROLS,
    EACH_CLASS,
    GAC,
    MEAN,
    Accuracy,
    GacTrial,
    Needed,
    compare_accuracy,
    find_changes,
)
from pipeline.metrics.splits import training_mask
from pipeline.models.classifier import NormalizingClassifier
from pipeline.models.generators import Generator
from pipeline.models.inference import for_inference, predict, unit_interval
from pipeline.models.modes import evaluation_mode
from pipeline.randomness import generator
from pipeline.ranges import Range
from pipeline.training.gac import (
    CONTROL,
    Contestants,
    GacEpoch,
    GacTraining,
    Sample,
    TrainingFailed,
    Widths,
    deceive,
    fit_gac,
    generate,
    new_contestants,
)

gac = undefended

Width = Annotated[int, Range(1, 16384)]
Lambda = Annotated[float, Range(0, 10000)]
Share = Annotated[float, Range(0, 0.9, low_open=True)]
Arrays = dict[str, NDArray[Any]]

ATTACKS = ("minimal", "extended")
PARTS = ("seen", "unseen", "test")
GENERATOR = "generator"
WATCHED = 2000  # images of each kind that the learning curves are measured on
# The kinds of Figure 10 of the paper, original to generated; where one does not occur, it is left out.
KINDS = ((4, 7), (5, 8), (9, 7), (4, 9), (1, 4), (0, 8), (5, 3))
SEARCHED = 10000  # test images that those are looked for among
LAMBDA_RULE = (
    "the lambda of the largest gain over the control on minimal adversarial images of unseen originals, of those that "
    "cost at most a point of clean accuracy on unseen images; of equal gains the smallest lambda"
)
LAMBDA_REASON = (
    "the paper claims the gain for the right lambda (Section 3.3) and says nothing of a price; a gain that is paid for "
    "with clean accuracy is no defense's. Trials have seeds of their own: their luck is in no judged training"
)


@dataclass(frozen=True)
class TrainingStatus:
    """Whether a training came to something: "ok", or why not."""

    seed: int
    status: str


@dataclass(frozen=True)
class Contest:
    """The train split as a training sees it: those images that it learns from, and those that it does not."""

    training: Sample
    unseen: Sample
    seen: NDArray[np.bool_]  # of the train split
    class_count: int


def learn(
    materials: Materials,
    *,
    version: Literal["vanilla", "dcgan"],
    share: Share,
    seeds: Annotated[int, Range(1, 100)],
    generator_widths: tuple[Width, ...],
    classifier_widths: tuple[Width, ...],
    training: GacTraining,
    lambda_: Lambda | Literal["auto"] = "auto",
    lambdas: tuple[Lambda, ...] = (),
    trial_epochs: Annotated[int, Range(1, 1000)] = 1,
) -> Learned:
    """Choose lambda by short trainings, then train the GAC beside its controls, several times from other numbers.

    share : of the train split that is learned from; never a validation image. seeds : trainings, alike but for their
    random numbers, which are others than those of the trials. generator_widths, classifier_widths : units of the
    hidden layers ("vanilla"), or channels ("dcgan"). lambdas, trial_epochs : of the trials that lambda is chosen by.

    Raises PipelineError if every training fails, or if lambda is "auto" and no trial meets the rule.
    """
    widths = Widths(version, generator_widths, classifier_widths)
    contest = open_contest(materials, share)
    about = {"widths": asdict(widths), "share": share, "training": asdict(training)}
    choices: dict[str, Choice] = {}
    trials: list[GacTrial] = []
    pictures = {}
    if lambdas:
        trials, made = _try_lambdas(materials, contest, widths, training, lambdas, trial_epochs, about)
        choices["lambda_"] = choose_lambda(trials)
        if made:
            pictures["lambdas"] = made
    elif isinstance(lambda_, str):
        raise PipelineError(f"{materials.key}.learn.lambda_: auto, but there are no lambdas to try: give some")
    value = choices["lambda_"].value if choices else None
    used = settle(lambda_, value, f"{materials.key}.learn.lambda_", LAMBDA_RULE)

    samples = _watched(materials, contest)

    task = _Training(widths, contest, samples, names_of(materials), materials.device, used, training)
    with materials.progress(seeds * training.epochs * len(contest.training.labels), "trainings") as progress:
        kept = materials.kept("trainings", {**about, "lambda": used}, task, range(seeds), progress.advance)
    curves: list[GacEpoch] = []
    statuses = []
    trainings: dict[int, dict[str, nn.Module]] = {}
    for number, arrays in enumerate(kept):
        contestants = task.new(number)
        epochs, status = unpack_training(arrays, contestants)
        statuses.append(TrainingStatus(number, status))
        if status == "ok":
            curves += epochs
            classifiers = {"" if name == GAC else name: model for name, model in contestants.classifiers.items()}
            trainings[number] = {GENERATOR: contestants.generator, **classifiers}
    if not trainings:
        failures = "; ".join(entry.status for entry in statuses)
        raise PipelineError(f"{materials.key}.learn: every training failed: {failures}")
    first = next(iter(trainings.values()))
    return Learned(
        models={role: model for role, model in first.items() if role != GENERATOR},
        choices=choices,
        trials=trials,
        curves=curves,
        tables={"trainings": statuses, "mean_curves": mean_curves(curves)},
        trainings=trainings,
        pictures=pictures,
    )


def names_of(materials: Materials) -> tuple[int, str, str]:
    """By which its random numbers are named: seed, source, family."""
    return materials.seed, materials.source, materials.key


@dataclass(frozen=True)
class _Training:
    """A task of the mapper: a training beside its controls, by its number."""

    widths: Widths
    contest: Contest
    samples: Mapping[str, Sample]
    names: tuple[int, str, str]
    device: torch.device
    lambda_: float
    settings: GacTraining

    def new(self, number: int) -> Contestants:
        return new_contestants(
            self.widths, self.contest.training.images, self.contest.class_count, (*self.names, number)
        )

    def __call__(self, number: int, advance: Callable[..., object]) -> Arrays:
        contestants, curves, status = self.new(number), [], "ok"
        order, noise = (generator(self.device, *self.names, number, what) for what in ("order", "noise"))
        seen = self.contest.training
        try:
            for epoch in fit_gac(
                contestants, seen.images, seen.labels, self.samples, number, order, noise, advance,
                lambda_=self.lambda_, **vars(self.settings),
            ):  # fmt: skip
                curves.append(epoch)
                advance(0, {f"{number} {epoch.model} {epoch.split}": f"{epoch.accuracy:.4f}"})
        except TrainingFailed as failure:
            status = str(failure)
        return pack_training(contestants, curves, status)


def open_contest(materials: Materials, share: float) -> Contest:
    """The train split divided by `training_mask`, on the device."""
    images, labels = materials.split("train")
    seen = training_mask(labels, materials.seed, materials.source, share)
    learned, unseen = (_sample(materials, images[mask], labels[mask], generated=True) for mask in (seen, ~seen))
    return Contest(learned, unseen, seen, len(materials.class_names))


def _sample(materials: Materials, images: NDArray[Any], labels: NDArray[Any], generated: bool) -> Sample:
    placed = torch.from_numpy(images).to(materials.device), torch.from_numpy(labels).to(materials.device, torch.int64)
    return Sample(*placed, generated=generated)


def _rows_of(materials: Materials, attack: str, seen: NDArray[np.bool_], part: str) -> Rows:
    """Rows of a set whose originals are of one of PARTS."""
    if part == "test":
        return materials.rows(attack, split="test")
    return materials.rows(attack, seen if part == "seen" else ~seen)


def _attacked(materials: Materials, rows: Rows, chosen: Tensor | None = None) -> Sample:
    kept = slice(None) if chosen is None else chosen
    images, labels = (values[kept].to(materials.device) for values in (rows.images, rows.labels))
    return Sample(images, labels, generated=False)


def _watched(materials: Materials, contest: Contest) -> dict[str, Sample]:
    """At most WATCHED images each: of "train" those seen, of "test", and adversarial ones of both.

    Nothing is chosen by those of the test split.
    """
    random = materials.random("gac", "watched")

    def some(total: int) -> Tensor:
        return torch.from_numpy(np.sort(random.permutation(total)[:WATCHED]))

    learned, (images, labels) = contest.training, materials.split("test")
    chosen = some(len(learned.labels)).to(materials.device)
    samples = {"train": Sample(learned.images[chosen], learned.labels[chosen], generated=True)}
    rows = some(len(labels)).numpy()
    samples["test"] = _sample(materials, images[rows], labels[rows], generated=True)
    for name, part in (("adversarial_train", "seen"), ("adversarial_test", "test")):
        found = _rows_of(materials, "minimal", contest.seen, part)
        samples[name] = _attacked(materials, found, some(len(found.labels)))
    return samples


def _try_lambdas(
    materials: Materials,
    contest: Contest,
    widths: Widths,
    training: GacTraining,
    lambdas: Sequence[float],
    epochs: int,
    about: Mapping[str, Any],
) -> tuple[list[GacTrial], Generated | None]:
    """For each lambda, from the largest, a trial; and what the generators make of an unseen image of each class.

    A training that fails gives a trial that says why; the others go on. None if all fail.
    """
    rows = _rows_of(materials, "minimal", contest.seen, "unseen")
    unseen, adversarial = contest.unseen, _attacked(materials, rows)
    if not len(rows.labels):
        raise PipelineError(f"{materials.key}: expected adversarial images of unseen originals, found none")
    first = torch.stack([(unseen.labels == label).nonzero()[0, 0] for label in range(contest.class_count)])
    shown = unseen.images[first]
    control: Arrays = {}
    wanted = sorted(set(lambdas), reverse=True)
    settings = {**about, "trial_epochs": epochs}
    task = _Trial(widths, contest, adversarial, shown, names_of(materials), materials.device, training, epochs)
    found: dict[float, Arrays] = {}
    with materials.progress(len(wanted) * epochs * len(contest.training.labels), "trials") as progress:
        while wanted and not control:
            # The control knows no lambda: it is trained beside the first that does not fail.
            first_one = {"lambda": wanted[0], "control": True}
            what, blocks = f"trial at lambda {wanted[0]:g}", [(wanted[0], True)]
            (one,) = materials.kept(what, {**settings, **first_one}, task, blocks, progress.advance)
            found[wanted.pop(0)] = one
            if unpacked(one["status"]) == "ok":
                control = {kind: one[f"{CONTROL}/{kind}"] for kind in ("clean", "adversarial")}
        blocks = [(lambda_, False) for lambda_ in wanted]
        others = materials.kept("trials", {**settings, "lambdas": wanted}, task, blocks, progress.advance)
        found |= zip(wanted, others, strict=True)
    trials, names, made = [], [], []
    for lambda_, one in found.items():
        trial = GacTrial(
            materials.key, lambda_, epochs, len(rows.originals), len(rows.labels), len(unseen.labels),
            unpacked(one["status"]),
        )  # fmt: skip
        if trial.status == "ok":
            trial = _with_figures(trial, one, control, rows.original_row.numpy())
            names.append(f"{materials.key} {lambda_:g}")
            made.append((one["made"], one["before"], one["after"]))
        trials.append(trial)
    if not made:
        return trials, None
    generated, before, after = zip(*made, strict=True)
    return trials, Generated(
        names=tuple(names),
        originals=_as_floats(shown),
        labels=unseen.labels[first].cpu().numpy().astype(np.uint8),
        generated=np.array(generated, np.float32),
        predicted_before=np.array(before, np.uint8),
        predicted_after=np.array(after, np.uint8),
    )


@dataclass(frozen=True)
class _Trial:
    """A task of the mapper: a short training at a lambda, with the control beside it or without, and what it can do."""

    widths: Widths
    contest: Contest
    adversarial: Sample
    shown: Tensor
    names: tuple[int, str, str]
    device: torch.device
    training: GacTraining
    epochs: int

    def __call__(self, block: tuple[float, bool], advance: Callable[..., object]) -> Arrays:
        lambda_, with_control = block
        wanted = (GAC, CONTROL) if with_control else (GAC,)
        seen, unseen = self.contest.training, self.contest.unseen
        names = *self.names, "trial"
        contestants = new_contestants(self.widths, seen.images, self.contest.class_count, names, wanted)
        watched = Sample(seen.images[:WATCHED], seen.labels[:WATCHED], generated=False)
        order, noise = (generator(self.device, *names, what) for what in ("order", "noise"))
        settings = {**vars(self.training), "epochs": self.epochs, "lambda_": lambda_}
        try:
            for _epoch in fit_gac(
                contestants, seen.images, seen.labels, {"train": watched}, 0, order, noise, advance, **settings
            ):
                pass
        except TrainingFailed as failure:
            return {"status": packed(str(failure))}
        judged = {
            f"{name}/{kind}": right(model, sample)
            for name, model in contestants.classifiers.items()
            for kind, sample in (("clean", unseen), ("adversarial", self.adversarial))
        }
        classifier = contestants.classifiers[GAC]
        does = deceive(contestants.generator, classifier, unseen, torch.from_numpy(judged[f"{GAC}/clean"]))
        fakes = generate(contestants.generator, self.shown)
        return {
            "status": packed("ok"),
            **judged,
            "does": np.array(does),
            "made": fakes.cpu().numpy(),
            "before": predicted(classifier, self.shown),
            "after": predicted(classifier, fakes),
        }


def _with_figures(trial: GacTrial, found: Arrays, control: Arrays, original_row: NDArray[np.int64]) -> GacTrial:
    shares = {
        name: shares_by_original(judged, original_row)
        for name, judged in ((GAC, found[f"{GAC}/adversarial"]), (CONTROL, control["adversarial"]))
    }
    own, other = compare_accuracy(0, "minimal", "unseen", shares, np.arange(trial.originals))
    l2, fooled = found["does"].tolist()
    return replace(
        trial,
        clean_accuracy=float(found[f"{GAC}/clean"].mean()),
        control_clean_accuracy=float(control["clean"].mean()),
        accuracy=own.accuracy,
        control_accuracy=other.accuracy,
        gain=other.gain,
        gain_low=other.gain_low,
        gain_high=other.gain_high,
        perturbation_l2=l2,
        fooled=fooled,
    )


def choose_lambda(trials: Sequence[GacTrial]) -> Choice:
    """LAMBDA_RULE; trainings that failed are not considered."""
    tried = [
        {
            "lambda_": trial.lambda_,
            "status": trial.status,
            "clean_accuracy": trial.clean_accuracy,
            "control_clean_accuracy": trial.control_clean_accuracy,
            "gain": trial.gain,
            "gain_low": trial.gain_low,
            "gain_high": trial.gain_high,
        }
        for trial in trials
    ]
    narrow = is_narrow(_best_lambda, trials, _otherwise)
    return Choice(_best_lambda(trials), LAMBDA_RULE, tried, narrow, LAMBDA_REASON)


def _best_lambda(trials: Sequence[GacTrial]) -> float | None:
    kept = [
        (trial.gain, trial.lambda_)
        for trial in trials
        if trial.gain is not None
        and trial.clean_accuracy is not None
        and trial.control_clean_accuracy is not None
        and trial.control_clean_accuracy - trial.clean_accuracy <= ALLOWED_LOSS + ROUNDING
    ]
    best = max((gain for gain, _ in kept), default=0.0)
    return min((lambda_ for gain, lambda_ in kept if gain >= best - ROUNDING), default=None)


def _otherwise(trial: GacTrial, originals: int) -> list[GacTrial]:
    if trial.gain is None or trial.clean_accuracy is None:
        return []
    return [
        replace(trial, clean_accuracy=moved(trial.clean_accuracy, originals, trial.unseen)),
        replace(trial, gain=trial.gain + originals / trial.originals),
    ]


def predicted(model: nn.Module, images: Tensor) -> NDArray[np.int64]:
    """The classes, int64 (n,), that a classifier predicts for images (n, c, h, w), in evaluation mode."""
    with evaluation_mode(model):
        classes: NDArray[np.int64] = predict(model, images, 256).argmax(1).cpu().numpy()
    return classes


def right(model: nn.Module, sample: Sample) -> NDArray[np.bool_]:
    """Which images of a sample get their label, bool (n,)."""
    return np.asarray(predicted(model, sample.images) == sample.labels.cpu().numpy())


def packed(value: Any) -> NDArray[np.uint8]:
    """Anything that JSON knows, as bytes among arrays."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def unpacked(array: NDArray[np.uint8]) -> Any:
    """What `packed` was given."""
    return json.loads(array.tobytes())


def pack_training(contestants: Contestants, curves: Sequence[GacEpoch], status: str) -> Arrays:
    """A finished training as arrays."""
    arrays: Arrays = {"about": packed([status, [vars(epoch) for epoch in curves]])}
    for name, model in _models(contestants).items():
        arrays |= {f"{name}/{key}": value.cpu().numpy() for key, value in model.state_dict().items()}
    return arrays


def unpack_training(arrays: Arrays, contestants: Contestants) -> tuple[list[GacEpoch], str]:
    """Its curves and status back; `contestants`, of the same architectures, get its weights."""
    for name, model in _models(contestants).items():
        state = model.state_dict()
        model.load_state_dict(
            {key: torch.from_numpy(arrays[f"{name}/{key}"]).view_as(value) for key, value in state.items()}
        )
    status, curves = unpacked(arrays["about"])
    return [GacEpoch(**epoch) for epoch in curves], status


def _models(contestants: Contestants) -> dict[str, nn.Module]:
    return {GENERATOR: contestants.generator, **contestants.classifiers}


def _as_floats(images: Tensor) -> NDArray[np.float32]:
    """uint8 images in [0, 1]."""
    floats: NDArray[np.float32] = unit_interval(images).cpu().numpy()
    return floats


def mean_curves(curves: Sequence[GacEpoch]) -> list[Any]:
    """Accuracy by epoch, mean over trainings: rows of `epoch` and a field `<model>_<split>` each."""
    accuracies: dict[str, dict[int, list[float]]] = {}
    for row in curves:
        accuracies.setdefault(f"{row.model}_{row.split}", {}).setdefault(row.epoch, []).append(row.accuracy)
    row_type = make_dataclass("MeanEpoch", [("epoch", int), *((name, float) for name in accuracies)], frozen=True)
    epochs = sorted({row.epoch for row in curves})
    return [row_type(epoch, *(sum(each[epoch]) / len(each[epoch]) for each in accuracies.values())) for epoch in epochs]


def examine(
    materials: Materials, learned: Learned, *, share: Share, originals: Annotated[int, Range(1, 10**6)]
) -> Examined:
    """Each training's accuracies, what the minimal attack needs against its classifiers, and generated images.

    Tables `accuracies` (on whole splits and sets), `robustness`; picture `generated`, of the first training.

    share : that of `learn`. originals : of the test split, that each classifier is attacked on.
    """
    trained = {
        number: Contestants(
            _generator(models[GENERATOR], materials),
            {GAC if role == "" else role: _classifier(models[role], materials) for role in ("", *CONTROLS)},
        )
        for number, models in learned.trainings.items()
    }
    contest = open_contest(materials, share)
    accuracies: list[Accuracy] = []
    for kind, part, sample, original_row in _judged(materials, contest):
        each = []
        for number, contestants in trained.items():
            each.append({name: right(model, sample) for name, model in contestants.classifiers.items()})
            rows = compare_accuracy(number, kind, part, each[-1], original_row)
            if sample.generated:
                correct = torch.from_numpy(each[-1][GAC])
                l2, fooled = deceive(contestants.generator, contestants.classifiers[GAC], sample, correct)
                rows = [replace(row, perturbation_l2=l2, fooled=fooled) if row.model == GAC else row for row in rows]
            accuracies += rows
        together = {name: np.mean([correct[name] for correct in each], axis=0) for name in each[0]}
        accuracies += compare_accuracy(MEAN, kind, part, together, original_row)

    pixels, truth = materials.split("test")
    order = materials.random("gac", "robustness").permutation(len(truth))
    images = torch.from_numpy(pixels[order]).to(materials.device)
    labels = torch.from_numpy(truth[order]).to(materials.device, torch.int64)
    attack = materials.rows("minimal", split="test").params
    needed: list[Needed] = []
    with materials.progress(len(trained) * (1 + len(CONTROLS)), "attack", "model") as progress:
        for number, contestants in trained.items():
            found = needed_against(contestants.classifiers, images, labels, originals, materials.attack_batch, **attack)
            for name, columns in found:
                columns["original_row"] = order[columns["original_row"]]
                values = (columns[column].tolist() for column in ("original_row", "target_label", "l2", "steps"))
                needed += [Needed(number, name, *row) for row in zip(*values, strict=True)]
                progress.update(1)
    picture = _examples(materials.key, next(iter(trained.values())), images, truth[order])
    return Examined(tables={"accuracies": accuracies, "robustness": needed}, pictures={"generated": picture})


def _generator(model: nn.Module, materials: Materials) -> Generator:
    assert isinstance(model, Generator)
    return for_inference(model, materials.device)


def _classifier(model: nn.Module, materials: Materials) -> NormalizingClassifier:
    assert isinstance(model, NormalizingClassifier)
    return for_inference(model, materials.device)


def _judged(materials: Materials, contest: Contest) -> Iterator[tuple[str, str, Sample, NDArray[np.integer[Any]]]]:
    """All there is: attack ("clean" first), part, images, and the original that each image comes from."""
    test = _sample(materials, *materials.split("test"), generated=True)
    for part, sample in zip(PARTS, (contest.training, contest.unseen, test), strict=True):
        yield "clean", part, sample, np.arange(len(sample.labels))
    for attack in ATTACKS:
        for part in PARTS:
            rows = _rows_of(materials, attack, contest.seen, part)
            if len(rows.labels):
                yield attack, part, _attacked(materials, rows), rows.original_row.numpy()


def _examples(name: str, contestants: Contestants, images: Tensor, labels: NDArray[np.uint8]) -> Generated:
    """First the images that changed their class, by kind; then some of every class."""
    classifier = contestants.classifiers[GAC]
    searched = slice(0, SEARCHED)
    before = predicted(classifier, images[searched])
    after = predicted(classifier, generate(contestants.generator, images[searched]))
    rows = find_changes(labels[searched], before, after, KINDS, len(KINDS))
    rows += [row for label in np.unique(labels) for row in np.flatnonzero(labels == label)[:EACH_CLASS].tolist()]
    shown = images[rows]
    made = generate(contestants.generator, shown)
    return Generated(
        names=(name,),
        originals=_as_floats(shown),
        labels=labels[rows],
        generated=made.cpu().numpy()[None],
        predicted_before=predicted(classifier, shown)[None].astype(np.uint8),
        predicted_after=predicted(classifier, made)[None].astype(np.uint8),
    )


defense = Defense(
    predict=gac,
    setting="transfer",
    learn=learn,
    examine=examine,
    tried=("lambdas", "trial_epochs"),
    primary=Contrast("control"),  # the paper's claim, Section 3.3
)
