"""When each checkpoint was written: from counters inside the files, else from their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors import CheckpointError, SettingError
from .names import Token, columns_of, is_special, patterns_of, stem_of, template, tokens_of

_PLACES = re.compile(r"\{(epoch|step)\}|\*")


@dataclass(frozen=True)
class Entry:
    """A file or folder that may be a moment, and the counters it holds: epoch, step."""

    name: str
    counters: dict[str, int] = field(default_factory=dict)


@dataclass
class Moments:
    """The number of each checkpoint, and what the numbers count.

    Attributes
    ----------
    labels : name of the entry -> number
    unit : "epoch", "step", or "number" where neither name nor file says what it counts
    counts_from : 0 or 1 where epochs (or saves) are plainly counted from there, else None
    steps : name of the entry -> optimizer steps, where known besides
    left_out : name of the entry -> why it is no moment
    notes : what a reader should know
    """

    labels: dict[str, int]
    unit: str = "number"
    counts_from: int | None = None
    steps: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class _UnclearError(Exception):
    """The names do not say which number is the moment; carries why, and patterns that would."""


def moments_of(entries: Sequence[Entry], where: str, pattern: str | None = None) -> Moments | None:
    """Number checkpoints, or say what to pass; None where none of them carries a number.

    Parameters
    ----------
    entries : what is in one folder
    where : how errors name the folder
    pattern : names with `{epoch}` or `{step}` where the number is and `*` for any text

    Raises
    ------
    CheckpointError
        The number could be read in more than one way; patterns to choose from are shown.
    SettingError
        The pattern has no place for a number.
    """
    if pattern is not None:
        return _by_pattern(entries, where, pattern)
    aside = [entry for entry in entries if is_special(entry.name)]
    main = [entry for entry in entries if entry not in aside]
    if not any(_moment_tokens(entry) or entry.counters for entry in main):
        # best_model_3.pt and its kin are all there is
        aside, main = [], list(entries)
    numbered = [e for e in main if _moment_tokens(e)] or [e for e in main if e.counters]
    aside += [entry for entry in main if entry not in numbered]
    if not numbered:
        return None
    inside = _inside(numbered)
    try:
        found = _by_name(numbered)
    except _UnclearError as unclear:
        found = inside if inside and _one_training(numbered) else None
        if found is None:
            raise CheckpointError(_question(where, unclear, entries)) from None
        kinds = len(_families(numbered))
        if kinds > 1:
            found.notes.append(
                f"The names are of {kinds} kinds; the counters inside the files put them in order."
            )
    else:
        found = _agreed(found, inside, numbered)
    _place(aside, numbered, found)
    found.counts_from = _counted_from(found)
    return found


# ---------------------------------------------------------------- from the names


def _moment_tokens(entry: Entry) -> list[Token]:
    """The numbers of a name that could be its moment."""
    return [t for t in tokens_of(stem_of(entry.name)) if t.counts in ("epoch", "step", "")]


def _families(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Entries with names that differ in numbers only, by what they share."""
    out: dict[str, list[Entry]] = {}
    for entry in entries:
        stem = stem_of(entry.name)
        out.setdefault(template(stem, tokens_of(stem)), []).append(entry)
    return out


def _one_training(entries: Sequence[Entry]) -> bool:
    """Whether no number in the names tells trainings apart; Lightning's -v1 of a taken name may."""
    stems = {re.sub(r"-v\d+$", "", stem_of(e.name)): e for e in entries}
    return not any(
        column[0].counts == "apart" and len({token.text for token in column}) > 1
        for family in _families([Entry(stem) for stem in stems]).values()
        for column in columns_of([e.name for e in family])
    )


def _by_name(entries: Sequence[Entry]) -> Moments:
    families = _families(entries)
    if len(families) > 1:
        patterns = [p for family in families.values() for p in _patterns(family)]
        taken: dict[int, str] = {}
        for entry in entries:
            number = _moment_tokens(entry)[-1].value if _moment_tokens(entry) else None
            if number in taken:
                same = f"{taken[number]} and {entry.name} carry the same number {number}"
                raise _UnclearError(f"{same}, and the names are of {len(families)} kinds", patterns)
            if number is not None:
                taken[number] = entry.name
        few = ", ".join(family[0].name for family in list(families.values())[:3])
        raise _UnclearError(f"the names are of {len(families)} kinds, such as {few}", patterns)
    columns = columns_of([e.name for e in entries])
    if len(entries) == 1:
        return _lone(entries[0], columns)
    varying = [c for c in columns if len({t.text for t in c}) > 1]
    apart = [c for c in varying if c[0].counts == "apart"]
    if apart:
        raise _UnclearError("a number that tells trainings apart differs", _each(entries, apart[0]))
    kinds = ("epoch", "step", "")
    named = {counts: [c for c in varying if c[0].counts == counts] for counts in kinds}
    if any(c[0].counts in ("epoch", "step") for c in columns):
        if any(c[0].glued for c in named[""]):
            raise _UnclearError("another number in the names differs too", _patterns(entries))
        for counts in ("epoch", "step"):
            if len(named[counts]) == 1 and _unique(named[counts][0]):
                inner = named["step"][0] if counts == "epoch" and named["step"] else None
                outer = named["epoch"][0] if counts == "step" and named["epoch"] else None
                if outer and not _rises(outer, named["step"][0]):
                    break  # steps that begin anew in each epoch
                steps = inner if inner and _rises(named["epoch"][0], inner) else None
                return _labelled(entries, named[counts][0], counts, steps)
        why = "no epoch or step in the names is there only once"
        raise _UnclearError(why, _dates(entries, varying) or _patterns(entries))
    if len(named[""]) != 1:
        why = f"{'several numbers' if named[''] else 'no number'} in the names differ"
        raise _UnclearError(why, _dates(entries, varying) or _patterns(entries))
    if not _unique(named[""][0]):
        first, second, number = _twins(entries, named[""][0])
        why = f"{first} and {second} carry the same number {number}"
        raise _UnclearError(why, _dates(entries, varying) or _patterns(entries))
    return _labelled(entries, named[""][0], "number", None)


