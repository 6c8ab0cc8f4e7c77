"""Two rings of tests: all of the first, and of the second a sample that changes from run to run.

A large matrix (model families, kills, mutations, arguments) is marked `second_ring`. Without
`--all-rings` a few of its cases are drawn, by a seed that is printed and can be given again.
"""

from __future__ import annotations

import random

import pytest

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
        if config.option.all_rings:
            return "second ring: all of it"
        return f"second ring: a sample, drawn by --ring-seed={self.seed}"

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list) -> None:
        if config.option.all_rings:
            return
        kept = set(drawn(items, self.seed))
        left = [item for item in items if item not in kept]
        items[:] = [item for item in items if item in kept]
        config.hook.pytest_deselected(items=left)


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
