"""What is reached in the pipeline itself: all that Python executes, and no defense of another's."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.code.reach import Code
from pipeline.stages.fingerprint_code import adaptive_methods
from tests.root import ROOT


@pytest.mark.parametrize("name", ["gac", "adversarial_training"])
def test_how_these_defenses_predict_is_no_part_of_what_they_learn(name: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "pipeline", tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    package = tmp_path / "pipeline"

    def reached() -> list[dict[str, str]]:
        code, file = Code(package), package / f"defenses/{name}.py"
        return [code.reach_of_keyword(file, keywords=(part,)) for part in ("learn", "predict")]

    before = reached()
    file = package / "defenses/undefended.py"  # whose way to predict both have
    text = file.read_text(encoding="utf-8")
    assert "    return " in text
    file.write_text(text.replace("    return ", "    images = images + 0\n    return "), encoding="utf-8")
    learn, predict = reached()
    assert learn == before[0]
    assert predict != before[1]


@pytest.mark.parametrize("stage", [path.stem for path in sorted((ROOT / "pipeline/stages").glob("[!_]*.py"))])
def test_no_stage_reaches_every_defense(stage: str) -> None:
    """They load them by name, and depend on those fingerprints: an edit of one reruns no stage of another."""
    reached = Code(ROOT / "pipeline").reach(ROOT / f"pipeline/stages/{stage}.py", None)
    defenses = ("undefended", "gac", "dropout_ensemble", "adversarial_training", "gaussian_blur")
    assert not {f"pipeline/defenses/{name}.py::{name}" for name in defenses} & set(reached)


@pytest.mark.parametrize(
    ("adaptive", "files"),
    [
        ({"all": {"ascent": {"steps": 3}, "shortest": {"steps": 3}}}, {"pgd", "minimum_norm"}),
        (
            {"all": {"ascent": {"method": "a"}, "shortest": {"method": "b"}}, "mine": {"ascent": {"steps": 3}}},
            {"a", "b"},
        ),
        (
            {"all": {"others": {"square": {}}}, "one_pass": {"ascent": {"method": "a"}}},
            {"pgd", "minimum_norm", "square", "a"},
        ),
    ],
)
def test_attacks_on_whole_defenses_are_followed_where_they_are_named_and_where_not(
    adaptive: dict[str, Any], files: set[str]
) -> None:
    assert adaptive_methods(adaptive) == files


def test_nothing_heavy_is_imported() -> None:
    program = "import sys, pipeline.code.reach; print({'torch', 'numpy', 'h5py', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def executed(run: Callable[[], object]) -> set[str]:
    """The package's top-level functions and classes whose code runs: what Python itself reports."""
    found = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        of_function = code.co_flags & 1  # a class's body, or a module's, is none
        if event == "call" and of_function and code.co_filename.startswith(f"{ROOT / 'pipeline'}/"):
            file = Path(code.co_filename).relative_to(ROOT).as_posix()
            found.add(f"{file}::{code.co_qualname.partition('.')[0]}")

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return found


def small_runs() -> dict[str, tuple[str, Callable[[], object], int]]:
    """By name, the file that it is in, a small run of it, and at least how many definitions that executes."""
    from pipeline.attacks.ddn import ddn
    from pipeline.attacks.minimal import minimal
    from pipeline.attacks.minimum_norm import minimum_norm
    from pipeline.attacks.shared.goals import Goal
    from pipeline.metrics.intervals import mean_with_interval
    from pipeline.metrics.structure import radial_profile
    from pipeline.metrics.votes import summarize_passes
    from pipeline.training.classifier import new_classifier

    random = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    images, goal = torch.rand(4, 1, 4, 4, generator=random), Goal(torch.tensor([0, 1, 2, 0]))
    pixels = torch.zeros(9, 1, 8, 8, dtype=torch.uint8)
    return {
        "ddn": ("attacks/ddn.py", lambda: ddn(model, images, goal, steps=3), 6),
        "minimum_norm": ("attacks/minimum_norm.py", lambda: minimum_norm(model, images, goal, steps=3), 7),
        "minimal": ("attacks/minimal.py", lambda: minimal(model, images, goal, step_size=0.1, max_steps=3), 6),
        "mean_with_interval": ("metrics/intervals.py", lambda: mean_with_interval(np.linspace(0, 1, 5)), 4),
        "radial_profile": ("metrics/structure.py", lambda: radial_profile(images[0].numpy()), 1),
        "summarize_passes": (
            "metrics/votes.py",
            lambda: summarize_passes(torch.randn(4, 5, 3, generator=random)),
            2,
        ),
        "new_classifier": (
            "training/classifier.py",
            lambda: new_classifier(pixels, 3, (0, "toy"), channels=[4, 8], dropout=0.1),
            6,
        ),
    }


@pytest.mark.parametrize("name", list(small_runs()))
def test_whatever_python_executes_is_reached(name: str) -> None:
    file, run, fewest = small_runs()[name]
    run()  # what it imports the first time is looked for by our own finder too
    ran = executed(run)
    assert len(ran) >= fewest
    package = ROOT / "pipeline"
    reached = set(Code(package).reach(package / file, [name]))
    assert ran - reached == set()
    assert len(reached) < 40  # of a thousand
