"""The library's reference: pages of the book, made from the docstrings each time it is built."""

import ast
import copy
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Topic(NamedTuple):
    """A page of the reference: its file, its title, one sentence, and the modules whose public names it holds."""

    file: str
    title: str
    sentence: str
    modules: tuple[str, ...]


TOPICS = (
    Topic(
        "networks",
        "Networks, finite and infinite",
        "Build a network once: train the finite one, or take the kernels of its infinite-width limit.",
        ("nets", "layers", "activations", "matrices", "kernels", "hermite", "monte_carlo"),
    ),
    Topic(
        "any-network",
        "Kernels and linearization of any network",
        "Whatever has `apply(params, x)` has a tangent kernel and a linearization.",
        ("linearize", "empirical", "parameterization", "span"),
    ),
    Topic(
        "dynamics",
        "Linear models, solved",
        "Outputs, weights and whole distributions after any training time, in closed form.",
        ("dynamics", "rules", "ensembles", "flows"),
    ),
    Topic(
        "training",
        "Training and recording",
        "Train networks and their linearizations, one or many, and measure them.",
        ("training", "members", "records", "rates"),
    ),
    Topic(
        "book",
        "The book's own tools",
        "Data, scales, claims and figures of the chapters, and the slow, obvious versions that tests compare with.",
        ("data", "scale", "claims", "plotting", "sliders", "oracles"),
    ),
)

# Modules that a user names as `wl.data.cifar10`; what others define is public where the package exports it.
_NAMED_MODULES = ("data", "scale", "claims", "plotting", "oracles")
_SECTION = re.compile(r"^(Args|Returns|Raises|Example|Source|Oracle):[ ]?", re.MULTILINE)


def write_reference(package: Path, folder: Path) -> None:
    """Write one page for each topic.

    Args:
        package: the folder of the library.
        folder: where the pages go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    exported = _exported(package)
    for topic in TOPICS:
        parts = [_heading(topic)]
        for module in topic.modules:
            tree = ast.parse((package / f"{module}.py").read_text())
            entries = list(_entries(tree, module, exported))
            if entries:
                parts += [f"## {module}", ast.get_docstring(tree) or "", *entries]
        (folder / f"{topic.file}.md").write_text("\n\n".join(parts) + "\n")


def _heading(topic: Topic) -> str:
    description = topic.sentence.replace("`", "")
    return f'---\nmyst:\n  html_meta:\n    description: "{description}"\n---\n\n# {topic.title}\n\n{topic.sentence}'


def _exported(package: Path) -> set[str]:
    """The names in `__all__`."""
    for statement in ast.parse((package / "__init__.py").read_text()).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            return set(ast.literal_eval(statement.value))
    raise ValueError(f"{package}/__init__.py must list what it exports in __all__.")


def _entries(tree: ast.Module, module: str, exported: set[str]) -> Iterator[str]:
    """Every public function, class and documented value of a module, in the order of the source."""

    def public(name: str) -> bool:
        return not name.startswith("_") and (name in exported or module in _NAMED_MODULES)

    prefix = f"widelinear.{module}." if module in _NAMED_MODULES else "widelinear."
    for statement, after in zip(tree.body, [*tree.body[1:], ast.Pass()], strict=True):
        if isinstance(statement, ast.FunctionDef) and public(statement.name):
            yield _directive("function", prefix + _signature(statement), ast.get_docstring(statement))
        elif isinstance(statement, ast.ClassDef) and public(statement.name):
            yield _class(statement, prefix)
        elif isinstance(statement, ast.Assign | ast.AnnAssign) and (text := _text(after)):
            target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
            if public(name := ast.unparse(target)):
                yield _directive("data", prefix + name, text)


def _class(node: ast.ClassDef, prefix: str) -> str:
    methods = [
        _directive(
            "property" if _is_property(method) else "method",
            method.name if _is_property(method) else _signature(method),
            ast.get_docstring(method),
        )
        for method in node.body
        if isinstance(method, ast.FunctionDef) and not method.name.startswith("_") and ast.get_docstring(method)
    ]
    return _directive("class", prefix + node.name, ast.get_docstring(node), methods, fence="::::")


def _directive(
    kind: str, signature: str, docstring: str | None, inside: list[str] | None = None, fence: str = ":::"
) -> str:
    body = "\n\n".join([_myst(docstring or ""), *(inside or [])])
    return f"{fence}{{py:{kind}}} {signature}\n\n{body}\n{fence}"


def _is_property(method: ast.FunctionDef) -> bool:
    return any(ast.unparse(decorator).endswith("property") for decorator in method.decorator_list)


def _signature(function: ast.FunctionDef) -> str:
    """Names and defaults; what the arguments are, the docstring says."""
    arguments = copy.deepcopy(function.args)
    arguments.args = [argument for argument in arguments.args if argument.arg != "self"]
    for argument in ast.walk(arguments):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    return f"{function.name}({ast.unparse(arguments)})"


def _text(statement: ast.stmt) -> str | None:
    """The string that stands behind an assignment to document it."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return str(statement.value.value)
    return None


def _myst(docstring: str) -> str:
    """A docstring of the house as MyST: its sections as lists, its examples as code."""
    opening, *parts = _SECTION.split(docstring.replace(" Oracle:", "\nOracle:"))
    sections = [(name, _dedented(text)) for name, text in zip(parts[::2], parts[1::2], strict=True)]
    return "\n\n".join([opening.strip(), *(_section(name, text) for name, text in sections)])


def _section(name: str, text: str) -> str:
    if name in ("Args", "Raises"):
        title = "Arguments" if name == "Args" else name
        return f"**{title}**\n\n" + "\n\n".join(_definitions(text))
    if name == "Example":
        return "**Example**\n\n" + "\n\n".join(_examples(text))
    return f"**{'Tested against' if name == 'Oracle' else name}.** {text}"


def _definitions(text: str) -> Iterator[str]:
    """`name: what it is`, with more of it indented below, as a definition."""
    for item in re.split(r"\n(?=\S)", text):
        names, _, what = item.partition(":")
        yield f"`{names}`\n: {textwrap.indent(_dedented(what), '  ').strip()}"


def _examples(text: str) -> Iterator[str]:
    for block in re.split(r"\n\s*\n", text):
        yield f"```pycon\n{block}\n```" if block.startswith(">>>") else block


def _dedented(text: str) -> str:
    """Without the indentation that all lines but the first share."""
    first, *rest = text.strip("\n").split("\n")
    return "\n".join([first.strip(), *textwrap.dedent("\n".join(rest)).split("\n")]).strip()
