"""Prometheus's own checker on our figures, on the alert rules and on the handbook's configuration."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import conftest
from tests.product import Product
from tests.servers import ROOT, find

RULES = ROOT / "deploy/prometheus/alerts.yaml"
CASES = ROOT / "tests/deploy/alerts.yaml"


@pytest.fixture(autouse=True)
def promtool() -> None:
    """Leave the tests out where promtool is missing."""
    if find("promtool") is None:
        conftest._missing("promtool is not installed: apt-get install prometheus")


def check(*arguments: str, text: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run([str(find("promtool")), *arguments], input=text, capture_output=True, text=True)


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


@pytest.mark.contract("deploy/")
def test_alerts_begin_and_end_as_they_should() -> None:
    """Each alert is silent on a service at which nothing is wrong, and says in plain words what is."""
    cases = yaml.safe_load(CASES.read_text())["tests"]
    names = {rule["alert"] for rule in rules()}
    expected = [case for group in cases for case in group["alert_rule_test"]]
    assert {case["alertname"] for case in expected if "exp_alerts" in case} == names
    assert {case["alertname"] for case in cases[0]["alert_rule_test"] if "exp_alerts" not in case} == names
    done = check("test", "rules", str(CASES))
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_that_do_not_begin_are_found(tmp_path: Path) -> None:
    """With another threshold the cases fail, so the test above checks something."""
    (tmp_path / "rules.yaml").write_text(RULES.read_text().replace("_queued) > 50", "_queued) > 51"))
    cases = CASES.read_text().replace("../../deploy/prometheus/alerts.yaml", "rules.yaml")
    (tmp_path / "cases.yaml").write_text(cases)
    done = check("test", "rules", str(tmp_path / "cases.yaml"))
    assert done.returncode != 0
    assert "RivuletPromptsWait" in done.stderr + done.stdout


def test_the_panels_of_the_dashboard_are_queries(tmp_path: Path) -> None:
    """Prometheus understands what each panel of the dashboard asks, with Grafana's interval filled in."""
    panels = json.loads((ROOT / "deploy/grafana/rivulet.json").read_text())["panels"]
    asked = [target["expr"].replace("$__rate_interval", "5m") for panel in panels for target in panel["targets"]]
    group = {"name": "panels", "rules": [{"record": f"panel{n}", "expr": expr} for n, expr in enumerate(asked)]}
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [group]}))
    done = check("check", "rules", str(tmp_path / "panels.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(asked)} rules found" in done.stdout


def test_the_configuration_of_the_handbook_is_accepted(tmp_path: Path) -> None:
    """Prometheus takes the handbook's lines as they stand, and finds the rules that they name."""
    handbook = (ROOT / "docs/operations.md").read_text()
    found = re.search(r"```yaml\n((?:rule_files|scrape_configs):.*?)```", handbook, re.DOTALL)
    assert found
    text = found[1].replace("/etc/prometheus", str(tmp_path))
    (tmp_path / "rivulet.yaml").write_text(RULES.read_text())
    (tmp_path / "rivulet-token").touch()
    (tmp_path / "prometheus.yml").write_text(text)
    done = check("check", "config", str(tmp_path / "prometheus.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules())} rules found" in done.stdout


@pytest.mark.server
def test_the_figures_are_well_formed(product: Product) -> None:
    """Prometheus's linter finds nothing in what the product reports."""
    done = check("check", "metrics", text=product.client().get("/metrics").text)
    assert (done.returncode, done.stderr) == (0, "")
