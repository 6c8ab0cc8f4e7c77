"""One self-contained page: the board's own bundle with the record beside it, no network."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
from pathlib import Path

from .bundle import SCRIPT, STYLE

# the last line of the bundle, fixed by frontend/build.mjs
_EXPORTS = "export{dgBoard as default,dgPage as openPage};"

_PAGE_CSS = """
html{color-scheme:light dark}
h1{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
body{margin:0;background:#fff;color:#1b1f24}
#dg-host{max-width:1480px;margin:0 auto;padding:16px;box-sizing:border-box}
@media(prefers-color-scheme:dark){body{background:#0b0d0f;color:#e9edf2}}
html[data-dg-theme=light] body{background:#fff}html[data-dg-theme=dark] body{background:#0b0d0f}
@media(max-width:720px){#dg-host{padding:0}}
"""


def page(preview: bytes, state: dict, *, title: str, theme: str) -> str:
    """The page as text. `state` holds the small traits; the preview is gzipped inside.

    A strict content policy lets nothing in or out: scripts and styles run by their digest only,
    and no connection can be opened.
    """
    script = _text(SCRIPT)
    if _EXPORTS not in script:
        raise RuntimeError("the bundle does not end as frontend/build.mjs leaves it; rebuild it")
    script = script.replace(_EXPORTS, "dgPage();")
    style = _text(STYLE) + _PAGE_CSS
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        f"img-src data:; base-uri 'none'; form-action 'none'"
    )
    # "<" cannot appear raw, so no text of a dataset can close the script tag
    saved = json.dumps({"state": state, "theme": theme}).replace("<", "\\u003c")
    held = base64.b64encode(gzip.compress(preview, 6, mtime=0)).decode()
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{html.escape(title)}</title><style>{style}</style></head>\n"
        f'<body><main><h1>{html.escape(title)}</h1><div id="dg-host"></div></main>\n'
        f'<script type="application/json" id="dg-state">{saved}</script>\n'
        f'<script type="application/octet-stream" id="dg-preview">{held}</script>\n'
        f'<script type="module">{script}</script></body></html>\n'
    )


def _text(source: str | Path) -> str:
    return source.read_text(encoding="utf-8") if isinstance(source, Path) else source


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
