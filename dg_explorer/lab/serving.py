"""A JupyterLab on this machine only, quiet and quick, for the demo, `open` and the browser tests.

Quiet: no news, no update checks, a workspace of its own. Quick: kernel messages are not held back
(`dg_explorer.lab.nodelay`). The reader's own Jupyter settings (theme, keys) are left as they are.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import DGExplorerError

QUIET_SETTINGS: dict[str, dict[str, Any]] = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
}


class LabError(DGExplorerError):
    """JupyterLab could not be started, or did not answer."""


def free_port() -> int:
    """A TCP port on the loopback interface that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        # What a server sets too: without it a port closed a second ago would look taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class LabServer:
    """One `jupyter lab` process that serves a folder on 127.0.0.1.

    Parameters
    ----------
    folder
        What the file browser shows; notebooks are named relative to it.
    state
        Where the server keeps its log, connection files and workspaces. Created where missing.
    port
        Loopback port; a free one by default. A taken one raises `LabError`.
    token
        What a browser must show to be let in; random by default.
    settings
        JupyterLab settings by plugin, over `QUIET_SETTINGS`.
    environment
        Variables for the server and its kernels, over those of this process.
    options
        Further command-line options of `jupyter lab`.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        state: str | Path,
        port: int | None = None,
        token: str | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        environment: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        if port is not None and not port_is_free(port):
            raise LabError(
                f"Port {port} on 127.0.0.1 is in use by another program. Leave --port out to "
                "take a free one, or name another."
            )
        self.folder = Path(folder).resolve()
        self.state = Path(state).resolve()
        self.port = port or free_port()
        self.token = token or secrets.token_hex(16)
        self.url = f"http://127.0.0.1:{self.port}"
        self.runtime = self.state / "runtime"
        self.log = self.state / "jupyterlab.log"
        self._settings = {**QUIET_SETTINGS, **(settings or {})}
        self._environment = dict(environment or {})
        self._options = list(options)
        self.process: subprocess.Popen[bytes] | None = None

    def address(self, notebook: str, *, app: str = "lab") -> str:
        """The address that opens a notebook; `app` is "lab", "doc" or "notebooks"."""
        notebook = urllib.parse.quote(notebook)
        if app == "notebooks":
            return f"{self.url}/notebooks/{notebook}?token={self.token}"
        return f"{self.url}/{app}/tree/{notebook}?reset&token={self.token}"

    def start(self, *, timeout: float = 60.0) -> LabServer:
        """Start the process and wait until it answers."""
        labconfig = self.state / "config" / "labconfig"
        for folder in (labconfig, self.runtime, self.state / "workspaces"):
            folder.mkdir(parents=True, exist_ok=True)
        (labconfig / "default_setting_overrides.json").write_text(json.dumps(self._settings))
        environment = {
            **os.environ,
            "JUPYTER_RUNTIME_DIR": str(self.runtime),
            "JUPYTERLAB_WORKSPACES_DIR": str(self.state / "workspaces"),
            "JUPYTER_CONFIG_PATH": os.pathsep.join(
                filter(None, (str(self.state / "config"), os.environ.get("JUPYTER_CONFIG_PATH")))
            ),
            # A kernelspec of the user's other environment must not shadow this one's.
            "JUPYTER_PREFER_ENV_PATH": "1",
            **self._environment,
        }
        with self.log.open("wb") as log:
            # A session of its own: Ctrl-C reaches this process, which then ends the server in
            # order, instead of the server, which would ask a question that is not seen.
            self.process = subprocess.Popen(
                self._command(),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait_until_it_answers(timeout)
        return self

    def _command(self) -> list[str]:
        command = [
            *(sys.executable, "-m", "jupyterlab", "--no-browser"),
            *("--ip=127.0.0.1", f"--port={self.port}", "--ServerApp.port_retries=0"),
            f"--IdentityProvider.token={self.token}",
            f"--ServerApp.root_dir={self.folder}",
            "--ServerApp.terminals_enabled=False",
            "--ServerApp.kernel_websocket_connection_class=dg_explorer.lab.nodelay.NoDelayWebsocket",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            "--LabApp.news_url=",
        ]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--ServerApp.allow_root=True")
        return command + self._options

    def _wait_until_it_answers(self, timeout: float) -> None:
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.process is not None and self.process.poll() is not None:
                raise LabError(
                    f"JupyterLab ended at once with code {self.process.returncode}. Its log, "
                    f"{self.log}, ends with:\n{self.last_words()}"
                )
            try:
                self.api("status")
                return
            except OSError:
                time.sleep(0.05)
        self.stop()
        raise LabError(f"JupyterLab did not answer within {timeout:.0f} s; see {self.log}.")

    def last_words(self, lines: int = 8) -> str:
        """The end of the server's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def api(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """Ask the server's REST interface; returns the decoded answer, None where it is empty."""
        request = urllib.request.Request(
            f"{self.url}/api/{urllib.parse.quote(path)}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {self.token}", "Content-Type": "application/json"},
        )
        # No proxy: the address is this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def end_kernels(self) -> None:
        """End every running notebook's kernel."""
        for session in self.api("sessions"):
            try:
                self.api(f"sessions/{session['id']}", "DELETE")
            except urllib.error.HTTPError as error:
                if error.code != 404:  # ended by itself meanwhile
                    raise

    def wait(self) -> int:
        """Wait until the server ends by itself (its Shut Down menu); returns its exit code."""
        return 0 if self.process is None else self.process.wait()

    def stop(self, *, patience: float = 10.0) -> None:
        """End the server and its kernels; safe to call twice."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()  # the server ends its kernels before it goes
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> LabServer:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()
