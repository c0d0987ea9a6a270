"""A copy of the tree with small params: `dvc repro` on digits, and what a change reruns."""

import json
import os
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
import torch
from ruamel.yaml import YAML

from pipeline.artifacts.defenses import load_autoencoder
from pipeline.perturbation_stats import PerturbationStats
from tests.root import ROOT

TARGET = "render_report@digits"
STAGES = 50


class Tree:
    """A working copy that DVC runs in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("pipeline", "dvc.yaml", ".dvcignore", ".gitignore"):
            source = ROOT / name
            ignore = shutil.ignore_patterns("__pycache__")
            (
                shutil.copytree(source, folder / name, ignore=ignore)
                if source.is_dir()
                else shutil.copy(source, folder / name)
            )
        # Small blocks, so that an interrupted run has some to keep.
        self.edit("pipeline/artifacts/adversarial.py", "BLOCK = 4500", "BLOCK = 90")
        params = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
        params["sources"]["digits"] = {"train": 40, "test": 30}
        params["classifier"]["digits"]["training"]["epochs"] = 8
        params["calibration"]["digits"]["originals"] = 5
        for defense in ("dropout_ensemble", "gaussian_noise_ensemble"):
            params["defenses"][defense]["digits"]["arguments"]["passes"] = 5
        for defense in ("autoencoder_ensemble", "autoencoder_ensemble_tuned"):
            params["defenses"][defense]["digits"]["arguments"]["passes"] = 3
            params["trainings"][defense]["digits"]["training"]["epochs"] = 2
        trials = params["autoencoder_trials"]["digits"]
        trials["originals"] = 10
        for family in trials["families"].values():
            family["training"]["epochs"] = 1
        params["traces"]["dropout_ensemble"]["digits"] = {"originals": 20, "passes": [1, 5], "extra_steps": [1, 3]}
        params["other_sources"]["digits"] = {"train": 0, "test": 20, "curve": 20}
        others = {name: params["other_attacks"][name] for name in ("pgd_linf", "ddn", "foolbox_mi_fgsm")}
        others["ddn"]["digits"] = {"steps": 20}
        others["pgd_linf"]["digits"]["budgets"] = [0.1, 0.4]
        params["other_attacks"] = others
        for version in params["gac"].values():
            version["digits"] |= {"seeds": 2 if version is params["gac"]["gac_vanilla"] else 1, "lambdas": [0.3, 3]}
            version["digits"]["trial_epochs"] = version["digits"]["training"]["epochs"] = 2
        params["gac_robustness"]["digits"]["originals"] = 5
        params["robust"]["adversarial_training"]["digits"]["training"]["epochs"] = 2
        names = ("undefended", "autoencoder_ensemble", "gac_vanilla", "adversarial_training")
        params["attacked"] = {key: entry for key, entry in params["attacked"].items() if entry["defense"] in names}
        for block in (params["adaptive"]["undefended"], params["adaptive"]["dropout_ensemble"]):
            few = {"originals": 12, "sanity_originals": 4, "steps": 4, "l2_steps": 4, "queries": 5, "scored_draws": 9}
            block["digits"] |= {**few, "epsilons": [0.05, 0.2], "draws": 3}
        sizes = params["sizes"]["digits"]
        sizes["classifiers"] = {name: sizes["classifiers"][name] for name in ("narrow", "standard")}
        sizes["training"]["epochs"] = 2
        sizes["originals"] = 10
        self.write_params(params)
        self.run("git", "init", "--quiet")
        self.dvc("init", "--quiet")

    def write_params(self, params: object) -> None:
        with open(self.folder / "params.yaml", "w") as handle:
            YAML().dump(params, handle)

    def run(self, *command: str) -> str:
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DVC_NO_ANALYTICS": "1",
        }
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def dvc(self, *arguments: str) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments)

    def repro(self, *arguments: str) -> set[str]:
        """Run the pipeline; returns the stages that ran."""
        return set(re.findall(r"Running stage '(.+?)'", self.dvc("repro", TARGET, *arguments)))

    def hashes(self) -> dict[str, str]:
        stages = YAML(typ="safe").load((self.folder / "dvc.lock").read_text())["stages"]
        return {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.folder / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    tree = Tree(tmp_path_factory.mktemp("tree"))
    ran = tree.repro()
    assert len(ran) == STAGES
    return tree


def test_report_is_whole_and_offline(tree: Tree) -> None:
    page = (tree.folder / "reports/digits.html").read_text()
    for words in ("Table 1", "Figure 1", "Figure 2", "Figure 3", "Figure 4", "scikit-learn"):
        assert words in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    metrics = json.loads((tree.folder / "reports/metrics/digits.json").read_text())
    assert metrics["attacks"]["minimal"]["examples"] == 70 * 9
    assert metrics["attacks"]["minimal"]["success_rate"]["value"] >= 0.999


def test_artifacts_keep_the_contract(tree: Tree) -> None:
    """Names, types and keys as data/README.md and the project's guides fix them, on a real run's files."""
    data = tree.folder / "data"
    with h5py.File(data / "images/digits.h5") as file:
        assert {"schema", "schema_version", "dataset", "class_names", "source", "source_checksum"} == set(file.attrs)
        for split in ("train", "test"):
            assert file[f"{split}/images"].dtype == file[f"{split}/labels"].dtype == "uint8"
    for attack in ("minimal", "extended"):
        with h5py.File(data / f"adversarial/digits/{attack}.h5") as file:
            assert {name: str(file[name].dtype) for name in file} == {
                "images": "float32", "originals": "uint8", "original_row": "int32", "source_split": "uint8",
                "source_index": "int32", "labels": "uint8", "target_labels": "uint8", "is_adversarial": "bool",
                "steps": "int16", "margin": "float32",
            }  # fmt: skip
            originals = file["originals"][:][file["original_row"][:]].astype("float32") / 255
            l2 = np.sqrt(((file["images"][:] - originals) ** 2).sum((1, 2, 3)))
            assert (file["is_adversarial"][:] == (file["margin"][:] > 0)).all()
        examples = pd.read_parquet(data / f"perturbations/digits/{attack}/examples.parquet")
        np.testing.assert_allclose(examples["l2"], l2, rtol=1e-4)
        np.testing.assert_allclose(examples["sensitivity"], examples["forward_error"] / examples["backward_error"])
        assert {
            "row", "label", "target_label", "source_split", "is_adversarial", "steps", "margin", "pixel_mean",
            "pixel_std", "pixel_min", "pixel_max", "l0", "l1", "l2", "linf", "forward_error", "backward_error",
            "sensitivity",
        } <= set(examples)  # fmt: skip
        pairs = pd.read_parquet(data / f"perturbations/digits/{attack}/pairs.parquet")
        assert len(pairs) == 90
        assert {f"{q}_{s}" for q in ("pixel", "l1", "l2", "linf") for s in ("mean", "std", "min", "max")} <= set(pairs)
        assert (pairs["count"] == 7).all()
        pixels = pd.read_parquet(data / f"perturbations/digits/{attack}/pixels.parquet")
        assert pixels["count"].sum() == examples["is_adversarial"].sum() * 64
    evaluation = pd.read_parquet(data / "evaluations/digits/dropout_ensemble.parquet")
    assert {
        "attack", "setting", "row", "label", "target_label", "predicted", "thwarted", "recovered", "passes", "votes",
        "vote_variance", "score_variance", "predictive_entropy", "mutual_information",
    } <= set(evaluation)  # fmt: skip
    assert evaluation["votes"].map(sum).eq(evaluation["passes"]).all()
    assert evaluation.loc[evaluation["attack"] == "clean", "target_label"].isna().all()
    for model in (
        "classifier",
        "autoencoder_ensemble",
        "autoencoder_ensemble_tuned",
        "gac_dcgan",
        "adversarial_training",
    ):
        curves = pd.read_csv(data / f"curves/digits/{model}.csv")
        assert list(curves)[:4] == ["epoch", "split", "loss", "accuracy"]
    autoencoder = load_autoencoder(data / "defenses/digits/autoencoder_ensemble.safetensors")
    with torch.inference_mode():
        assert autoencoder(torch.rand(2, 1, 8, 8)).shape == (2, 1, 8, 8)


def test_metrics_equal_a_computation_from_the_images(tree: Tree) -> None:
    metrics = json.loads((tree.folder / "reports/metrics/digits.json").read_text())
    with PerturbationStats(tree.folder / "data/adversarial/digits/minimal.h5") as stats:
        perturbations = stats.perturbations().astype(np.float64)
        summary = stats.summary()
    found = metrics["attacks"]["minimal"]["pixel"]
    expected = [perturbations.mean(), perturbations.std(), perturbations.min(), perturbations.max()]
    np.testing.assert_allclose([found[name] for name in ("mean", "std", "min", "max")], expected, rtol=1e-4)
    for norm in ("l1", "l2"):
        for name in ("mean", "std", "min", "max"):
            assert metrics["attacks"]["minimal"][norm][name] == pytest.approx(summary.loc[norm, name], rel=1e-4)
    detection = metrics["detection"]["dropout_ensemble"]["vote_variance"]["minimal"]["clean"]
    assert {"auc", "tpr_at_fpr_0.01", "tpr_at_fpr_0.05"} <= set(detection)


def test_second_run_does_nothing_and_quickly(tree: Tree) -> None:
    started = time.perf_counter()
    assert tree.repro() == set()
    assert time.perf_counter() - started < 12  # 5 s on 2 idle cores: DVC reads params.yaml anew for each stage


def test_killed_in_between_the_pipeline_finishes_with_the_same_bytes(tree: Tree) -> None:
    expected = tree.hashes()
    ended = kill_after(
        12, [sys.executable, "-m", "dvc", "repro", "--force", "measure_gac@digits-gac_dcgan"], tree.folder
    )
    assert not ended, "it finished before it could be killed"
    tree.repro()
    assert tree.hashes() == expected
    assert tree.repro() == set()


def test_every_kind_of_stage_gives_the_same_bytes_again(tree: Tree) -> None:
    expected = tree.hashes()
    stages = YAML(typ="safe").load((tree.folder / "dvc.lock").read_text())["stages"]
    one_of_each = {name.split("@")[0]: name for name in stages}
    ran = re.findall(r"Running stage '(.+?)'", tree.dvc("repro", "--force", "--single-item", *one_of_each.values()))
    assert set(ran) == set(one_of_each.values())
    assert tree.hashes() == expected


def judging(params: dict[str, Any], *stages: str) -> set[str]:
    """The stages that judge every defense; the GACs and their controls are judged together, on all sets."""
    names = [entry["defense"] for entry in params["evaluations"].values() if entry["dataset"] == "digits"]
    return {f"{stage}@digits-{name}" for stage in stages for name in names} | {
        f"evaluate_gac@digits-{version}" for version in params["gac"]
    }


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


def toy(model: nn.Module, images: Tensor, target_labels: Tensor, *, gray: float) -> tuple[Tensor, Tensor]:
    return images * (1 - gray) + 0.5 * gray, torch.ones_like(target_labels)
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


def kill_after(seconds: float, command: list[str], folder: Path) -> bool:
    """Start a command with all its children, and kill them all without warning; True if it was over before."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(seconds)
    if process.poll() is not None:
        return True
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return False


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
    done = subprocess.run(command, cwd=tree.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
    assert not (tree.folder / "out.h5").exists()


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
