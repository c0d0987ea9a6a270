"""Whether a definition does something when its module is loaded, beside defining a name.

A definition counts where its name is used. One that also registers, patches or sets something counts for everybody who
loads its module. Only calls can do that; those known to be quiet are listed here, all others count.
"""

import ast
import builtins
from collections.abc import Callable, Iterator

from pipeline.code.names import Import, uses_of
from pipeline.code.source import Source

_LOUD = frozenset(("__import__", "delattr", "eval", "exec", "globals", "input", "locals", "open", "print", "setattr"))
_QUIET_MODULES = frozenset(
    ("abc", "annotated_types", "collections", "contextlib", "dataclasses", "enum", "functools", "itertools", "json")
) | frozenset(("math", "operator", "pathlib", "pydantic", "re", "string", "types", "typing"))
_QUIET_CALLS = frozenset(("torch.enable_grad", "torch.inference_mode", "torch.no_grad"))
_CONSTRUCTORS = frozenset(("__init__", "__new__", "__post_init__", "__init_subclass__", "__set_name__"))

# From an import and attributes asked of it to the definitions of the package, and whether it is of the package at all.
Resolve = Callable[[Import, tuple[str, ...]], tuple[list[tuple[Source, ast.stmt]], bool]]


def has_effects(node: ast.stmt, source: Source, resolve: Resolve) -> bool:
    """Whether the definition may do more than bind its names when it runs."""
    if isinstance(node, ast.ClassDef) and not all(_quiet_base(part, source, resolve) for part in _bases(node)):
        return True
    return not all(_quiet(callee, source, resolve) for callee in _callees(node))


def _bases(node: ast.ClassDef) -> list[ast.expr]:
    return [*node.bases, *(keyword.value for keyword in node.keywords)]


def _callees(node: ast.AST) -> Iterator[ast.expr]:
    """What is called when the statement runs: not inside of functions, but their decorators and defaults."""
    waiting: list[ast.AST] = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting.append(part.args)
            if isinstance(part, ast.Lambda):
                continue
            waiting.extend(part.decorator_list)
            yield from part.decorator_list
            if part.returns is not None:
                waiting.append(part.returns)
            continue
        if isinstance(part, ast.ClassDef):
            yield from part.decorator_list
        elif isinstance(part, ast.Call):
            yield part.func
        waiting.extend(ast.iter_child_nodes(part))


def _definitions(node: ast.expr, source: Source, resolve: Resolve) -> tuple[list[tuple[Source, ast.stmt]], str | None]:
    """The package's definitions that a dotted name may be, and its full name where it comes from elsewhere."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.insert(0, node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return [], None
    found = [(source, each.node) for each in source.names.get(node.id, ())] if not attributes else []
    known = node.id in source.names
    outside = None
    for each in source.imports.get(node.id, ()):
        definitions, ours = resolve(each, tuple(attributes))
        found += definitions
        known = known or ours
        outside = ".".join(part for part in (each.module, each.name, *attributes) if part)
    if not known and outside is None and hasattr(builtins, node.id):
        outside = ".".join(("builtins", node.id, *attributes))
    return found, None if known else outside


def _quiet(callee: ast.expr, source: Source, resolve: Resolve) -> bool:
    """Whether calling it does nothing but make a value."""
    if isinstance(callee, ast.Call):  # a decorator with arguments, which is looked at as a call of its own
        return _quiet(callee.func, source, resolve)
    if isinstance(callee, ast.Subscript):
        return _quiet(callee.value, source, resolve)
    if isinstance(callee, ast.Attribute) and callee.attr in ("setter", "getter", "deleter"):
        return True  # of a property
    root: ast.expr = callee
    while isinstance(root, ast.Attribute):
        root = root.value
    if not isinstance(root, ast.Name):
        return isinstance(root, ast.Call | ast.Constant | ast.JoinedStr)  # a method of a value just made
    found, outside = _definitions(callee, source, resolve)
    if outside is not None:
        first, *_, last = [*outside.split("."), ""][:-1] if "." in outside else (outside, outside)
        if first == "builtins":
            return last not in _LOUD
        return first in _QUIET_MODULES or outside in _QUIET_CALLS or last[:1].isupper()
    return bool(found) and all(
        isinstance(node, ast.ClassDef) and _quiet_class(node, where, resolve) for where, node in found
    )


def _quiet_class(node: ast.ClassDef, source: Source, resolve: Resolve) -> bool:
    """Whether making an object of the class touches nothing but the object."""
    for method in node.body:
        if not isinstance(method, ast.FunctionDef) or method.name not in _CONSTRUCTORS:
            continue
        for name, attributes in uses_of(method).names:
            imports = [name] if isinstance(name, Import) else source.imports.get(name, [])
            nodes = [] if isinstance(name, Import) else [each.node for each in source.names.get(name, ())]
            for each in imports:
                nodes += [found for _, found in resolve(each, attributes)[0]]
            if not all(isinstance(found, ast.ClassDef) for found in nodes):
                return False
    return all(_quiet_base(part, source, resolve) for part in _bases(node)) and all(
        _quiet_class(base, where, resolve)
        for part in node.bases
        for where, base in _definitions(part, source, resolve)[0]
        if isinstance(base, ast.ClassDef) and base is not node
    )


def _quiet_base(part: ast.expr, source: Source, resolve: Resolve) -> bool:
    """Whether a class may have that base, or metaclass, without its doing anything to it."""
    found, outside = _definitions(part, source, resolve)
    if outside is not None or isinstance(part, ast.Subscript | ast.Constant):
        return True
    return all(
        isinstance(node, ast.ClassDef)
        and not any(isinstance(method, ast.FunctionDef) and method.name == "__init_subclass__" for method in node.body)
        and not any(keyword.arg == "metaclass" for keyword in node.keywords)
        and all(_quiet_base(base, where, resolve) for base in node.bases)
        for where, node in found
    )
