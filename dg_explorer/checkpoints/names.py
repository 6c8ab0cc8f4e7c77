"""The numbers in the names of checkpoints, and what each of them counts."""

from __future__ import annotations

import re
from dataclasses import dataclass

# what the word beside a number says that it counts
EPOCH = {"epoch", "epochs", "ep", "e"}
STEP = {
    *("step", "steps", "globalstep", "timestep", "timesteps", "iter", "iters", "it", "iteration"),
    *("iterations", "update", "updates", "batch", "batches", "ba", "gs", "s"),
}
# several values of these are several trainings (or parts of one checkpoint), not moments
APART = {
    *("seed", "run", "fold", "rank", "version", "v", "trial", "exp", "experiment", "gpu", "job"),
    *("worker", "replica", "split", "shard", "part", "member", "sd", "pid", "node", "lr", "bs"),
    *("width", "depth", "dim", "hidden", "layers", "wd"),
}
METRICS = {
    *("acc", "accuracy", "loss", "val", "valid", "validation", "test", "eval", "auc"),
    *("auroc", "wer", "cer", "bleu", "rouge", "ppl", "perplexity", "score", "psnr", "ssim", "fid"),
    *("reward", "return", "iou", "miou", "dice", "map", "mse", "rmse", "mae", "error", "err"),
    *("precision", "recall", "metric", "nll", "elbo", "top", "correct", "kappa", "mcc", "f"),
}
TOTAL = {"of", "outof"}
# a checkpoint that is named for what it is and not for when it was written
SPECIAL = {
    *("best", "last", "final", "latest", "ema", "swa", "avg", "average", "averaged", "init"),
    *("initial", "interrupted", "exception", "pretrained", "emergency", "end", "backup"),
}
# files that trainers put beside the weights
STRAY = {
    *("rng", "optimizer", "optimizers", "optim", "scheduler", "schedulers", "sched", "scaler"),
    *("criterion", "sampler", "vecnormalize"),
}
STRAY_NAMES = ("training_args", "trainer_state", "random_states", "replay_buffer", "dataloader")

_DATE = re.compile(
    r"(?<!\d)(?:"
    r"(?:19|20)\d\d(?P<a>[-_.]?)(?:0[1-9]|1[0-2])(?P=a)(?:0[1-9]|[12]\d|3[01])"
    r"|(?:0[1-9]|[12]\d|3[01])(?P<b>[-_.])(?:0[1-9]|1[0-2])(?P=b)(?:19|20)\d\d"
    r"|(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[-_]?(?:0[1-9]|[12]\d|3[01])"
    r")(?:[-_T. ]*(?:[01]\d|2[0-3])[-_:.h]?[0-5]\d(?:[-_:.m]?[0-5]\d)?)?(?!\d)"
    r"|(?<!\d)1[5-9]\d{8}(?:\.\d+)?(?!\d)"  # seconds since 1970
)
_NUMBER = re.compile(
    r"(?<==)-?(?:nan|inf)(?![A-Za-z])"
    r"|(?<![\d,.])\d{1,3}(?:,\d{3})+(?![\d,.])"  # thousands set apart
    r"|(?:(?<==)-)?\d+(?:\.\d+)?(?:[eE][-+]\d+)?(?:[kKmM](?![A-Za-z]))?"
)
_THOUSANDS = {"k": 1_000, "m": 1_000_000}


@dataclass(frozen=True)
class Token:
    """A number in a name: its value where it is a whole one, what it counts, where it stands."""

    value: int | None
    counts: str  # epoch, step, apart, metric, total, date, or nothing that is known
    glued: bool  # no sign between it and the word before: resnet50
    start: int
    end: int
    text: str = ""


def stem_of(name: str) -> str:
    """A file's name without the endings that say what wrote it."""
    stem = re.sub(r"\.(tar|gz)$", "", name)
    stem = re.sub(r"\.(safetensors|pth|pt|ckpt|bin|h5|zip|tar|pkl|model)$", "", stem)
    return re.sub(r"\.weights$", "", stem)


def words_of(text: str) -> list[str]:
    """The words of a text, lower case, told apart by other signs and by capitals."""
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", text)
    return [word.lower() for word in re.findall(r"[A-Za-z]+", spaced)]


def is_stray(name: str) -> bool:
    """Whether a file is what a trainer writes beside the weights, and so never a moment."""
    lower = name.lower()
    named = any(part in lower for part in STRAY_NAMES) or re.match(r"opt[-_]?\d+\.", lower)
    return bool(named or STRAY & set(words_of(name)))


def is_special(name: str) -> bool:
    """Whether a name says what a checkpoint is (best, last, ema) rather than when it was."""
    return bool(SPECIAL & set(words_of(stem_of(name))))


def template(stem: str, tokens: list[Token]) -> str:
    """The part of a name that is no number; names of one sequence share it."""
    out, at = [], 0
    for token in tokens:
        out += [stem[at : token.start], "\0"]
        at = token.end
    return "".join([*out, stem[at:]])


