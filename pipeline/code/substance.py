"""What of a source counts: all but comments, docstrings, blank lines and spaces at a line's end."""

import ast
import hashlib
import io
import re
import tokenize
from collections.abc import Iterator

# A string, whatever its prefix (a backslash guards the next character in raw ones too), or a comment.
_STRING_OR_COMMENT = re.compile(
    r'"""(?:[^\\]|\\.)*?"""' + r"|'''(?:[^\\]|\\.)*?'''" + r'|"(?:[^"\\\n]|\\.)*"' + r"|'(?:[^'\\\n]|\\.)*'|#[^\n]*",
    re.DOTALL,
)


def substance(source: str) -> str:
    """The source without comments, docstrings and blank lines: those may change and nothing needs to run again.

    Made of positions in the text alone, so that every version of Python gives the same. Lines inside strings of several
    lines stay as they are. Raises SyntaxError if the source is none of Python.
    """
    return "\n".join(line for line in substantial_lines(source, ast.parse(source)) if line is not None)


def checksum(text: str | bytes) -> str:
    """SHA-256 of bytes, or of a text in UTF-8: 64 hexadecimal digits."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def substantial_lines(source: str, tree: ast.Module) -> list[str | None]:
    """Every line of the source as it counts, None where nothing of it does; `tree` is the source, parsed."""
    source = source.replace("\r\n", "\n").replace("\r", "\n")
    lines = source.split("\n")
    kept: set[int] = set()  # lines inside strings of several lines
    for first, column, last in _tokens(source):
        if column is not None:
            lines[first] = lines[first][:column]
        else:
            kept.update(range(first, last + 1))
    for first_statement in _docstrings(tree):
        if not lines[first_statement.lineno - 1].encode()[: first_statement.col_offset].strip():
            rows = range(first_statement.lineno - 1, first_statement.end_lineno or first_statement.lineno)
            kept.difference_update(rows)
            for row in rows:
                lines[row] = ""
    return [line if i in kept else line.rstrip() or None for i, line in enumerate(lines)]


def _docstrings(tree: ast.Module) -> Iterator[ast.Expr]:
    """The docstrings of a module, its classes and functions, wherever they stand."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        # Statements alone: no expression holds a docstring.
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            inside = getattr(node, block, ())
            if isinstance(inside, list):
                waiting.extend(inside)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            value = first.value if isinstance(first, ast.Expr) else None
            if isinstance(first, ast.Expr) and isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield first


def _tokens(source: str) -> Iterator[tuple[int, int | None, int]]:
    """(row, column, row) of each comment and (first row, None, last row) of each string of several lines.

    By one regular expression, ten times as fast as `tokenize`, which is asked where an f-string may hold its own
    quotes (Python 3.12).
    """
    row, start = 0, 0
    found: list[tuple[int, int | None, int]] = []
    for match in _STRING_OR_COMMENT.finditer(source):
        text = match[0]
        row += source.count("\n", start, match.start())
        start = match.start()
        if text[0] == "#":
            found.append((row, start - (source.rfind("\n", 0, start) + 1), row))
            continue
        if "f" in source[max(0, start - 2) : start].lower() and text.count("{") != text.count("}"):
            yield from _slow_tokens(source)
            return
        if "\n" in text:
            found.append((row, None, row + text.count("\n")))
    yield from found


def _slow_tokens(source: str) -> Iterator[tuple[int, int | None, int]]:
    """What `_tokens` gives, by Python's own tokenizer."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0] - 1, token.start[1], token.start[0] - 1
        elif token.end[0] > token.start[0] and token.type not in (tokenize.NL, tokenize.NEWLINE):
            yield token.start[0] - 1, None, token.end[0] - 1
