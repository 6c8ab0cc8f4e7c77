"""Pages that may not leave the machine, and that count who tried."""

from __future__ import annotations

import os
import re

from at_rest import PATIENCE

BROWSER_OPTIONS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # WebGL2 without a graphics card: the same pixels on every machine.
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    # without a graphics card only WebGL needs one imitated: the page itself, drawn so, took 400 ms
    # of processor time a frame, and 14 ms without
    "--disable-gpu-compositing",
    "--font-render-hinting=none",
    "--force-color-profile=srgb",
]


# The board draws on a 2D canvas where WebGL is imitated on the processor, as it is here. The tests
# look at WebGL's picture too, and so keep the board from finding out.
SEEMS_REAL = """const real = WebGL2RenderingContext.prototype.getExtension;
WebGL2RenderingContext.prototype.getExtension = function (name) {
  return name === 'WEBGL_debug_renderer_info' ? null : real.call(this, name); };"""


def guarded_page(browser, *, allowed: str, offline: bool = False):
    """A page that refuses and counts every http request but those the pattern allows."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 960},
        device_scale_factor=1,
        reduced_motion="reduce",
        locale="en-US",
        timezone_id="UTC",
    )
    context.set_default_timeout(PATIENCE * 1000)
    context.add_init_script(SEEMS_REAL)
    if offline:
        context.set_offline(True)
    outside: list[str] = []

    def refuse(route):
        outside.append(route.request.url)
        route.abort()

    context.route(re.compile(rf"^(https?|wss?)://(?!{allowed})"), refuse)
    page = context.new_page()
    if slow := os.environ.get("SLOW_BROWSER"):  # so many times slower, as on a loaded machine
        line = context.new_cdp_session(page)
        line.send("Emulation.setCPUThrottlingRate", {"rate": float(slow)})
        if offline:  # told to each line, or the last one counts
            line.send("Network.enable")
            none = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
            line.send("Network.emulateNetworkConditions", {"offline": True, **none})
    page.outside = outside
    page.errors = []
    page.on("pageerror", lambda error: is_splash(error) or page.errors.append(str(error)))
    page.console_lines = []
    page.on("console", lambda line: page.console_lines.append((line.type, line.text)))
    page.expected = []  # parts of the console errors that a test provokes
    return page


def is_splash(error) -> bool:
    """Whether JupyterLab 4.6 itself took its splash screen away twice, as it may on opening."""
    frames = re.findall(r"^ +at .*$", error.stack or "", re.MULTILINE)
    return "'removeChild'" in str(error) and len(frames) == 1 and "/jlab_core." in frames[0]


# Raised by Notebook 7.6 itself on opening any notebook.
NOTEBOOK_7_OWN_ERRORS = {
    "Cannot read properties of undefined (reading 'schema')",
    "Command 'filebrowser:open-path' not registered.",
}


def assert_clean(page):
    assert page.outside == [], f"requests left the machine: {page.outside}"
    own = NOTEBOOK_7_OWN_ERRORS if "/notebooks/" in page.url else set()
    errors = [error for error in page.errors if error not in own]
    assert errors == [], f"JavaScript errors: {errors}"
    said = [
        text
        for kind, text in page.console_lines
        if kind == "error" and not any(part in text for part in page.expected)
    ]
    assert said == [], f"console errors: {said}"
