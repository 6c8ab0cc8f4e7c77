"""Tasks over tokens: next-token prediction, and labels that stand at their own positions."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import torch

from ..data.batch import Batch
from ..data.padding import shorter
from ..errors import DataError, SettingError
from .answers import refuse_probabilities
from .model_kinds import bare, is_hugging_face, kind_of
from .parts import parts_of, tokens_of
from .positions import IGNORED, PositionsTask
from .task import Task, answer_aside

# fewer labels than this agree with their neighbours by accident
_ENOUGH = 8


class TokensTask(PositionsTask):
    """Logits (example, token, class) and labels (example, token); -100 counts for nothing.

    Where the sizes show that classes come before tokens, as torch's `cross_entropy` takes them,
    they are turned; where there are as many classes as tokens, a shorter example shows it.

    Output and loss of a sequence are sums over its tokens; what is recorded is a mean over them.

    Parameters
    ----------
    padding : "count" or "ignore", optional
        What labels at padding (`attention_mask` 0) are that are not -100: trained on, as
        transformers' own losses do, or ignored. By default such labels are refused.
    class_axis : 1 or 2, optional
        Which axis of the logits counts classes, where that cannot be seen.
    """

    output_name, output_unit = "sum of the margins of its tokens", "log odds"
    loss_name = "cross-entropy of each token"
    loss_unit = "nats, recorded as nats a token"

    #: the axis of classes where there are as many tokens, once it was seen
    _class_axis: int | None = None
    _examples_first = False

    def __init__(self, *, padding: str | None = None, class_axis: int | None = None):
        if padding not in (None, "count", "ignore"):
            raise SettingError(f"padding={padding!r} must be 'count' or 'ignore'.")
        if class_axis not in (None, 1, 2):
            raise SettingError(f"class_axis={class_axis!r} must be 1 or 2.")
        self.padding, self.class_axis = padding, class_axis

    def settings(self) -> dict:
        own = {"padding": self.padding, "class_axis": self.class_axis}
        return {name: value for name, value in own.items() if value is not None}

    def taken(self, model, batch, answer):
        prediction = super().taken(model, batch, answer)
        square = prediction.ndim == 3 and prediction.shape[1] == prediction.shape[2]
        if self._class_axis is None and square:
            whole = is_hugging_face(model)
            self._class_axis = 2 if whole else _axis_left_alone(self, model, batch, prediction)
        alike = prediction.ndim == 3 and prediction.shape[0] == prediction.shape[1] > 1
        if alike and not self._examples_first and isinstance(batch, Batch):
            self._check_examples_first(model, batch)
        return prediction

    def _check_examples_first(self, model, batch: Batch) -> None:
        """As many examples as tokens: one example must give one row."""
        with torch.no_grad():
            one = self.read(answer_aside(model, batch.take([0])))
        if one.ndim != 3 or one.shape[0] != 1:
            raise DataError(
                f"The model answers with {tuple(one.shape)} for one example, so its first axis "
                f"does not count examples. Turn it: forward=lambda model, batch: "
                f"model(batch[0]).transpose(0, 1)."
            )
        self._examples_first = True

    def _classes_last(self, prediction: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Logits (example, token, class), whichever way the model has them."""
        _, tokens, last = prediction.shape
        if self.class_axis is not None:
            axis = self.class_axis
        elif tokens == last:
            axis = self._class_axis
        else:
            axis = 1 if last == labels.shape[1] else 2
        return prediction.transpose(1, 2) if axis == 1 else prediction

    def labels(self, batch) -> torch.Tensor:
        """Labels (example, token) at their places in the batch, -100 where none counts."""
        _, keywords, labels = parts_of(batch)
        if labels is None:
            raise DataError(
                f"The task {self.name!r} needs labels of shape (example, token): a column "
                f"'labels', or label= to say where they are."
            )
        mask = self._mask(keywords, labels)
        if mask is None or self.padding == "count":
            return labels
        return labels.masked_fill(mask == 0, IGNORED)

    def _mask(self, keywords, labels):
        mask = keywords.get("attention_mask")
        whole = torch.is_tensor(mask) and mask.shape == labels.shape
        return mask if whole else None

    def aligned(self, prediction, batch):
        labels = self.labels(batch).to(prediction.device)
        counts = labels != IGNORED
        prediction = self._classes_last(prediction, labels)
        return prediction, labels.masked_fill(~counts, 0).long(), counts

    def check(self, prediction, batch) -> None:
        if prediction.ndim != 3:
            raise DataError(
                f"The task {self.name!r} expects logits of shape (example, token, class); "
                f"the model gave {tuple(prediction.shape)}."
            )
        labels = self.labels(batch)
        if (self.class_axis or self._class_axis) is None and (
            prediction.shape[1] == prediction.shape[2] == labels.shape[-1]
        ):
            raise DataError(
                f"The model answers with {tuple(prediction.shape)}: as many classes as tokens, "
                f"and it takes no shorter example that would show which axis counts which. Pass "
                f"{type(self).__name__}(class_axis=2) for logits (example, token, class), or "
                f"(class_axis=1) for (example, class, token), as torch's cross_entropy has them."
            )
        if labels.ndim == 2:
            prediction = self._classes_last(prediction, labels)
        if labels.is_floating_point() or labels.shape != prediction.shape[:2]:
            raise DataError(
                f"The task {self.name!r} expects integer labels of shape "
                f"{tuple(prediction.shape[:2])}; got {labels.dtype} of {tuple(labels.shape)}."
            )
        counted = labels[labels != IGNORED]
        if counted.numel() and (counted.max() >= prediction.shape[2] or counted.min() < 0):
            raise DataError(
                f"Labels run from {int(counted.min())} to {int(counted.max())}, but the model "
                f"answers with {prediction.shape[2]} classes. Positions without a label have -100."
            )
        self._check_padding(batch)
        refuse_probabilities(prediction, self.name)

    def _check_padding(self, batch) -> None:
        _, keywords, labels = parts_of(batch)
        mask = None if labels is None else self._mask(keywords, labels)
        if self.padding is not None or mask is None:
            return
        wrong = int(((labels != IGNORED) & (mask == 0)).sum())
        if wrong:
            raise DataError(
                f"{wrong} labels of a batch stand at padding (attention_mask 0) and are not -100. "
                f"The losses of transformers train on them. Say what your training did: "
                f"{type(self).__name__}(padding='count') or (padding='ignore'); or set them to "
                f"-100 in the data."
            )

    def by_labels(self, batch):
        return self, self.labels(batch)  # a mask is in them

    def check_model(self, model) -> None:
        kind = kind_of(model)
        if kind is not None and kind != self.name and kind in _TOKEN_TASKS:
            raise SettingError(
                f"task={self.name!r} was asked for, but {type(bare(model)).__name__} is trained "
                f"on {kind!r}, with labels at other positions. Pass task={kind!r}."
            )

    def summary(self, columns, seen):
        found = super().summary(columns, seen)
        with_overflow = min(found["loss"], 700.0) if found["loss"] == found["loss"] else math.nan
        return found | {"perplexity": math.exp(with_overflow)}


