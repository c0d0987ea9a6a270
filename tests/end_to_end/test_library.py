"""The package installed elsewhere, as somebody else's program uses it."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
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


def offer(index: Path, name: str, version: str) -> None:
    """An empty wheel, in a folder that pip takes for an index."""
    folder, about = index / name, f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    file = f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(folder / file, "w") as wheel:
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    (folder / "index.html").write_text(f'<a href="{file.replace("+", "%2B")}">{file}</a>')


def test_the_line_for_cpus_alone_takes_their_pytorch(tmp_path: Path) -> None:
    """The page's own variable and the pinned versions; two folders stand for PyPI and for PyTorch's index."""
    (line,) = [line for line in read("pipeline/README.md").splitlines() if "download.pytorch.org" in line]
    found = re.fullmatch(r"(\w+)=(https://\S+) make demo", line)
    assert found, line
    variable, address = found.groups()
    assert address == "https://download.pytorch.org/whl/cpu"
    wanted = [line for line in read("requirements.txt").splitlines() if line.startswith("torch")]
    for requirement in wanted:
        name, _, version = requirement.partition("==")
        offer(tmp_path / "pypi", name, version)
        offer(tmp_path / "cpu", name, f"{version}+cpu")
    plain = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    environment = {**plain, "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment["PIP_INDEX_URL"] = (tmp_path / "pypi").as_uri()
    options = [
        "--quiet",
        "--dry-run",
        "--ignore-installed",
        "--no-deps",
        "--disable-pip-version-check",
        "--report",
        "-",
    ]

    def chosen(**more: str) -> dict[str, str]:
        command = [sys.executable, "-m", "pip", "install", *options, *wanted]
        done = subprocess.run(command, env={**environment, **more}, capture_output=True, text=True, check=True)
        packages = [entry["metadata"] for entry in json.loads(done.stdout)["install"]]
        return {package["name"]: package["version"] for package in packages}

    pinned = dict(requirement.split("==") for requirement in wanted)
    assert set(pinned) == {"torch", "torchvision"}
    assert chosen() == pinned
    assert chosen(**{variable: (tmp_path / "cpu").as_uri()}) == {name: f"{pinned[name]}+cpu" for name in pinned}
    assert "--index-url" not in read("Makefile")  # it would make pip deaf to the variable


@pytest.mark.slow
def test_it_is_installed_and_used_from_another_folder(tmp_path: Path) -> None:
    """The README's example, with nothing of this folder on the path."""
    source = tmp_path / "source"
    for name in ("pipeline", "pyproject.toml", "README.md", "LICENSE"):
        copied = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copied(ROOT / name, source / name)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*install, "--target", str(tmp_path / "site"), str(source)], check=True)
    assert (tmp_path / "site/pipeline/reporting/templates/report.html.j2").is_file()
    example = next(block.text for block in blocks(read("README.md")) if "run_attack(" in block.text)
    program = f"import sys\nsys.path.insert(0, {str(tmp_path / 'site')!r})\nimport pipeline\nprint(pipeline.__file__)\n"
    done = subprocess.run(
        [sys.executable, "-c", program + example], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert str(tmp_path / "site") in done.stdout
    assert "fooled" in done.stdout
