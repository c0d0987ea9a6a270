"""Pages that are written from committed numbers, as git has them: whoever measures anew breaks nothing."""

import json
from typing import Any

import pytest
from ruamel.yaml import YAML

from benchmarks.pages import benchmarks_page
from pipeline.reporting.changes import moved
from pipeline.reporting.earlier_analysis import EARLIER
from pipeline.reporting.results_page import results_page
from tests.committed import committed, committed_json


@pytest.fixture
def measured() -> dict[str, Any]:
    on_gpu = {f"gpu/{name}": result for name, result in committed_json("benchmarks/results/gpu").items()}
    return committed_json("benchmarks/results") | on_gpu | {"metrics": committed_json("reports/metrics")}


def test_speed_is_what_was_measured(measured: dict[str, Any]) -> None:
    assert benchmarks_page(measured) == committed("benchmarks/README.md")


@pytest.mark.parametrize("part", ["tests", "ceiling", "generation_mnist", "generation_cifar10", "defenses", "peers"])
def test_a_part_that_failed_on_the_gpu_says_why(measured: dict[str, Any], part: str) -> None:
    measured[f"gpu/{part}"] = {"part": part, "error": "it took too long"}
    said = f"Not measured yet. gpu/{part}: it took too long."
    assert (said in benchmarks_page(measured)) == (part != "generation_cifar10")  # no question rests on that one alone


def test_where_no_library_or_no_gpu_was_there_the_page_says_so(measured: dict[str, Any]) -> None:
    measured["gpu/peers"] |= {"records": [{"system": "foolbox", "error": "gone"}]}
    assert "None gave a figure: gone." in benchmarks_page(measured)
    measured["gpu/peers"] = {"skipped": "no peers here"}
    assert "Not measured yet. gpu/peers: no peers here." in benchmarks_page(measured)
    alone = {name: result for name, result in measured.items() if not name.startswith("gpu/")}
    assert "Not measured yet." in benchmarks_page(alone)


def test_results_are_those_of_the_metrics() -> None:
    pairs = [pair for found in committed_json("reports/transfer").values() for pair in found["pairs"]]
    earlier = json.loads(committed("reports/earlier.json"))
    assert results_page(committed_json("reports/metrics"), pairs, earlier) == committed("reports/README.md")


def test_every_number_that_moved_is_explained() -> None:
    earlier = json.loads(committed("reports/earlier.json"))["studies"]
    for name, metrics in committed_json("reports/metrics").items():
        if name in earlier:
            assert "not explained" not in str(moved(earlier[name], metrics)), name


def test_the_ascent_comes_within_two_points_of_autoattack_as_published() -> None:
    """On the adversarially trained classifier, at an eighth of its passes, with the steps and runs of the params."""
    records = {record["attack"]: record for record in committed_json("benchmarks/results")["convergence"]["records"]}
    published, ours = records["AutoAttack, published"], records["ascent, the study's"]
    assert (published["steps"], published["queries"]) == (100, 5000)
    assert ours["robust"] <= published["robust"] + 0.02
    assert ours["passes"] <= published["passes"] / 8
    block = YAML(typ="safe").load(committed("studies/digits/params.yaml"))["adaptive"]["all"]
    assert (ours["steps"], ours["restarts"]) == (block["ascent"]["steps"], block["restarts"])


def test_the_earlier_analysis_ends_where_the_earlier_metrics_begin() -> None:
    """What the changed rule gave is what the commit of reports/earlier.json has; the page tells all of it."""
    study = EARLIER["study"]
    commit = json.loads(committed("reports/earlier.json"))["commit"]
    gain = json.loads(committed(f"reports/metrics/{study}.json", commit))["gac"]["gac_dcgan"]["gain"]["minimal"]
    for name in ("over_control", "over_noise_control"):
        assert {end: round(gain[name][end], 4) for end in ("value", "low", "high")} == EARLIER[f"then_{name}"]
    value, low, high = (f"{100 * EARLIER['without_trial'][end]:+.1f}" for end in ("value", "low", "high"))
    said = f"without it the gain over the control is {value} points [{low}, {high}]"
    assert said in " ".join(committed("reports/README.md").split())


def test_what_was_changed_after_test_figures_is_what_was_run() -> None:
    changed, metrics = json.loads(committed("reports/earlier.json"))["changed"], committed_json("reports/metrics")
    robust = metrics["cifar10"]["robust"]["adversarial_training"]
    epochs, steps = robust["training"]["epochs"], robust["adversary"]["steps"]
    assert f"adversarial training: {epochs} epochs of {steps} steps, averaged weights;" in changed["cifar10"][1]
    gac = metrics["cifar10"]["gac"]
    assert {entry["trainings"] for entry in gac.values()} == {3}
    assert (
        f"the vanilla one's of {gac['gac_vanilla']['settings']['training']['epochs']} epochs;" in changed["cifar10"][0]
    )
    training = metrics["cifar10-resnet20"]["trainings"]["autoencoder_ensemble"]["training"]
    assert f"{training['epochs']} epochs;" in changed["cifar10-resnet20"][1]
