"""Which definitions of the package a name reaches, each with a checksum of its substance.

    reach(Path("pipeline/attacks/ddn.py"), ["ddn"], Path("pipeline"))
    {"pipeline/attacks/ddn.py::ddn": "9f...", "pipeline/attacks/shared/goals.py::Goal": "41...", ...}

A definition reaches what it names, by Python's rules of scope, through any number of imports; a class is taken wholly,
with bases and decorators. A module used as `module.name` reaches that name; used in any other way, all of it. Whoever
reaches a module loads it, with all that it imports, so their effects count: top-level statements that are no
definitions, and definitions that call more than is known to be quiet (`effects.py`).

Counted wholly where something is uncertain: a module that binds a name twice, says `global`, `globals()`, `eval`,
`__all__`; one whose attribute is set from elsewhere or that is handed on; one that a string names ("package.module").
Every loaded module, where `__subclasses__` or `sys.modules` is read. What no reader of a source can see is left to who
calls: a module imported by a name that is made while running, an object handed in.

Cost: a `Code` reads each file once; what each of 147 files reaches took 0.45 s of one core, 0.2 s of it Python's own
parser. Nothing of the package is imported.
"""

import ast
from collections.abc import Collection, Iterable
from pathlib import Path

from pipeline.code.effects import has_effects
from pipeline.code.names import Import, Uses, uses_of
from pipeline.code.package import ALL, LOAD, Node, Package
from pipeline.code.source import EFFECTS, MAIN, Source
from pipeline.code.substance import checksum, substance
from pipeline.errors import PipelineError

VARIABLE = "defense"  # whose keywords may count alone


