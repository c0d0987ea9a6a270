"""Rooms stay shut, and no list of names stands anywhere."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.params import read_yaml
from tests.root import ROOT
from tests.studies import PARAMS

ROOMS = ("attacks", "models", "defenses", "training", "metrics")


def imports(path: Path) -> set[str]:
    """Modules that a file imports anywhere in it, with what is taken from them ("pipeline.studies.Study")."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def tops(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


def sources(room: str = "") -> list[Path]:
    return sorted((ROOT / "pipeline" / room).rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_core_rooms_do_no_input_or_output(room: str) -> None:
    shut = {"h5py", "yaml", "ruamel", "argparse", "pathlib", "pyarrow", "os", "csv"}
    if room != "metrics":  # frames in, numbers out
        shut.add("pandas")
    for path in sources(room):
        assert not tops(path) & shut, path
        assert not {name for name in imports(path) if re.match(r"pipeline\.(artifacts|stages|studies)\b", name)}


def test_reporting_reads_no_files_and_needs_no_torch() -> None:
    for path in sources("reporting"):
        assert not tops(path) & {"torch", "pathlib", "h5py", "pyarrow", "os"}, path
        assert not any(name.startswith(("pipeline.artifacts", "pipeline.stages")) for name in imports(path)), path


def test_nobody_imports_stages_and_only_artifacts_opens_files() -> None:
    scripts = ("new_study.py", "schema.py", "side_by_side.py")  # the second is its own; the last runs the others
    # Params, the pipeline's copy, /proc, the params' schema.
    readers = ("params.py", "studies.py", "machine.py", *scripts)
    for path in sources():
        room = path.relative_to(ROOT / "pipeline").parts[0]
        if room == "stages":
            continue
        if path.name not in scripts:
            assert not any(name.startswith("pipeline.stages") for name in imports(path)), path
        if room not in ("artifacts", "code", *readers):
            found = re.search(r"\bopen\(|(read|write)_(text|bytes)\(", path.read_text(encoding="utf-8"))
            assert not found, path


def test_nothing_is_seeded_but_in_randomness() -> None:
    for path in sources():
        if path.name != "randomness.py":
            text = path.read_text(encoding="utf-8")
            assert "manual_seed" not in text, path
            assert "np.random.seed" not in text, path


def test_no_pickle_is_loaded() -> None:
    between_processes = {"mapper.py", "workers.py", "ray_workers.py"}  # of one run: none comes from a file
    for path in sources():
        assert path.name in between_processes or not {"pickle", "joblib"} & tops(path), path
        assert not re.search(r"torch\.load\((?!.*weights_only=True)", path.read_text(encoding="utf-8")), path


def test_only_params_reads_yaml() -> None:
    readers = {path.name for path in sources() if tops(path) & {"yaml", "ruamel"}}
    assert readers == {"params.py"}


# --- no list of names --------------------------------------------------------------------------------------------
# Who speaks of a defense or an attack by name beside its own file: what is said of it alone, and why.
SPEAKERS = {
    "defenses/shared/restorations.py": {"autoencoder_without_dropout"},  # a variant of the ensemble beside it
    "defenses/dropout_ensemble.py": {"gaussian_noise_ensemble"},  # likewise
    "defenses/shared/gac_samples.py": {"gac"},  # a name of its random numbers
    "defenses/shared/gac_examination.py": {"gac"},  # likewise
    "metrics/restorations.py": {"gaussian_blur"},  # whose error is that of another number
    "metrics/gains.py": {"gac"},  # a role among its controls
    "metrics/adaptive.py": {"pgd"},  # rows of the adaptive attack's own
    "attacks/shared/adaptive.py": {"pgd"},  # likewise
    "attacks/shared/adaptive_settings.py": {"pgd"},  # likewise
    "study_blocks.py": {"pgd", "minimum_norm"},  # what is run where the params say nothing
    "stages/metrics.py": {"ddn", "gac"},  # the yardstick of lengths; a key of the metrics
    "reporting/results_page.py": {"gac"},  # likewise
    "reporting/autoencoder.py": {"autoencoder_ensemble", "autoencoder_without_dropout"},
    "reporting/dropout.py": {"dropout_ensemble"},
    "reporting/adversarial_training.py": {"adversarial_training"},
    "reporting/report.py": {"adversarial_training", "gac"},  # the sections of their own
    "reporting/gac.py": {"gac"},
    "reporting/gac_figures.py": {"gac"},
}
EVERYWHERE = {"undefended"}  # what all is compared with


def names() -> set[str]:
    """Keys and files of all defenses, variants and other attacks of all studies."""
    rooms = ("attacks", "defenses")
    found = {path.stem for room in rooms for path in (ROOT / "pipeline" / room).glob("[!_]*.py")} - {"protocol"}
    for path in PARAMS.values():
        params = read_yaml(path)
        found |= set(params["other_attacks"])
        for key, family in params["defenses"].items():
            found |= {key, *family["variants"]}
    return found - {"minimal", "extended", "foolbox"} - EVERYWHERE


def texts(path: Path) -> Iterator[str]:
    """What stands between quotes in a source, docstrings apart."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def test_no_list_of_defenses_or_attacks_stands_anywhere() -> None:
    wanted = names()
    assert len(wanted) > 20
    for path in sources():
        file = path.relative_to(ROOT / "pipeline").as_posix()
        if file == "reporting/paper_numbers.py":  # the paper's own figures, by what they are of
            continue
        own = {path.stem} if file.partition("/")[0] in ("attacks", "defenses") else set()
        found = {text for text in texts(path) if text in wanted}
        assert found <= own | SPEAKERS.get(file, set()), file


def test_no_template_names_a_defense_of_a_study() -> None:
    wanted = {name for name in names() if "_" in name and not name.startswith(("pgd_", "foolbox_"))}
    for path in (ROOT / "pipeline/reporting/templates").glob("*.j2"):
        text = path.read_text(encoding="utf-8")
        assert not {name for name in wanted if re.search(rf"\b{name}\b", text)}, path
