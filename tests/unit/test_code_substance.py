"""What of a source counts: all but comments, docstrings and blank lines."""

import ast
import tokenize
from pathlib import Path

import pytest

from pipeline.code.substance import _slow_tokens, _tokens, substance
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
