"""`data/code/<room>/<name>.json`: a checksum of every module that a script imports, directly or through others.

DVC knows nothing of imports. These files tell it what each stage, attack and defense is made of, so that an edit
reruns the stages that import the edited module, and no others.
"""

import ast
import hashlib
import io
import json
import tokenize
from pathlib import Path

from pipeline.artifacts.storage import replacing
from pipeline.errors import PipelineError

ROOMS = ("stages", "attacks", "defenses")


def write_fingerprints(package: Path, folder: Path) -> None:
    """Write `folder/<room>/<name>.json` for every script of the rooms; files of scripts that are gone are removed."""
    checksums: dict[Path, str] = {}
    wanted = set()
    for room in ROOMS:
        for script in sorted((package / room).glob("*.py")):
            if script.name == "__init__.py":
                continue
            modules = {}
            for path in closure(script, package):
                if path not in checksums:
                    checksums[path] = hashlib.sha256(substance(path.read_text()).encode()).hexdigest()
                modules[path.relative_to(package.parent).as_posix()] = checksums[path]
            out = folder / room / f"{script.stem}.json"
            wanted.add(out)
            with replacing(out) as part:
                part.write_text(json.dumps(modules, indent=1, sort_keys=True) + "\n")
    for path in folder.rglob("*.json"):
        if path not in wanted:
            path.unlink()


def closure(script: Path, package: Path) -> set[Path]:
    """The script itself and all modules of `package` that it imports; empty `__init__.py` files left out."""
    seen: set[Path] = set()
    waiting = {script}
    while waiting:
        path = waiting.pop()
        seen.add(path)
        waiting |= imported(path, package) - seen
    return {path for path in seen if path.name != "__init__.py" or substance(path.read_text())}


def imported(script: Path, package: Path) -> set[Path]:
    """Files of `package` that the script imports directly, and the `__init__.py` of every package on the way.

    Raises PipelineError at a relative import, which this does not follow.
    """
    found = set()
    for node in ast.walk(ast.parse(script.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            raise PipelineError(f"{script}:{node.lineno}: expected absolute imports, found a relative one")
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            if parts[0] != package.name:
                continue
            module = package.joinpath(*parts[1:])
            on_the_way = [package.joinpath(*parts[1:end], "__init__.py") for end in range(1, len(parts) + 1)]
            found |= {path for path in (module.with_suffix(".py"), *on_the_way) if path.is_file()}
    return found


def substance(source: str) -> str:
    """The source without comments, docstrings and blank lines: those may change and nothing needs to run again.

    Made of positions in the text alone, so that every version of Python gives the same.
    """
    lines = source.splitlines()
    kept: set[int] = set()  # lines inside strings of several lines stay as they are
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
        elif token.end[0] > token.start[0] and token.type not in (tokenize.NL, tokenize.NEWLINE):
            kept.update(range(token.start[0] - 1, token.end[0]))
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or not node.body:
            continue
        first = node.body[0]
        if not (isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)):
            continue
        if isinstance(first.value.value, str) and not lines[first.lineno - 1][: first.col_offset].strip():
            rows = range(first.lineno - 1, first.end_lineno or first.lineno)
            kept.difference_update(rows)
            for row in rows:
                lines[row] = ""
    return "\n".join(line if i in kept else line.rstrip() for i, line in enumerate(lines) if i in kept or line.strip())
