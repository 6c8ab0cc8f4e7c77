"""What a board is sent once it is on screen: the tabs' data, and scores of further test examples.

A saved notebook holds it too, so that more than the first picture works there without a kernel.
"""

from __future__ import annotations

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
        return  # who asks for what is wrong is told what it is
    with board._lock:
        if sources is board._sources:
            board._more = container
