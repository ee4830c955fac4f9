"""The results as tables: each target with what was measured, whether it is met, and all queues side by side."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from peers import HERE

README = HERE / "README.md"
_BEGIN, _END = "<!-- results -->", "<!-- end of results -->"


def targets(found: dict[str, Any]) -> Iterator[tuple[str, str, str, bool]]:
    """What is promised: name, measured, target, whether it is met."""
    if queues := found.get("queues"):
        ours, shared, theirs = (queues[name]["cpu_ms"] for name in ("tq", "tq, shared calls", "taskiq"))
        yield "worker CPU per message, 500 in flight", f"{ours:.2f} ms", f"≤ taskiq's {theirs:.2f} ms", ours <= theirs
        yield (
            "the same, calls shared",
            f"{shared:.2f} ms",
            f"≤ a third of taskiq's: {theirs / 3:.2f} ms",
            shared <= theirs / 3,
        )
        share = queues["tq"]["share"]
        yield "share of the ideal throughput, 500 in flight", f"{share:.0%}", "≥ 90%", share >= 0.9
    if many := found.get("many"):
        met = many["share"] >= 0.9 and many["rss_mb"] < 400
        yield "5,000 in flight in one worker", f"{many['share']:.0%}, {many['rss_mb']:.0f} MB", "≥ 90%, < 400 MB", met
    if "tq" in found.get("api", {}):
        hand, ours, batch = (found["api"][name] for name in ("by hand", "tq", "tq, batches of 100"))
        rate, slow = ours["messages_per_s"] / hand["messages_per_s"], ours["p99_ms"] / hand["p99_ms"]
        text = f"{ours['messages_per_s']:.0f}/s, {rate:.1f}×; p99 {ours['p99_ms']:.0f} ms, {slow:.2f}×"
        yield "`POST /messages`, durable, 64 connections", text, "≥ 2× by hand, p99 ≤ 0.5×", rate >= 2 and slow <= 0.5
        rate = batch["messages_per_s"] / hand["messages_per_s"]
        yield "`POST /messages/batch`", f"{batch['messages_per_s']:.0f}/s, {rate:.1f}×", "≥ 10× by hand", rate >= 10
    if depth := found.get("depth"):
        yield from _deep(depth)
    if shell := found.get("shell"):
        yield from _shell(shell)


def _deep(depth: dict[str, Any]) -> Iterator[tuple[str, str, str, bool]]:
    late = depth["urgent_p99_s"]
    yield (
        "start of priority 10 under 10,000 of priority 0, p99",
        f"{late * 1000:.0f} ms",
        "≤ 100 ms + a call of 500 ms",
        late <= 0.6,
    )
    ratio = depth["tq_bytes"] / depth["celery_bytes"]
    yield (
        "Redis memory per queued message of 200 bytes",
        f"{depth['tq_bytes']:.0f} bytes, {ratio:.2f}×",
        f"≤ 1.25× Celery's {depth['celery_bytes']:.0f}",
        ratio <= 1.25,
    )
    most = depth["depths"][-1]
    grown = most["rss_after_mb"] - depth["depths"][0]["rss_after_mb"]
    yield f"worker's memory with {most['messages']:,} queued", f"{grown:+.0f} MB", "flat (≤ 10 MB)", grown <= 10
    slowest = max(most["stats_ms"], most["list_ms"])
    text = f"{most['stats_ms']:.1f} ms, {most['list_ms']:.1f} ms"
    yield f"`GET /queue/stats`, `GET /messages` with {most['messages']:,} queued", text, "< 20 ms", slowest < 20


def _shell(shell: dict[str, Any]) -> Iterator[tuple[str, str, str, bool]]:
    for name, most in (("help", 0.4), ("submit", 0.7)):
        ratio = shell[f"tq_{name}"] / shell["celery_help"]
        yield (
            f"`tq {'--help' if name == 'help' else name}`",
            f"{ratio:.2f}×",
            f"≤ {most}× `celery --help`",
            ratio <= most,
        )
    yield "`tq up` until ready, warm", f"{shell['up']:.1f} s", "≤ 3 s", shell["up"] <= 3
    met = shell["idle_cpu"] < 0.02 and shell["idle_rss_mb"] < 350
    yield "idle stack", f"{shell['idle_cpu']:.1%} of a core, {shell['idle_rss_mb']:.0f} MB", "< 2%, < 350 MB", met


def _tables(found: dict[str, Any]) -> Iterator[str]:
    dates = sorted({part["date"] for part in found.values() if "date" in part})
    yield f"{found['machine']}; {' to '.join(dict.fromkeys((dates[0], dates[-1])))}.\n"
    if versions := found.get("versions"):
        yield ", ".join(f"{name} {versions[name]}" for name in sorted(versions)) + ".\n"
    yield "| what | measured | target | |\n|---|---|---|---|"
    for name, measured, target, met in targets(found):
        yield f"| {name} | {measured} | {target} | {'met' if met else '**not met**'} |"
    if queues := found.get("queues"):
        yield "\n| queue | queued/s | done/s | of ideal | CPU ms | MB | in flight | calls | delay p50 | p99 |"
        yield "|---|---|---|---|---|---|---|---|---|---|"
        for name, run in queues.items():
            if name != "date":
                late = found.get("delays", {}).get(name, {})
                waits = [f"{late[key]:.1f} ms" if late else "" for key in ("p50_ms", "p99_ms")]
                figures = (
                    f"{run['sent_per_s']:.0f} | {run['done_per_s']:.1f} | {run['share']:.0%} | {run['cpu_ms']:.2f}"
                )
                most = f"{run['rss_mb']:.0f} | {run['in_flight']:.0f} | {run['calls']:.0f}"
                yield f"| {name} | {figures} | {most} | {waits[0]} | {waits[1]} |"


def write(found: dict[str, Any]) -> None:
    """Print the tables, and put them into the README."""
    text = "\n".join(_tables(found))
    sys.stdout.write(text + "\n")
    before, _, rest = README.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    README.write_text(f"{before}{_BEGIN}\n\n{text}\n\n{_END}{after}")