def tokens_of(stem: str) -> list[Token]:
    """The numbers of a name, from the left.

    >>> [(t.value, t.counts) for t in tokens_of("run_seed42_2024-05-01_ep3_acc0.91")]
    [(42, 'apart'), (None, 'date'), (3, 'epoch'), (None, 'metric')]
    """
    spans = [(m.start(), m.end(), "date") for m in _DATE.finditer(stem) if not _named(stem, m)]
    taken = {i for start, end, _ in spans for i in range(start, end)}
    for match in _NUMBER.finditer(stem):
        if not taken & set(range(*match.span())):
            spans.append((*match.span(), ""))
    spans.sort()
    pieces = [
        stem[a:b] for a, b in zip([0, *(s[1] for s in spans)], [*(s[0] for s in spans), None])
    ]
    counted = _counts([words_of(piece) for piece in pieces])
    found = []
    for (start, end, kind), counts, before in zip(spans, counted, pieces):
        value = _value(stem[start:end])
        if not kind:
            kind = counts if counts or value is not None else "metric"
            if value is None and kind in ("", "epoch", "step"):
                kind = "metric"  # no moment is 1.16
        found.append(Token(value, kind, before[-1:].isalpha(), start, end, stem[start:end]))
    return found


def columns_of(names: list[str]) -> list[tuple[Token, ...]]:
    """The numbers that stand in the same place of all names, which share their template."""
    return list(zip(*(tokens_of(stem_of(name)) for name in names)))


def patterns_of(names: list[str]) -> list[str]:
    """A pattern for each number of these names that could be the moment."""
    columns = columns_of(names)
    kinds = ("epoch", "step", "")
    alone = len(names) == 1
    moving = [
        i
        for i, c in enumerate(columns)
        if (c[0].counts in kinds if alone else len({t.text for t in c}) > 1)
    ]
    places = [i for i in moving if columns[i][0].counts in kinds]
    kinds = [columns[i][0].counts for i in places]
    if sorted(kinds) == ["epoch", "step"]:
        return [_pattern(names[0], places, moving)]
    return [_pattern(names[0], [place], moving) for place in places]


def _pattern(name: str, places: list[int], moving: list[int]) -> str:
    """A name with places for numbers, and * for what else differs."""
    text, at = [], 0
    for i, token in enumerate(tokens_of(stem_of(name))):
        kind = token.counts if token.counts in ("epoch", "step") else "epoch"
        free = i in moving or token.counts == "metric"
        shown = f"{{{kind}}}" if i in places else "*" if free else name[token.start : token.end]
        text += [name[at : token.start], shown]
        at = token.end
    return "".join([*text, name[at:]])


def _named(stem: str, match: re.Match) -> bool:
    """Whether eight digits that could be a date are a step, as the word before them says."""
    before = words_of(stem[: match.start()])[-1:]
    return match[0].isdigit() and bool(before) and _class(before[0]) in ("epoch", "step")


def _counts(words: list[list[str]]) -> list[str]:
    """What each number counts, from the words between them (one list more than numbers)."""
    n = len(words) - 1
    first = [_class(w[0]) if w else "" for w in words]
    last = [_class(w[-1]) if w else "" for w in words]
    moments = ("epoch", "step")
    behind = n > 0 and first[n] in moments and last[0] not in moments  # 12_steps
    out = []
    for i in range(n):
        after = first[i + 1] if first[i + 1] in moments else ""
        # a word that stands alone between two numbers belongs to the second: epoch1_step2
        free = behind or i + 1 == n or len(words[i + 1]) > 1
        if behind and after:
            out.append(after)
        elif last[i] and not (behind and last[i] in moments):
            out.append(last[i])
        else:
            out.append(after if free else "")
    return out


def _class(word: str) -> str:
    """What a number beside this word counts."""
    for counts, words in (("epoch", EPOCH), ("step", STEP), ("total", TOTAL), ("apart", APART)):
        if word in words:
            return counts
    if word in METRICS:
        return "metric"
    for counts, endings in (
        ("epoch", ("epoch", "epochs")),
        ("step", ("step", "steps", "iter", "iters", "iteration", "iterations")),
        ("metric", ("loss", "acc", "accuracy", "score", "auc")),
        ("apart", ("seed",)),
    ):
        if word.endswith(endings):
            return counts
    return ""


def _value(text: str) -> int | None:
    """A whole number, thousands and millions written out; None for any other."""
    factor = _THOUSANDS.get(text[-1].lower(), 1) if text[-1].isalpha() else 1
    digits = (text[:-1] if factor > 1 else text).replace(",", "")
    try:
        value = float(digits) * factor if factor > 1 else int(digits)
        return int(value) if value == int(value) and value >= 0 else None
    except (ValueError, OverflowError):
        return None