class Code:
    """The sources of a package, each read once and as it was then.

    package : its folder; keys are relative to the folder above. Every method raises PipelineError with one line if a
    file that is reached is missing, is no Python, or imports `*` or relatively.
    """

    def __init__(self, package: Path) -> None:
        self._package = Package(package)
        self._edges: dict[Node, set[Node]] = {}
        self._checksums: dict[Node, str] = {}
        self._loud: dict[str, set[str]] = {}

    def reach(self, file: Path, names: Collection[str] | None, files: Iterable[Path] = ()) -> dict[str, str]:
        """Checksums of what the names of `file` reach, all of it if None: "path::definition" -> SHA-256, sorted.

        files : others that the code reads by name (templates); "path" -> SHA-256 of their bytes.
        Raises PipelineError if the file has no such name.
        """
        path = self._package.key(file.resolve())
        source = self._package.known(path)
        starts: set[Node] = {(path, LOAD)}
        if names is None:
            starts |= {(path, name) for name in source.statements}
        for name in names or ():
            if name not in source.names and name not in source.imports:
                raise PipelineError(f"{file}: expected a top-level name '{name}', found none")
            starts |= self._package.find(path, (name,))
        return self._written(self._closure(starts), files)

    def reach_of_keyword(
        self, file: Path, keywords: Collection[str] = ("learn",), *, scalars: bool = False
    ) -> dict[str, str]:
        """What some keywords of the call `defense = Call(keyword=...)` reach, and the expressions themselves.

        The other keywords do not count, nor what is called, unless something that does count uses `defense` itself.
        A keyword that is not there counts as such, and with it what it may come out of: `*`, `**` and positional
        arguments (`replace(other, ...)`). Where the value is no call, or the name is bound twice, all of it counts.
        scalars : with all positional arguments, and all keywords that are literals.
        Raises PipelineError if the file has no such variable.
        """
        path = self._package.key(file.resolve())
        source = self._package.known(path)
        statements = source.names.get(VARIABLE, [])
        if not statements:
            raise PipelineError(f"{file}: expected a top-level name '{VARIABLE}', found none")
        node = statements[0].node
        call = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if source.uncertain or len(statements) > 1 or not isinstance(call, ast.Call):
            return self.reach(file, [VARIABLE])
        given = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg is not None}
        counted = {name: given.get(name) for name in keywords}
        if scalars or None in counted.values():
            open_ended = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg is None)]
            counted |= {str(i): value for i, value in enumerate(open_ended)}
        if scalars:
            counted |= {name: value for name, value in given.items() if _is_literal(value)}
        starts: set[Node] = {(path, LOAD)}
        found: dict[str, str] = {}
        text = file.read_text(encoding="utf-8")
        for name, value in counted.items():
            uses = uses_of(value) if value is not None else Uses()
            nodes, lines = self._follow(path, uses)
            starts |= nodes
            segment = "" if value is None else substance(f"({ast.get_source_segment(text, value)})")
            found[f"{path}::{VARIABLE}({name})"] = checksum("\n".join((segment, *lines)))
        ignored = ((path, LOAD), (path, statements[0].key))
        return dict(sorted((found | self._written(self._closure(starts, ignored))).items()))

    # The graph: a definition, a module's effects, what loading a module runs, and all of it.

    def _written(self, nodes: set[Node], files: Iterable[Path] = ()) -> dict[str, str]:
        found = {"::".join(node): self._checksum(node) for node in nodes}
        for file in files:
            try:
                found[self._package.key(file.resolve())] = checksum(file.read_bytes())
            except (FileNotFoundError, IsADirectoryError):
                raise PipelineError(f"{file}: no such file; expected one that the code reads") from None
        return dict(sorted(found.items()))

    def _closure(self, starts: set[Node], ignored: tuple[Node, Node] | None = None) -> set[Node]:
        """The definitions and effects that can be reached; `ignored` is an edge not to go along."""
        seen: set[Node] = set()
        waiting = list(starts)
        everything = False
        while waiting:
            node = waiting.pop()
            if node not in seen:
                seen.add(node)
                waiting.extend(after for after in self._after(node) if after not in seen and (node, after) != ignored)
                everything |= any("everything" in each.uses.uncertain for each in self._package.statements(node))
            if everything and not waiting:
                waiting = [(path, ALL) for path, name in seen if name == LOAD and (path, ALL) not in seen]
        return {node for node in seen if node[1] not in (LOAD, ALL)}

    def _after(self, node: Node) -> set[Node]:
        if node not in self._edges:
            path, name = node
            if name == LOAD:
                self._edges[node] = self._loading(path)
            elif name == ALL:
                self._edges[node] = self._all(path)
            else:
                found = {(path, LOAD)} | ({(path, ALL)} if self._package.known(path).uncertain else set())
                for statement in self._package.statements(node):
                    found |= self._follow(path, statement.uses)[0]
                self._edges[node] = found
        return self._edges[node]

    def _loading(self, path: str) -> set[Node]:
        source = self._package.known(path)
        found = {load for each in source.loads for load in self._package.loads(each)}
        found |= {load for load in self._package.on_the_way(tuple(path.split("/"))) if load[0] != path}
        if EFFECTS in source.statements:
            found.add((path, EFFECTS))
        return found | {(path, name) for name in self._effects(path)}

    def _effects(self, path: str) -> set[str]:
        """The module's definitions that do more than define."""
        if path not in self._loud:
            source = self._package.known(path)
            self._loud[path] = {
                each.key
                for statements in source.statements.values()
                for each in statements
                if each.key not in (EFFECTS, MAIN) and has_effects(each.node, source, self._resolve)
            }
        return self._loud[path]

    def _all(self, path: str) -> set[Node]:
        source = self._package.known(path)
        found: set[Node] = {(path, LOAD)} | {(path, name) for name in source.statements if name != MAIN}
        for imports in source.imports.values():
            found |= {node for each in imports for node in self._package.targets(each, ())[0]}
        if path.endswith("/__init__.py"):
            found |= {(below, ALL) for below in self._package.below(tuple(path.split("/")[:-1])) or () if below != path}
        return found

    def _follow(self, path: str, uses: Uses) -> tuple[set[Node], list[str]]:
        """What is reached by uses in a module, and a line for each name that an import gives: where from."""
        source = self._package.known(path)
        nodes = {load for each in uses.loads for load in self._package.loads(each)}
        lines = set()
        for name, attributes in uses.names:
            imports = [name] if isinstance(name, Import) else source.imports.get(name, [])
            if isinstance(name, str):
                nodes |= {(path, each.key) for each in source.names.get(name, ())}
            for each in imports:
                found, ours = self._package.targets(each, attributes)
                nodes |= found
                targets = sorted("::".join(node) for node in found)
                spelled = ".".join((name, *attributes)) if isinstance(name, str) and ours else f"{name}"
                if isinstance(name, Import):
                    spelled = ".".join(part for part in (name.module, name.name, *attributes) if part)
                lines.add(f"{spelled} = {', '.join(targets) if ours else f'{each.module} {each.name or str()}'}")
        for text in uses.texts:
            parts = tuple(text.replace(":", ".").split("."))
            if parts[0] == self._package.folder.name:
                nodes |= self._named_in_text(parts)
        return nodes, sorted(lines)

    def _named_in_text(self, parts: tuple[str, ...]) -> set[Node]:
        """All of the module that a text names, and of packages nothing but what is loaded."""
        for end in range(len(parts), 1, -1):
            path = self._package.module(parts[:end])
            if path is not None:
                return {(path, ALL)} if not path.endswith("/__init__.py") or end == len(parts) else {(path, LOAD)}
        return set()

    def _resolve(self, target: Import, attributes: tuple[str, ...]) -> tuple[list[tuple[Source, ast.stmt]], bool]:
        nodes, ours = self._package.targets(target, attributes)
        definitions = [
            (self._package.known(node[0]), each.node) for node in nodes for each in self._package.statements(node)
        ]
        return definitions, ours

    def _checksum(self, node: Node) -> str:
        if node not in self._checksums:
            source = self._package.known(node[0])
            statements = self._package.statements(node)
            lines = sorted({line for each in statements for line in self._follow(node[0], each.uses)[1]})
            self._checksums[node] = checksum("\n".join((source.text(statements), *lines)))
        return self._checksums[node]


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError):
        return False
    return True
