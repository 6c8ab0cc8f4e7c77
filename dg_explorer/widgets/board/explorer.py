"""`explore(run)`: the linked board in a notebook cell, and its single views."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import traitlets

from ...arguments import checked
from ...errors import SettingError
from ...growing_run import GrowingRun
from ...record.run import as_run
from ...run import Run
from ..answers.panels import READS
from ..answers.preview import preview
from ..answers.serve import SLOW, answer
from ..answers.sources import Sources
from ..export.bundle import SCRIPT, STYLE
from ..reading import tables
from ..reading.faces import Faces
from ..reading.reader import RunReader
from .asking import AsksWhatIf
from .exporting import Exporting
from .following import Follower
from .linked import LinkedSelection
from .opening import opening
from .replacing import is_replaced, remember, this_execution
from .saved import send_later, stand_in
from .selecting import Selecting
from .settable import OnlyWhatIsThere

if TYPE_CHECKING:
    from ...training.training import Training

VIEWS = (*READS, "comparison")  # as in frontend/src/views/registry.ts


class Explorer(OnlyWhatIsThere, AsksWhatIf, Selecting, Exporting):
    """One board on one run. `explore` makes it; it fits in any ipywidgets container.

    Attributes
    ----------
    run : the record that is shown
    selection : LinkedSelection
        `.epoch`, `.test`, `.train`, `.selected` and the other fields of `Selection`: read, set
        (`ex.selection.epoch = 400`) and watch them (`ex.selection.observe(callback, "epoch")`).
    """

    _esm = SCRIPT
    _css = STYLE
    _preview = traitlets.Bytes().tag(sync=True)
    _more = traitlets.Bytes().tag(sync=True)

    _shown: tuple[str, ...] = ()  # names of the views; all of them where empty
    _fixed = {
        "run": "explore(another_run) makes a board on another run",
        "selection": "set its fields, as in board.selection.epoch = 400, or several at once with "
        "board.selection.set(epoch=400, test=12)",
    }

    @checked
    def __init__(
        self,
        run: Run | str | Path,
        *,
        show: Callable | None = None,
        name: str | None = None,
        live: bool = False,
        training: Training | None = None,
        check: bool | str = False,
        **selection,
    ):
        if check not in (True, False, "exact"):
            raise SettingError(f"check={check!r}: True, False or 'exact'.")
        if check and training is None:
            raise SettingError("check=True retrains, and lacks training=, a Training.")
        self.run = GrowingRun.of(run) if live else as_run(run)
        self._follower: Follower | None = None
        self._show = show
        self._name = name
        self._lock = threading.RLock()  # comms may run in a thread of their own (subshells)
        self._slow = threading.Lock()  # one slow answer at a time
        self._on_screen = threading.Event()
        self._rendered = False  # whether a page shows the board; the page says so
        self._made_by = this_execution()
        self._begin()
        self._read()
        opened = opening(self._sources.reader)
        first = opened.changed(**selection)
        self._check(first, opened)
        self.selection = LinkedSelection(self._apply, self._report, first)
        super().__init__(
            _preview=preview(self._sources, first=first),
            _selection=first.to_wire(),
            _views=list(self._shown),
        )
        self._own_layout: Any = self.layout
        remember(self, self._made_by)
        self.on_msg(self._answer)
        self.observe(self._browser_selected, "_selection")
        if live:
            self._follower = Follower(self)
        self._allow(training, check)
        send_later(self, self._on_screen)

    # ------------------------------------------------------------------ what is shown, as data

    @checked
    def top_influencers(
        self,
        test: int | None = None,
        epoch: int | None = None,
        k: int = 10,
        *,
        query: str | None = None,
    ) -> pd.DataFrame:
        """The training examples that helped and hurt a test example most, or what was asked.

        Parameters
        ----------
        test : id; the selected one by default
        epoch : one with scores; by default the one nearest to the board's
        k : how many on each side
        query : "set/question" in place of a test example; `queries` lists them

        Returns
        -------
        DataFrame
            Columns side, rank, train, score and the training example's properties.
        """
        reader, now = self._sources.reader, self.selection.value
        if query is not None:
            if test is not None:
                raise SettingError(f"test={test} and query={query!r}: ask for one of them.")
            return tables.asked_influencers(reader, query, now.method, epoch, now.epoch, k)
        method = now.method or next(iter(reader.methods), "trak")
        epoch = tables.score_epoch(reader, method, epoch, now.epoch)
        test = now.test if test is None else test
        if test is None:
            raise SettingError("No test example is selected; pass test=<id>.")
        return tables.top_influencers(reader, method, int(test), epoch, k)

    @property
    def queries(self) -> dict[str, list[str]]:
        """What was asked of the run by `attribute(query=)`: the questions of each set."""
        return self._sources.reader.queries

    def selected_frame(self) -> pd.DataFrame:
        """The selected examples of both splits with their properties; index (split, id)."""
        return tables.selected_frame(self._sources.reader, self.selection.value)

    def refresh(self) -> None:
        """Read the record again: rows that were recorded since then appear.

        A board at the last recorded moment goes on to the new last one; where nothing was
        selected because nothing was there, a test example is.
        """
        with self._lock:
            last, now = self._sources.reader.epochs[-1:], self.selection.value
            self._read()
            reader = self._sources.reader
            if len(reader.epochs) and now.epoch in (*last, *([0] if not len(last) else [])):
                now = now.changed(epoch=reader.epochs[-1])
            if now.test is None or now.method is None:
                first = opening(reader)
                test = first.test if now.test is None else now.test
                now = now.changed(test=test, method=now.method or first.method)
            self._on_screen.clear()  # the browser builds the board anew, and says so
            with self.hold_sync():
                self._more = b""
                self._preview = preview(self._sources, first=now)
            self._apply(now, "growth")  # no step to undo
            if self._asking is not None:
                self._asking.publish()
            send_later(self, self._on_screen)

    @property
    def live(self) -> bool:
        """Whether the board follows a run that is being recorded; set False to stop."""
        return self._follower is not None

    @live.setter
    def live(self, follow: bool) -> None:
        if self._follower is not None and not follow:
            self._follower.stop()
            self._follower = None
        elif follow and self._follower is None:
            vars(self)["run"] = GrowingRun.of(self.run)
            self.refresh()
            self._follower = Follower(self)

    def close(self) -> None:
        """Take the board off every page and let go of what it holds.

        A notebook does so itself with a board whose cell was run again. Showing a closed board
        opens it anew.
        """
        if self.comm is None:
            return
        self.live = False
        if self._asking is not None:
            self._asking.stop()
        super().close()
        vars(self).pop("_repr_mimebundle_", None)  # ipywidgets forbids to show it again
        self._own_layout.close()
        self._preview = self._more = b""
        self._sources.forget()

    def _reopen(self) -> None:
        self._read()
        self._own_layout = self.layout = type(self.layout)()
        self._preview = preview(self._sources, first=self.selection.value)
        self._on_screen.clear()
        self.open()
        send_later(self, self._on_screen)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.run!r})"

    def _repr_mimebundle_(self, **kwargs):
        if self.comm is None:
            self._reopen()
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if data is not None:
            data |= self._still_picture()
            stand_in(self, data["image/png"])  # beside the widget, or before it
        return bundle

    # ------------------------------------------------------------------ between Python and browser

    def _read(self) -> None:
        reader = RunReader(self.run)
        self._sources = Sources(reader, Faces(reader, self._show, self._name), views=self._shown)

    def _answer(self, _widget, content, _buffers) -> None:
        if not isinstance(content, dict):
            return
        if content.get("kind") == "shown":
            self._rendered = True
            self._on_screen.set()
        if content.get("kind") == "gone":
            self._rendered = False
            if is_replaced(self, self._made_by):
                self.close()
        if content.get("kind") != "get":
            if self._asking is not None:
                self._asking.hear(content)
            return
        key = str(content.get("key"))
        if key.partition("/")[0] in SLOW:
            errand = (key, self._sources, self._slow)
            threading.Thread(target=self._reply, args=errand, daemon=True).start()
        else:
            self._reply(key, self._sources, self._lock)

    def _reply(self, key: str, sources: Sources, lock) -> None:
        said, container = {"kind": "blocks", "key": key}, b""
        try:
            with lock:
                container = answer(sources, key)
        except Exception as error:
            text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
            said = {"kind": "refused", "key": key, "error": text}
        if sources is self._sources:  # else it was read anew, and the browser asks anew
            self.send(said, [container] if container else None)


@checked
def explore(
    run: Run | str | Path,
    *,
    show: Callable | None = None,
    name: str | None = None,
    views: Sequence[str] = (),
    live: bool = False,
    training: Training | None = None,
    check: bool | str = False,
    **selection,
) -> Explorer:
    """Open the linked board on a run.

    Parameters
    ----------
    run : a Run, or the path of one
    show : renders an example your own way
        Called with a dict of the example's properties (`id`, `split`, `label`, ...); returns a
        text, a uint8 picture (height, width, channel), or `{"text": ..., "picture": ...}`.
    name : the column of the example tables that names an example
        By default its text, else the first column whose values are all different, else its id.
    views : names of the views to show; all by default
    live : follow a run in a folder while another process records it
        New rows appear within seconds. `ex.live = False` stops it.
    training : Training, optional
        Allows the board to train again, in a process of its own, where somebody asks for it; what
        it finds is kept in the run. `training_of_run` makes one.
    check : have the board check itself beside your work: True, or "exact"
        It measures metasmoothness and trains again without random examples, on at most half of the
        cores and never where there is only one. With "exact" it then adds exact scores, a Hessian
        product a training example and step: for small trainings. Needs `training`.
    **selection : where to start, as fields of `Selection`: `epoch=400, test=12`

    Returns
    -------
    Explorer
        Show it as the last line of a cell.
    """
    if unknown := sorted(set(views) - set(VIEWS)):
        raise SettingError(
            f"There is no view {', '.join(map(repr, unknown))}; there are {', '.join(VIEWS)}."
        )
    run = as_run(run)
    explorer = Explorer(
        run, show=show, name=name, live=live, training=training, check=check, **selection
    )
    explorer._views = list(views)
    return explorer
