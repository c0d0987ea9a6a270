"""What a change reruns on digits, what an interruption or an error leaves, and what training never sees."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from pipeline.artifacts.statistics import read_frame, write_frame
from tests.tree import TARGET, Tree


def judging(params: dict[str, Any], *stages: str) -> set[str]:
    """The stages that judge every defense; the GACs and their controls are judged together, on all sets."""
    names = [entry["defense"] for entry in params["evaluations"].values() if entry["dataset"] == "digits"]
    return {f"{stage}@digits-{name}" for stage in stages for name in names} | {
        f"evaluate_gac@digits-{version}" for version in params["gac"]
    }


def refused(tree: Tree, command: list[str], words: str, out: str) -> None:
    """Run a stage that must fail: one line that holds `words`, and no `out`."""
    done = subprocess.run(command, cwd=tree.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
    assert not (tree.folder / out).exists()


def test_a_change_reruns_its_own_branch(tree: Tree) -> None:
    tree.edit("pipeline/reporting/report.html.j2", "Every number", "Each number")
    assert tree.repro() == {"fingerprint_code", TARGET}
    params = YAML(typ="safe").load((tree.folder / "params.yaml").read_text())
    params["attacks"]["extended"]["digits"]["extra_steps"] += 1
    tree.write_params(params)
    # evaluate_other depends on the folder of sets, for DVC cannot be given a list of files that params.yaml makes.
    defenses = judging(params, "evaluate_defense", "evaluate_other")
    branch = {
        "generate_adversarial@digits-extended",
        "calibrate_autoencoder@digits",
        "train_defense@digits-autoencoder_ensemble",
        "train_defense@digits-autoencoder_ensemble_tuned",
        "measure_restoration@digits",
        "measure_perturbations@digits-extended",
        "measure_detection@digits",
        "measure_gac@digits-gac_vanilla",
        "measure_gac@digits-gac_dcgan",
        "attack_defense@digits-autoencoder_ensemble",
        "summarize@digits",
        TARGET,
    }
    assert tree.repro() == branch | defenses
    # A comment changes nothing; other code that gives the same set runs that stage, and nothing below it.
    tree.edit("pipeline/attacks/extended.py", '"""Extended', '# a comment\n"""Extended')
    assert tree.repro() == {"fingerprint_code"}
    tree.edit("pipeline/attacks/extended.py", "import torch\n", "import math  # noqa: F401\n\nimport torch\n")
    assert tree.repro() == {"fingerprint_code", "generate_adversarial@digits-extended", "measure_transfer@digits"}


def test_another_budget_reruns_one_defenses_attack(tree: Tree) -> None:
    params = YAML(typ="safe").load((tree.folder / "params.yaml").read_text())
    own = {**params["adaptive"]["adversarial_training"]["digits"], "epsilons": [0.1, 0.2]}
    params["adaptive"]["adversarial_training"] = {**params["adaptive"]["adversarial_training"], "digits": own}
    tree.write_params(params)
    assert tree.repro() == {"attack_defense@digits-adversarial_training", "summarize@digits", TARGET}
    metrics = json.loads((tree.folder / "reports/metrics/digits.json").read_text())
    assert set(metrics["adaptive"]["adversarial_training"]["linf"]) == {"0", "0.1", "0.2"}


def test_another_lambda_reruns_one_gac(tree: Tree) -> None:
    params = YAML(typ="safe").load((tree.folder / "params.yaml").read_text())
    params["gac"]["gac_dcgan"]["digits"]["training"]["lambda_"] = 2
    tree.write_params(params)
    stages = ("train_gac", "measure_gac", "evaluate_gac")
    branch = {f"{stage}@digits-gac_dcgan" for stage in stages}
    rest = {"measure_detection@digits", "summarize@digits", TARGET}
    assert tree.repro() - {"fingerprint_code"} == branch | rest


def test_another_attack_of_foolbox_or_with_other_numbers_reruns_its_branch(tree: Tree) -> None:
    params = YAML(typ="safe").load((tree.folder / "params.yaml").read_text())
    params["other_attacks"]["foolbox_mi_fgsm"]["digits"]["arguments"]["steps"] = 5
    tree.write_params(params)
    judged = judging(params, "evaluate_other")
    branch = {"fingerprint_code", "generate_other@digits-foolbox_mi_fgsm", "summarize@digits", TARGET}
    assert tree.repro() == branch | judged


