"""What every test shares: markers, and a quiet, deterministic torch."""

import os

# Read once, when the libraries load: two workers on two cores, a thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")


def pytest_configure(config):
    config.addinivalue_line("markers", "browser: opens a real browser")
