"""The torture tests: seeds, the two stores, and the table at the end.

Each scenario has a number and a title (``@pytest.mark.scenario``), runs on tq's embedded Valkey and once
more on a real Redis, and takes all its chance from the seed that is printed: ``make chaos SEED=…`` runs it
again.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from servers import Valkey
from stage import MakeStage, Stage

STORES: Final = ("embedded", "redis")
_SEED: Final = "CHAOS_SEED"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which scenarios, with which seed."""
    group = parser.getgroup("chaos")
    group.addoption("--chaos-seed", type=int, help="repeat a run: the seed that it printed")
    group.addoption("--chaos-subset", action="store_true", help="only what CI runs")
    group.addoption("--chaos-only", default="", help="only the scenarios with these numbers, comma separated")


def pytest_configure(config: pytest.Config) -> None:
    """One seed for all processes of a run."""
    config.addinivalue_line(
        "markers",
        "scenario(number, title, *, ci=(), stores=STORES, weight=30): a torture scenario; "
        "ci: the stores on which CI runs it; weight: about how many seconds it takes",
    )
    seed = config.getoption("--chaos-seed")
    if seed is None:
        seed = int(os.environ.get(_SEED) or random.SystemRandom().randrange(10**6))
    os.environ[_SEED] = str(seed)  # the processes of pytest-xdist inherit it


def pytest_report_header() -> str:
    """Says how to repeat this run."""
    return f"chaos: seed {os.environ[_SEED]} (make chaos SEED={os.environ[_SEED]} runs it again)"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each scenario on each of its stores."""
    if "store" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("scenario")
        assert marker is not None, f"{metafunc.definition.name} has no number"
        metafunc.parametrize("store", marker.kwargs.get("stores", STORES))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose the scenarios, longest first, so that several at a time end at about the same time."""
    only = {int(number) for number in config.getoption("--chaos-only").split(",") if number}
    kept: list[tuple[float, int, pytest.Item]] = []
    dropped = []
    for index, item in enumerate(items):
        marker = item.get_closest_marker("scenario")
        if marker is None:
            continue
        assert isinstance(item, pytest.Function)
        store = item.callspec.params["store"]
        in_subset = store in marker.kwargs.get("ci", ())
        if (only and marker.args[0] not in only) or (config.getoption("--chaos-subset") and not in_subset):
            dropped.append(item)
        else:
            weight = marker.kwargs.get("weight", 30)
            item.add_marker(pytest.mark.timeout(180 + 5 * weight))
            kept.append((-weight, index, item))
    config.hook.pytest_deselected(items=dropped)
    items[:] = [item for _, _, item in sorted(kept, key=lambda each: each[:2])]


@pytest.fixture
def store() -> str:
    """Which Redis; ``pytest_generate_tests`` says."""
    raise AssertionError("a scenario is parametrized")


@pytest.fixture
def rng(request: pytest.FixtureRequest, store: str) -> random.Random:
    """The chance of this scenario: by the seed, its number and its store."""
    number = _scenario(request).args[0]
    return random.Random(f"{os.environ[_SEED]} {number} {store}")


@pytest.fixture
def stage(
    request: pytest.FixtureRequest, store: str, rng: random.Random, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeStage]:
    """Makes the stage of this scenario; what it did is in the table at the end."""
    if store == "redis" and Valkey.redis_server() is None:
        pytest.skip("redis-server is not installed")
    folder = tmp_path_factory.mktemp("s")
    made: list[Stage] = []
    began = time.monotonic()
    number, title = _scenario(request).args[:2]
    print(f"scenario {number} on {store}, seed {os.environ[_SEED]}")  # noqa: T201 - shown with a failure

    def make(
        *,
        server: Valkey | None = None,
        patience: float = 120,
        prepare: Callable[[Path], None] | None = None,
        **settings: str,
    ) -> Stage:
        if prepare is not None:
            prepare(folder)
        made.append(Stage(folder, store, rng, settings, server=server, patience=patience))
        return made[-1]

    request.node.user_properties.append(("chaos", [number, title, store]))
    try:
        yield make
    finally:
        figures: dict[str, str] = {}
        for each in made:
            figures |= each.figures
        figures = {"seconds": f"{time.monotonic() - began:.0f}"} | figures
        request.node.user_properties.append(("figures", figures))
    shutil.rmtree(folder, ignore_errors=True)


def _scenario(request: pytest.FixtureRequest) -> pytest.Mark:
    marker = request.node.get_closest_marker("scenario")
    assert marker is not None
    mark: pytest.Mark = marker
    return mark


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table: number, title, store, result, figures."""
    rows: dict[tuple[int, str, str], list[str]] = {}
    for result in ("passed", "failed", "error", "skipped", ""):  # "": setups and teardowns that went well
        for report in terminalreporter.stats.get(result, []):
            properties = dict(getattr(report, "user_properties", ()))
            if "chaos" not in properties:
                continue
            number, title, store = properties["chaos"]
            row = rows.setdefault((number, title, store), ["passed", ""])
            if result in {"failed", "error", "skipped"}:
                row[0] = "skipped" if result == "skipped" else "FAILED"
            if "figures" in properties:
                row[1] = " · ".join(f"{name} {value}" for name, value in properties["figures"].items())
    if not rows:
        return
    write = terminalreporter.write_line
    terminalreporter.section(f"chaos, seed {os.environ[_SEED]}")
    for (number, title, store), (result, figures) in sorted(rows.items()):
        write(f"{number:>2} {title} · {store} · {result}")
        write(f"     {figures}")
    failed = sum(result == "FAILED" for result, _ in rows.values())
    numbers = len({number for number, _, _ in rows})
    write(f"{numbers} scenarios, {len(rows)} runs, {failed} failed; seed {os.environ[_SEED]}")
