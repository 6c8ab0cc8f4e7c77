"""Pictures of saved pages, taken by a Chromium without a window; see `Explorer.to_png`.

Chromium is asked over its own debugging protocol, so that nothing beyond a browser is needed:
`find_browser` says which one is taken.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from ...errors import DGExplorerError, SettingError
from .browsers import find_browser

_OPTIONS = (
    "--headless=new",
    "--remote-debugging-port=0",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-quic",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    # a graphics card is not needed, and the picture is the same on every machine
    "--disable-gpu",
)
# Resolves with what to cut out of the page once it has its size, which may come late,
# and nothing on it has changed for a few frames; with null on any page but the one asked for.
_SETTLED = """(address, wide, high) => location.href !== address ? null : new Promise((done) => {
  let still = 0;
  new MutationObserver(() => { still = 0; }).observe(document, {subtree: true, childList: true,
    attributes: true, characterData: true});
  const look = () => {
    if (document.body?.dataset.ready === undefined || innerWidth !== wide || innerHeight !== high
        || ++still < 12)
      return requestAnimationFrame(look);
    const {x, y, width, height} = (document.querySelector('#dg-host') ?? document.body)
      .getBoundingClientRect();
    done({x: x + scrollX, y: y + scrollY, width, height, text: document.body.innerText});
  };
  look(); })"""


class PictureError(DGExplorerError):
    """A picture of a page could not be taken."""


class Photographer:
    """A Chromium that takes pictures of pages; use it in a `with` statement.

    Raises
    ------
    PictureError
        There is no Chromium or Chrome, or it did not start.
    """

    def __init__(self, *, timeout: float = 60.0) -> None:
        self.timeout = timeout

    def __enter__(self) -> Photographer:
        program = find_browser()
        if program is None:
            raise PictureError(
                "A picture needs Chromium or Chrome, and none is on the PATH, in $CHROMIUM or "
                "among playwright's own. Install one ('apt-get install chromium', or "
                "'pip install playwright' and 'playwright install chromium'), or use to_html, "
                "which needs none."
            )
        # it may still write there when it is ended
        self._folder = tempfile.TemporaryDirectory(prefix="dg-picture-", ignore_cleanup_errors=True)
        command = [program, *_OPTIONS, f"--user-data-dir={self._folder.name}", "about:blank"]
        if sys.platform.startswith("linux") and os.geteuid() == 0:
            command.insert(1, "--no-sandbox")  # Chromium refuses to run as root with its sandbox
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            self._line = self._connect()
        except BaseException:
            self.__exit__()
            raise
        self._numbers = itertools.count(1)
        self._ask("Page.enable")
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "_line"):
            self._line.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def take(self, page: Path, *, width: int = 1280, scale: float = 2.0) -> bytes:
        """The whole of a page written by `to_html`, as PNG.

        Parameters
        ----------
        width : of the window, in CSS pixels; the height is the page's own
        scale : pixels of the picture for each CSS pixel
        """
        if not 200 <= width <= 8000 or not 0.5 <= scale <= 4:
            raise SettingError(
                f"A picture is 200 to 8,000 wide at a scale of 0.5 to 4, not {width} at {scale}."
            )
        screen = {"width": int(width), "deviceScaleFactor": scale, "mobile": False}
        self._ask("Emulation.setDeviceMetricsOverride", **screen, height=1000)
        self._ask(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-reduced-motion", "value": "reduce"}],
        )
        # an address of its own: a busy browser may still hold the page before when it answers
        address = f"{Path(page).resolve().as_uri()}?picture={next(self._numbers)}"
        self._ask("Page.navigate", url=address)
        area = self._settled(address, int(width), 1000)
        # the window as high as the page: what is below a window's edge is not always drawn
        height = min(16_000, max(1, round(area["y"] + area["height"])))
        self._ask("Emulation.setDeviceMetricsOverride", **screen, height=height)
        area = self._settled(address, int(width), height)
        clip = {key: area[key] for key in ("x", "y", "width", "height")} | {"scale": 1}
        answer = self._ask(
            "Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True
        )
        return base64.b64decode(answer["data"])

    def _settled(self, address: str, width: int, height: int) -> dict:
        expression = f"({_SETTLED})({json.dumps(address)}, {width}, {height})"
        end = self._end()
        while time.monotonic() < end:
            try:
                answer = self._ask(
                    "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
                )
            except PictureError as error:
                if "navigated" not in str(error) and "context" not in str(error):
                    raise
                continue  # the page before went away while it was asked
            value = answer["result"].get("value")
            if value is None and answer["result"].get("subtype") == "null":
                time.sleep(0.02)
                continue
            if not value or value["text"].startswith("This page could not be opened"):
                raise PictureError(f"The page could not be drawn: {value and value['text']}")
            return value
        raise PictureError(f"The browser did not open {address} within {self.timeout:.0f} s.")

    def _connect(self):
        from websocket import create_connection  # Jupyter Server stands on it too

        port_file, end = Path(self._folder.name) / "DevToolsActivePort", self._end()
        while True:
            if self._process.poll() is not None:
                raise PictureError(f"The browser ended at once with {self._process.returncode}.")
            try:
                port = int(port_file.read_text().split()[0])
                # no proxy: the address is this machine
                opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
                with opener.open(f"http://127.0.0.1:{port}/json/list", timeout=10) as answer:
                    pages = [page for page in json.load(answer) if page["type"] == "page"]
                if pages:
                    break
            except (OSError, ValueError, IndexError):
                pass
            if time.monotonic() > end:
                raise PictureError(f"The browser did not start within {self.timeout:.0f} s.")
            time.sleep(0.02)
        return create_connection(
            pages[0]["webSocketDebuggerUrl"],
            timeout=self.timeout,
            suppress_origin=True,
            http_no_proxy=["127.0.0.1"],
        )

    def _end(self) -> float:
        return time.monotonic() + self.timeout

    def _ask(self, method: str, **params) -> dict:
        number, end = next(self._numbers), self._end()
        self._line.send(json.dumps({"id": number, "method": method, "params": params}))
        while time.monotonic() < end:
            try:
                message = json.loads(self._line.recv())
            except Exception as error:
                raise PictureError(f"The browser did not answer {method}: {error}") from error
            if message.get("id") == number:
                if "error" in message:
                    raise PictureError(f"The browser refused {method}: {message['error']}")
                return message["result"]
        raise PictureError(f"The browser did not answer {method} within {self.timeout:.0f} s.")


def photograph(
    page: str, path: str | Path, *, theme: str = "light", width: int = 1280, scale: float = 2.0
) -> Path:
    """Write a picture of a page that is given as text.

    Parameters
    ----------
    theme : "light" or "dark", the one the page was made with
    width, scale : see `Photographer.take`

    Raises
    ------
    PictureError
        There is no Chromium or Chrome, or it could not draw the page.
    """
    if theme not in ("light", "dark"):
        raise SettingError(f"The theme of a picture is 'light' or 'dark', not {theme!r}.")
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise SettingError(f"A picture is written as PNG: {path} should end in .png.")
    with tempfile.TemporaryDirectory(prefix="dg-picture-") as folder, Photographer() as camera:
        file = Path(folder) / "page.html"
        file.write_text(page, encoding="utf-8")
        picture = camera.take(file, width=width, scale=scale)
    path.write_bytes(picture)
    return path
