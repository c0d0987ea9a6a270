"""The package installed elsewhere, as somebody else's program uses it."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.end_to_end.test_readme import blocks, read
from tests.root import ROOT


def test_what_says_whose_it_is_agrees() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    citation = YAML(typ="safe").load(ROOT / "CITATION.cff")
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"] == "MIT"
    assert f"## {project['version']}\n" in read("CHANGELOG.md")
    assert citation["preferred-citation"]["title"] in read("README.md").replace("*", "")
    assert "the contributors" in read("LICENSE")


@pytest.mark.slow
def test_it_is_installed_and_used_from_another_folder(tmp_path: Path) -> None:
    """The README's example, with nothing of this folder on the path."""
    source = tmp_path / "source"
    for name in ("pipeline", "pyproject.toml", "README.md", "LICENSE"):
        copied = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copied(ROOT / name, source / name)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            str(tmp_path / "site"),
            str(source),
        ],
        check=True,
    )
    assert (tmp_path / "site/pipeline/reporting/templates/report.html.j2").is_file()
    example = next(block.text for block in blocks(read("README.md")) if "run_attack(" in block.text)
    program = f"import sys\nsys.path.insert(0, {str(tmp_path / 'site')!r})\nimport pipeline\nprint(pipeline.__file__)\n"
    done = subprocess.run(
        [sys.executable, "-c", program + example], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert str(tmp_path / "site") in done.stdout
    assert "fooled" in done.stdout
