"""Which of the project's modules a module imports, directly or through others, read from the source."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]


def imported(path: Path) -> set[Path]:
    """Files of `pipeline/` that the file imports directly, packages' `__init__.py` included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            if parts[0] != "pipeline":
                continue
            module = ROOT.joinpath(*parts)
            for candidate in (module.with_suffix(".py"), module / "__init__.py"):
                if candidate.is_file():
                    found.add(candidate)
    return found


def closure(path: Path) -> set[str]:
    """The file itself and all that it imports, as paths from the root; empty files left out."""
    seen, waiting = set(), {path}
    while waiting:
        file = waiting.pop()
        seen.add(file)
        waiting |= imported(file) - seen
    return {str(file.relative_to(ROOT)) for file in seen if file.name != "__init__.py"}


if __name__ == "__main__":
    import sys

    for name in sys.argv[1:]:
        print(name)
        for file in sorted(closure(ROOT / name)):
            print(f"      - {file}")
