"""What a check looks at, and what it says: a source with its translation, and what is wrong with it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from tq.glossary import Term

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Pair:
    """A source and what came back for it.

    Attributes:
        source: the text as submitted (or one segment of it), without outer white space.
        output: the answer, unwrapped, with its protected spans put back.
        source_language: BCP 47 tag, or None when it is not known.
        target_language: BCP 47 tag.
        corrected: whether the request already said that an earlier answer was rejected: what is right
            more often than not then only warns, as the model has been asked twice.
        terms: the entries of the submitter's glossary whose source term is in the source.
    """

    source: str = field(repr=False)
    output: str = field(repr=False)
    source_language: str | None
    target_language: str
    corrected: bool = False
    terms: tuple[Term, ...] = ()


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong.

    Attributes:
        rule: the slug of the rule: ``placeholders``.
        severity: an ``error`` rejects the answer, a ``warning`` is kept with it.
        message: what is wrong, in words that quote neither text: it may be logged.
        detail: what exactly, quoting as little of the texts as says it (``missing: %(name)s``): for the
            corrective request and for the submitter, never for a log.
    """

    rule: str
    severity: Severity
    message: str
    detail: str = field(default="", repr=False)


Rule = Callable[[Pair], Iterator[Violation]]
