"""The first ring draws a few cases of every large matrix, the same ones for the same seed."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

MATRIX = """
import pytest

@pytest.mark.second_ring(sample=3)
@pytest.mark.parametrize("case", range(40))
def test_a_matrix(case):
    pass

@pytest.mark.second_ring(sample=2, of_class=True)
class TestAClass:
    def test_one(self):
        pass

    def test_two(self):
        pass

    def test_three(self):
        pass

@pytest.mark.second_ring
def test_a_slow_claim():
    pass

def test_a_plain_claim():
    pass
"""


@pytest.fixture
def ran(pytester):
    """The names of the tests that a run with some options passes."""
    pytester.makeconftest(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from rings import Rings, add_options as pytest_addoption\n"
        "def pytest_configure(config):\n"
        "    config.addinivalue_line('markers', 'second_ring(sample=2): a matrix')\n"
        "    config.pluginmanager.register(Rings(config))\n"
    )
    pytester.makepyfile(MATRIX)

    def ran(*options: str) -> list[str]:
        result = pytester.inline_run("-p", "no:nbval", "-p", "no:cacheprovider", *options)
        return sorted(r.nodeid.partition("::")[2] for r in result.getreports() if r.when == "call")

    return ran


def test_all_rings_run_every_case(ran):
    assert len(ran("--all-rings")) == 45


def test_a_sample_is_drawn_by_its_seed(ran):
    first = ran("--ring-seed=1")
    assert first == ran("--ring-seed=1")
    assert first != ran("--ring-seed=2")
    assert sum(name.startswith("test_a_matrix") for name in first) == 3
    assert sum(name.startswith("TestAClass") for name in first) == 2
    assert {"test_a_plain_claim", "test_a_slow_claim"} <= set(first)


def test_all_workers_draw_the_same_cases(pytester, ran, monkeypatch):
    # else three processes load every plugin there is
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    result = pytester.runpytest_subprocess("-p", "xdist", "-p", "no:cacheprovider", "-n", "2")
    result.assert_outcomes(passed=7)
