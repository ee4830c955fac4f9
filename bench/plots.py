"""The plots: ``python plots.py``, in a virtual environment that has matplotlib, reads results.json and writes PNGs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl  # type: ignore[import-not-found]  # it has a virtual environment of its own

mpl.use("agg")

from matplotlib import pyplot as plt

HERE = Path(__file__).parent
Line = tuple[list[float], list[float]]


def plot(name: str, title: str, across: str, up: str, lines: dict[str, Line], **axes: Any) -> None:
    """One picture with one axis."""
    figure, axis = plt.subplots(figsize=(6, 3.4), dpi=120)
    for label, (x, y) in lines.items():
        axis.plot(x, y, marker="o", label=label)
    axis.set(title=title, xlabel=across, ylabel=up, **axes)
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(HERE / f"{name}.png")


def column(rows: list[dict[str, Any]], name: str) -> list[float]:
    """One figure of all rows."""
    return [row[name] for row in rows]


def main() -> None:
    """All pictures for which there are results."""
    found = json.loads((HERE / "results.json").read_text())
    if flights := found.get("growth", {}).get("flights"):
        line = column(flights, "slots"), column(flights, "cpu_ms")
        plot("flights", "CPU of the worker, per message", "messages in flight", "ms", {"tq": line}, xscale="log")
    if workers := found.get("growth", {}).get("workers"):
        x = column(workers, "workers")
        lines = {"tq": (x, column(workers, "done_per_s")), "ideal": (x, [250 * number for number in x])}
        plot("workers", "Throughput, 250 in flight in each worker", "worker processes", "messages per second", lines)
    if depths := found.get("depth", {}).get("depths"):
        x = column(depths, "messages")
        names = {"GET /queue/stats": "stats_ms", "GET /messages": "list_ms", "POST /messages": "submit_ms"}
        lines = {label: (x, column(depths, name)) for label, name in names.items()}
        plot("depth", "Latency of the API", "messages queued", "ms, median", lines, xscale="log")


if __name__ == "__main__":
    main()