class LanguageModelingTask(TokensTask):
    """Next-token prediction: the label of a position is the token that follows it.

    A mapping follows Hugging Face: `labels` are the tokens themselves and are shifted by one here
    (without labels: `input_ids` where `attention_mask` is 1). A pair (tokens, targets) is taken
    as shifted already. A lone tensor of tokens is shifted.

    Parameters
    ----------
    shifted : bool, optional
        Whether labels are shifted already, where the form of the batch misleads.
    padding : "count" or "ignore", optional
        As for every task over tokens.
    class_axis : 1 or 2, optional
        As for every task over tokens.
    left_padding : "count" or "ignore", optional
        What the first token of a row is that is padded on the left: predicted from padding, as
        the losses of transformers train it, or not counted, as without padding. By default a
        label there is refused; where the tokens are their own labels, it does not count.
    """

    name = "language_modeling"
    output_name = "sum of the margins of the next tokens"

    def __init__(
        self,
        *,
        shifted: bool | None = None,
        padding: str | None = None,
        class_axis: int | None = None,
        left_padding: str | None = None,
    ):
        super().__init__(padding=padding, class_axis=class_axis)
        if left_padding not in (None, "count", "ignore"):
            raise SettingError(f"left_padding={left_padding!r} must be 'count' or 'ignore'.")
        self.shifted, self.left_padding = shifted, left_padding

    def settings(self) -> dict:
        own = {"shifted": self.shifted, "left_padding": self.left_padding}
        return super().settings() | {name: v for name, v in own.items() if v is not None}

    def _is_shifted(self, batch) -> bool:
        _, keywords, labels = parts_of(batch)
        if labels is None:
            return False
        return not keywords if self.shifted is None else self.shifted

    def labels(self, batch):
        _, keywords, labels = parts_of(batch)
        if labels is not None:
            labels = super().labels(batch)
            behind = self._behind_padding(batch) if self.left_padding == "ignore" else None
            return labels if behind is None else labels.masked_fill(behind, IGNORED)
        tokens = tokens_of(batch)
        if tokens is None:
            raise DataError(
                "Language modelling needs tokens: a column 'input_ids', or integers of shape "
                "(example, token)."
            )
        mask = self._mask(keywords, tokens)
        if mask is None:
            return tokens
        hidden, behind = mask == 0, self._behind_padding(batch)
        if self.left_padding != "count" and behind is not None:
            hidden = hidden | behind
        return tokens.masked_fill(hidden, IGNORED)

    def _behind_padding(self, batch) -> torch.Tensor | None:
        """Which labels are predicted from padding and stand at none; None where all are real."""
        _, keywords, labels = parts_of(batch)
        labels = tokens_of(batch) if labels is None else labels
        mask = None if labels is None or self._is_shifted(batch) else self._mask(keywords, labels)
        if mask is None:
            return None
        behind = torch.zeros_like(mask, dtype=torch.bool)
        behind[:, 1:] = (mask[:, 1:] != 0) & (mask[:, :-1] == 0)
        return behind

    def by_labels(self, batch):
        settings: dict[str, Any] = self.settings() | {"shifted": self._is_shifted(batch)}
        task = LanguageModelingTask(**settings)
        task._place, task._class_axis = self._place, self._class_axis
        return task, self.labels(batch)

    def aligned(self, prediction, batch):
        logits, labels, counts = super().aligned(prediction, batch)
        if self._is_shifted(batch):
            return logits, labels, counts
        return logits[:, :-1], labels[:, 1:], counts[:, 1:]

    def check(self, prediction, batch) -> None:
        super().check(prediction, batch)
        if self.shifted is None:
            self._check_shift(batch)

    def _check_padding(self, batch) -> None:
        super()._check_padding(batch)
        _, _, labels = parts_of(batch)
        behind = self._behind_padding(batch)
        if self.left_padding is not None or labels is None or behind is None:
            return
        counts = labels != IGNORED
        behind = behind & counts
        if self.padding == "count":  # where labels at padding count too, all is as it was trained
            behind[:, 1:] &= ~counts[:, :-1]
        if wrong := int(behind.sum()):
            told = {name: v for name, v in self.settings().items() if name != "left_padding"}
            count, ignore = (
                LanguageModelingTask(**told, left_padding=way) for way in ("count", "ignore")
            )
            raise DataError(
                f"{wrong} rows of a batch are padded on the left and their first token has a "
                f"label, which would be predicted from padding. The losses of transformers train "
                f"on it. Say what your training did: {count} or {ignore}; or set these labels to "
                f"-100 in the data."
            )

    def _check_shift(self, batch) -> None:
        _, _, labels = parts_of(batch)
        tokens = tokens_of(batch)
        if labels is None or tokens is None or labels.shape != tokens.shape:
            return
        labels = labels.to(tokens.device)
        counts = labels != IGNORED
        if int(counts.sum()) < _ENOUGH:
            return
        same = bool((labels == tokens)[counts].all())
        following = bool((labels[:, :-1] == tokens[:, 1:])[counts[:, :-1]].all())
        shifted = self._is_shifted(batch)
        if same != following and shifted != following:
            what = "the very tokens of their positions" if same else "the tokens that follow"
            raise DataError(
                f"Labels are {what}, but {'a pair' if shifted else 'a mapping'} is taken as "
                f"{'shifted already' if shifted else 'still to be shifted'}. Say what the "
                f"training loss did: LanguageModelingTask(shifted={not shifted}) or "
                f"(shifted={shifted})."
            )


