"""What of the library a page can reach: the definitions that its code names, those that they name, and so on.

A page is out of date when one of these changes, not when anything in the library does: else a book of twenty pages
would be run anew for every new function. The search errs on the side of too much: a class is reached with all its
methods, and a module that stands without an attribute behind it with all it holds.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

Place = tuple[str, str]  # a module of the package, and a name defined at its top; "" for what runs on import
_Target = tuple[str, str | None]  # the same for an imported name; None for the module itself


class _Module:
    """The definitions of a module by name, and what its imported names stand for."""

    def __init__(self, source: str, package: str) -> None:
        tree = ast.parse(source)
        self.definitions: dict[str, list[ast.stmt]] = {}
        for statement in tree.body:
            if not isinstance(statement, ast.Import | ast.ImportFrom):
                for name in _defined(statement) or [""]:
                    self.definitions.setdefault(name, []).append(statement)
        self.imports: dict[str, _Target] = {}
        for node in ast.walk(tree):  # those inside functions too
            self.imports |= _imported(node, package)


def reachable(package: Path, page: str) -> dict[Place, list[ast.stmt]]:
    """The definitions that a page can reach.

    Args:
        package: the folder of the library.
        page: the page's code.

    Returns:
        The statements of every definition, by its module and its name.
    """
    modules = {file.stem: _Module(file.read_text(), package.name) for file in package.glob("*.py")}
    modules["page"] = _Module(page, package.name)
    found: dict[Place, list[ast.stmt]] = {}
    waiting: list[Place] = [("page", name) for name in modules["page"].definitions]
    while waiting:
        place = waiting.pop()
        module, name = place
        if place not in found and name in modules[module].definitions:
            found[place] = modules[module].definitions[name]
            waiting.append((module, ""))
            waiting += [named for statement in found[place] for named in _named(statement, module, modules)]
    return {place: statements for place, statements in found.items() if place[0] != "page"}


def _named(statement: ast.stmt, module: str, modules: dict[str, _Module]) -> Iterator[Place]:
    """The places that a statement names, seen from inside its module."""
    inner = {id(node.value) for node in ast.walk(statement) if isinstance(node, ast.Attribute)}
    for node in ast.walk(statement):
        if id(node) not in inner and (chain := _chain(node)):
            first, *rest = chain
            if first in modules[module].imports:
                yield from _resolved(modules[module].imports[first], rest, modules)
            else:
                yield module, first


def _resolved(target: _Target, rest: list[str], modules: dict[str, _Module]) -> Iterator[Place]:
    """Follow attributes from an imported name to definitions."""
    module, name = target
    if module not in modules:  # no file of Python code
        return
    if name is None:
        if not rest:
            yield from ((module, name) for name in modules[module].definitions)
            return
        name, *rest = rest
    onward = modules[module].imports.get(name, target)
    if onward not in (target, (module, name)):
        yield from _resolved(onward, rest, modules)
    elif module == "__init__" and name in modules:
        yield from _resolved((name, None), rest, modules)
    else:
        yield module, name


def _chain(node: ast.AST) -> list[str]:
    """`a.b.c` as its names; empty for what is no chain of names."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else []


def _defined(statement: ast.stmt) -> list[str]:
    """The names that a statement at the top of a module defines."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    targets = getattr(statement, "targets", [getattr(statement, "target", None)])
    return [node.id for target in targets if target for node in ast.walk(target) if isinstance(node, ast.Name)]


def _imported(node: ast.AST, package: str) -> dict[str, _Target]:
    """The names that an import takes from the package."""
    if isinstance(node, ast.Import):
        names = [(alias.name.partition("."), alias.asname) for alias in node.names]
        return {
            asname or top: (module if asname and module else "__init__", None)
            for (top, _, module), asname in names
            if top == package
        }
    if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == package:
        module = node.module.partition(".")[2] or "__init__"
        return {alias.asname or alias.name: (module, alias.name) for alias in node.names}
    return {}
