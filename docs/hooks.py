"""Pages that MkDocs makes from what the repository already says: reference, tutorials, boards."""

import os
import re
from importlib import import_module
from pathlib import Path

from make_boards import BOARDS  # beside this file; MkDocs imports hooks from their folder
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]

# page -> its title, and the modules (as `dg_explorer._EXPORTS` has them) whose names it explains
REFERENCE = {
    "record": ("The record", ("run", "data", "checkpoints")),
    "recording": ("Recording", ("recording",)),
    "attribution": ("Attribution", ("attribution",)),
    "evaluation": ("Evaluation", ("evaluation",)),
    "analysis": ("Analysis", ("analysis",)),
    "views": ("Views", ("widgets",)),
    "errors": ("Errors", ("errors",)),
}


def on_files(files, config):
    """Add the generated pages to those that were written."""
    pages = {
        **{f"reference/{name}.md": text for name, text in reference().items()},
        **{f"tutorials/{name}.md": text for name, text in tutorials().items()},
        "reference/command-line.md": command_line(),
        "reference/changelog.md": (ROOT / "CHANGELOG.md").read_text(),
        "reference/contributing.md": (ROOT / "CONTRIBUTING.md").read_text(),
    }
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    for name, page in boards().items():
        files.append(File.generated(config, f"boards/{name}.html", abs_src_path=str(page)))
    return files


def reference() -> dict[str, str]:
    """Page name -> Markdown that asks mkdocstrings for every public name of the package."""
    import dg_explorer

    pages = {name: f"# {title}\n" for name, (title, _) in REFERENCE.items()}
    pages["demos"] = "# Demos\n\n::: dg_explorer.demos.make\n\n::: dg_explorer.demos.DemoRun\n"
    explained = set()
    for name, module in dg_explorer._EXPORTS.items():
        if name == module:  # `demos`, a module with a page of its own
            continue
        house = "errors" if name.endswith("Error") else module.split(".")[0]
        page = next((page for page, (_, of) in REFERENCE.items() if house in of), None)
        if page is None:
            raise PluginError(f"docs/hooks.py knows no page for {name!r} of {module!r}.")
        pages[page] += asked_for(getattr(dg_explorer, name), explained)
    for page, (_, modules) in REFERENCE.items():
        for module in map(import_module, (f"dg_explorer.{module}" for module in modules)):
            for name in getattr(module, "__all__", ()):
                pages[page] += asked_for(getattr(module, name), explained)
    return pages


def asked_for(thing, explained: set) -> str:
    """What makes mkdocstrings explain a class or function, unless it was explained before."""
    path = f"{thing.__module__}.{thing.__qualname__}" if callable(thing) else None
    if path is None or path in explained:
        return ""
    explained.add(path)
    return f"\n::: {path}\n"


def tutorials() -> dict[str, str]:
    """Page name -> a notebook as Markdown, with its pictures in the text."""
    from nbconvert import MarkdownExporter

    exporter = MarkdownExporter()
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    pages = {}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        text, resources = exporter.from_filename(str(path))
        recipe = re.search(r'demos\.make\("([\w-]+)"', text)
        board = f"\n\n[Open a board of this recipe](../boards/{recipe[1]}.html)" if recipe else ""
        for name, data in resources["outputs"].items():
            # the still of the board; without a blank line, so that Markdown leaves it alone
            picture = "".join(data.decode().splitlines())
            still = f'<div class="still">{picture}</div>'
            text = text.replace(f"![svg]({name})", still + board)
        pages[path.stem] = text
    return pages


def command_line() -> str:
    """The command's own help."""
    from dg_explorer.cli import parser

    top = parser()
    # argparse keeps subcommands in a private action; there is no public way to list them
    (commands,) = (a.choices for a in top._actions if hasattr(a, "choices") and a.choices)
    texts = [top.format_help(), *(command.format_help() for command in commands.values())]
    return "# Command line\n\n" + "\n".join(f"```text\n{text}```\n" for text in texts)


def boards() -> dict[str, Path]:
    """Name -> exported page, from the folder that $BOARDS names or `build/boards`."""
    folder = Path(os.environ.get("BOARDS", ROOT / "build" / "boards"))
    pages = {name: folder / f"{name}.html" for name in BOARDS}
    for page in pages.values():
        if not page.exists():
            raise PluginError(f"{page} is missing. Make it: python docs/make_boards.py")
    return pages
