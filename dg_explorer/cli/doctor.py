"""Is this machine ready? `dg-explorer doctor` looks, and says in plain words what to do.

A finding is "good", "note" (something is missing that you may not need) or "bad" (something will
not work). The exit code is 1 where anything is bad.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..widgets.export.browsers import find_browser


@dataclass(frozen=True)
class Finding:
    """What one look found: how it is, about what, and a sentence."""

    state: str  # good, note or bad
    about: str
    sentence: str


def python_and_libraries() -> Iterator[Finding]:
    """Versions against the lower bounds this package declares."""
    from packaging.requirements import Requirement

    yield Finding("good", "python", f"{sys.version.split()[0]} at {sys.executable}")
    for line in importlib.metadata.requires("dg_explorer") or ():
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding("bad", wanted.name, f"is not installed; run: pip install '{wanted.name}'")
            continue
        if wanted.specifier.contains(version, prereleases=True):
            yield Finding("good", wanted.name, version)
        else:
            yield Finding(
                "bad",
                wanted.name,
                f"{version} is too old, {wanted.specifier} is needed; "
                f"run: pip install -U '{wanted.name}{wanted.specifier}'",
            )


def same_widget_version(kernel: str, server: str) -> bool:
    """Whether a server's anywidget can show the widgets of a kernel's: same major and minor."""
    return kernel.split(".")[:2] == server.split(".")[:2]


def _mismatch(where: str, kernel: str, server: str) -> Finding:
    return Finding(
        "bad",
        "widgets",
        f"this Python has anywidget {kernel}, but {where} has {server}: widgets stay blank there. "
        f"In that server's environment, run: pip install 'anywidget~={kernel}', then restart it "
        "and reload the page",
    )


def widget_in_labs() -> Iterator[Finding]:
    """The anywidget of every JupyterLab installed here against that of this Python."""
    kernel = importlib.metadata.version("anywidget")
    prefixes = {Path(sys.prefix)}
    lab = shutil.which("jupyter-lab")  # the one a shell would start, perhaps another environment's
    if lab:
        prefixes.add(Path(lab).resolve().parent.parent)
    for prefix in sorted(prefixes):
        manifest = prefix / "share/jupyter/labextensions/anywidget/package.json"
        if not manifest.is_file():
            yield Finding(
                "bad",
                "widgets",
                f"the JupyterLab in {prefix} has no anywidget extension: widgets stay blank there. "
                f"In that environment, run: pip install 'anywidget~={kernel}'",
            )
            continue
        server = json.loads(manifest.read_text())["version"]
        if same_widget_version(kernel, server):
            yield Finding("good", "widgets", f"the JupyterLab in {prefix} has anywidget {server}")
        else:
            yield _mismatch(f"the JupyterLab in {prefix}", kernel, server)


def widget_in_running_servers() -> Iterator[Finding]:
    """The anywidget that each running Jupyter server of this user hands to the browser."""
    from jupyter_server.serverapp import list_running_servers

    kernel = importlib.metadata.version("anywidget")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for server in list_running_servers():
        where = f"the server running at {server['url']}"
        address = f"{server['url']}lab/extensions/anywidget/package.json?token={server['token']}"
        try:
            with opener.open(address, timeout=3) as answer:
                version = json.loads(answer.read())["version"]
        except (OSError, ValueError, KeyError) as error:
            yield Finding("note", "widgets", f"{where} did not tell its anywidget ({error})")
            continue
        if same_widget_version(kernel, version):
            yield Finding("good", "widgets", f"{where} has anywidget {version}")
        else:
            yield _mismatch(where, kernel, version)


def bundle() -> Iterator[Finding]:
    """The board's own front end, shipped inside the package."""
    static = Path(__file__).parents[1] / "widgets" / "static"
    files = sorted(static.glob("*.js")) if static.is_dir() else []
    if files:
        sizes = ", ".join(f"{file.name} {file.stat().st_size / 1000:.0f} kB" for file in files)
        yield Finding("good", "board", sizes)
    else:
        yield Finding("bad", "board", f"no front end in {static}; reinstall dg_explorer")


