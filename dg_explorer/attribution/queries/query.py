"""`Query`: one number that is asked of a model, as a weighted mean over examples."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...data.served import Served
from ...errors import SettingError
from ...tasks.identity import UNKNOWN
from .measures import Answers, Loss, Output, Outputs, OwnFunction, Probe


@dataclass(frozen=True)
class Term:
    """The mean of one measure over some examples, times a number."""

    data: Any
    measure: Output
    times: float = 1.0


@dataclass(frozen=True, eq=False)
class Query:
    """One question: a sum of means over examples. Score > 0: training on it raised the number.

    Made by `mean`, `loss`, `contrast`, `answers`, `probe` or `of`; data are whatever `Served`
    takes, and need not be in the record.

    Attributes
    ----------
    terms : tuple of Term
    unit : str
        Of the number that is asked for.
    """

    terms: tuple[Term, ...]
    unit: str = field(default="output")

    def __post_init__(self):
        terms, unit = self.terms, self.unit
        if not isinstance(terms, tuple) or not all(isinstance(term, Term) for term in terms):
            raise SettingError(f"terms={terms!r}: make a query with Query.mean(data), ...")
        if not terms or not isinstance(unit, str):
            raise SettingError(f"unit={unit!r}: make a query with Query.mean(data), ...")

    @classmethod
    def mean(cls, data) -> Query:
        """The mean output over all examples of a set: such as the margins of a whole class."""
        return cls((Term(data, Output()),), "mean output")

    @classmethod
    def loss(cls, data) -> Query:
        """Minus the mean loss of a set, such as a validation set."""
        return cls((Term(data, Loss()),), "minus mean loss")

    @classmethod
    def contrast(cls, a, b) -> Query:
        """A minus B, each a query or the mean output of a set."""
        a, b = (each if isinstance(each, Query) else cls.mean(each) for each in (a, b))
        if a.unit != b.unit:
            raise SettingError(f"Cannot take {b.unit} from {a.unit}: ask for the same of both.")
        minus = tuple(replace(term, times=-term.times) for term in b.terms)
        return cls((*a.terms, *minus), f"difference of {a.unit}")

    @classmethod
    def answers(cls, data, answer: int, other: int) -> Query:
        """By how much one answer is preferred to another: the mean of logit minus logit.

        Parameters
        ----------
        data : of one example, or many
        answer, other : numbers of two answers (classes), from 0
        """
        return cls((Term(data, Answers(answer=answer, other=other)),), "difference of logits")

    @classmethod
    def probe(cls, data, layer: str, direction) -> Query:
        """The mean of a layer's output along a direction, such as a linear probe's.

        Parameters
        ----------
        layer : name of a module; of positions and of places in an image the mean counts
        direction : numbers, shape (unit,)
        """
        try:
            direction = np.asarray(direction, np.float64)
        except (TypeError, ValueError):
            raise SettingError(f"direction={direction!r} must be numbers, one a unit.") from None
        if direction.ndim != 1 or not np.isfinite(direction).all() or not direction.any():
            raise SettingError(
                f"direction= must be finite numbers, one for each unit of {layer!r} and not all "
                f"zero; got shape {direction.shape}."
            )
        told = f"{layer} along a direction"
        return cls((Term(data, Probe(told, str(layer), direction)),), "activation")

    @classmethod
    def of(cls, data, function: Outputs, *, unit: str = "as the function gives") -> Query:
        """The mean of what a function (prediction, batch) says of each example.

        Parameters
        ----------
        function : returns a tensor, shape (example,), differentiable
            Gets what the task's `predict` gives, and the batch as your pipeline made it.
        """
        if not callable(function):
            raise SettingError(f"function={function!r} must be a function of (prediction, batch).")
        told = getattr(function, "__name__", type(function).__name__)
        return cls((Term(data, OwnFunction(told, function)),), unit)

    @property
    def told(self) -> str:
        """What is asked, in words."""
        words = []
        for i, term in enumerate(self.terms):
            # how many a pair of tensors or a loader holds is known once it is served
            size = f" of {len(term.data):,} examples" if isinstance(term.data, Served) else ""
            told = f"mean {term.measure.told}{size}"
            words.append(told if i == 0 and term.times > 0 else f"minus {told}")
        return " ".join(words)

    def __repr__(self) -> str:
        return f"Query({self.told})"


@dataclass(frozen=True)
class QuerySet:
    """Questions asked together under one name, kept in a run as `queries/<name>`.

    ::

        asked = {"all": Query.mean(sevens), "7 not 1": Query.answers(sevens, 7, 1)}
        asked = QuerySet("sevens", asked)
        attribute(run, model, train, query=asked, method="influence")
        run["queries/sevens/influence"]["score"].sel(query="7 not 1")

    Parameters
    ----------
    name : letters, digits, spaces and ``-_.``
    questions : mapping of what each is called -> Query
    """

    name: str
    questions: Mapping[str, Query]

    def __post_init__(self):
        if not isinstance(self.name, str) or not re.fullmatch(r"\w[\w\-. ]*", self.name):
            raise SettingError(
                f"name={self.name!r}: a query set is called by letters, digits, spaces and -_."
            )
        if not isinstance(self.questions, Mapping) or not self.questions:
            raise SettingError(
                f"questions={self.questions!r} must be a mapping of names to Query: "
                f"{{'all': Query.mean(data)}}."
            )
        for label, query in self.questions.items():
            if not isinstance(label, str) or not isinstance(query, Query):
                raise SettingError(
                    f"questions[{label!r}] is a {type(query).__name__}; a name and a Query are "
                    f"needed: {{'all': Query.mean(data)}}."
                )

    def served(self, **how) -> Questions:
        """The questions with their examples as a model is served them."""
        bound = {}
        for label, query in self.questions.items():
            terms = []
            for term in query.terms:
                served = Served.of(term.data, split="test", by_position=True, **how)
                terms.append(replace(term, data=served))
            bound[label] = replace(query, terms=tuple(terms))
        return Questions(self.name, bound)


@dataclass(frozen=True)
class Questions:
    """A query set with its examples at hand; stands where test examples do."""

    name: str
    questions: Mapping[str, Query]

    def __len__(self) -> int:
        return len(self.questions)

    @property
    def ids(self) -> np.ndarray:
        """What the questions are called, text, shape (query,)."""
        return np.array(list(self.questions), dtype=object)

    def made_from(self, digest: Callable[[Served], str]) -> dict[str, str]:
        """A short name of each question: of its examples, by `digest`, weights and measure."""
        found = {}
        for label, query in self.questions.items():
            told = [term.measure.digest() for term in query.terms]
            unknown = [words for words in told if words.startswith(UNKNOWN)]
            parts = [
                f"{term.times:g} {words} {digest(term.data)}"
                for term, words in zip(query.terms, told, strict=True)
            ]
            found[f"query {label!r}"] = unknown[0] if unknown else " ".join(parts)
        return found
