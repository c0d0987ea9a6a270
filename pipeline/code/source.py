"""One source file: its top-level statements, the names that they bind, and what its docstring calls it."""

import ast
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.code.names import Import, Uses, bound_in, imports_of, uses_of
from pipeline.code.substance import substantial_lines
from pipeline.errors import PipelineError

EFFECTS, MAIN = "<effects>", "<main>"  # statements that bind no names of their own, and `if __name__ == "__main__"`


@dataclass
class Statement:
    """A top-level statement. first, last : its lines, from 0, with decorators."""

    node: ast.stmt
    key: str
    first: int
    last: int
    uses: Uses


@dataclass
class Source:
    """A module, read and taken apart.

    names : which statements bind a name. imports : what a name is bound to by imports. loads : modules loaded with
    this one. uncertain : names are bound several times or looked up as a whole, so any use counts as one of all.
    """

    path: Path
    lines: list[str | None]
    statements: dict[str, list[Statement]] = field(default_factory=dict)
    names: dict[str, list[Statement]] = field(default_factory=dict)
    imports: dict[str, list[Import]] = field(default_factory=dict)
    loads: set[Import] = field(default_factory=set)
    uncertain: bool = False

    def text(self, statements: list[Statement]) -> str:
        """The statements' substance."""
        lines = (line for each in statements for line in self.lines[each.first : each.last + 1])
        return "\n".join(line for line in lines if line is not None)


def label(file: Path) -> str:
    """What a file is called: the first line of its docstring, without the period at its end.

    Raises PipelineError if there is no docstring, or the file is none of Python.
    """
    docstring = ast.get_docstring(_parse(file, _read(file)))
    if not docstring:
        raise PipelineError(f"{file}: expected a docstring, whose first line is the label; found none")
    return docstring.splitlines()[0].rstrip().removesuffix(".")


def read_source(path: Path, package: str) -> Source:
    """Take a file apart. package : imports of it are followed, so that they are no effects by themselves.

    Raises PipelineError if it is missing, none of Python, or imports `*` or relatively."""
    text = _read(path)
    tree = _parse(path, text)
    source = Source(path, substantial_lines(text, tree))
    used: set[str] = set()
    outside: list[tuple[str, Statement]] = []  # names bound by imports alone, which count where they are used
    last = -1
    for node in tree.body:
        first = last + 1 if last + 1 < node.lineno else node.lineno - 1  # comments do not count, decorators do
        last = (node.end_lineno or node.lineno) - 1
        if isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            continue
        statement = Statement(node, _key(node), first, last, uses_of(node))
        for found in statement.uses.loads:
            if found.module.startswith("."):
                raise PipelineError(f"{path}:{found.line}: expected absolute imports, found a relative one")
            if found.name == "*":
                raise PipelineError(f"{path}:{found.line}: expected imported names, found *")
        used.update(name for name, _ in statement.uses.names if isinstance(name, str))
        source.uncertain |= "module" in statement.uses.uncertain
        if statement.key != MAIN:
            source.loads |= _loaded(node)
        if isinstance(node, ast.Import | ast.ImportFrom) and not _of_future(node):
            for name, found, _ in imports_of(node):
                source.uncertain |= name in source.names
                source.imports.setdefault(name, []).append(found)
                outside.append((name, statement))
            continue
        source.statements.setdefault(statement.key, []).append(statement)
        bound = bound_in([node])
        if ":=" in text:
            bound |= {part.target.id: () for part in ast.walk(node) if isinstance(part, ast.NamedExpr)}
        for name, imports in bound.items():
            source.uncertain |= name in source.names or (name in source.imports and not _of_future(node))
            source.names.setdefault(name, []).append(statement)
            source.imports.setdefault(name, []).extend(imports)
    source.uncertain |= "__getattr__" in source.names
    for name, statement in outside:
        several = source.imports[name]
        # `import a.b, a.c` bind the same a; everything else that binds a name twice is a matter of order.
        source.uncertain |= any(each != several[0] for each in several)
        if name not in used and several[0].module.partition(".")[0] != package:  # imported for its effect
            effects = source.statements.setdefault(EFFECTS, [])
            if statement not in effects:
                effects.append(statement)
    return source


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PipelineError(f"{path}: no such file; expected a Python source") from None
    except UnicodeDecodeError:
        raise PipelineError(f"{path}: expected a Python source in UTF-8") from None


def _parse(path: Path, text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        where = f"{path}:{error.lineno}" if isinstance(error, SyntaxError) else f"{path}"
        raise PipelineError(f"{where}: expected a Python source: {error}") from None


def _key(node: ast.stmt) -> str:
    """What a statement is called: the names that it defines; effects of a module go together."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.name
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        parts = [part for target in targets for part in (target.elts if isinstance(target, ast.Tuple) else [target])]
        names = [part.id for part in parts if isinstance(part, ast.Name)]
        if len(names) == len(parts):
            return ", ".join(names)
    if isinstance(node, ast.If) and not node.orelse and ast.unparse(node.test) == "__name__ == '__main__'":
        return MAIN
    return EFFECTS


def _of_future(node: ast.stmt) -> bool:
    """Whether it changes what the rest of the file means."""
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _loaded(node: ast.stmt) -> set[Import]:
    """What the statement imports when the module is loaded: not the imports inside of functions."""
    found: set[Import] = set()
    waiting: list[ast.AST] = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.Import | ast.ImportFrom):
            found.update(load for _, _, load in imports_of(part))
        elif isinstance(part, ast.stmt | ast.ExceptHandler | ast.match_case) and not isinstance(
            part, ast.FunctionDef | ast.AsyncFunctionDef
        ):
            waiting.extend(ast.iter_child_nodes(part))
    return found
