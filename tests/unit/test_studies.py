"""What is wrong in a study is one line: file and key, what was expected, what was found."""

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.errors import PipelineError
from pipeline.new_study import make_study
from pipeline.stages.check_params import words
from pipeline.stages.learned import precisions
from pipeline.stages.prepare_images import read_raw
from pipeline.stages.sets import target_count
from pipeline.studies import Study
from pipeline.study_blocks import BLOCKS, INNER
from tests.studies import EVIL, START, change, put


def test_a_good_study_is_read(folder: Path) -> None:
    study = Study(START)
    assert study.families["dropout_ensemble"] == ["dropout_ensemble", "gaussian_noise_ensemble"]
    assert study.attacks[:2] == ["minimal", "extended"]
    assert str(study.path("set", "fgsm")) == f"data/adversarial/{START}/fgsm.h5"


PLACES = {
    "other_attacks": "other_attacks: ",
    "defenses": "defenses: ",
    "defenses/undefended/variants": "defenses.undefended.variants: ",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", EVIL)
def test_names_are_letters_digits_and_lines(folder: Path, place: str, name: str) -> None:
    change(folder, put(f"{place}/NAME", {}))
    file = folder / f"studies/{START}/params.yaml"
    params = YAML(typ="safe").load(file)
    block = params
    for part in place.split("/"):
        block = block[part]
    block[name] = {"learn": {}, "predict": {}, "variants": {}} if place == "defenses" else {}
    del block["NAME"]
    YAML().dump(params, file)
    with pytest.raises(PipelineError) as caught:
        Study(START)
    expected = (
        f"studies/{START}/params.yaml: {PLACES[place]}expected a name of the letters a-z, digits, _ and -, found "
    )
    assert str(caught.value) == f"{expected}{name!r}"


@pytest.mark.parametrize("name", EVIL)
def test_a_study_is_called_as_its_folder(folder: Path, name: str) -> None:
    with pytest.raises(PipelineError, match="study: expected a name of the letters a-z, digits, _ and -, found "):
        Study(name)
    with pytest.raises(PipelineError, match="NAME: expected a name of the letters a-z, digits, _ and -, found "):
        make_study(name, START)
    change(folder, put("study", name))
    with pytest.raises(PipelineError) as caught:
        Study(START)
    assert (
        str(caught.value) == f"studies/{START}/params.yaml: study: expected the folder's name '{START}', found {name!r}"
    )


def test_a_new_study_has_a_new_name_and_a_start(folder: Path) -> None:
    make_study("mine", START)
    assert Study("mine").params == {**Study(START).params, "study": "mine"}
    with pytest.raises(PipelineError, match=r"studies/mine: expected a new name, found a study of that name"):
        make_study("mine", START)
    with pytest.raises(PipelineError, match=r"studies/gone: no such study; expected one of: demo, mine"):
        make_study("yours", "gone")


def test_what_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(PipelineError, match=r"studies/svhn: no such study; expected one of: demo"):
        Study("svhn")
    (folder / "studies/empty").mkdir()
    with pytest.raises(PipelineError, match=r"studies/empty/params\.yaml: no such file"):
        Study("empty")


@pytest.mark.parametrize("key", BLOCKS)
def test_every_block_is_needed(folder: Path, key: str) -> None:
    change(folder, lambda params: params.pop(key))
    with pytest.raises(PipelineError, match=rf"studies/demo/params\.yaml: no '{key}' in the file: expected one of: "):
        Study(START)


def test_a_key_that_no_stage_reads_is_refused(folder: Path) -> None:
    change(folder, put("atacks", {}))
    with pytest.raises(PipelineError, match=r"params\.yaml: atacks: no stage reads it; expected one of: study, seed"):
        Study(START)


@pytest.mark.parametrize("block", [*INNER, "defenses/undefended"])
def test_inner_keys_that_no_stage_reads_are_refused(folder: Path, block: str) -> None:
    change(folder, put(f"{block}/stepsize", 1))
    key = block.replace("/", r"\.")
    with pytest.raises(PipelineError, match=rf"params\.yaml: {key}\.stepsize: unknown parameter; expected one of: \w+"):
        Study(START)


@pytest.mark.parametrize("block", [*INNER, "defenses", "other_attacks", "defenses/undefended/learn"])
@pytest.mark.parametrize("value", [3, None, "x", [1]])
def test_blocks_are_blocks(folder: Path, block: str, value: Any) -> None:
    change(folder, put(block, value))
    key = block.replace("/", r"\.")
    with pytest.raises(PipelineError, match=rf"params\.yaml: {key}: expected a block of parameters, found "):
        Study(START)


def test_the_metrics_say_what_is_trained_in_another_precision(folder: Path) -> None:
    assert precisions(Study(START)) == {}
    change(folder, put("defenses/adversarial_training/learn/training/precision", "bfloat16"))
    change(folder, put("sizes/training/precision", "float32"))
    assert precisions(Study(START)) == {
        "training of adversarial_training": {"precision": "bfloat16"},
        "training of sizes": {"precision": "float32"},
    }


def test_a_name_stands_once(folder: Path) -> None:
    change(folder, put("defenses/undefended/variants/gaussian_blur", {}))
    with pytest.raises(
        PipelineError, match=r"params\.yaml: defenses: expected each name once, found gaussian_blur twice"
    ):
        Study(START)


def test_a_dvc_yaml_of_its_own_is_refused(folder: Path) -> None:
    with open(folder / f"studies/{START}/dvc.yaml", "a") as file:
        file.write("# mine\n")
    with pytest.raises(
        PipelineError, match=r"studies/demo/dvc\.yaml: expected a copy of studies/pipeline\.yaml, found"
    ):
        Study(START)


def test_auto_needs_a_rule(folder: Path) -> None:
    study = Study(START)
    block = {"passes": "auto"}
    with pytest.raises(
        PipelineError, match=r"a\.b\.passes: expected a number, found 'auto': no rule chooses this parameter"
    ):
        study.resolved(block, "a.b", {"rate": 1})
    with pytest.raises(PipelineError, match=r"a\.b\.passes: 'auto': no setting that was tried meets the rule; give a"):
        study.resolved(block, "a.b", {"passes": None})
    file = Path("choices.json")
    message = (
        r"^choices\.json: expected a choice of x\.passes, which is 'auto' in .*a\.b\.passes; found rate: delete it and"
    )
    with pytest.raises(PipelineError, match=message):
        study.resolved(block, "a.b", {"rate": 1}, "x.", file)
    with pytest.raises(PipelineError, match="passes; found none: delete it and run dvc repro"):
        study.resolved(block, "a.b", {}, chosen_in=file)
    assert study.resolved(block, "a.b", {"passes": 3}) == {"passes": 3}
    assert study.resolved(block, "a.b", {"x.passes": 4}, "x.") == {"passes": 4}


@pytest.mark.parametrize("block", ["sources", "other_sources", "attack_trials", "replicates/sources", "sizes"])
def test_targets_are_all_or_fewer_than_the_other_classes(folder: Path, block: str) -> None:
    key = block.replace("/", ".")
    assert target_count(Study(START), key, 10) is None
    for value, found in {"all": None, 3: 3, 9: 9}.items():
        change(folder, put(f"{block}/targets", value))
        assert target_count(Study(START), key, 10) == found
    for value, message in {
        10: "expected at most the 9 other classes, or 'all', found 10",
        0: "expected a whole number in [1, 255]",
        "some": "expected ",
    }.items():
        change(folder, put(f"{block}/targets", value))
        with pytest.raises(PipelineError, match=rf"params.yaml: {key}.targets: {re.escape(message)}"):
            target_count(Study(START), key, 10)


NUMBERS: dict[str, tuple[Any, str]] = {
    "images/test_share": (0.9, "images.test_share: expected a number in [0.05, 0.5], found 0.9"),
    "images/source": (
        "svhn",
        "images.source: expected one of: digits, mnist, cifar10, torchvision:<Class>, "
        "parquet:<folder>, folder:<path>, npz:<file>, idx:<folder>; found 'svhn'",
    ),
    "seed": ("x", "seed: expected a whole number in [0, 9.22337e+18], found 'x'"),
}


@pytest.mark.parametrize("key", NUMBERS)
def test_where_images_come_from_is_checked(folder: Path, key: str) -> None:
    """All other numbers: tests/unit/test_params.py."""
    value, message = NUMBERS[key]
    change(folder, put(key, value))
    with pytest.raises(PipelineError) as caught:
        read_raw(Study(START))
    assert str(caught.value) == f"studies/{START}/params.yaml: {message}"


def test_the_words_are_all_that_names_code(folder: Path) -> None:
    """A number changes none of them; a method, a variant, another attack does."""
    before = words(Study(START))
    change(folder, put("adaptive/all/ascent/steps", 3))
    change(folder, put("other_attacks/ddn/steps", 3))
    assert words(Study(START)) == before
    found = [before]
    for key, value in {
        "other_attacks/foolbox_mi_fgsm/method": "fgsm",
        "other_attacks/jsma": {},
        "defenses/undefended/variants/copy": {"learned": "x"},
        "defenses/undefended/variants/copy/learned": "y",
        "defenses/gac_vanilla/method": "undefended",
        "adaptive/all/ascent/method": "pgd_linf",
        "adaptive/all/others/jsma": {},
        "replicates/defenses": ["gac_vanilla"],
    }.items():
        change(folder, put(key, value))
        found.append(words(Study(START)))
        assert found[-1] not in found[:-1], key
