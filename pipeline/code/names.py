"""Which names of its module a statement uses, by Python's rules of scope; read off the syntax, nothing is run."""

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_DOTTED = re.compile(r"[A-Za-z_]\w*(?:[.:][A-Za-z_]\w*)+")
Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp

# Whoever uses one of these may look at any name of its module.
_ANY_NAME = frozenset(("globals", "vars", "exec", "eval", "__all__", "__import__"))


@dataclass(frozen=True)
class Import:
    """`import module` (name None, bound to its first part or to `as`), or `from module import name`."""

    module: str
    name: str | None = None
    line: int = field(default=0, compare=False)


Locals = Mapping[str, tuple[Import, ...]]  # what a function binds; of an import, which


@dataclass
class Uses:
    """What a statement uses of its module and of others.

    names : (name, attributes asked of it) of the module, or of an import of its own. loads : modules imported where
    the statement runs. texts : strings like "package.module:name". uncertain : "module" if it may
    use any name of its module, "everything" if it may use what any loaded module made (subclasses, `sys.modules`).
    """

    names: set[tuple[str | Import, tuple[str, ...]]] = field(default_factory=set)
    loads: set[Import] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    uncertain: set[str] = field(default_factory=set)

    def add(self, other: "Uses") -> None:
        """Take over what another statement uses."""
        self.names |= other.names
        self.loads |= other.loads
        self.texts |= other.texts
        self.uncertain |= other.uncertain


def imports_of(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Import, Import]]:
    """For each name that an import binds: the name, what it is bound to, and what is loaded for it.

    A relative import is given with a leading dot, and `*` as a name; who follows imports refuses them.
    """
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            found = Import("." * node.level + (node.module or ""), alias.name, node.lineno)
            yield alias.asname or alias.name, found, found
        elif alias.asname:
            found = Import(alias.name, None, node.lineno)
            yield alias.asname, found, found
        else:
            first = alias.name.partition(".")[0]
            yield first, Import(first, None, node.lineno), Import(alias.name, None, node.lineno)


def uses_of(node: ast.AST) -> Uses:
    """What a top-level statement, or an expression of one, uses."""
    uses = Uses()
    _visit(node, {}, uses)
    return uses


def bound_in(body: list[ast.stmt]) -> dict[str, tuple[Import, ...]]:
    """The names that statements bind in their own scope; of imports, what to. Those of `:=` are left out."""
    found: dict[str, tuple[Import, ...]] = {}
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name, target, _ in imports_of(node):
                found[name] = (*found.get(name, ()), target)
            continue
        for name in _bound_by(node):
            found.setdefault(name, ())
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for block in ("body", "orelse", "finalbody", "handlers", "cases"):
                waiting.extend(getattr(node, block, ()))
    return found


def _bound_by(node: ast.AST) -> Iterator[str]:
    """The names that a statement, or one branch of it, binds itself."""
    targets: list[ast.AST] = []
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.ExceptHandler):
        if node.name is not None:
            yield node.name
    elif isinstance(node, ast.Assign | ast.Delete):
        targets.extend(node.targets)
    elif isinstance(node, ast.AugAssign | ast.AnnAssign | ast.For | ast.AsyncFor):
        targets.append(node.target)
    elif isinstance(node, ast.With | ast.AsyncWith):
        targets.extend(item.optional_vars for item in node.items if item.optional_vars is not None)
    elif isinstance(node, ast.match_case):
        for part in ast.walk(node.pattern):
            name = part.rest if isinstance(part, ast.MatchMapping) else getattr(part, "name", None)
            if isinstance(name, str):
                yield name
    elif isinstance(getattr(node, "name", None), ast.Name):  # `type name = ...`, Python 3.12
        targets.append(node.name)  # type: ignore[attr-defined]
    while targets:
        target = targets.pop()
        if isinstance(target, ast.Name):
            yield target.id
        elif isinstance(target, ast.Tuple | ast.List):
            targets.extend(target.elts)
        elif isinstance(target, ast.Starred):
            targets.append(target.value)


def _visit(node: ast.AST, scope: Locals, uses: Uses) -> None:
    visit = _VISITORS.get(type(node))
    if visit is not None:
        visit(node, scope, uses)
        return
    for name in node._fields:  # a class's own names are no scope to its methods, so they count as the module's
        value = getattr(node, name, None)
        if type(value) is list:
            for child in value:
                if isinstance(child, ast.AST):
                    _visit(child, scope, uses)
        elif isinstance(value, ast.AST) and name != "ctx":
            _visit(value, scope, uses)


def _visit_name(node: ast.Name, scope: Locals, uses: Uses) -> None:
    _use(node.id, (), scope, uses)


