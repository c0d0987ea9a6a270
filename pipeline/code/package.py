"""A package's files, and where an import in one of them leads: which definitions of which files."""

from pathlib import Path

from pipeline.code.names import Import
from pipeline.code.source import Source, Statement, read_source
from pipeline.errors import PipelineError

LOAD, ALL = "<load>", "<all>"  # what runs when a file is loaded; all that is in it
Node = tuple[str, str]  # a file's key, and what of it: a statement's key, or one of the two above


class Package:
    """The sources below a folder, each read once. A file's key is its path from the folder above, with slashes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._sources: dict[str, Source | None] = {}
        self._modules: dict[tuple[str, ...], str | None] = {}
        self._folders: dict[tuple[str, ...], list[str] | None] = {}

    def key(self, path: Path) -> str:
        try:
            return path.relative_to(self.folder.parent).as_posix()
        except ValueError:
            raise PipelineError(f"{path}: expected a file below {self.folder.parent}") from None

    def source(self, path: str) -> Source | None:
        if path not in self._sources:
            file = self.folder.parent / path
            self._sources[path] = read_source(file, self.folder.name) if file.is_file() else None
        return self._sources[path]

    def known(self, path: str) -> Source:
        source = self.source(path)
        return source if source is not None else read_source(self.folder.parent / path, self.folder.name)

    def module(self, parts: tuple[str, ...]) -> str | None:
        """The file of a module or package; a folder's `__init__.py` need not be there."""
        if parts not in self._modules:
            name = "/".join(parts)
            files = (f"{name}/__init__.py", f"{name}.py") if len(parts) > 1 else (f"{name}/__init__.py",)
            self._modules[parts] = next((file for file in files if self.source(file) is not None), None)
        return self._modules[parts]

    def below(self, parts: tuple[str, ...]) -> list[str] | None:
        """All sources in a package's folder, None if there is no such folder."""
        if parts not in self._folders:
            folder = self.folder.joinpath(*parts[1:])
            self._folders[parts] = [self.key(file) for file in folder.rglob("*.py")] if folder.is_dir() else None
        return self._folders[parts]

    def on_the_way(self, parts: tuple[str, ...]) -> set[Node]:
        """The `__init__.py` that are loaded before a module."""
        if parts[0] != self.folder.name:
            return set()
        found = (self.module(parts[:end]) for end in range(1, len(parts)))
        return {(path, LOAD) for path in found if path is not None}

    def loads(self, load: Import) -> set[Node]:
        """What an import statement loads."""
        parts = tuple(load.module.split("."))
        if parts[0] != self.folder.name:
            return set()
        found = set()
        for name in (parts, (*parts, load.name)) if load.name else (parts,):
            path = self.module(name)
            found |= self.on_the_way(name) | ({(path, LOAD)} if path is not None else set())
        return found

    def targets(self, target: Import, attributes: tuple[str, ...]) -> tuple[set[Node], bool]:
        """What an import's name, or attributes of it, may be; and whether it is of the package."""
        parts = tuple(target.module.split("."))
        if parts[0] != self.folder.name:
            return set(), False
        asked = (*((target.name,) if target.name else ()), *attributes)
        path = self.module(parts)
        if path is None and self.below(parts) is None:
            return set(), True  # a module that is not there: Python will say so
        return self._attribute(parts, asked, frozenset()), True

    def _attribute(self, parts: tuple[str, ...], asked: tuple[str, ...], seen: frozenset[Node]) -> set[Node]:
        """What attributes of a module are: definitions of it, of others that it imports, modules below it."""
        path = self.module(parts)
        if not asked:
            if path is not None:
                return {(path, ALL)}
            return {(below, ALL) for below in self.below(parts) or ()}
        found: set[Node] = set()
        if path is not None:
            found = self.find(path, asked, seen)
        below = (*parts, asked[0])
        if self.module(below) is not None or self.below(below) is not None:
            found |= self._attribute(below, asked[1:], seen)
        return found or self._attribute(parts, (), seen)

    def find(self, path: str, asked: tuple[str, ...], seen: frozenset[Node] = frozenset()) -> set[Node]:
        """The definitions that a name of a file, or attributes of it, may be; none if it has no such name."""
        if (path, asked[0]) in seen:
            return set()
        source = self.known(path)
        found: set[Node] = {(path, each.key) for each in source.names.get(asked[0], ())}
        for each in source.imports.get(asked[0], ()):
            parts = tuple(each.module.split("."))
            if parts[0] == self.folder.name:
                further = (*((each.name,) if each.name else ()), *asked[1:])
                found |= self._attribute(parts, further, seen | {(path, asked[0])})
                found.add((path, LOAD))
            else:  # of another package: it stands in the checksums of those here that use it, or in the effects
                found.add((path, ALL))
        return found

    def statements(self, node: Node) -> list[Statement]:
        return self.known(node[0]).statements.get(node[1], []) if node[1] not in (LOAD, ALL) else []
