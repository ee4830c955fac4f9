"""The text formats that Prometheus reads: its own 0.0.4, and OpenMetrics 1.0 for who asks for that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_Sample = tuple[Mapping[str, str], float]


@dataclass(frozen=True, slots=True)
class Family:
    """A metric.

    Attributes:
        name: without the suffix that its kind brings.
        kind: what it is.
        text: what it says.
        samples: labels and value; of a histogram its buckets, each with its bound as the label ``le``.
        total: of a histogram, the sum of what was observed.
    """

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    text: str
    samples: Sequence[_Sample]
    total: float = 0.0


def gauge(name: str, text: str, samples: Iterable[_Sample]) -> Family:
    """Something that goes up and down."""
    return Family(name, "gauge", text, [*samples])


def counter(name: str, text: str, samples: Iterable[_Sample]) -> Family:
    """Something that only goes up; ``_total`` is added to its name."""
    return Family(name, "counter", text, [*samples])


def media_type(accept: str) -> str:
    """What to answer to this ``Accept``."""
    wanted = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    return OPEN_METRICS if "application/openmetrics-text" in wanted else TEXT


def render(families: Iterable[Family], media: str = TEXT) -> str:
    """The families in that format."""
    open_metrics = media == OPEN_METRICS
    lines = [line for family in families for line in _lines(family, open_metrics=open_metrics)]
    return "".join(lines) + ("# EOF\n" if open_metrics else "")


def _lines(family: Family, *, open_metrics: bool) -> Iterator[str]:
    suffix = "_total" if family.kind == "counter" else "_bucket" if family.kind == "histogram" else ""
    # The older format knows a counter by the name of its samples, the newer one by that without the suffix.
    name = f"{family.name}_total" if suffix == "_total" and not open_metrics else family.name
    yield f"# HELP {name} {family.text}\n# TYPE {name} {family.kind}\n"
    for labels, value in family.samples:
        yield _sample(f"{family.name}{suffix}", labels, value)
    if family.kind == "histogram":
        count = family.samples[-1][1] if family.samples else 0
        yield _sample(f"{family.name}_sum", {}, family.total)
        yield _sample(f"{family.name}_count", {}, count)


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    inner = ",".join(f'{label}="{_escaped(content)}"' for label, content in labels.items())
    return f"{name}{{{inner}}} {value}\n" if inner else f"{name} {value}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
