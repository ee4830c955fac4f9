"""The last hour as small charts: lines and bars in the coordinates of an SVG. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tq.layout import span
from tq.tallies import Minute

WIDTH: Final = 300
HEIGHT: Final = 64
_TOP: Final = 4
#: What a value without neighbours is as long as.
_STROKE: Final = 4
#: Types of errors that are named beside their chart.
_NAMED: Final = 4


@dataclass(frozen=True, slots=True)
class Line:
    """A curve: the name of its style, what it shows, and the points of each unbroken part as SVG reads them."""

    style: str
    label: str
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart.

    Attributes:
        name: a word for it.
        title: what it shows.
        now: the figure of the last minute, or of the hour.
        lines: its curves.
        bars: x, y, width and height of each bar.
        top: what the upper edge stands for; "" = nothing is shown.
        summary: the same in words.
        readings: what is read at each minute.
        kinds: types of errors and how many there were, the most frequent first.
    """

    name: str
    title: str
    now: str
    top: str
    summary: str
    readings: tuple[str, ...]
    lines: tuple[Line, ...] = ()
    bars: tuple[tuple[float, float, float, float], ...] = ()
    kinds: tuple[tuple[str, int], ...] = field(default=())


def charts_of(minutes: Sequence[Minute], completed: float) -> list[Chart]:
    """Throughput, latency and errors of the minutes, oldest first.

    Args:
        minutes: of which the last is not over.
        completed: messages within the last sixty seconds, which stand for that minute.
    """
    return [_throughput(minutes, completed), _latency(minutes), _errors(minutes)]


def _throughput(minutes: Sequence[Minute], completed: float) -> Chart:
    counts = [minute.completed for minute in minutes]
    # A minute that has just begun is no fall to nothing.
    values = [*map(float, counts[:-1]), completed]
    most = max(values, default=0.0)
    return Chart(
        name="throughput",
        title="Completed a minute",
        now=f"{completed:,.0f}",
        top=f"{most:,.0f}" if most else "",
        summary=f"{sum(counts):,} messages completed in the last hour, at most {most:,.0f} in a minute.",
        readings=tuple(f"{count:,} completed" for count in counts),
        lines=(Line("good", "completed", _parts(values, most)),),
    )


def _latency(minutes: Sequence[Minute]) -> Chart:
    most = max((minute.p95 for minute in minutes if minute.p95 is not None), default=0.0)
    last = next((minute for minute in reversed(minutes) if minute.p50 is not None), None)
    return Chart(
        name="latency",
        title="Latency",
        now=f"{_short(last.p50)} / {_short(last.p95)}" if last else "–",
        top=_short(most) if most else "",
        summary=f"Half of the latest attempts took up to {_short(last.p50)}, 95 of 100 up to {_short(last.p95)}."
        if last
        else "No attempt has completed in the last hour.",
        readings=tuple("none" if m.p50 is None else f"p50 {_short(m.p50)}, p95 {_short(m.p95)}" for m in minutes),
        lines=(
            Line("soft", "p95", _parts([minute.p95 for minute in minutes], most)),
            Line("good", "p50", _parts([minute.p50 for minute in minutes], most)),
        ),
    )


def _errors(minutes: Sequence[Minute]) -> Chart:
    values = [sum(minute.errors.values()) for minute in minutes]
    most = max(values, default=0)
    kinds: Counter[str] = Counter()
    for minute in minutes:
        kinds.update(minute.errors)
    step = WIDTH / max(1, len(values))
    named = tuple(kinds.most_common(_NAMED))
    return Chart(
        name="errors",
        title="Errors in the last hour",
        now=f"{sum(values):,}",
        top=f"{most:,}" if most else "",
        summary=f"Errors of attempts in the last hour: {', '.join(f'{kind} {count:,}' for kind, count in named)}."
        if named
        else "No attempt has failed in the last hour.",
        readings=tuple(_words(minute) for minute in minutes),
        bars=tuple(
            (round(index * step, 1), _y(value, most), round(step * 0.8, 1), round(HEIGHT - _y(value, most), 1))
            for index, value in enumerate(values)
            if value
        ),
        kinds=named,
    )


def _words(minute: Minute) -> str:
    return ", ".join(f"{kind} {count:,}" for kind, count in Counter(minute.errors).most_common(2)) or "none"


def _short(seconds: float | None) -> str:
    """Below a second in milliseconds: attempts of a local model, or of none, take some."""
    if seconds is None:
        return "–"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else span(seconds)


def _parts(values: Sequence[float | None], most: float) -> tuple[str, ...]:
    """Points of each unbroken row of values; a single one is drawn as a short stroke."""
    step = WIDTH / max(1, len(values) - 1)
    parts: list[list[str]] = [[]]
    for index, value in enumerate(values):
        if value is None:
            parts.append([])
        else:
            alone = not parts[-1] and (index + 1 == len(values) or values[index + 1] is None)
            for x in (max(0.0, index * step - _STROKE), index * step) if alone else (index * step,):
                parts[-1].append(f"{x:.1f},{_y(value, most):.1f}")
    return tuple(" ".join(part) for part in parts if part)


def _y(value: float, most: float) -> float:
    return round(HEIGHT - 1 - (HEIGHT - 1 - _TOP) * value / most, 1) if most else HEIGHT - 1
