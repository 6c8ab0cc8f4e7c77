"""Two rings of tests: all of the first, and of the second a sample that changes from run to run.

A large matrix (model families, kills, mutations, arguments) is marked `second_ring`. Without
`--all-rings` a few of its cases are drawn, by a seed that is printed and can be given again.
"""

from __future__ import annotations

import random
from importlib.util import find_spec

import pytest

# Libraries that the suite does not ask for. Tests marked `library("trl")` are of the second ring
# where it is installed, and else left out: counted as deselected, and named in the header.
LIBRARIES = ("peft", "trl")
SAMPLE = 2  # cases of each test function, unless its marker says otherwise


def add_options(parser: pytest.Parser) -> None:
    parser.addoption("--all-rings", action="store_true", help="run the second ring whole")
    parser.addoption("--ring-seed", type=int, help="which cases of the second ring are drawn")


class Rings:
    """Draws the second ring's cases; the seed is chosen once, for all workers."""

    def __init__(self, config: pytest.Config) -> None:
        chosen = getattr(config, "workerinput", {}).get("ring_seed", config.option.ring_seed)
        self.seed = random.SystemRandom().randrange(10_000) if chosen is None else chosen

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node) -> None:
        """Tell a worker of pytest-xdist which seed was chosen."""
        node.workerinput["ring_seed"] = self.seed

    def pytest_report_header(self, config: pytest.Config) -> str:
        absent = [name for name in LIBRARIES if find_spec(name) is None]
        without = f"; tests of {', '.join(absent)} are left out: not installed" if absent else ""
        if config.option.all_rings:
            return f"second ring: all of it{without}"
        return f"second ring: a sample, drawn by --ring-seed={self.seed}{without}"

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list) -> None:
        kept = set(possible(items))
        if not config.option.all_rings:
            kept = set(drawn([item for item in items if item in kept], self.seed))
        left = [item for item in items if item not in kept]
        items[:] = [item for item in items if item in kept]
        config.hook.pytest_deselected(items=left)


def possible(items: list) -> list:
    """The items whose libraries are installed."""
    marked = [item.get_closest_marker("library") for item in items]
    return [
        item
        for item, marker in zip(items, marked, strict=True)
        if marker is None or all(find_spec(name) for name in marker.args)
    ]


def drawn(items: list, seed: int) -> list:
    """The items of the first ring, and of each matrix of the second as many as it asks for.

    A matrix is a function with its parameters, or with `of_class=True` all tests of a class.
    """
    matrices: dict[str, list] = {}
    kept = []
    for item in items:
        marker = item.get_closest_marker("second_ring")
        if marker is None:
            kept.append(item)
        else:
            name = item.nodeid.partition("[")[0]
            if marker.kwargs.get("of_class"):
                name = name.rpartition("::")[0]
            matrices.setdefault(name, []).append((item, marker))
    for name, cases in sorted(matrices.items()):
        count = cases[0][1].kwargs.get("sample", SAMPLE)
        chosen = random.Random(f"{seed} {name}").sample(cases, min(count, len(cases)))
        kept += [item for item, _ in chosen]
    return kept
