"""`dg-explorer demo | open | export | doctor`."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..errors import DGExplorerError

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from ..run import Run

# the first is the default: a run with scores that may be believed, and were checked
RECIPES = ("grokking-smooth", "grokking", "mislabeled-digits", "spurious-digits", "transformer")


class UsageError(DGExplorerError):
    """What was asked for on the command line cannot be done."""


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    top = argparse.ArgumentParser(
        prog="dg-explorer",
        description="Which training examples made the model behave like this, and when did they "
        "start to matter?",
    )
    top.add_argument("--version", action="version", version=f"dg-explorer {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    demo = commands.add_parser(
        "demo", help="train a small model, attribute it and show the board in JupyterLab"
    )
    demo.add_argument(
        "--recipe",
        choices=RECIPES,
        default=RECIPES[0],
        metavar="NAME",
        help=f"{', '.join(RECIPES[:-1])} or {RECIPES[-1]}, which takes six minutes (default: "
        f"{RECIPES[0]})",
    )
    demo.add_argument("--seed", type=int, default=0, help="of data, weights and order")
    demo.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where the run and the notebook go (default: a folder in your cache)",
    )
    demo.add_argument("--html", type=Path, metavar="FILE", help="write the board as one page")
    _lab_options(demo)

    show = commands.add_parser("open", help="show a run's board in JupyterLab")
    show.add_argument("run", type=Path, help="a run's folder")
    _lab_options(show)

    export = commands.add_parser("export", help="write a run's board as one page")
    export.add_argument("run", type=Path, help="a run's folder")
    export.add_argument("file", type=Path, help="the page, such as board.html")

    doctor = commands.add_parser(
        "doctor", help="look whether everything needed is here, or whether a run is undamaged"
    )
    doctor.add_argument("run", nargs="?", help="a run to read through, each byte of it checked")
    return top


def _lab_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--no-browser", action="store_true", help="only print the address")
    command.add_argument("--port", type=int, help="of JupyterLab (default: a free one)")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    asked = parser().parse_args(arguments)
    act = {"demo": demo, "open": open_run, "export": export, "doctor": doctor}[asked.command]
    with _ended_like_ctrl_c():
        try:
            return act(asked) or 0
        except DGExplorerError as error:
            print(f"dg-explorer: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\nStopped.", file=sys.stderr)
            return 130


@contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """Let `kill` and a closed terminal end a command as Ctrl-C does: in order."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {}
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            number = getattr(signal, name)
            before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _step(words: str) -> Iterator[None]:
    """Say what is being done, and how long it took."""
    print(f"{words} ...", flush=True)
    started = time.monotonic()
    yield
    print(f"  {time.monotonic() - started:.1f} s", flush=True)


def demo(asked: argparse.Namespace) -> int:
    """Train a recipe, attribute it, and show it: in JupyterLab or as a page."""
    started = time.monotonic()
    if asked.html:
        _check_page(asked.html)
    if asked.port is not None:
        _check_port(asked.port)
    out = out_folder(asked)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{out} cannot be made ({error.strerror}); name another folder with --out."
        ) from None
    run = _make_demo_run(asked.recipe, out / "run", asked.seed, measured=bool(asked.html))
    if asked.html:
        _write_page(run, asked.html)
        print(f"{asked.html} is ready after {time.monotonic() - started:.0f} s; open it anywhere.")
        return 0

    from ..lab.board_notebook import tutorial
    from ..lab.demo_notebook import demo_notebook

    own_run = tutorial("09_your_own_training_run.ipynb")
    if not (out / own_run.name).exists():
        shutil.copyfile(own_run, out / own_run.name)
    print(f"The run is kept in {out / 'run'}.")
    if asked.recipe == "grokking-smooth":
        print("Whether its scores may be believed, the board measures while you look at it.")
    return _show(asked, demo_notebook(run, asked.recipe), out / "demo.ipynb", started)


def out_folder(asked: argparse.Namespace) -> Path:
    """Where a demo goes: where it was asked to, else a folder in the user's cache."""
    from ..lab.cache_folder import cache_folder

    return asked.out or cache_folder() / f"demo-{asked.recipe}"


