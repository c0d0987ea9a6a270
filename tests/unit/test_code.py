"""The checksums of code that the stages depend on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.artifacts.code import closure, read_listed, substance, write_fingerprints
from pipeline.errors import PipelineError
from tests.root import ROOT

SOURCE = '''"""Module."""

# a comment
import math  # another


def area(radius):
    """Of a circle."""
    # inside
    text = "# no comment"
    return math.pi * radius**2, text
'''


@pytest.mark.parametrize("stage", ["render_index", "summarize", "evaluate_defense"])
def test_the_closure_is_what_python_loads(stage: str) -> None:
    program = (
        f"import sys, pipeline.stages.{stage}\n"
        "print(*[m.__file__ for n, m in sys.modules.items() if n.startswith('pipeline') and m.__file__])"
    )
    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    package = ROOT / "pipeline"
    found = closure(package / f"stages/{stage}.py", package)
    expected = {Path(path) for path in loaded.stdout.split()}
    assert {path for path in expected if path.name != "__init__.py" or substance(path.read_text())} == found


def test_comments_docstrings_and_blank_lines_do_not_count() -> None:
    changed = (
        SOURCE.replace("# a comment", "\n\n# more").replace("Of a circle.", "Of a\n    disk.").replace("# another", "")
    )
    assert substance(changed) == substance(SOURCE)
    assert substance(SOURCE) == (
        'import math\ndef area(radius):\n    text = "# no comment"\n    return math.pi * radius**2, text'
    )


@pytest.mark.parametrize(
    ("old", "new"), [("**2", "**3"), ("# no comment", "# a comment"), ("import math", "import cmath as math")]
)
def test_everything_else_counts(old: str, new: str) -> None:
    assert old in SOURCE
    assert substance(SOURCE.replace(old, new)) != substance(SOURCE)


def test_a_docstring_that_shares_its_line_with_code_leaves_the_code() -> None:
    assert "def short" in substance('def short(): "nothing"\n')


def test_lines_inside_strings_count_as_they_are() -> None:
    text = 'words = """one\n\n# two  \nthree"""\n'
    assert substance(text) == text.rstrip("\n")
    assert substance(text) != substance(text.replace("# two  ", "# two"))


def test_a_package_on_the_way_counts_and_a_relative_import_is_refused(tmp_path: Path) -> None:
    package = tmp_path / "pipeline"
    (package / "stages").mkdir(parents=True)
    (package / "stages/__init__.py").write_text("loaded = True\n")
    (package / "stages/one.py").write_text("import pipeline.stages.two\n")
    (package / "stages/two.py").write_text("")
    found = closure(package / "stages/one.py", package)
    assert {path.name for path in found} == {"one.py", "two.py", "__init__.py"}
    (package / "stages/two.py").write_text("from . import one\n")
    with pytest.raises(PipelineError, match=r"two.py:1: expected absolute imports"):
        closure(package / "stages/one.py", package)


def test_an_edit_changes_the_files_of_what_imports_it(tmp_path: Path) -> None:
    package = tmp_path / "pipeline"
    for name, text in {
        "stages/one.py": "from pipeline.tools import hammer\n",
        "stages/two.py": "import math\n",
        "tools.py": "hammer = 1\n",
        "attacks/__init__.py": '"""Attacks."""\n',
        "attacks/hit.py": "import pipeline.tools\n",
    }.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    out = tmp_path / "code"
    lists = {"digits": {"defenses": ["blur"], "other_attacks": ["strong"]}}
    write_fingerprints(package, out, {"strong": "hit"}, lists)
    before = {path.relative_to(out).as_posix(): path.read_text() for path in out.rglob("*.json")}
    listed = {"listed/digits/defenses.json", "listed/digits/other_attacks.json"}
    assert set(before) == {"stages/one.json", "stages/two.json", "attacks/hit.json", "attacks/strong.json"} | listed
    assert before["attacks/strong.json"] == before["attacks/hit.json"]
    assert read_listed(out / "listed/digits/other_attacks.json") == ["strong"]
    with pytest.raises(PipelineError, match=r"mnist\.json: no such file: run dvc repro"):
        read_listed(out / "listed/mnist.json")
    with pytest.raises(PipelineError, match=r"other_attacks\.weak: expected a file .*miss\.py, found none"):
        write_fingerprints(package, out, {"weak": "miss"}, {})
    assert set(json.loads(before["stages/one.json"])) == {"pipeline/stages/one.py", "pipeline/tools.py"}
    (package / "tools.py").write_text("hammer = 2\n")
    (package / "stages/two.py").unlink()
    write_fingerprints(package, out, {}, {})
    after = {path.relative_to(out).as_posix(): path.read_text() for path in out.rglob("*.json")}
    assert set(after) == {"stages/one.json", "attacks/hit.json"}
    assert all(after[name] != before[name] for name in after)