def _lone(entry: Entry, columns: list[tuple[Token, ...]]) -> Moments:
    tokens = [column[0] for column in columns]
    for counts in ("epoch", "step", ""):
        there = [t for t in tokens if t.counts == counts]
        if len(there) == 1:
            steps = next(((t,) for t in tokens if t.counts == "step"), None)
            return _labelled([entry], (there[0],), counts or "number", steps)
        if there:
            raise _UnclearError("it has several numbers", _patterns([entry]))
    raise _UnclearError("no number in its name is a moment", [])


def _labelled(entries, column, unit: str, steps) -> Moments:
    labels = {entry.name: token.value for entry, token in zip(entries, column)}
    if unit == "number" and all(re.fullmatch(r"checkpoint-\d+", name) for name in labels):
        unit = "step"  # as transformers names its folders
    counted: dict[str, int] = {e.name: t.value for e, t in zip(entries, steps or ())}
    return Moments(labels, unit, steps=labels if unit == "step" else counted)


def _patterns(entries: Sequence[Entry]) -> list[str]:
    return patterns_of([entry.name for entry in entries])


def _unique(column) -> bool:
    return len({token.value for token in column}) == len(column)


def _rises(outer, inner) -> bool:
    """Whether the one never falls where the other rises."""
    values = [a.value for a, b in sorted(zip(outer, inner), key=lambda pair: pair[1].value)]
    return values == sorted(values)


def _each(entries, column) -> list[str]:
    """Patterns for the names with each value of a number that tells trainings apart."""
    texts = list(dict.fromkeys(token.text for token in column))[:4]
    return [
        pattern
        for text in texts
        for pattern in _patterns([e for e, t in zip(entries, column) if t.text == text])
    ]


def _dates(entries, varying) -> list[str]:
    """The same by date, where dates differ: each may be a training of its own."""
    dates = [c for c in varying if c[0].counts == "date"]
    return _each(entries, dates[0]) if dates else []


def _twins(entries, column) -> tuple[str, str, int | None]:
    first: dict[int | None, str] = {}
    for entry, token in zip(entries, column):
        if token.value in first:
            return first[token.value], entry.name, token.value
        first[token.value] = entry.name
    raise AssertionError("all differ")


# ---------------------------------------------------------------- from inside the files


def _inside(entries: Sequence[Entry]) -> Moments | None:
    """By the counters that all files hold, where these tell them apart."""
    steps = {e.name: e.counters["step"] for e in entries if "step" in e.counters}
    epochs = {e.name: e.counters["epoch"] for e in entries if "epoch" in e.counters}
    for unit, found in (("epoch", epochs), ("step", steps)):
        if len(found) == len(entries) == len(set(found.values())):
            whole = len(steps) == len(entries)
            if unit == "epoch" and whole and not _agree(found, steps):
                continue
            return Moments(dict(found), unit, steps=steps)
    return None


def _agree(one: dict[str, int], other: dict[str, int]) -> bool:
    """Whether the order of the one contradicts that of the other nowhere."""
    values = [other[name] for name in sorted(one, key=one.__getitem__) if name in other]
    return values == sorted(values)


def _agreed(named: Moments, inside: Moments | None, entries: Sequence[Entry]) -> Moments:
    """The numbers of the names, unless counters in the files say another order."""
    steps = {e.name: e.counters["step"] for e in entries if "step" in e.counters}
    epochs = {e.name: e.counters["epoch"] for e in entries if "epoch" in e.counters}
    against = [c for c in (steps, epochs) if not _agree(named.labels, c)]
    if not against:
        if len(steps) == len(entries) and named.unit != "step":
            named.steps = steps
        if named.unit == "number" and epochs == named.labels:
            named.unit = "epoch"
        elif named.unit == "number" and steps == named.labels:
            named.unit, named.steps = "step", steps
        return named
    if inside is None or any(not _agree(inside.labels, c) for c in against):
        raise CheckpointError(
            f"The numbers in the names of {', '.join(list(named.labels)[:3])} ... and the counters "
            f"inside the files say different orders. Pass {{epoch: path}}, which says it."
        )
    inside.notes.append(
        "The numbers in the names say another order than the counters inside the files; "
        "the counters were used."
    )
    return inside


