"""The last hour as small charts: lines and bars in the coordinates of an SVG. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tq.lines import span
from tq.tallies import Minute

WIDTH: Final = 300
HEIGHT: Final = 64
_TOP: Final = 4


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
        title: what it shows.
        now: the figure of the last whole minute, or of the hour.
        lines: its curves.
        bars: x, y, width and height of each bar.
        top: what the upper edge stands for.
        summary: the same in words.
    """

    title: str
    now: str
    lines: tuple[Line, ...]
    bars: tuple[tuple[float, float, float, float], ...]
    top: str
    summary: str


def charts_of(minutes: Sequence[Minute]) -> list[Chart]:
    """Throughput, latency and errors of the minutes, oldest first."""
    return [_throughput(minutes), _latency(minutes), _errors(minutes)]


def _throughput(minutes: Sequence[Minute]) -> Chart:
    values = [float(minute.completed) for minute in minutes]
    most = max(values, default=0.0)
    total = sum(values)
    return Chart(
        title="Completed a minute",
        now=f"{values[-1]:g}" if values else "0",
        lines=(Line("good", "completed", _parts(values, most)),),
        bars=(),
        top=f"{most:g}",
        summary=f"{total:g} messages completed in the last hour, at most {most:g} in a minute.",
    )


def _latency(minutes: Sequence[Minute]) -> Chart:
    known = [minute.p95 for minute in minutes if minute.p95 is not None]
    most = max(known, default=0.0)
    last = next((minute for minute in reversed(minutes) if minute.p50 is not None), None)
    now = f"{span(last.p50)} / {span(last.p95)}" if last and last.p50 is not None and last.p95 is not None else "–"
    return Chart(
        title="Latency p50 / p95",
        now=now,
        lines=(
            Line("soft", "p95", _parts([minute.p95 for minute in minutes], most)),
            Line("good", "p50", _parts([minute.p50 for minute in minutes], most)),
        ),
        bars=(),
        top=span(most),
        summary=f"Half of the latest attempts took up to {now.replace(' / ', ', 95 of 100 up to ')}."
        if last
        else "No attempt has completed in the last hour.",
    )


def _errors(minutes: Sequence[Minute]) -> Chart:
    values = [sum(minute.errors.values()) for minute in minutes]
    most = max(values, default=0)
    kinds: Counter[str] = Counter()
    for minute in minutes:
        kinds.update(minute.errors)
    step = WIDTH / max(1, len(values))
    words = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common(4))
    return Chart(
        title="Errors in the last hour",
        now=f"{sum(values)}",
        lines=(),
        bars=tuple(
            (
                round(index * step, 1),
                round(_y(value, most), 1),
                round(step * 0.8, 1),
                round(HEIGHT - _y(value, most), 1),
            )
            for index, value in enumerate(values)
            if value
        ),
        top=str(most),
        summary=f"Errors of attempts in the last hour: {words}."
        if words
        else "No attempt has failed in the last hour.",
    )


def _parts(values: Sequence[float | None], most: float) -> tuple[str, ...]:
    """Points of each unbroken row of values; a single one is drawn as a short stroke."""
    step = WIDTH / max(1, len(values) - 1)
    parts: list[list[str]] = [[]]
    for index, value in enumerate(values):
        if value is None:
            parts.append([])
        else:
            parts[-1].append(f"{index * step:.1f},{_y(value, most):.1f}")
            if index + 1 == len(values) or values[index + 1] is None:
                parts[-1].append(f"{min(WIDTH, index * step + 1):.1f},{_y(value, most):.1f}")
    return tuple(" ".join(part) for part in parts if part)


def _y(value: float, most: float) -> float:
    return round(HEIGHT - 1 - (HEIGHT - 1 - _TOP) * value / most, 1) if most else HEIGHT - 1
