"""What a board leaves in a notebook for readers without its kernel.

JupyterLab prefers the widget's output to any picture beside it, and a notebook saved without widget
state, as it is by default, then shows "model not found". There the picture gets an output of its
own, which a board on screen hides.
"""

from __future__ import annotations

import os
import sys

from .later import send_now
from .live import LiveBoard


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
