"""What changes a checksum of code, what cannot have one, and the files that the stages depend on."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts.code import read_labels, write_fingerprint
from pipeline.code.reach import Code
from pipeline.code.source import label
from pipeline.errors import PipelineError
from tests.packages import write_package

ONE = """import math
from pipeline.two import a, b

def f(x):
    return a(math.pi, x)

def g():
    return b, "text"
"""


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("    return b", '    """G."""\n\n    # why\n    return b', set()),
        ('"text"\n', '"text"  # g \n', set()),
        ('"text"', '"words"', {"g"}),
        ("math.pi, x", "math.tau, x", {"f"}),
        ("import math", "import cmath as math", {"f"}),
        ("import a, b", "import b as a, a as b", {"f", "g"}),  # the same definitions are reached
        ("import math\n", "import math\n\n\n", set()),
    ],
)
def test_what_changes_a_checksum(old: str, new: str, changed: set[str], tmp_path: Path) -> None:
    package = write_package(tmp_path, {"one.py": ONE, "two.py": "def a(): pass\ndef b(): pass\n"})
    before = Code(package).reach(package / "one.py", None)
    assert old in ONE
    (package / "one.py").write_text(ONE.replace(old, new))
    after = Code(package).reach(package / "one.py", None)
    assert set(before) == set(after)
    assert {key for key in before if before[key] != after[key]} == {f"pipeline/one.py::{name}" for name in changed}


def test_what_a_third_hands_on_counts_with_its_source(tmp_path: Path) -> None:
    package = write_package(
        tmp_path,
        {
            "one.py": "from pipeline.two import a, b\ndef f(): return a()\ndef g(): return b\n",
            "two.py": "from pipeline.three import a, b\n",
            "three.py": "def a(): pass\ndef b(): pass\n",
        },
    )
    before = Code(package).reach(package / "one.py", None)
    (package / "two.py").write_text("from pipeline.three import a as b, b as a\n")
    after = Code(package).reach(package / "one.py", None)
    assert set(before) == set(after)
    assert before["pipeline/one.py::f"] != after["pipeline/one.py::f"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("from . import two\n", r"one\.py:1: expected absolute imports, found a relative one"),
        ("import math\nfrom pipeline.two import *\n", r"one\.py:2: expected imported names, found \*"),
        ("def f(): return (\n", r"one\.py:1: expected a Python source"),
    ],
)
def test_what_cannot_be_followed_is_refused(text: str, message: str, tmp_path: Path) -> None:
    package = write_package(tmp_path, {"one.py": text, "two.py": "a = 1\n"})
    with pytest.raises(PipelineError, match=message) as caught:
        Code(package).reach(package / "one.py", None)
    assert "\n" not in str(caught.value)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    package = write_package(tmp_path, {"one.py": "a = 1\n"})
    with pytest.raises(PipelineError, match=r"one\.py: expected a top-level name 'b', found none"):
        Code(package).reach(package / "one.py", ["b"])
    with pytest.raises(PipelineError, match=r"one\.py: expected a top-level name 'defense', found none"):
        Code(package).reach_of_keyword(package / "one.py")
    with pytest.raises(PipelineError, match=r"two\.py: no such file"):
        Code(package).reach(package / "two.py", None)
    with pytest.raises(PipelineError, match=r"page\.j2: no such file"):
        Code(package).reach(package / "one.py", None, [package / "page.j2"])


def test_other_files_count_by_their_bytes(tmp_path: Path) -> None:
    package = write_package(tmp_path, {"one.py": "a = 1\n", "pages/page.j2": "{# a comment #}"})
    before = Code(package).reach(package / "one.py", None, package.glob("pages/*.j2"))
    assert set(before) == {"pipeline/one.py::a", "pipeline/pages/page.j2"}
    (package / "pages/page.j2").write_text("{# another #}")
    after = Code(package).reach(package / "one.py", None, package.glob("pages/*.j2"))
    assert {key for key in before if before[key] != after[key]} == {"pipeline/pages/page.j2"}


DEFENSE = """from pipeline.kinds import Defense
RATE = 1
def predict(images): return images
def learn(model): return RATE
defense = Defense(predict=predict, learn=learn, label="A", randomized=True)
"""
KINDS = """from dataclasses import dataclass
@dataclass(frozen=True)
class Defense:
    predict: object
    learn: object = None
"""


def test_a_keyword_reaches_its_own_and_no_other(tmp_path: Path) -> None:
    package = write_package(tmp_path, {"one.py": DEFENSE, "kinds.py": KINDS})
    found = Code(package).reach_of_keyword(package / "one.py")
    assert set(found) == {f"pipeline/one.py::{name}" for name in ("RATE", "learn", "defense(learn)")}

    def changed(old: str, new: str, **options: Any) -> bool:
        (package / "one.py").write_text(DEFENSE)
        before = Code(package).reach_of_keyword(package / "one.py", **options)
        assert old in DEFENSE
        (package / "one.py").write_text(DEFENSE.replace(old, new))
        return before != Code(package).reach_of_keyword(package / "one.py", **options)

    assert not changed("return images", "return -images")
    assert changed("RATE = 1", "RATE = 2")
    assert changed("learn=learn", "learn=predict")
    assert changed("learn=learn, ", "")
    assert not changed("label=", "name=")
    assert not changed("randomized=True", "randomized=False")
    assert changed("randomized=True", "randomized=False", scalars=True)
    assert changed("return RATE", "return predict(RATE)")
    assert changed("return images", "return -images", keywords=("learn", "predict"))
    (package / "one.py").write_text(DEFENSE.replace("return RATE", "return defense"))
    assert "pipeline/one.py::predict" in Code(package).reach_of_keyword(package / "one.py")


@pytest.mark.parametrize(
    "call", ["replace(other, predict=f)", "Defense(**other)", "other", "Defense(learn=f) if other else other"]
)
def test_a_keyword_that_may_come_from_elsewhere_counts_what_it_may_be(call: str, tmp_path: Path) -> None:
    text = "from dataclasses import replace\nfrom pipeline.kinds import Defense\nother = 1\ndef f(): pass\n"
    package = write_package(tmp_path, {"one.py": f"{text}defense = {call}\n", "kinds.py": KINDS})
    assert "pipeline/one.py::other" in Code(package).reach_of_keyword(package / "one.py")


def test_a_label_is_the_docstrings_first_line(tmp_path: Path) -> None:
    file = tmp_path / "one.py"
    file.write_text('"""Blur, by Gauß.\n\nMore.\n"""\n', encoding="utf-8")
    assert label(file) == "Blur, by Gauß"
    file.write_text("a = 1\n")
    with pytest.raises(PipelineError, match=r"one\.py: expected a docstring"):
        label(file)


def test_labels_that_are_not_there_or_no_json_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    with pytest.raises(
        PipelineError, match=r"labels\.json: no such file; expected the defenses' labels: run dvc repro"
    ):
        read_labels(path)
    path.write_text("{")
    with pytest.raises(PipelineError, match=r"labels\.json: expected JSON"):
        read_labels(path)


def test_a_fingerprint_is_written_when_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "code/one.json"
    assert write_fingerprint(path, {"b": "2", "a": "1"})
    assert path.read_bytes() == b'{\n"a": "1",\n"b": "2"\n}\n'
    inode = path.stat().st_ino
    assert not write_fingerprint(path, {"a": "1", "b": "2"})
    assert path.stat().st_ino == inode
    assert write_fingerprint(path, {"a": "1"})