def _make_demo_run(recipe: str, path: Path, seed: int, *, measured: bool) -> Run:
    """Train and score; `measured`: and whether to believe it, which a board measures itself."""
    with _step(f"Loading torch and training {recipe}"):
        from ..demos import make

        made = make(recipe, path, seed=seed, overwrite=True)
    print("Scoring every training example for every test example, at moments of training")
    from ..analysis import complete

    complete(made.run, made.model(), made.train, made.test)
    if recipe == "grokking-smooth" and measured:
        _measure_light(made)
    return made.run


def _measure_light(made) -> None:
    """Say on the record whether a small change of the data has a small effect."""
    from ..evaluation import metasmoothness
    from ..training.from_run import training_of_run

    with _step("Training again with other weights of the examples: may scores be believed?"):
        training = training_of_run(made.run, made.model(), train=made.train, test=made.test)
        found = metasmoothness(made.run, training=training, directions=1)["metasmoothness"]
        made.run.flush()
    print(f"  metasmoothness {float(found.min()):.2f} at the least, where .90 is enough")


def open_run(asked: argparse.Namespace) -> int:
    """Show a run's board in JupyterLab, from a notebook in the current folder."""
    from ..lab.board_notebook import board_notebook
    from ..run import Run

    started = time.monotonic()
    if asked.port is not None:
        _check_port(asked.port)
    run = Run.open(asked.run)
    notebook = board_notebook(str(asked.run.resolve()), words=f"# {run.name}")
    return _show(asked, notebook, Path(f"{asked.run.resolve().name}-board.ipynb"), started)


def export(asked: argparse.Namespace) -> int:
    """Write a run's board as one page."""
    from ..run import Run

    _check_page(asked.file)
    _write_page(Run.open(asked.run), asked.file)
    return 0


def doctor(asked: argparse.Namespace) -> int:
    """Look at this machine, or at a run."""
    from .doctor import findings, of_run, report

    if asked.run is not None:
        return report(of_run(asked.run), well="Every byte of the run is as it was written.")
    return report(findings())


def _check_page(file: Path) -> None:
    if file.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"A board is written as a page: {file} should end in .html.")
    if not file.resolve().parent.is_dir():
        raise UsageError(f"There is no folder {file.resolve().parent} to write {file.name} into.")


def _check_port(port: int) -> None:
    from ..lab.serving import LabError, port_is_free

    if not port_is_free(port):  # before minutes of training, not after
        raise LabError(
            f"Port {port} on 127.0.0.1 is in use or not allowed. Leave --port out to take a free "
            "one, or name another."
        )


def _write_page(run: Run, file: Path) -> None:
    from ..widgets import explore

    with _step(f"Writing {file}"):
        explore(run).to_html(file)
    print(f"  {file.stat().st_size / 1e6:.1f} MB, one file, needs no network")


def _show(asked: argparse.Namespace, notebook: NotebookNode, path: Path, started: float) -> int:
    """Write the notebook, start JupyterLab, run its first cells, and wait until it is ended."""
    from ..lab.board_notebook import write_beside
    from ..lab.live_notebook import run_first_cells
    from ..lab.serving import LabServer

    path = write_beside(notebook, path.resolve())
    with tempfile.TemporaryDirectory(prefix="dg-explorer-") as state:
        server = LabServer(path.parent, state=state, port=asked.port)
        try:
            with _step("Starting JupyterLab and showing the board"):
                server.start()
                run_first_cells(server, path.name, n_cells=1)
            address = server.address(path.name)
            print(f"\n{path} is open after {time.monotonic() - started:.0f} s at\n\n  {address}\n")
            print("Ctrl-C ends JupyterLab; the run and the notebook stay.", flush=True)
            if not asked.no_browser and _has_screen():
                webbrowser.open(address)
            return server.wait()
        finally:
            server.stop()


def _has_screen() -> bool:
    """Whether a browser would open in a window; without one, a text browser would take over."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


if __name__ == "__main__":
    sys.exit(main())
