"""The README as PyPI shows it: links into this repository, which that page lacks, made whole."""

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

HOME = "https://github.com/dg-explorer/dg_explorer"


def with_whole_links(text: str, version: str) -> str:
    """Relative links to files and pictures as addresses of this version's files."""
    raw = HOME.replace("github.com", "raw.githubusercontent.com") + f"/v{version}/"
    text = re.sub(r'((?:src|srcset)=")(?!https?:)', rf"\g<1>{raw}", text)
    text = re.sub(r"(\]\()(docs/images/)", rf"\g<1>{raw}\g<2>", text)
    return re.sub(r"(\]\()(?!https?:|#)", rf"\g<1>{HOME}/blob/v{version}/", text)


class Readme(MetadataHookInterface):
    """Puts the README with whole links into the metadata of what is built."""

    def update(self, metadata: dict) -> None:
        root = Path(self.root)
        found = re.search(r'__version__ = "(.+)"', (root / "dg_explorer/__init__.py").read_text())
        text = with_whole_links((root / "README.md").read_text(), found.group(1))
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
