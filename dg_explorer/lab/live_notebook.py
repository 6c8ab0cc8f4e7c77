"""Run the first cells of a notebook before anyone looks, so that it opens with the board alive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DGExplorerError

if TYPE_CHECKING:
    from .serving import LabServer


class CellError(DGExplorerError):
    """A cell of a notebook failed, or did not end in time."""


def run_first_cells(server: LabServer, path: str, *, n_cells: int, timeout: float = 120.0) -> None:
    """Run a notebook's first code cells in a kernel of the server and save what they put out.

    JupyterLab gives a notebook the kernel that is already running for its path: the page then
    opens with the widgets of these cells shown and Python behind them.

    Parameters
    ----------
    path
        The notebook, relative to the server's folder.
    n_cells
        How many code cells to run.
    timeout
        Seconds that each cell may take.

    Raises
    ------
    CellError
        A cell raised, or took too long. What ran before it is saved.
    """
    import nbformat
    from jupyter_client.blocking.client import BlockingKernelClient

    session = server.api(
        "sessions",
        "POST",
        {"path": path, "name": Path(path).name, "type": "notebook", "kernel": {"name": "python3"}},
    )
    connection = server.runtime / f"kernel-{session['kernel']['id']}.json"
    notebook = nbformat.read(server.folder / path, as_version=4)
    client = BlockingKernelClient(connection_file=str(connection))
    client.load_connection_file()
    # A kernel busy with its imports misses heartbeats and would be taken for dead.
    client.start_channels(hb=False)
    try:
        client.wait_for_ready(timeout=60)
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        for cell in cells[:n_cells]:
            _run_cell(client, cell, timeout)
    finally:
        client.stop_channels()
        # Saved by the server, which signs it: unsigned outputs would show no widgets.
        # Only code cells: the mark is taken off them before signing, off others only after, and
        # the signature would no longer fit.
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.metadata["trusted"] = True
        server.api(f"contents/{path}", "PUT", {"type": "notebook", "content": notebook})


def _run_cell(client: Any, cell: Any, timeout: float) -> None:
    from nbformat.v4 import output_from_msg

    outputs = []

    def keep(message: dict) -> None:
        kind = message["header"]["msg_type"]
        if kind in ("stream", "display_data", "execute_result", "error"):
            outputs.append(output_from_msg(message))
        elif kind == "clear_output":
            outputs.clear()

    try:
        reply = client.execute_interactive(cell.source, output_hook=keep, timeout=timeout)
    except TimeoutError:
        raise CellError(f"This cell did not end within {timeout:.0f} s:\n{cell.source}") from None
    finally:
        cell.outputs = outputs
    content = reply["content"]
    cell.execution_count = content.get("execution_count")
    if content["status"] != "ok":
        raise CellError(
            f"This cell failed with {content.get('ename')}: {content.get('evalue')}\n{cell.source}"
        )
