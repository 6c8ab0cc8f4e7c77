"""The schema at its import path of version 0.1; it is `dg_explorer.record.schema`."""

from .record.schema import (
    GROUPS,
    LABEL_DIMS,
    SIGN,
    TIME_DIMS,
    GroupSpec,
    Variable,
    check_group,
    check_labels,
    check_variables,
    spec_of,
    unit_of,
)
from .record.store.manifest import SCHEMA_VERSION

__all__ = [
    "GROUPS",
    "LABEL_DIMS",
    "SCHEMA_VERSION",
    "SIGN",
    "TIME_DIMS",
    "GroupSpec",
    "Variable",
    "check_group",
    "check_labels",
    "check_variables",
    "spec_of",
    "unit_of",
]
