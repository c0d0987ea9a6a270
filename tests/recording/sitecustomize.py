"""On PYTHONPATH of a run, notes in $RECORD which paths and params each process asks of `pipeline.studies.Study`."""

import atexit
import json
import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

MODULE = "pipeline.studies"
paths: set[str] = set()
keys: set[str] = set()


class Watch(MetaPathFinder):
    """Lets the module be loaded as ever, and then wraps some of its class's methods."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != MODULE:
            return None
        spec = PathFinder.find_spec(name, path)
        assert spec is not None
        assert spec.loader is not None
        load = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            load(module)
            watch(module.Study)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def watch(study: Any) -> None:
    begin, value, has, block, path = study.__init__, study.value, study.has, study.block, study.path

    def __init__(self: Any, name: str) -> None:
        self.quiet = True
        begin(self, name)
        self.quiet = False

    def note_value(self: Any, key: str) -> Any:
        keys.add(key)
        return value(self, key)

    def note_has(self: Any, key: str) -> bool:
        if not self.quiet:
            keys.add(key)  # that nothing stands there is an answer too
        found: bool = has(self, key)
        return found

    def note_block(self: Any, key: str) -> Any:
        if not self.quiet:  # all of a study is checked when it is read
            keys.add(key)
        return block(self, key)

    def note_path(self: Any, what: str, key: str = "") -> Path:
        found: Path = path(self, what, key)
        paths.add(found.as_posix())
        return found

    others = study.other_attacks

    def note_others(self: Any) -> list[str]:
        if not self.quiet:
            keys.add("other_attacks")
        found: list[str] = others.fget(self)
        return found

    study.other_attacks = property(note_others)
    study.__init__, study.block, study.path = __init__, note_block, note_path
    study.value, study.has = note_value, note_has


def write() -> None:
    if keys or paths:
        record = {"words": sys.orig_argv[2:], "keys": sorted(keys), "paths": sorted(paths)}
        with open(Path(os.environ["RECORD"]) / f"{os.getpid()}.json", "w", encoding="utf-8") as file:
            json.dump(record, file)


if "RECORD" in os.environ:
    sys.meta_path.insert(0, Watch())
    atexit.register(write)