def kernel() -> Iterator[Finding]:
    """Whether a notebook started from here runs in this Python."""
    spec = Path(sys.prefix) / "share/jupyter/kernels/python3/kernel.json"
    if not spec.is_file():
        yield Finding(
            "bad",
            "kernel",
            f"{sys.prefix} offers no Python kernel; run: {sys.executable} -m ipykernel install "
            "--sys-prefix",
        )
        return
    program = json.loads(spec.read_text())["argv"][0]
    # ipykernel writes plain "python", which Jupyter replaces by the interpreter it runs in
    if os.path.basename(program) == program or os.path.samefile(program, sys.executable):
        yield Finding("good", "kernel", "notebooks started here run in this Python")
    else:
        yield Finding("note", "kernel", f"notebooks started here run in {program}, not this Python")


def graphics() -> Iterator[Finding]:
    """What torch can compute on."""
    import torch

    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
        yield Finding("good", "GPU", ", ".join(sorted(names)))
    elif torch.backends.mps.is_available():
        yield Finding("good", "GPU", "Apple (mps)")
    else:
        yield Finding(
            "note", "GPU", f"none; torch uses {torch.get_num_threads()} CPU threads, which is fine"
        )


def browser() -> Iterator[Finding]:
    """A Chromium, which only the tests and pictures of the board need."""
    found = find_browser()
    if found is None:
        wanted = os.environ.get("CHROMIUM")
        missing = f"$CHROMIUM names {wanted}, which is not there" if wanted else "no Chromium found"
        yield Finding(
            "note", "browser", f"{missing}; any modern browser shows the board, the tests need this"
        )
        return
    try:
        done = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=20)
        yield Finding("good", "browser", f"{done.stdout.strip() or 'unknown version'} at {found}")
    except (OSError, subprocess.TimeoutExpired) as error:
        yield Finding("note", "browser", f"{found} does not start: {error}")


def node() -> Iterator[Finding]:
    """Node, which only changing the board's front end needs."""
    found = shutil.which("node")
    if found is None:
        yield Finding("note", "node", "not here; only needed to change the board's front end")
        return
    done = subprocess.run([found, "--version"], capture_output=True, text=True)
    yield Finding("good", "node", f"{done.stdout.strip()} at {found}")


def write_access() -> Iterator[Finding]:
    """Whether runs can be written here and temporary files in their place, and the room left."""
    for about, folder in (("this folder", Path.cwd()), ("temporary files", _temporary())):
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            yield Finding(
                "bad", about, f"{folder} cannot be written ({error.strerror}); go to another folder"
            )
            continue
        free = shutil.disk_usage(folder).free / 1e9
        state = "good" if free > 1 else "bad"
        yield Finding(state, about, f"{folder} can be written, {free:.1f} GB free")


def _temporary() -> Path:
    return Path(os.environ.get("TMPDIR") or tempfile.gettempdir())


def loopback() -> Iterator[Finding]:
    """Whether a server can listen on 127.0.0.1, as JupyterLab must."""
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
    except OSError as error:
        yield Finding("bad", "loopback", f"no server can listen on 127.0.0.1 ({error})")
    else:
        yield Finding("good", "loopback", "a server can listen on 127.0.0.1")


LOOKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    python_and_libraries,
    kernel,
    widget_in_labs,
    widget_in_running_servers,
    bundle,
    graphics,
    write_access,
    loopback,
    browser,
    node,
)


def findings(looks=LOOKS) -> Iterator[Finding]:
    """Every finding, in order; a look that itself fails is a finding too."""
    for look in looks:
        try:
            yield from look()
        except Exception as error:  # the doctor's own trouble must not hide the other findings
            about = look.__name__.replace("_", " ")
            yield Finding("bad", about, f"could not look: {type(error).__name__}: {error}")


def of_run(path: str) -> Iterator[Finding]:
    """What of a run is damaged; everything in it is read once."""
    from ..record.store.damage import damages

    found = False
    for what, why in damages(path):
        found = True
        yield Finding("bad", what, why)
    if not found:
        yield Finding("good", "run", f"{path} was read through")


def report(
    found: Iterator[Finding],
    *,
    write: Callable[[str], object] = print,
    well: str = "Everything needed is here.",
) -> int:
    """Write one line a finding and a last sentence; returns the exit code."""
    marks = {"good": "ok  ", "note": "note", "bad": "BAD "}
    bad = 0
    for finding in found:
        bad += finding.state == "bad"
        write(f"{marks[finding.state]}  {finding.about:<16} {finding.sentence}")
    if bad:
        things = "one thing" if bad == 1 else f"{bad} things"
        write(f"\n{things.capitalize()} will not work until mended; the lines marked BAD say how.")
        return 1
    write(f"\n{well}")
    return 0