class TokenClassificationTask(TokensTask):
    """A class for each token, such as a part of speech."""

    name = "token_classification"


class MaskedLanguageModelingTask(TokensTask):
    """Tokens that were hidden are predicted at their own positions; others have label -100."""

    name = "masked_language_modeling"


class SequenceToSequenceTask(TokensTask):
    """A decoder's labels, at their own positions; -100 (and never the encoder's mask) hides one.

    The decoder reads its labels shifted to the right, as transformers' models do in training.
    """

    name = "sequence_to_sequence"

    def _mask(self, keywords, labels):
        mask = keywords.get("decoder_attention_mask")
        return mask if torch.is_tensor(mask) and mask.shape == labels.shape else None

    def predict(self, model, batch):
        inputs, keywords, _ = parts_of(batch)
        made = self.decoder_inputs(model, batch)
        if not made:
            return super().predict(model, batch)
        return self.read(model(*inputs, **keywords, **made))

    def decoder_inputs(self, model, batch) -> dict[str, torch.Tensor]:
        """The decoder's own inputs where the batch leaves them to the model: none, or one."""
        inputs, keywords, labels = parts_of(batch)
        said = getattr(batch, "forward", None) is not None or "decoder_input_ids" in keywords
        if said or labels is None or inputs:
            return {}
        return {"decoder_input_ids": _shifted_right(model, labels)}


def _axis_left_alone(task: Task, model, batch, answer: torch.Tensor) -> int | None:
    """The axis of a square answer that a shorter example leaves as it was: that of classes."""
    for fewer in shorter(batch.take([0, 0])) if isinstance(batch, Batch) else ():
        with suppress(Exception), torch.no_grad():  # a size that the model does not take
            found = task.read(answer_aside(model, fewer))
            changed = [axis for axis in (1, 2) if found.shape[axis] != answer.shape[axis]]
            if found.ndim == 3 and len(changed) == 1:
                return 3 - changed[0]
    return None


def _shifted_right(model, labels: torch.Tensor) -> torch.Tensor:
    """Labels one place later, behind the token that begins every answer."""
    config = getattr(bare(model), "config", None)
    start = getattr(config, "decoder_start_token_id", None)
    pad = getattr(config, "pad_token_id", None)
    if start is None:
        raise DataError(
            "The decoder needs 'decoder_input_ids' in each batch: the model's config has no "
            "decoder_start_token_id from which to make them."
        )
    first = torch.full_like(labels[:, :1], start)
    before = labels[:, :-1].masked_fill(labels[:, :-1] == IGNORED, start if pad is None else pad)
    return torch.cat([first, before], 1)


_TOKEN_TASKS = (
    "language_modeling",
    "token_classification",
    "masked_language_modeling",
    "sequence_to_sequence",
)
