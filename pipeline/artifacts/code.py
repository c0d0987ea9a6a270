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
    """Files of `package` that the script imports directly, `__init__.py` of packages included."""
    found = set()
    for node in ast.walk(ast.parse(script.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            if parts[0] != package.name:
                continue
            module = package.joinpath(*parts[1:])
            found |= {path for path in (module.with_suffix(".py"), module / "__init__.py") if path.is_file()}
    return found


def substance(source: str) -> str:
    """The source without comments, docstrings and blank lines: those may change and nothing needs to run again.

    Made of positions in the text alone, so that every version of Python gives the same.
    """
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or not node.body:
            continue
        first = node.body[0]
        if not (
            isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
        ):
            continue
        rows = slice(first.lineno - 1, first.end_lineno)
        if not lines[first.lineno - 1][: first.col_offset].strip():  # else it shares its line with code
            lines[rows] = [""] * len(lines[rows])
    return "\n".join(line.rstrip() for line in lines if line.strip())
