"""What imports what inside the package, read from the sources."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "dg_explorer"


def name_of(path: Path, root: Path = PACKAGE) -> str:
    """The dotted name of a file below the package: `analysis.bias.debiasing`; "" is the root."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules(root: Path = PACKAGE) -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    return {name_of(path, root): path for path in sorted(root.rglob("*.py"))}


def imports(path: Path, known: set[str], root: Path = PACKAGE) -> list[tuple[int, str]]:
    """(line, module) of every import of this package in a file, those for type checkers too.

    `from .x import y` counts as the module `x.y` where that is one, else as `x`.
    """
    package = list(path.relative_to(root).parts[:-1])
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            dotted = [alias.name.split(".") for alias in node.names]
            found += [(node.lineno, ".".join(d[1:])) for d in dotted if d[0] == "dg_explorer"]
        elif isinstance(node, ast.ImportFrom):
            module = node.module.split(".") if node.module else []
            if node.level:
                base = package[: len(package) - node.level + 1] + module
            elif module[:1] == ["dg_explorer"]:
                base = module[1:]
            else:
                continue
            for alias in node.names:
                inner = ".".join([*base, alias.name])
                found.append((node.lineno, inner if inner in known else ".".join(base)))
    return found


def graph(root: Path = PACKAGE) -> dict[str, set[str]]:
    """Module -> the modules it imports, itself left out."""
    files = modules(root)
    return {
        name: {there for _, there in imports(path, set(files), root)} & set(files) - {name}
        for name, path in files.items()
    }


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other (Tarjan 1972), each sorted."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    out = []

    def visit(node: str) -> None:
        number[node] = low[node] = len(number)
        stack.append(node)
        for there in sorted(edges[node]):
            if there not in number:
                visit(there)
                low[node] = min(low[node], low[there])
            elif there in stack:
                low[node] = min(low[node], number[there])
        if low[node] == number[node]:
            at = stack.index(node)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1:
                out.append(sorted(group))

    for node in sorted(edges):
        if node not in number:
            visit(node)
    return out