TOY = '''"""Gray images: not much of an attack."""

import torch
from torch import Tensor, nn

from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.protocol import Attack


def toy(model: nn.Module, images: Tensor, goal: Goal, *, gray: float) -> tuple[Tensor, Tensor]:
    return images * (1 - gray) + 0.5 * gray, torch.ones_like(goal.labels)


attack = Attack(run=toy)
'''


def test_an_attack_takes_one_file_and_one_params_block(tree: Tree) -> None:
    """Its set, statistics, curve, defenses' figures and columns in the report follow."""
    (tree.folder / "pipeline/attacks/toy.py").write_text(TOY)
    params = YAML(typ="safe").load((tree.folder / "params.yaml").read_text())
    before = tree.hashes()
    params["other_attacks"]["toy"] = {dataset: {"gray": 0.9} for dataset in params["datasets"]}
    tree.write_params(params)
    judged = judging(params, "evaluate_other")
    expected = {"fingerprint_code", "generate_other@digits-toy", "summarize@digits", TARGET}
    assert tree.repro() == expected | judged
    data = tree.folder / "data"
    with h5py.File(data / "adversarial/digits/toy.h5") as file:
        assert file.attrs["attack"] == "toy"
        originals = file["originals"][:][file["original_row"][:]].astype("float32") / 255
        np.testing.assert_allclose(file["images"][:], originals * 0.1 + 0.45, atol=1e-6)
        fooled = file["is_adversarial"][:].mean()
    assert fooled > 0
    assert len(pd.read_parquet(data / "perturbations/digits/toy/pairs.parquet")) == 90
    assert set(pd.read_parquet(data / "perturbations/digits/toy/success.parquet")["norm"]) == {"l2"}
    metrics = json.loads((tree.folder / "reports/metrics/digits.json").read_text())
    assert metrics["attacks"]["toy"]["success_rate"]["value"] == pytest.approx(fooled, rel=1e-5)
    assert metrics["defenses"]["dropout_ensemble"]["toy"]["setting"] == "static"
    assert "<th>toy</th>" in (tree.folder / "reports/digits.html").read_text()
    (tree.folder / "pipeline/attacks/toy.py").unlink()
    del params["other_attacks"]["toy"]
    tree.write_params(params)
    tree.repro()
    unchanged = {path for path in before if path != "data/code"}
    assert {path: digest for path, digest in tree.hashes().items() if path in unchanged} == {
        path: before[path] for path in unchanged
    }


def test_killed_while_generating_it_goes_on_and_gives_the_same_bytes(tree: Tree) -> None:
    expected = tree.hashes()
    path = "data/adversarial/digits/minimal.h5"
    (tree.folder / path).unlink()
    command = [
        sys.executable, "-m", "pipeline.stages.generate_adversarial", "--dataset", "digits", "--attack", "minimal",
        "--start", "data/images/digits.h5", "--classifier", "data/classifiers/digits.safetensors", "--out", path,
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=tree.folder, stderr=subprocess.DEVNULL)
    while not list(tree.folder.glob(".work/*/00002.safetensors")):
        time.sleep(0.01)
        assert process.poll() is None, "it finished before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tree.folder / path).exists()
    assert "of 7 blocks were there from an interrupted run" in tree.run(*command)
    tree.repro()
    assert tree.hashes() == expected


def train(defense: str) -> list[str]:
    return [
        sys.executable, "-m", "pipeline.stages.train_defense", "--dataset", "digits", "--defense", defense,
        "--classifier", "data/classifiers/digits.safetensors",
    ]  # fmt: skip


