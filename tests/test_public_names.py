"""The public names: all load, an editor sees each, and the changelog tells of every change."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import jedi
from imports import PACKAGE, modules

import dg_explorer as dg

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"
# The command line and the starting of JupyterLab print their errors; nobody catches them.
OWN_ERRORS = {"cli", "lab"}


def stub_imports() -> dict[str, str]:
    """Public name -> the module that `__init__.pyi` imports it from; "" is the package."""
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text())
    return {
        alias.asname: node.module or ""
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name  # PEP 484: only `x as x` is public in a stub
    }


def promised() -> set[str]:
    """The public names that the changelog counts up, oldest version first."""
    names: set[str] = set()
    for version in reversed(CHANGELOG.read_text().split("\n## ")[1:]):
        for kind, change in (("New", names.update), ("Removed", names.difference_update)):
            for said in re.findall(rf"^- {kind} public names: (.*)$", version, re.M):
                change(re.findall(r"`(\w+)`", said))
    return names


def test_the_changelog_names_what_is_public_and_nothing_else():
    public = set(dg.__all__)
    assert public - promised() == set(), "new: add them to `New public names:` in CHANGELOG.md"
    assert promised() - public == set(), "gone: say so under `Removed public names:`"


def test_names_for_editors_are_those_that_load():
    assert set(stub_imports()) == set(dg.__all__) - {"__version__"}
    for name, module in stub_imports().items():
        there = import_module(f"dg_explorer.{module}".rstrip("."))
        assert getattr(there, name) is getattr(dg, name), name


def test_an_editor_shows_what_every_name_takes():
    for name in set(dg.__all__) - {"__version__", "demos"}:
        code = f"import dg_explorer as dg\ndg.{name}("
        shown = jedi.Script(code, path=PACKAGE.parent / "x.py").get_signatures()
        assert [signature.name for signature in shown] == [name]


def test_an_editor_completes_a_name():
    words = jedi.Script("import dg_explorer as dg\ndg.add_b", path=PACKAGE.parent / "x.py")
    assert [word.name for word in words.complete()] == ["add_bias"]


def test_every_error_that_can_reach_a_caller_is_public():
    missing = []
    for module, path in modules().items():
        if module.split(".")[0] in OWN_ERRORS:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Error"):
                found = getattr(import_module(f"dg_explorer.{module}"), node.name)
                ours = issubclass(found, dg.DGExplorerError)  # another is caught inside
                if ours and getattr(dg, node.name, None) is not found:
                    missing.append(f"{module}.{node.name}")
    assert missing == []
