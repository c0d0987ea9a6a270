"""`data/code/<room>/<name>.json`: a checksum of every module that a script imports, directly or through others.

Also `data/code/listed/<dataset>/<what>.json`: which defenses and attacks params.yaml lists, for stages that read what
others wrote into a folder.

DVC knows nothing of imports. These files tell it what each stage, attack and defense is made of, so that an edit
reruns the stages that import the edited module, and no others.
"""

import ast
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.artifacts.storage import replacing
from pipeline.code.substance import checksum, substance
from pipeline.errors import PipelineError

ROOMS = ("stages", "attacks", "defenses")


def write_fingerprints(
    package: Path, folder: Path, methods: Mapping[str, str], listed: Mapping[str, Mapping[str, Sequence[str]]]
) -> None:
    """Write `folder/<room>/<name>.json` for every script of the rooms; files of scripts that are gone are removed.

    methods : the other attacks' names, and the file of each. listed : by dataset the lists that `read_listed` is to
    give. Raises PipelineError if an attack's file is not there.
    """
    checksums: dict[Path, str] = {}
    wanted = set()
    for dataset, lists in listed.items():
        for what, names in lists.items():
            out = folder / "listed" / dataset / f"{what}.json"
            wanted.add(out)
            with replacing(out) as part:
                part.write_text(json.dumps(names) + "\n")
    for room in ROOMS:
        scripts = {path.stem: path for path in sorted((package / room).glob("*.py")) if path.name != "__init__.py"}
        if room == "attacks":
            for name, file in methods.items():
                if file not in scripts:
                    raise PipelineError(f"other_attacks.{name}: expected a file {package / room / file}.py, found none")
            scripts |= {name: scripts[file] for name, file in methods.items()}
        for name, script in scripts.items():
            modules = {}
            for path in closure(script, package):
                if path not in checksums:
                    checksums[path] = checksum(substance(path.read_text()))
                modules[path.relative_to(package.parent).as_posix()] = checksums[path]
            out = folder / room / f"{name}.json"
            wanted.add(out)
            with replacing(out) as part:
                part.write_text(json.dumps(modules, indent=1, sort_keys=True) + "\n")
    for path in folder.rglob("*.json"):
        if path not in wanted:
            path.unlink()


def write_fingerprint(path: Path, fingerprint: Mapping[str, str]) -> bool:
    """Write what `pipeline.code.reach` found, a line a definition, sorted; whether the file had to be written.

    Equal fingerprints give equal bytes, and a file that holds them already stays as it is, with its times.
    """
    text = json.dumps(dict(fingerprint), indent=0, sort_keys=True, ensure_ascii=False) + "\n"
    if path.is_file() and path.read_bytes() == text.encode():
        return False
    with replacing(path) as part:
        part.write_bytes(text.encode())
    return True


def read_listed(path: Path) -> list[str]:
    """One of the lists that `fingerprint_code` takes from params.yaml: names, in the params' order.

    A folder as a dependency tells DVC when to run, but not what belongs in it; this does. Raises PipelineError if the
    file is missing.
    """
    try:
        names: list[str] = json.loads(path.read_text())
    except FileNotFoundError:
        raise PipelineError(f"{path}: no such file: run dvc repro fingerprint_code") from None
    return names


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
