"""The checksums of code that the stages depend on."""

import ast
import shutil
import subprocess
import sys
import tokenize
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.artifacts.code import read_labels, write_fingerprint
from pipeline.code.reach import Code
from pipeline.code.source import label
from pipeline.code.substance import _slow_tokens, _tokens, substance
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


def test_comments_are_found_as_pythons_own_tokenizer_finds_them() -> None:
    files = [*ROOT.glob("pipeline/**/*.py"), *Path(ast.__file__).parent.glob("[a-b]*.py"), Path(tokenize.__file__)]
    assert len(files) > 100
    for file in files:
        with tokenize.open(file) as lines:
            source = lines.read()
        assert sorted(_tokens(source), key=str) == sorted(_slow_tokens(source), key=str), file


def write_package(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / "pipeline" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "pipeline"


# What is asked of one.py (or of names of it), the other files, and what is reached.
RULES: dict[str, tuple[dict[str, str], list[str] | None, set[str]]] = {
    "through names": (
        {"one.py": "A = 1\nB = 2\ndef f(): return g()\ndef g(): return A\ndef h(): return B\n"},
        ["f"],
        {"one.py::f", "one.py::g", "one.py::A"},
    ),
    "all of a file, and its main block": (
        {"one.py": "def f(): pass\ndef g(): pass\nif __name__ == '__main__':\n    f()\n"},
        None,
        {"one.py::f", "one.py::g", "one.py::<main>"},
    ),
    "all of a file, but not of the modules that it uses by attribute": (
        {"one.py": "from pipeline import two\nx = two.a\n", "two.py": "a = 1\nb = 2\n"},
        None,
        {"one.py::x", "two.py::a"},
    ),
    "no main block of a module that is imported": (
        {"one.py": "from pipeline.two import f\n", "two.py": "def f(): pass\nif __name__ == '__main__':\n    f()\n"},
        ["f"],
        {"two.py::f"},
    ),
    "from module import name": (
        {"one.py": "from pipeline.two import a as b\ndef f(): b()\n", "two.py": "def a(): pass\ndef b(): pass\n"},
        ["f"],
        {"one.py::f", "two.py::a"},
    ),
    "an attribute of a module": (
        {"one.py": "from pipeline import two\ndef f(): two.a()\n", "two.py": "def a(): pass\ndef b(): pass\n"},
        ["f"],
        {"one.py::f", "two.py::a"},
    ),
    "import as": (
        {"one.py": "import pipeline.r.two as z\ndef f(): z.a()\n", "r/two.py": "def a(): pass\ndef b(): pass\n"},
        ["f"],
        {"one.py::f", "r/two.py::a"},
    ),
    "import without as": (
        {"one.py": "import pipeline.r.two\nX = pipeline.r.two.a\n", "r/two.py": "def a(): pass\ndef b(): pass\n"},
        ["X"],
        {"one.py::X", "r/two.py::a"},
    ),
    "a module handed on": (
        {"one.py": "from pipeline import two\ndef f(): return g(two)\ndef g(m): pass\n", "two.py": "a = 1\nb = 2\n"},
        ["f"],
        {"one.py::f", "one.py::g", "two.py::a", "two.py::b"},
    ),
    "a module handed on, with what it imports": (
        {
            "one.py": "from pipeline import two\ndef f(name): return getattr(two, name)\n",
            "two.py": "from pipeline.three import c\n",
            "three.py": "c = 1\nd = 2\n",
        },
        ["f"],
        {"one.py::f", "three.py::c"},
    ),
    "a package handed on": (
        {"one.py": "from pipeline import r\ndef f(): return r\n", "r/__init__.py": "a = 1\n", "r/two.py": "b = 1\n"},
        ["f"],
        {"one.py::f", "r/__init__.py::a", "r/two.py::b"},
    ),
    "a module's attribute set": (
        {"one.py": "from pipeline import two\ndef f(): two.a = 3\n", "two.py": "a = 1\nb = 2\n"},
        ["f"],
        {"one.py::f", "two.py::a", "two.py::b"},
    ),
    "imports inside functions": (
        {
            "one.py": "def f():\n    from pipeline.two import a\n    return a\ndef g():\n    import pipeline.three\n",
            "two.py": "a = 1\nb = 2\n",
            "three.py": "c = 1\n",
        },
        ["f"],
        {"one.py::f", "two.py::a"},
    ),
    "handed on by a third": (
        {
            "one.py": "from pipeline.two import a\n",
            "two.py": "from pipeline.three import a as a\n",
            "three.py": "a = 1\n",
        },
        ["a"],
        {"three.py::a"},
    ),
    "classes with bases, decorators, defaults and annotations": (
        {
            "one.py": "from pipeline.two import *\n".replace("*", "base, mark, kind, quoted, default")
            + "@mark\nclass A(base):\n    x: kind\n    def f(self, y: 'quoted', z=default): pass\n",
            "two.py": "class base: pass\ndef mark(c): return c\nclass kind: pass\nclass quoted: pass\ndefault = 1\n"
            "class unused: pass\n",
        },
        ["A"],
        {
            "one.py::A",
            *(f"two.py::{name}" for name in ("base", "mark", "kind", "quoted", "default")),
        },
    ),
    "not what a local name hides": (
        {
            "one.py": "a = 1\nb = 2\nc = 3\nd = 4\ne = 5\n"
            "def f(a, *b):\n    c = [d for d in a]\n    for e in c: pass\n    return a, b, c, e\n"
        },
        ["f"],
        {"one.py::f"},
    ),
    "what a comprehension's first source names": (
        {"one.py": "d = [1]\ndef f(): return [d for d in d]\n"},
        ["f"],
        {"one.py::f", "one.py::d"},
    ),
    "a class's names are no scope of its methods": (
        {"one.py": "def a(): pass\nclass A:\n    def a(self): return a()\n"},
        ["A"],
        {"one.py::A", "one.py::a"},
    ),
    "effects of what is loaded, used or not": (
        {
            "one.py": "from pipeline.two import a\ndef f(): pass\n",
            "two.py": "from pipeline.three import b\nimport sys\na = 1\nif sys:\n    a2 = b\n",
            "three.py": "import matplotlib\nb, c = 1, 2\nmatplotlib.rcParams.update({})\n",
        },
        ["f"],
        {"one.py::f", "two.py::<effects>", "three.py::<effects>", "three.py::b, c"},
    ),
    "a package on the way, where it has substance": (
        {"one.py": "from pipeline.r.s.two import a\n", "r/__init__.py": '"""R."""\n', "r/s/__init__.py": "print(1)\n"}
        | {"r/s/two.py": "a = 1\n"},
        ["a"],
        {"r/s/__init__.py::<effects>", "r/s/two.py::a"},
    ),
    "names out of a block": (
        {"one.py": "try:\n    from pipeline.two import a\nexcept ImportError:\n    a = None\ndef f(): return a\n"}
        | {"two.py": "a = 1\nb = 2\n"},
        ["f"],
        {"one.py::f", "one.py::<effects>", "two.py::a"},
    ),
    "a definition that registers counts where it is loaded": (
        {
            "one.py": "from pipeline.two import KNOWN\nimport pipeline.three\ndef f(): return KNOWN\n",
            "two.py": "KNOWN = {}\ndef known(g):\n    KNOWN[g.__name__] = g\n    return g\n",
            "three.py": "from pipeline.two import known\n@known\ndef g(): return h()\ndef h(): pass\ndef i(): pass\n",
        },
        ["f"],
        {"one.py::f", "two.py::KNOWN", "two.py::known", "three.py::g", "three.py::h"},
    ),
    "a constructor that registers, a class that is made known to its base, an unknown call": (
        {
            "one.py": "import pipeline.two\nimport other\ndef f(): pass\ndef g(): pass\nx = other.install(g)\n",
            "two.py": "ALL = []\nclass A:\n    def __init__(self): ALL.append(self)\n"
            "    def __init_subclass__(cls): pass\na = A()\nclass B(A): pass\nclass C: pass\nc = C()\n",
        },
        ["f"],
        {"one.py::f", "one.py::x", "one.py::g"} | {"two.py::a", "two.py::A", "two.py::ALL", "two.py::B"},
    ),
    "quiet definitions count where they are used": (
        {
            "one.py": "import re\nimport contextlib\nfrom dataclasses import dataclass\nfrom torch import Tensor\n"
            "def f(): pass\n@contextlib.contextmanager\ndef g(): yield\n@dataclass(frozen=True)\nclass A:\n"
            "    x: int = 1\na = A(x=2)\nb = re.compile('x')\nc = Tensor(3)\nd = tuple((1, 2))\ne = 'a b'.split()\n"
        },
        ["f"],
        {"one.py::f"},
    ),
    "an import for its effect": (
        {"one.py": "import readline\ndef f(): pass\n"},
        ["f"],
        {"one.py::f", "one.py::<effects>"},
    ),
    "a name bound inside an expression": (
        {"one.py": "print(a := 1)\ndef f(): return a\n"},
        ["f"],
        {"one.py::f", "one.py::<effects>"},
    ),
    "what another package gives, handed on by a third": (
        {"one.py": "from pipeline.two import np\nx = np.pi\n", "two.py": "import numpy as np\ny = np.e\n"},
        ["x"],
        {"one.py::x", "two.py::y"},
    ),
    "an import in a class": (
        {"one.py": "class A:\n    from pipeline.two import a\n", "two.py": "def a(self): pass\ndef b(): pass\n"},
        ["A"],
        {"one.py::A", "two.py::a"},
    ),
    "a property is quiet": (
        {
            "one.py": "def f(): pass\nclass A:\n    @property\n    def a(self): pass\n"
            "    @a.setter\n    def a(self, value): pass\n"
        },
        ["f"],
        {"one.py::f"},
    ),
    "a module named in a text": (
        {"one.py": "def f(): return 'pipeline.two:a', 'pipeline.none', 'pipeline'\n", "two.py": "a = 1\nb = 2\n"},
        ["f"],
        {"one.py::f", "two.py::a", "two.py::b"},
    ),
    "subclasses": (
        {"one.py": "import pipeline.two\nclass A: pass\ndef f(): return A.__subclasses__()\n", "two.py": "a = 1\n"},
        ["f"],
        {"one.py::f", "one.py::A", "two.py::a"},
    ),
    "names and imports in a circle": (
        {
            "one.py": "from pipeline.two import a\ndef b(): a()\n",
            "two.py": "from pipeline.one import b\ndef a(): b()\n",
        },
        ["b"],
        {"one.py::b", "two.py::a"},
    ),
}
for why, text in {
    "a name bound twice": "a = 1\na = 2\ndef f(): pass\n",
    "a name added to": "a = 1\na += 2\ndef f(): pass\n",
    "global": "a = 1\ndef f():\n    global a\n    a = 3\n",
    "globals()": "a = 1\ndef f(): return globals()\n",
    "eval": "a = 1\ndef f(text): return eval(text)\n",
    "__all__": "__all__ = ['f']\na = 1\ndef f(): pass\n",
    "a module's own __getattr__": "a = 1\ndef f(): pass\ndef __getattr__(name): pass\n",
}.items():
    bound = {"__all__": {"__all__"}, "a module's own __getattr__": {"__getattr__"}, "a name added to": {"<effects>"}}
    names = {"a", "f"} | bound.get(why, set())
    RULES[f"all of a module with {why}"] = ({"one.py": text}, ["f"], {f"one.py::{name}" for name in names})


@pytest.mark.parametrize("rule", RULES)
def test_what_is_reached(rule: str, tmp_path: Path) -> None:
    files, names, expected = RULES[rule]
    package = write_package(tmp_path, files)
    found = Code(package).reach(package / "one.py", names)
    assert set(found) == {f"pipeline/{name}" for name in expected}
    assert list(found) == sorted(found)
    assert all(len(checksum) == 64 for checksum in found.values())


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
