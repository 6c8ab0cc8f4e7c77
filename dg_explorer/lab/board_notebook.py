"""Notebooks that show a run: a cell that opens it and its board."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DGExplorerError

if TYPE_CHECKING:
    from nbformat import NotebookNode

# In the wheel the tutorials lie inside the package, in a checkout beside it.
TUTORIALS = (Path(__file__).parents[1] / "notebooks", Path(__file__).parents[2] / "notebooks")


class TutorialError(DGExplorerError):
    """A tutorial that ships with the package is not there."""


def tutorial(name: str) -> Path:
    """The path of a notebook that ships with the package."""
    for folder in TUTORIALS:
        if (folder / name).is_file():
            return folder / name
    raise TutorialError(f"{name} is not in {' or in '.join(map(str, TUTORIALS))}; reinstall.")


def board_notebook(run: str, *, words: str, before: str = "", settings: str = "") -> NotebookNode:
    """A notebook with a first code cell that opens a run and shows its board.

    Parameters
    ----------
    run
        The run's path as the notebook will name it: relative to the notebook, or absolute.
    words
        Markdown above the cell.
    before, settings
        Code between opening the run and showing its board, and what `explore` is given beside
        the run: ", training=training".
    """
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    shown = new_notebook(
        cells=[
            new_markdown_cell(words),
            # One cell, the board at its end: what is below the fold JupyterLab does not draw.
            new_code_cell(
                "import dg_explorer as dg\n\n"
                f"run = dg.Run.open({run!r})\n{before}"
                f"explorer = dg.explore(run{settings})\nexplorer"
            ),
        ],
        metadata={
            "kernelspec": {
                "name": "python3",
                "display_name": "Python 3 (ipykernel)",
                "language": "python",
            }
        },
    )
    return shown


def write_beside(notebook: NotebookNode, path: Path) -> Path:
    """Write a notebook under this name, or, where another is there, under the next free one."""
    import nbformat

    free, number = path, 1
    while free.exists():
        number += 1
        free = path.with_stem(f"{path.stem}-{number}")
    nbformat.write(notebook, free)
    return free
