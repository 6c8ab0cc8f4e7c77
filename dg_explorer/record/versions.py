"""Which code wrote a record: versions by name, read from metadata so that nothing is imported."""

import platform
from importlib import metadata

_PACKAGES = ("dg_explorer", "torch", "numpy", "xarray", "zarr", "scikit-learn")


def versions() -> dict[str, str]:
    """Version of Python and of each package a record depends on; absent ones are left out."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
