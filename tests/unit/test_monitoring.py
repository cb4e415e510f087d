"""Alert rules and dashboard: metrics that exist, rules that promtool accepts and that fire when they should."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from datadistiller import pipeline
from datadistiller.runtime import telemetry
from tests.deployment import DEPLOY, ROOT, output, program
from tools import checkers

ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
TESTS = DEPLOY / "prometheus" / "alerts.test.yaml"
RULES: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "datadistiller.json").read_text(encoding="utf-8"))
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def exposed() -> dict[str, set[str]]:
    """Every series that /metrics has, with its labels."""
    found: dict[str, set[str]] = {}
    for metric in vars(telemetry.Metrics()).values():
        for family in metric.describe() if hasattr(metric, "describe") else ():
            labels = set(metric._labelnames)
            endings = {"counter": {"_total": labels}, "histogram": {"_bucket": {*labels, "le"}, "_count": labels}}
            found |= {f"{family.name}{ending}": of for ending, of in endings[family.type].items()}
    source = (ROOT / "src" / "datadistiller" / "api" / "metrics.py").read_text(encoding="utf-8")
    for name, labels in re.findall(r'_gauge\(\s*"([a-z_]+)",\s*"[^"]*",\s*\[([^\]]*)\]', source):
        found[f"datadistiller_{name}"] = set(re.findall(r'"(\w+)"', labels))
    return found


EXPOSED = exposed()


@pytest.mark.parametrize("expression", [*(rule["expr"] for rule in RULES), *QUERIES])
def test_it_asks_for_series_that_exist_by_labels_they_have(expression: str) -> None:
    asked = re.findall(r"\b(datadistiller_\w+)(?:\{([^}]*)\})?", expression)
    assert asked
    for name, matchers in asked:
        assert name in EXPOSED
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)) <= EXPOSED[name] | {"instance"}
    labels = set().union(*(EXPOSED[name] for name, _ in asked))
    grouped = {label for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in re.split(r",\s*", group)}
    assert grouped <= labels


def test_outcomes_and_roles_in_rules_exist() -> None:
    text = ALERTS.read_text(encoding="utf-8") + json.dumps(QUERIES)
    outcomes = set(re.findall(r'outcome!?=\\*"(\w+)', text))
    documented = telemetry.Metrics().attempts._documentation
    assert outcomes
    assert not [outcome for outcome in outcomes if outcome not in documented]
    assert set(re.findall(r'"role", "(\w+)"', text)) == {spec.role for spec in pipeline.PIPELINE}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["alert"].startswith("DataDistiller")
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description"}
    assert rule["alert"] in TESTS.read_text(encoding="utf-8")


def test_the_dashboard_has_every_gauge_and_no_panel_twice() -> None:
    shown = {name for query in QUERIES for name in re.findall(r"datadistiller_\w+", query)}
    assert {name for name in EXPOSED if not name.endswith(("_count", "_total", "_bucket"))} <= shown
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)


def test_promtool_accepts_the_rules_and_they_fire_when_they_should() -> None:
    promtool = program(checkers.promtool)
    assert f"{len(RULES)} rules found" in output(promtool, "check", "rules", ALERTS)
    assert "SUCCESS" in output(promtool, "test", "rules", TESTS)
