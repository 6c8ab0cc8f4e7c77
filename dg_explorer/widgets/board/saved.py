"""What a board leaves in a saved notebook, for readers who have no kernel.

Once it is on screen it is sent the tabs' data and scores of further test examples, so that more
than the first picture works there. JupyterLab prefers the widget's output to any picture beside
it, and a notebook saved without widget state, as it is by default, then shows "model not found":
there the picture gets an output of its own, which a board on screen hides.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref

from ..answers.preview import more
from .live import LiveBoard

_PATIENCE = 4.0  # seconds until it is prepared though no browser has said that it shows the board


def send_later(board: LiveBoard, shown: threading.Event) -> None:
    """Start a thread that prepares it when the browser shows the board, and ends."""
    errand = (weakref.ref(board), weakref.ref(board._sources), shown)
    threading.Thread(target=_prepare, args=errand, name="dg-later", daemon=True).start()


def _prepare(board_ref, sources_ref, shown: threading.Event) -> None:
    shown.wait(_PATIENCE)
    board, sources = board_ref(), sources_ref()
    if board is None or board.comm is None or sources is not board._sources:
        return  # closed, or read anew since
    send_now(board)


def send_now(board: LiveBoard) -> None:
    """Prepare and send it here."""
    sources = board._sources
    try:
        container = more(sources, first=board.selection.value, held=board._preview)
    except Exception:
        return  # a view that asks for it is told what is wrong
    with board._lock:
        if sources is board._sources:
            board._more = container


def stand_in(board: LiveBoard, picture: str) -> None:
    """Publish the picture where that is needed; elsewhere see that what is saved is complete.

    Parameters
    ----------
    picture : PNG in base64
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if not hasattr(shell, "kernel"):
        return
    if in_a_jupyter_server():
        from IPython.display import publish_display_data

        publish_display_data({"image/png": picture}, {"image/png": {"width": 700}})
    elif not board._more:
        # nbconvert and papermill end the kernel after the last cell: no thread would finish
        send_now(board)


def in_a_jupyter_server() -> bool:
    """Whether the kernel was started for a page of JupyterLab or Notebook."""
    return "JPY_SESSION_NAME" in os.environ and "VSCODE_PID" not in os.environ
