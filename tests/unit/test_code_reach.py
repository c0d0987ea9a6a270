"""Which definitions are reached from a file, or from names of it: rule by rule."""

from pathlib import Path

import pytest

from pipeline.code.reach import Code
from tests.packages import write_package

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