def test_nothing_of_the_test_split_is_seen_in_training_or_choosing(tree: Tree) -> None:
    """All of the test split replaced by noise: the same weights, trials and errors, byte by byte."""
    spoiled = tree.folder / "spoiled"
    random = np.random.default_rng(0)
    for name in ("adversarial/digits/minimal.h5", "adversarial/digits/extended.h5", "images/digits.h5"):
        (spoiled / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tree.folder / "data" / name, spoiled / name)
        with h5py.File(spoiled / name, "r+") as file:
            if name.startswith("images"):
                file["test/images"][:] = random.integers(0, 256, file["test/images"].shape)
                file["test/labels"][:] = random.integers(0, 10, file["test/labels"].shape)
                continue
            test = file["source_split"][:] == 1
            assert 0 < test.sum() < len(test)
            file["originals"][test] = random.integers(0, 256, (test.sum(), 1, 8, 8))
            file["source_index"][test] = random.permutation(test.sum())
            rows = test[file["original_row"][:]]
            file["images"][rows] = random.uniform(size=(rows.sum(), 1, 8, 8))
            file["is_adversarial"][rows] = True
            file["steps"][rows] = random.integers(0, 9, rows.sum())
            file["margin"][rows] = random.normal(size=rows.sum())
            labels = random.integers(0, 10, rows.sum())
            file["labels"][rows] = labels
            file["target_labels"][rows] = (labels + 1) % 10
    images = ["--images", "spoiled/images/digits.h5"]
    sets = [f"spoiled/adversarial/digits/{attack}.h5" for attack in ("minimal", "extended")]
    defenses = ("autoencoder_ensemble", "autoencoder_ensemble_tuned")
    for defense in defenses:
        weights, curves = f"spoiled/{defense}.safetensors", f"spoiled/{defense}.csv"
        tree.run(*train(defense), *images, "--sets", *sets, "--weights", weights, "--curves", curves)
    both = ["--dataset", "digits", *images, "--classifier", "data/classifiers/digits.safetensors"]
    both += ["--minimal", sets[0], "--extended", sets[1]]
    stage = [sys.executable, "-m", "pipeline.stages.calibrate_autoencoder"]
    tree.run(*stage, *both, "--trials", "spoiled/trials.csv")
    stage = [sys.executable, "-m", "pipeline.stages.measure_restoration"]
    weights = [f"spoiled/{defense}.safetensors" for defense in defenses]
    tree.run(
        *stage, *both, "--weights", *weights, "--errors", "spoiled/errors.csv", "--examples", "spoiled/examples.h5"
    )
    stage = [sys.executable, "-m", "pipeline.stages.calibrate_gac", "--dataset", "digits", "--adversarial", sets[0]]
    tree.run(*stage, *images, "--trials", "spoiled/gac.csv", "--examples", "spoiled/gac.h5")
    stage = [sys.executable, "-m", "pipeline.stages.train_gac", "--dataset", "digits", "--adversarial", sets[0]]
    weights = [f"spoiled/gac_dcgan{part}.safetensors" for part in ("", "_control", "_noise_control")]
    tree.run(
        *stage, *images, "--defense", "gac_dcgan", "--trainings", "spoiled/trainings", "--weights", *weights,
        "--curves", "spoiled/gac_curves.csv",
    )  # fmt: skip
    same = {"trials.csv": "calibrations/digits/autoencoder.csv", "errors.csv": "restorations/digits/errors.csv"}
    same |= {"gac.csv": "calibrations/digits/gac.csv", "gac.h5": "calibrations/digits/gac.h5"}
    same |= {Path(path).name: f"defenses/digits/{Path(path).name}" for path in weights}
    for defense in defenses:
        same[f"{defense}.safetensors"] = f"defenses/digits/{defense}.safetensors"
        same[f"{defense}.csv"] = f"curves/digits/{defense}.csv"
    for made, kept in same.items():
        assert (spoiled / made).read_bytes() == (tree.folder / "data" / kept).read_bytes(), made


