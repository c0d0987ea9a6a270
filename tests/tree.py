"""A copy of the tree with small params, that DVC runs in."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

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
            few = {"originals": 12, "sanity_originals": 4, "scored_draws": 9, "epsilons": [0.05, 0.2], "draws": 3}
            block["digits"] |= few
            block["digits"]["ascent"]["steps"] = block["digits"]["shortest"]["steps"] = 4
            block["digits"]["others"] = {"square": {"queries": 5}, "autoattack": {"steps": 4, "queries": 5}}
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
