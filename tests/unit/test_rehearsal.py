"""What no stage would take is told before the first of them, as the stage would tell it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.errors import PipelineError
from pipeline.models.autoencoder import Autoencoder
from pipeline.models.generators import DcganGenerator
from pipeline.registry import serve_own_files
from pipeline.stages.learn import _in_params
from pipeline.stages.rehearsal import rehearse
from pipeline.stages.sets import minimal_arguments
from pipeline.studies import Study
from tests.root import ROOT
from tests.studies import START, STUDIES, Change, change, put

LEARNING = "defenses/dropout_ensemble/learn"
GAC = "defenses/gac_vanilla"


@pytest.mark.parametrize("key", ["training/precision", "adaptive/all/precision"])
def test_bfloat16_is_refused_at_once_where_there_is_none(
    folder: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    rehearse(Study(START))
    change(folder, put(key, "bfloat16"))
    with pytest.raises(PipelineError, match=r"^precision: bfloat16: expected a CPU with AMX"):
        rehearse(Study(START))


def without(key: str) -> Change:
    """Take out what stands at a key, its parts divided by /."""

    def edit(params: dict[str, Any]) -> None:
        *path, last = key.split("/")
        for name in path:
            params = params[name]
        del params[last]

    return edit


def both(*edits: Change) -> Change:
    """One after the other."""
    return lambda params: [edit(params) for edit in edits]


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_is_taken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    rehearse(Study(name))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seed", "x", "seed: expected a whole number in [0, 9.22337e+18], found 'x'"),
        ("seed", 5.0, "seed: expected a whole number in [0, 9.22337e+18], found 5.0"),
        ("seed", 2**64, "seed: expected a whole number in [0, 9.22337e+18], found 1844"),
        ("sources/test", 105, "sources.test: expected a multiple of 10 source images, found 105"),
        ("sources/targets", 10, "sources.targets: expected at most the 9 other classes, or 'all', found 10"),
        ("replicates/sources", None, "replicates.sources: expected a block of parameters, found None"),
        ("replicates/sources/curve", 3, "replicates.sources.curve: unknown parameter; expected one of: train, test, "),
        ("replicates/sources/test", 105, "replicates.sources.test: expected a multiple of 10 source images, found 105"),
        ("sizes/originals", 35, "sizes.originals: expected a multiple of 10 source images, found 35"),
        ("sources/train", -3, "sources.train: expected a whole number in [0, 1e+07], found -3"),
        ("sources/targets", "some", "sources.targets: expected a whole number in [1, 255] or 'all', found 'some'"),
        ("sources", {"train": 0, "test": 0}, "sources: expected a number of images for train, test or both, found {"),
        ("images/source", "nosuch", "images.source: expected one of: digits, mnist, "),
        ("images/test_share", 2, "images.test_share: expected a number in [0.05, 0.5], found 2"),
        ("training/learning_rate", True, "training.learning_rate: expected a number in (0, 10], found True"),
        ("training/learning_rate", "auto", "training.learning_rate: expected a number in (0, 10], found 'auto'"),
        ("training/learning_rate", None, "training.learning_rate: expected a number in (0, 10], found None"),
        ("training/weight_decay", float("nan"), "training.weight_decay: expected a number in [0, 1], found nan"),
        ("training/epochz", 3, "training.epochz: unknown parameter; expected one of: "),
        ("classifier/training/epochs", 0, "classifier.training.epochs: expected a whole number in [1, 1000]"),
        ("classifier/architecture/dropout", 1.5, "classifier.architecture.dropout: expected a number in [0, 0.9]"),
        ("classifier/architecture/widths", 3, "classifier.architecture.widths: unknown parameter; expected one of: "),
        ("classifier/kind", ["cnn"], "classifier.kind: expected one of: cnn, mlp, resnet, found ['cnn']"),
        ("classifier/kind", "mlp", "classifier.architecture.channels: unknown parameter; expected one of: "),
        ("threat/linf/epsilons", [], "threat.linf.epsilons: expected at least one number in (0, 100000], found []"),
        ("threat/linf/epsilons", [0.1, 0], "threat.linf.epsilons[1]: expected a number in (0, 100000]"),
        ("threat/linf/epsilon", 0.123, "threat.linf.epsilon: expected one of threat.linf.epsilons, "),
        ("adaptive/all/budget", 0.123, "adaptive.all.budget: expected one of threat.linf.epsilons, "),
        ("adaptive/one_pass", {"epsilons": [0.5]},
         "threat.linf.epsilon: expected one of adaptive.one_pass.epsilons, 0.5; "),
        ("attack_trials/max_steps", 0, "attack_trials.max_steps: expected a whole number in [1, 30000], found 0"),
        ("attacks/minimal/max_steps", 0, "attacks.minimal.max_steps: expected a whole number in [1, 15000]"),
        ("attacks/minimal/max_steps", "auto", "attacks.minimal.max_steps: expected a number, found 'auto': no rule"),
        ("attacks/minimal/stepsize", 1, "attacks.minimal.stepsize: unknown parameter; expected one of: step_size, "),
        ("other_attacks/fgsm/epsilom", 1, "other_attacks.fgsm.epsilom: unknown parameter; expected one of: epsilon"),
        ("other_attacks/mine", {"method": "pgd_l2", "steps": 0, "relative_step_size": 1},
         "other_attacks.mine.steps: expected a whole number"),
        ("other_attacks/nosuch", {}, "other_attacks.nosuch: unknown attack 'nosuch': expected a file pipeline/attacks"),
        ("other_attacks/square", {"queries": 9, "norm": "linf"},
         "other_attacks.square: square: expected an attack that takes targets"),
        (f"{LEARNING}/rate", [2], "defenses.dropout_ensemble.learn.rate[0]: expected a number in"),
        (f"{LEARNING}/method", "x", "defenses.dropout_ensemble.learn.method: unknown parameter"),
        ("defenses/dropout_ensemble/predict/passes", 0, "defenses.dropout_ensemble.predict.passes: expected a whole"),
        ("defenses/dropout_ensemble/predict/passes", "auto", "defenses.dropout_ensemble.predict.passes: expected a "),
        ("defenses/dropout_ensemble/variants/gn", {"method": "gaussian_noise_ensemble", "passes": 3, "sigma": "auto"},
         "defenses.dropout_ensemble.variants.gn.sigma: expected a number, found 'auto': no rule chooses this"),
        ("defenses/nosuch", {"learn": {}, "predict": {}, "variants": {}}, "defenses.nosuch: unknown defense 'nosuch'"),
        ("defenses/gac_vanilla/examine", None, "defenses.gac_vanilla.examine: expected a block of parameters, found"),
        ("defenses/autoencoder_ensemble/learn/trials", None, "learn.architecture.dropout: expected a number, found"),
        ("defenses/adversarial_training/learn/adversary/norm", "l1",
         "defenses.adversarial_training.learn.adversary.norm: expected one of 'linf', 'l2', found 'l1'"),
        ("defenses/gac_vanilla/variants/x", {}, "defenses.gac_vanilla.variants.x: unknown defense 'x': expected a"),
        (f"{GAC}/variants/x", {"learned": "controll"},
         "defenses.gac_vanilla.variants.x.learned: expected one of: control, noise_control; found 'controll'"),
        ("defenses/undefended/variants/x", {"learned": "control"},
         "defenses.undefended.variants.x.learned: expected none, for undefended learns no further model; found"),
        ("defenses/dropout_ensemble/variants/x", {"learned": "y", "passes": 2},
         "variants.x.learned: expected none, for dropout_ensemble learns no further model; found 'y'"),
        ("classifier/architecture/channels", [8] * 5,
         "classifier.architecture.channels: 5 poolings leave nothing of a 8x8 image"),
        ("sizes/classifiers/deep", {"channels": [8] * 5, "dropout": 0},
         "sizes.classifiers.deep.channels: 5 poolings leave nothing of a 8x8 image"),
        ("defenses/gac_vanilla/variants/clean", {}, "defenses.gac_vanilla.variants.clean: expected another name"),
        ("other_attacks/all", {}, "other_attacks.all: expected another name"),
        ("defenses/undefended/learn", {"x": 1}, "defenses.undefended.learn.x: unknown parameter"),
        ("defenses/undefended/examine", {"x": 1}, "defenses.undefended.examine: no stage reads it"),
        (f"{GAC}/learn/seeds", 0, "defenses.gac_vanilla.learn.seeds: expected a whole number in [1, "),
        (f"{GAC}/learn/training/epochs", -1, "defenses.gac_vanilla.learn.training.epochs: expected a"),
        (f"{GAC}/learn/training/epoch", 3, "defenses.gac_vanilla.learn.training.epoch: unknown parameter; expected"),
        ("adaptive/all/restarts", 0, "adaptive.all.restarts: expected a whole number in [1, 1000], found 0"),
        ("adaptive/all/norm", None, "adaptive.all.norm: expected one of 'linf', 'l2', found None"),
        ("adaptive/all/norm", "l1", "adaptive.all.norm: expected one of 'linf', 'l2', found 'l1'"),
        ("adaptive/all/ascent/method", "x", "adaptive.ascent: unknown attack 'x': expected a file pipeline/attacks"),
        ("adaptive/all/others/x", {}, "adaptive.others.x: unknown attack 'x': expected a file pipeline/attacks/x.py"),
        ("adaptive/all/ascent", {1: 2}, "expected texts as keys, found 1"),
        ("adaptive/al", {}, "adaptive.al: unknown parameter; expected one of: all, one_pass, randomized, undefended"),
        ("adaptive/all/ascent/steps", 0, "adaptive.ascent.steps: expected a whole number in [1, 1000]"),
        ("adaptive/all/ascent", {"method": "ddn", "steps": 3}, "adaptive.ascent: expected an attack with a budget in"),
        ("adaptive/all/others/square/queries", "few", "adaptive.others.square.queries: expected a whole number in"),
        ("adaptive/gac_vanilla", {"budget": 0.1}, "adaptive: gac_vanilla: expected undefended's {'norm': 'linf', "),
        ("replicates/count", -1, "replicates.count: expected a whole number in [0, 1000], found -1"),
        ("replicates/count", 1, "replicates.count: expected 0, or 2 and more to compare, found 1"),
        ("sizes/originals", 0, "sizes.originals: expected a whole number in [1, 1e+06], found 0"),
        ("sizes/classifiers/w1.5", {}, "sizes.classifiers: expected a name of the letters a-z, digits, _ and -"),
        ("sizes/classifiers/narrow", {"chanels": [3]}, "sizes.classifiers.narrow.chanels: unknown parameter"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_what_was_expected(folder: Path, key: str, value: Any, message: str) -> None:
    change(folder, put(key, value))
    assert message in told()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (without("classifier/training/epochs"), "classifier.training.epochs: missing; expected a whole number"),
        (without("adaptive/all/originals"), "adaptive.originals: missing; expected a whole number"),
        (without(f"{GAC}/learn/seeds"), "defenses.gac_vanilla.learn.seeds: missing; expected a whole number"),
        (without(f"{GAC}/examine"), "defenses.gac_vanilla.examine.originals: missing; expected a whole number"),
        (without("defenses/dropout_ensemble/predict/passes"), "defenses.dropout_ensemble.predict.passes: missing"),
        (without("attacks/extended/extra_steps"), "attacks.extended.extra_steps: missing; expected a whole number"),
        (without("sources/test"), "sources.test: expected images to judge defenses on, found none"),
        (without("sizes/originals"), "no 'originals' in sizes"),
        (without(f"{LEARNING}/sigma"), "variants.gaussian_noise_ensemble.sigma: expected a number, found 'auto'"),
        (both(put(f"{GAC}/learn/lambda_", "auto"), without(f"{GAC}/learn/lambdas")), "learn.lambda_: expected a"),
        (
            put("replicates", {"count": 2, "sources": {"test": 10}, "defenses": ["x"]}),
            "replicates.defenses: expected defenses of the study",
        ),
    ],
)  # fmt: skip
def test_what_is_missing_or_does_not_go_together_is_named(folder: Path, edit: Change, message: str) -> None:
    change(folder, edit)
    assert message in told()


@pytest.mark.parametrize(
    ("text", "found"), [("{}", "none"), ('{"extra_steps": {"value": 1, "rule": "", "tried": []}}', "extra_steps")]
)
def test_a_choice_that_is_not_in_its_file_is_missed_there(folder: Path, text: str, found: str) -> None:
    study = Study(START)
    file = study.path("attack_choices")
    file.parent.mkdir(parents=True)
    file.write_text(text)
    message = (
        rf"^{file}: expected a choice of step_size, which is 'auto' in .*: attacks\.minimal\.step_size; found {found}: "
    )
    with pytest.raises(PipelineError, match=message):
        minimal_arguments(study)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("gac_vanilla.learn.lambda_: auto", "defenses.gac_vanilla.learn.lambda_: auto"),
        ("data/x.h5: no such file", None),
    ],
)
def test_what_learning_refuses_is_named_with_its_file(folder: Path, said: str, message: str | None) -> None:
    found = str(_in_params(Study(START), "gac_vanilla", PipelineError(said)))
    assert found == (f"studies/{START}/params.yaml: {message}" if message else said)


@pytest.mark.parametrize(
    ("build", "place"),
    [
        (lambda: Autoencoder((1, 8, 8), channels=(8,) * 5, dropout=0, residual=False), "architecture.channels"),
        (lambda: DcganGenerator((1, 8, 8), channels=(8,) * 5), "generator_widths"),
    ],
)
def test_a_network_that_images_are_too_small_for_is_named_by_its_parameter(
    folder: Path, build: Callable[[], object], place: str
) -> None:
    with pytest.raises(PipelineError) as refused:
        build()
    found = str(_in_params(Study(START), "gac_dcgan", refused.value))
    assert found.startswith(f"studies/{START}/params.yaml: defenses.gac_dcgan.learn: {place}: a 8x8 image cannot be ")


def told() -> str:
    with pytest.raises(PipelineError) as caught:
        rehearse(Study(START))
    message = str(caught.value)
    assert message.startswith(f"studies/{START}/params.yaml: ")
    return message


@pytest.mark.parametrize(
    "edit",
    [
        put("other_attacks/mine", {"method": "imported", "file": "x.npz"}),  # told by check_params itself
        put("other_attacks/fgsm", {"method": "pgd_l2", "steps": 3, "relative_step_size": 0.1}),
        put("defenses/dropout_ensemble/predict/rate", "auto"),
        put("adaptive/one_pass", {"ascent": {"steps": 3}}),
        put("adaptive/dropout_ensemble", {"ascent": {"method": "pgd_linf"}}),
        both(
            put("adaptive/all/others/again", {"method": "square", "queries": 9}),
            put("adaptive/randomized/others", {"again": {"queries": 5}}),
        ),
        put("replicates", {"count": 0, "sources": {"test": 10}, "defenses": []}),
        put("sources/targets", 3),
        both(put("other_attacks", {"mine": {"method": "imported", "file": "x"}}), put("other_sources/test", 105)),
        put("images/class_names", ["a", "b", "c"]),  # digits know their own
    ],
)
def test_what_the_stages_take_is_taken(folder: Path, edit: Change) -> None:
    change(folder, edit)
    rehearse(Study(START))


def test_an_own_defense_may_choose_what_it_likes(folder: Path) -> None:
    (folder / f"studies/{START}/mine.py").write_text(OWN)
    for number, taken in ((0.5, True), ("auto", True), (-1, False)):
        predict = {"level": number, "depth": "auto", "free": "auto", "open": "auto"}
        change(folder, put("defenses/mine", {"learn": {"grid": [1]}, "predict": predict, "variants": {}}))
        serve_own_files(Path("studies") / START)
        try:
            if taken:
                rehearse(Study(START))
            else:
                assert "defenses.mine.predict.level: expected a number in [0, 1], found -1" in told()
        finally:
            serve_own_files()


OWN = '''"""Mine"""

from typing import Annotated, Literal

from pipeline.defenses.protocol import Defense, Learned
from pipeline.ranges import Range

Open = Annotated[float, Range(0, float("inf"))]


Level = Annotated[float, Range(0, 1)]


def mine(classifier, images, generator, *, level: Level, depth: Literal[2, 4], free: float, open: Open):
    return classifier(images)[:, None]


def learn(materials, *, grid: tuple[int, ...], level: Annotated[float, Range(5, 9)] = 5):
    return Learned()


defense = Defense(predict=mine, learn=learn)
'''


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OWN.replace("def learn", "def"), "mine.py: importing it raised SyntaxError: "),
        (OWN.replace("import Range", "import Rang"), "mine.py: importing it raised ImportError: "),
        (OWN.replace("free: float", "free"), "expected a type of 'free', found none"),
    ],
)
def test_a_mistake_in_an_own_file_is_told(folder: Path, text: str, message: str) -> None:
    (folder / f"studies/{START}/mine.py").write_text(text)
    change(folder, put("defenses/mine", {"learn": {"grid": [1]}, "predict": {}, "variants": {}}))
    serve_own_files((folder / "studies") / START)
    try:
        assert message in told()
    finally:
        serve_own_files()


def test_a_classifier_that_is_brought_is_taken_as_it_is(folder: Path) -> None:
    """How it is trained anew is asked only where replicates are wanted."""
    for name, message in (("make", ""), ("nosuch", "classifier.build: expected a function 'nosuch' in nets, found")):
        (folder / f"studies/{START}/nets.py").write_text("def make():\n    return None\n")
        change(folder, put("classifier", {"build": f"nets:{name}", "weights": "w.pt", "retrain": True}))
        change(folder, put("replicates/count", 0))
        change(folder, put("sizes/classifiers", {"one": {}, "two": {}}))
        if message:
            assert message in told()
        else:
            rehearse(Study(START))
            change(folder, put("replicates/count", 2))
            assert "classifier.training.epochs: missing; expected a whole number in [1, 1000]" in told()
            change(folder, put("replicates/count", 0))
