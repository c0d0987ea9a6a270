"""What a change reruns: its own branch. One test after the other on one tree."""

import json

import pytest

from tests.tree import Tree

pytestmark = pytest.mark.slow
END = {"metrics", "report"}
FAMILIES = ("undefended", "dropout_ensemble", "adversarial_training")


def of_all(*stages: str) -> set[str]:
    return {f"{stage}@{family}" for stage in stages for family in FAMILIES}


def test_another_words_rerun_what_shows_them(tree: Tree) -> None:
    tree.edit("pipeline/attacks/extended.py", '"""', '# a comment\n"""')
    assert tree.repro() == {"fingerprint_code"}
    tree.edit("pipeline/defenses/gaussian_noise_ensemble.py", '"""Gaussian noise', '"""White noise')
    assert tree.repro() == {"fingerprint_code", *END}
    assert "White noise" in (tree.folder / "reports/tiny.html").read_text(encoding="utf-8")
    tree.edit("pipeline/reporting/templates/report.html.j2", "</body>", "<p>The end.</p>\n</body>")
    assert tree.repro() == {"fingerprint_code", "report"}


def test_other_code_reruns_what_reaches_it_and_nothing_below_equal_bytes(tree: Tree) -> None:
    tree.edit("pipeline/defenses/undefended.py", "def undefended(", "def nobody() -> None: ...\n\n\ndef undefended(")
    assert tree.repro() == {"fingerprint_code"}  # nothing reaches it
    # How both predict: judged and attacked again, with the same verdicts; not trained again.
    tree.edit("pipeline/defenses/undefended.py", "    return ", "    images = images + 0\n    return ")
    own = ("undefended", "adversarial_training")
    judged = {f"{stage}@{name}" for stage in ("evaluate", "evaluate_others", "attack_defense") for name in own}
    assert tree.repro() - END == {"fingerprint_code", *judged, "replicates"}


def test_a_number_in_place_of_auto_reruns_all_below_it(tree: Tree) -> None:
    choices = json.loads((tree.folder / "data/calibrations/tiny/choices.json").read_text())
    given = choices["extra_steps"]["value"] + 1
    tree.change(lambda params: params["attacks"]["extended"].update(extra_steps=given))
    below = of_all("learn", "evaluate", "evaluate_others")
    assert tree.repro() == {"extended", "sizes", *below, "replicates", *END}
    metrics = json.loads((tree.folder / "reports/metrics/tiny.json").read_text())
    assert metrics["choices"]["attacks"]["extra_steps"]["by_rule"] == choices["extra_steps"]["value"]
    assert metrics["choices"]["attacks"]["extra_steps"]["used"] == given
    assert metrics["attacks"]["extended"]["params"]["extra_steps"] == given


def test_another_number_of_an_attack_reruns_it_and_who_is_judged_on_it(tree: Tree) -> None:
    tree.change(lambda params: params["other_attacks"]["ddn"].update(steps=12))
    assert tree.repro() == {"attack@ddn", *of_all("evaluate_others"), *END}


def test_another_number_of_a_prediction_trains_nothing(tree: Tree) -> None:
    tree.change(lambda params: params["defenses"]["dropout_ensemble"]["predict"].update(passes=4))
    judged = {f"{stage}@dropout_ensemble" for stage in ("evaluate", "evaluate_others", "attack_defense")}
    assert tree.repro() == {*judged, "replicates", *END}


def test_another_epsilon_of_the_threat_model_reaches_whoever_has_a_budget(tree: Tree) -> None:
    tree.change(lambda params: params["threat"]["linf"].update(epsilon=0.5))
    found = tree.repro()
    attacked = {"attack@fgsm", "attack@ddn", *of_all("learn", "attack_defense"), *END}
    assert {*attacked} <= found
    assert not found & {"prepare_images", "train_classifier", "choose_steps", "minimal", "extended", "sizes"}
    assert not found & {"evaluate@undefended", "evaluate@dropout_ensemble"}
    metrics = json.loads((tree.folder / "reports/metrics/tiny.json").read_text())
    assert metrics["attacks"]["fgsm"]["params"]["epsilon"] == 0.5
    assert metrics["robust"]["adversarial_training"]["adversary"]["epsilon"] == 0.5


def test_an_attack_that_is_taken_out_is_gone_from_the_results(tree: Tree) -> None:
    tree.change(lambda params: params["other_attacks"].pop("fgsm"))
    assert tree.repro() - of_all("evaluate_others") == {"fingerprint_code", *END}
    metrics = json.loads((tree.folder / "reports/metrics/tiny.json").read_text())
    assert "fgsm" not in metrics["attacks"]
    assert all("fgsm" not in judged for judged in metrics["defenses"].values())
    assert tree.repro() == set()


def test_a_variant_that_is_taken_out_is_gone_from_the_results(tree: Tree) -> None:
    tree.change(lambda params: params["defenses"]["dropout_ensemble"]["variants"].clear())
    judged = {f"{stage}@dropout_ensemble" for stage in ("evaluate", "evaluate_others", "attack_defense")}
    assert tree.repro() == {"fingerprint_code", *judged, "replicates", *END}
    metrics = json.loads((tree.folder / "reports/metrics/tiny.json").read_text())
    assert metrics["families"]["dropout_ensemble"] == ["dropout_ensemble"]
    assert "gaussian_noise_ensemble" not in metrics["defenses"]