def test_a_killed_training_leaves_nothing_and_starts_again_with_the_same_bytes(tree: Tree) -> None:
    weights, curves = "data/defenses/digits/autoencoder_ensemble.safetensors", "again/curves.csv"
    expected = (tree.folder / weights).read_bytes()
    (tree.folder / weights).unlink()
    sets = [f"data/adversarial/digits/{attack}.h5" for attack in ("minimal", "extended")]
    command = [
        *train("autoencoder_ensemble"),
        "--images",
        "data/images/digits.h5",
        "--sets",
        *sets,
        "--weights",
        weights,
        "--curves",
        curves,
    ]
    process = subprocess.Popen(command, cwd=tree.folder, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    seen = ""
    while not re.search(r"[1-9]\d*/\d+ \[", seen):  # the bar has moved
        seen += process.stderr.read(1)
        assert process.poll() is None, "it finished before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert not list((tree.folder / "data/defenses/digits").glob("autoencoder_ensemble.*"))
    tree.run(*command)
    assert (tree.folder / weights).read_bytes() == expected


@pytest.mark.parametrize(
    ("stage", "arguments", "words"),
    [
        ("prepare_images", ["--dataset", "svhn", "--raw", "r", "--images", "out.h5"], "unknown dataset 'svhn'"),
        (
            "generate_adversarial",
            ["--dataset", "digits", "--attack", "nonsense", "--start", "data/images/digits.h5",
             "--classifier", "data/classifiers/digits.safetensors", "--out", "out.h5"],
            "params.yaml: no 'nonsense' in attacks: expected one of: minimal, extended",
        ),
        (
            "generate_adversarial",
            ["--dataset", "digits", "--attack", "minimal", "--start", "params.yaml",
             "--classifier", "data/classifiers/digits.safetensors", "--out", "out.h5"],
            "params.yaml: expected an HDF5 file",
        ),
    ],
)  # fmt: skip
def test_errors_are_one_line_without_output(tree: Tree, stage: str, arguments: list[str], words: str) -> None:
    command = [sys.executable, "-m", f"pipeline.stages.{stage}", *arguments]
    refused(tree, command, words, "out.h5")


@pytest.mark.parametrize("fault", ["unjudged", "budget"])
def test_the_summary_refuses_what_cannot_be_compared(tree: Tree, tmp_path: Path, fault: str) -> None:
    locked = YAML(typ="safe").load((tree.folder / "dvc.lock").read_text())["stages"]["summarize@digits"]["cmd"]
    listed, adaptive = "data/code/listed/digits/attacked.json", "data/adaptive/digits"
    if fault == "unjudged":
        names = json.loads((tree.folder / listed).read_text())
        (tmp_path / "attacked.json").write_text(json.dumps([*names, "nobody"]))
        command = locked.replace(listed, str(tmp_path / "attacked.json"))
        words = "attacked in params.yaml: expected undefended, and only defenses that are judged: nobody"
    else:
        shutil.copytree(tree.folder / adaptive, tmp_path / "adaptive")
        path = tmp_path / "adaptive/autoencoder_ensemble/examples.parquet"
        attempts, about = read_frame(path, "adaptive")
        about["settings"]["budget"] = 0.05  # one of its own epsilons, but not what the others are judged at
        write_frame(path, attempts, "adaptive", about)
        command = locked.replace(adaptive, str(tmp_path / "adaptive"))
        words = "adaptive.autoencoder_ensemble.digits: expected undefended's {'norm': 'linf', 'budget': 0.2}"
    command = command.replace("reports/metrics/digits.json", "out.json").replace("python", sys.executable, 1)
    refused(tree, command.split(), words, "out.json")


def test_debug_shows_the_traceback(tree: Tree) -> None:
    command = [
        sys.executable,
        "-m",
        "pipeline.stages.render_index",
        "--metrics",
        "reports/metrics",
        "--index",
        "out.html",
    ]
    command += ["--template", "nowhere.j2", "--debug"]
    done = subprocess.run(command, cwd=tree.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "nowhere.j2: no such file" in done.stderr


def test_too_few_sources_are_refused(tree: Tree) -> None:
    params = YAML(typ="safe").load((tree.folder / "params.yaml").read_text())
    params["sources"]["digits"]["test"] = 3000
    (tree.folder / "greedy.yaml").write_text("")
    with open(tree.folder / "greedy.yaml", "w") as handle:
        YAML().dump(params, handle)
    command = [
        sys.executable, "-m", "pipeline.stages.generate_adversarial", "--dataset", "digits", "--attack", "minimal",
        "--start", "data/images/digits.h5", "--classifier", "data/classifiers/digits.safetensors",
        "--out", "out.h5", "--params", "greedy.yaml",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tree.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "sources.digits.test: expected 300 correctly classified images in each class, found only" in done.stderr