# ---------------------------------------------------------------- what is beside the moments


def _place(aside: Sequence[Entry], numbered: Sequence[Entry], found: Moments) -> None:
    """Leave out what carries no number, unless its counter is a moment that is not there yet."""
    of_files = {e.name: e.counters.get(_kind(found)) for e in numbered}
    same = of_files == found.labels  # names and files count alike
    for entry in aside:
        number = entry.counters.get(_kind(found))
        twin = next((n for n, v in of_files.items() if v is not None and v == number), None)
        step = entry.counters.get("step")
        if twin is None and step is not None:
            twin = next((n for n, v in found.steps.items() if v == step), None)
        if twin is not None:
            found.left_out[entry.name] = f"of the same moment as {twin}"
        elif same and number is not None and number not in found.labels.values():
            found.labels[entry.name] = number
            of_files[entry.name] = number
            if step is not None:
                found.steps[entry.name] = step
        else:
            found.left_out[entry.name] = (
                "named for what it is, and no counter inside says when it was"
                if is_special(entry.name)
                else "without a number"
            )


def _kind(found: Moments) -> str:
    return "step" if found.unit == "step" else "epoch"


def _counted_from(found: Moments) -> int | None:
    """0 or 1 where the numbers, or the steps beside them, leave no doubt; else None."""
    numbers = sorted(found.labels.values())
    if found.unit == "step" or not numbers:
        return None
    if numbers[0] <= 0:
        return 0
    for begin in (0, 1):
        ratios = {
            found.steps[name] / (number + 1 - begin)
            for name, number in found.labels.items()
            if found.steps.get(name) and number + 1 - begin > 0
        }
        if len(numbers) > 1 and len(found.steps) == len(numbers) and len(ratios) == 1:
            return begin
    return 1 if len(numbers) > 1 and numbers == list(range(1, len(numbers) + 1)) else None


# ---------------------------------------------------------------- patterns


def _by_pattern(entries: Sequence[Entry], where: str, pattern: str) -> Moments:
    places = [m[1] for m in _PLACES.finditer(pattern) if m[1]]
    if not places or len(places) != len(set(places)):
        raise SettingError(
            f"pattern={pattern!r} says where the number is by {{epoch}} or {{step}}, once each, "
            f"with * for any other text: 'ckpt_{{epoch}}_acc*.pt'."
        )
    text, at = [], 0
    for match in _PLACES.finditer(pattern):
        text.append(re.escape(pattern[at : match.start()]))
        text.append(rf"(?P<{match[1]}>\d+(?:\.\d+)?[kKmM]?|\d+)" if match[1] else r"[^/]*")
        at = match.end()
    wanted = re.compile("".join([*text, re.escape(pattern[at:])]))
    unit = "epoch" if "epoch" in places else "step"
    found = Moments({}, unit)
    for entry in entries:
        match = wanted.fullmatch(entry.name) or wanted.fullmatch(stem_of(entry.name))
        if match is None:
            found.left_out[entry.name] = "not what the pattern says"
            continue
        numbers = {place: int(tokens_of(match[place])[0].value or 0) for place in places}
        twin = next((n for n, v in found.labels.items() if v == numbers[unit]), None)
        if twin is not None:
            raise CheckpointError(
                f"{twin} and {entry.name} carry the same number {numbers[unit]} by "
                f"pattern={pattern!r}. Make it fit one of them."
            )
        found.labels[entry.name] = numbers[unit]
        step = numbers.get("step", entry.counters.get("step"))
        if step is not None:
            found.steps[entry.name] = step
    if not found.labels:
        names = ", ".join(entry.name for entry in entries[:6])
        raise CheckpointError(f"pattern={pattern!r} fits nothing in {where}: {names}.")
    found.counts_from = _counted_from(found)
    return found


def _question(where: str, unclear: _UnclearError, entries: Sequence[Entry]) -> str:
    why, patterns = unclear.args
    choose = " or ".join(
        f"pattern={pattern!r}"
        for pattern in list(dict.fromkeys(patterns))[:6]
        if _works(entries, where, pattern)
    )
    return (
        f"{where}: which number is the moment is unclear: {why}. "
        + (f"Pass {choose}, or " if choose else "Pass ")
        + "a mapping {epoch: path} that says which is which."
    )


def _works(entries: Sequence[Entry], where: str, pattern: str) -> bool:
    try:
        return bool(_by_pattern(entries, where, pattern))
    except CheckpointError:
        return False
