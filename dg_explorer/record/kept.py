"""Answers that are all kept: a second check stands beside the first, under the next number.

`checks/removal/1`, `checks/removal/2`, ... `run["checks/removal"]` is the newest of them, and
`run["checks/removal/1"]` the one asked for. In records of before there is one answer of a kind,
under another name; it is found under both, and is the first of its family once there is a second.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import SchemaError
from . import policy
from .store import state as st

ADDED = "added"  # the attribute that says when an answer was added
GIVEN_UP = "given_up"  # attribute of the run: family -> the highest number that was deleted

# names in records made before answers were kept
BEFORE = {
    "checks/removal": "validity/removal",
    "checks/leave_one_out": "validity/leave_one_out",
    "checks/window_ablation": "validity/window_ablation",
    "checks/metasmoothness": "validity/metasmoothness",
    "checks/lds": "validity/lds",
    "checks/critical_removal": "analyses/critical_verification",
}
_AFTER = {old: new for new, old in BEFORE.items()}
# elsewhere a name may end in a number of its own, as that of a layer does
_PREFIXES = ("checks/", "exposures/", "analyses/")


def members(groups: Iterable[str], family: str) -> list[str]:
    """The answers of a family in the order in which they were added."""
    groups = set(groups)
    numbered = [name for name in groups if _number(name) and _family(name) == family]
    return [*_first_ones(groups, family), *sorted(numbered, key=_number)]


def families(groups: Iterable[str], prefix: str) -> list[str]:
    """The families under a prefix, such as "checks/", that have an answer; sorted."""
    groups = set(groups)
    found = {_family(n) if _number(n) else n for n in groups if n.startswith(prefix)}
    found |= {n for n, old in BEFORE.items() if n.startswith(prefix) and old in groups}
    return sorted(found)


def meant(groups: Iterable[str], name: str) -> str | None:
    """The group that a name means: the one called so, or the newest of the family called so."""
    groups = set(groups)
    family = _AFTER.get(name, name)
    if name in groups and family == name:
        return name
    found = members(groups, family) if family.startswith(_PREFIXES) else []
    return found[-1] if found else None


def moves(groups: Iterable[str], family: str) -> list:
    """Requests that give answers without a number the first numbers of their family."""
    requests = []
    for old in _first_ones(set(groups), family):

        def move(state: st.State, old=old) -> st.Operation | None:
            there = state.groups.get(old)
            return there and st.SetGroup(_next(state, family), there)

        def leave(state: st.State, old=old) -> st.Operation | None:
            return st.Delete(old) if old in state.groups else None

        requests += [move, leave]
    return requests


def plan(state: st.State, family: str, answer: st.Group) -> tuple[str, st.Operation | None]:
    """Under which name an answer is kept, and what keeps it: None where it is there already."""
    for known in members(state.groups, family):
        if _same(state.groups[known], answer):
            return known, None
    group = _next(state, family)
    return group, st.SetGroup(group, answer)


def check_family(family: str) -> None:
    """`SchemaError` unless a name has the form of a family, such as "checks/removal"."""
    parts = family.split("/") if isinstance(family, str) else []
    if len(parts) < 2 or any(part.strip() in ("", ".", "..") for part in parts):
        raise SchemaError(
            f"{family!r} names no family of answers: 'checks/<kind>', 'exposures/<method>' or "
            f"'analyses/<name>' does."
        )


def give_up(state: st.State, name: str) -> st.Operation | None:
    """What remembers the number of an answer that is deleted: no other is ever called so."""
    family, number = _family(name), _number(name)
    if not number or not family.startswith(_PREFIXES):
        return None
    before = state.attrs.get(GIVEN_UP, {})
    return st.SetAttrs({GIVEN_UP: {**before, family: max(number, before.get(family, 0))}})


def _same(there: st.Group, new: st.Group) -> bool:
    if {**there.attrs, ADDED: None} != {**new.attrs, ADDED: None}:
        return False
    alike = there.dim == new.dim and there.variables == new.variables
    return alike and there.made_from == new.made_from and policy.same_values(there, new)


def _first_ones(groups: set[str], family: str) -> list[str]:
    return [name for name in (BEFORE.get(family), family) if name in groups]


def _next(state: st.State, family: str) -> str:
    taken = [_number(name) for name in state.groups if _family(name) == family]
    return f"{family}/{1 + max([*taken, state.attrs.get(GIVEN_UP, {}).get(family, 0)])}"


def _family(name: str) -> str:
    return name.rpartition("/")[0]


def _number(name: str) -> int:
    number = name.rpartition("/")[2]
    return int(number) if number.isdecimal() else 0
