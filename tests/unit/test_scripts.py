"""Scripts of a study that is wrong: one line, an exit code, nothing written; whatever the locale."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.root import ROOT
from tests.studies import EVIL, START, Change, change, put


def refused(folder: Path, *command: str, cwd: str = "", **environment: str) -> str:
    """Run a script that must fail: its one line. Nothing is there that was not before."""
    before = files(folder)
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder / cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        check=False,
    )
    errors = done.stderr.decode()
    assert done.returncode == 1, errors
    assert errors.startswith("error: "), errors
    assert errors.count("\n") == 1, errors
    assert not done.stdout
    assert files(folder) == before
    return errors.removeprefix("error: ").rstrip("\n")


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


# Each through a script in a process of its own: exit code, streams, no output.
SCRIPTS: dict[str, tuple[str, Change, str]] = {
    "unknown study": ("svhn", lambda _: None, "studies/svhn: no such study; expected one of: demo"),
    "name of a study": ("../x", lambda _: None, "study: expected a name of the letters"),
    "unknown block": (START, put("x", 1), "studies/demo/params.yaml: x: no stage reads it"),
    "no such attack": (
        START,
        put("other_attacks/nonsense", {}),
        "studies/demo/params.yaml: other_attacks.nonsense: expected a file pipeline/attacks/nonsense.py or "
        "studies/demo/nonsense.py, found none",
    ),
}


@pytest.mark.parametrize("case", SCRIPTS)
def test_scripts_say_it_in_one_line(folder: Path, case: str) -> None:
    name, edit, message = SCRIPTS[case]
    change(folder, edit)
    (folder / "pipeline").symlink_to(ROOT / "pipeline")
    assert message in refused(folder, "pipeline.stages.fingerprint_code", name)


@pytest.mark.parametrize("name", EVIL[:4])
def test_names_are_checked_before_anything_else(folder: Path, name: str) -> None:
    (folder / "pipeline").symlink_to(ROOT / "pipeline")
    change(folder, put("study", name))
    message = refused(folder, "pipeline.stages.check_params", cwd=f"studies/{START}")
    assert message == f"studies/{START}/params.yaml: study: expected the folder's name 'demo', found {name!r}"


def test_no_name_of_the_params_reaches_a_shell_or_a_path_before_it_is_checked() -> None:
    """check_params has none in what DVC reads of it; fingerprint_code waits for its output, all others for its."""
    stages = YAML(typ="safe").load(ROOT / "studies/pipeline.yaml")["stages"]
    assert "${" not in str(stages["check_params"])
    assert "wdir" not in stages["check_params"]
    assert "wdir" not in stages["fingerprint_code"]
    assert set(stages["check_params"]["outs"]) <= set(stages["fingerprint_code"]["deps"])
    for name, stage in list(stages.items())[2:]:
        body = stage.get("do", stage)
        assert body["wdir"] == "../.."
        own = "${key}" if "foreach" in stage and name not in ("attack",) else ""
        deps = [path for path in body["deps"] if path.startswith("data/code/${study}/")]
        assert deps, name
        assert any("${key}" in path for path in deps) or not own, name


@pytest.mark.parametrize("locale", ["en_US.ISO-8859-1", "C", "POSIX"])
def test_a_locale_of_another_encoding_changes_nothing(folder: Path, locale: str) -> None:
    """What is read is UTF-8, and so is what is said."""
    change(folder, put("defenses/undefended/größe", 1))
    message = refused(
        folder, "pipeline.stages.fingerprint_code", START, LC_ALL=locale, PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"
    )
    assert message.startswith(f"studies/{START}/params.yaml: defenses.undefended.größe: unknown parameter; expected")


def test_the_backend_of_a_notebook_is_no_matter() -> None:
    program = (
        "from pipeline.reporting import style\nfrom io import BytesIO\nfrom matplotlib.figure import Figure\n"
        "page = BytesIO()\nFigure().savefig(page)\nprint(len(page.getvalue()) > 100)"
    )
    environment = {**os.environ, "MPLBACKEND": "module://matplotlib_inline.nowhere"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


@pytest.mark.parametrize(
    ("raised", "words"), [("KeyboardInterrupt", "interrupted: nothing was begun\n"), ("1 / 0", "")]
)
def test_ctrl_c_while_modules_are_imported_is_one_line(raised: str, words: str) -> None:
    """And what is an error keeps its traceback."""
    done = subprocess.run(
        [sys.executable, "-c", f"import pipeline.stages\nraise {raised}"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode
    assert done.stderr == words if words else "ZeroDivisionError" in done.stderr