def _visit_constant(node: ast.Constant, scope: Locals, uses: Uses) -> None:
    if isinstance(node.value, str) and _DOTTED.fullmatch(node.value):
        uses.texts.add(node.value)


def _visit_import(node: ast.Import | ast.ImportFrom, scope: Locals, uses: Uses) -> None:
    for name, found, load in imports_of(node):
        uses.loads.add(load)
        if found not in scope.get(name, ()):  # of a class or a block: others may ask for it as an attribute
            uses.names.add((found, ()))


def _visit_global(node: ast.Global, scope: Locals, uses: Uses) -> None:
    uses.uncertain.add("module")


def _visit_call(node: ast.Call, scope: Locals, uses: Uses) -> None:
    of_object = isinstance(node.func, ast.Name) and node.func.id == "vars" and node.args
    for part in (*(() if of_object else (node.func,)), *node.args, *(keyword.value for keyword in node.keywords)):
        _visit(part, scope, uses)


def _visit_assignment(node: ast.AnnAssign, scope: Locals, uses: Uses) -> None:
    _visit_annotation(node.annotation, scope, uses)
    for part in (node.target, node.value):
        if part is not None:
            _visit(part, scope, uses)


def _use(name: str, attributes: tuple[str, ...], scope: Locals, uses: Uses) -> None:
    if name in scope:
        uses.names.update((found, attributes) for found in scope[name])
        return
    uses.names.add((name, attributes))
    if name in _ANY_NAME:
        uses.uncertain.add("module")


def _visit_attribute(node: ast.Attribute, scope: Locals, uses: Uses) -> None:
    attributes: list[str] = []
    inner: ast.expr = node
    while isinstance(inner, ast.Attribute):
        attributes.insert(0, inner.attr)
        inner = inner.value
    if not isinstance(inner, ast.Name):
        _visit(inner, scope, uses)
    else:
        _use(inner.id, tuple(attributes), scope, uses)
        if not isinstance(node.ctx, ast.Load):  # `module.name = ...`: the module is changed
            _use(inner.id, tuple(attributes[:-1]), scope, uses)
    if "__subclasses__" in attributes or (
        isinstance(inner, ast.Name) and inner.id == "sys" and "modules" in attributes
    ):
        uses.uncertain.add("everything")


def _visit_function(node: Function, scope: Locals, uses: Uses) -> None:
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
    for default in (*arguments.defaults, *arguments.kw_defaults):
        if default is not None:
            _visit(default, scope, uses)
    for argument in every:
        if argument.annotation is not None:
            _visit_annotation(argument.annotation, scope, uses)
    body: list[ast.stmt] = [ast.Expr(node.body)] if isinstance(node, ast.Lambda) else node.body
    if not isinstance(node, ast.Lambda):
        for decorator in node.decorator_list:
            _visit(decorator, scope, uses)
        if node.returns is not None:
            _visit_annotation(node.returns, scope, uses)
        for parameter in getattr(node, "type_params", ()):
            _visit(parameter, scope, uses)
    inner = {**scope, **{argument.arg: () for argument in every}, **bound_in(body)}
    for statement in body:
        _visit(statement, inner, uses)


def _visit_comprehension(node: Comprehension, scope: Locals, uses: Uses) -> None:
    bound: dict[str, tuple[Import, ...]] = {}
    for generator in node.generators:
        bound |= bound_in([ast.Delete([generator.target])])
    inner = {**scope, **bound}
    _visit(node.generators[0].iter, scope, uses)  # the first is made outside
    for i, generator in enumerate(node.generators):
        for part in (generator.target, *((generator.iter,) if i else ()), *generator.ifs):
            _visit(part, inner, uses)
    parts = (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)
    for part in parts:
        _visit(part, inner, uses)


def _visit_annotation(node: ast.expr, scope: Locals, uses: Uses) -> None:
    """An annotation, quoted or not: `typing.get_type_hints` runs the quoted ones."""
    _visit(node, scope, uses)
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            try:
                quoted = ast.parse(part.value.strip(), mode="eval")
            except SyntaxError:
                continue
            _visit(quoted.body, scope, uses)


_VISITORS: dict[type[ast.AST], Callable[[Any, Locals, Uses], None]] = {
    ast.Name: _visit_name,
    ast.Attribute: _visit_attribute,
    ast.Constant: _visit_constant,
    ast.Call: _visit_call,
    ast.AnnAssign: _visit_assignment,
    ast.Import: _visit_import,
    ast.ImportFrom: _visit_import,
    ast.Global: _visit_global,
    **dict.fromkeys((ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda), _visit_function),
    **dict.fromkeys((ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp), _visit_comprehension),
}
