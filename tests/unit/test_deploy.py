"""deploy/: what the dashboard and the alerts ask for is what /metrics has, by name and label."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tq.figures import RateInfo, RateLimit, Spend, Stats, WorkerInfo
from tq.messages import Status
from tq.metrics import Process, figures
from tq.settings import Settings
from tq.tallies import as_totals

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "tq.rules.yml"
SERIES = DEPLOY / "prometheus" / "tests.yml"
#: What Prometheus adds to every sample of a scrape, and a metric of its own.
OF_THE_SCRAPE = {"job", "instance"}
OF_PROMETHEUS = {"up"}
#: Words of PromQL that may stand before a bracket or a brace.
_METRIC = re.compile(r"\b((?:tq|process)_\w+|up)\b(?:\{([^}]*)\})?")


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    """The labels of each sample of a busy queue's /metrics."""
    rate = RateInfo(
        host="h",
        key="k",
        model="m",
        limits={"tokens": RateLimit(per_minute=1, source="429")},
        cool_down=1,
        exhausted=1,
        waiting=1,
        sent=1,
        refused=1,
    )
    worker = WorkerInfo(name="w", version="1", provider="p", slots=1, running=1, alive_until=datetime.now(UTC))
    stats = Stats(
        queues={},
        priorities=[],
        oldest_wait=0,
        counts=dict.fromkeys(Status, 0),
        running=0,
        retries_pending=0,
        workers=[worker],
        throughput={"attempts": 1},
        rates=[rate],
        spend=Spend(budget=1.0),
    )
    totals = as_totals({'sent:["h", "k", "m"]': "1"})
    text = figures(stats, totals, Process(), settings=Settings(), version="1")
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    loaded: dict[str, Any] = json.loads((DEPLOY / "grafana" / "tq.json").read_text())
    return loaded


def alerts() -> list[dict[str, Any]]:
    """The alerts."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def queries() -> Iterator[tuple[str, str]]:
    """Where a query stands, and the query."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield f"panel {panel['title']!r}", target["expr"]
    for rule in alerts():
        yield f"alert {rule['alert']}", rule["expr"]


@pytest.mark.parametrize(("where", "query"), [*queries()], ids=lambda value: str(value)[:40])
def test_every_query_asks_for_what_there_is(known: dict[str, set[str]], where: str, query: str) -> None:
    """Each metric exists, and so does each label that it is chosen or grouped by."""
    names = {name for name, _ in _METRIC.findall(query)} - OF_PROMETHEUS
    assert names <= known.keys(), f"{where} asks for {sorted(names - known.keys())}"
    there = set().union(*(known[name] for name in names)) | OF_THE_SCRAPE
    for name, selector in _METRIC.findall(query):
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector):
            assert label in known.get(name, set()) | OF_THE_SCRAPE, f"{where}: {name} has no label {label}"
    for grouped in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", query):
        assert {label.strip() for label in grouped.split(",") if label} <= there, where
    assert query.count("(") == query.count(")")


def test_every_legend_and_text_names_a_label_that_is_left(known: dict[str, set[str]]) -> None:
    """What a legend or an alert shows survives the aggregation of its query."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert shown <= _left(target["expr"], known), panel["title"]
    for rule in alerts():
        shown = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        assert shown <= _left(rule["expr"], known), rule["alert"]


def _left(query: str, known: dict[str, set[str]]) -> set[str]:
    if re.match(r"\s*(?:sum|max)\b(?!\s*by)", query):
        return set()
    grouped = re.match(r"\s*(?:sum|max) by \(([^)]*)\)", query)
    if grouped:
        return {label.strip() for label in grouped[1].split(",")}
    return OF_THE_SCRAPE.union(*(known.get(name, set()) for name, _ in _METRIC.findall(query)))


def test_the_dashboard_can_be_imported() -> None:
    """A data source to choose, ids of their own, a unit and a description for each panel, no two in one place."""
    found = dashboard()
    assert {each["name"] for each in found["templating"]["list"]} == {"datasource", "job"}
    panels = found["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    rows = [panel["title"] for panel in panels if panel["type"] == "row"]
    assert rows == ["Queue", "Attempts", "Provider", "Limits and spend", "Workers", "API"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert panel["datasource"]["uid"] == "${datasource}"


def test_every_alert_says_what_it_means() -> None:
    """A name, a severity, and a sentence; nothing is said twice."""
    found = alerts()
    assert len({rule["alert"] for rule in found}) == len(found) >= 10
    for rule in found:
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"]


@pytest.fixture(scope="module")
def promtool() -> str:
    """Prometheus' own tool."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (.ci/run unpacks Debian's): the rules are checked by name only")
    return found


@pytest.mark.parametrize("command", [["check", "rules", RULES.name], ["test", "rules", SERIES.name]], ids=" ".join)
def test_promtool_accepts_the_rules(promtool: str, command: list[str]) -> None:
    """They are rules, and each fires for the series that it is meant for, and for no others."""
    done = subprocess.run([promtool, *command], capture_output=True, text=True, check=False, cwd=RULES.parent)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tried_both_ways() -> None:
    """There are series that fire it, and some that must not."""
    fires: set[str] = set()
    silent: set[str] = set()
    for each in yaml.safe_load(SERIES.read_text())["tests"]:
        for expected in each["alert_rule_test"]:
            (fires if expected["exp_alerts"] else silent).add(expected["alertname"])
    assert fires == silent == {rule["alert"] for rule in alerts()}


def test_series_of_the_tests_are_those_of_metrics(known: dict[str, set[str]]) -> None:
    """A rule that is tried on a series that /metrics never has would only seem to work."""
    for each in yaml.safe_load(SERIES.read_text())["tests"]:
        for given in each["input_series"]:
            ((name, selector),) = _METRIC.findall(given["series"])
            labels = set(re.findall(r"(\w+)=", selector))
            assert name in OF_PROMETHEUS or labels == known[name] | OF_THE_SCRAPE, given["series"]
