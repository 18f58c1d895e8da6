"""A real Prometheus scrapes a real `serve --workers 2`: its sums are right over a kill -9, and a shipped rule fires."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from permsite import server
from permsite.launcher import Launcher
from tests.controlplane.metrics.test_processes import KEY, check, site, until, workers_of
from tests.controlplane.metrics.test_shipped_rules import RULES
from tests.permsite.commands import run
from tests.prometheus import program

__all__ = ["site"]


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[str]:
    """On a port of its own, with the shipped rules; only their patience is shortened."""
    with server.bind("127.0.0.1", 0, or_next=False) as bound:
        port = bound.getsockname()[1]
    (folder / "rules.yml").write_text(re.sub(r"^( +for: ).*$", r"\g<1>1s", RULES.read_text(), flags=re.MULTILINE))
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [{"job_name": "permsite", "static_configs": [{"targets": [target.removeprefix("http://")]}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    argv = [program("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*argv, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: is_ready(address, process))
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


def is_ready(address: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "prometheus ended"
    try:
        with urllib.request.urlopen(f"{address}/-/ready", timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def api(address: str, path: str, **query: str) -> Any:
    with urllib.request.urlopen(f"{address}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=30) as answer:
        return json.loads(answer.read())["data"]


def value(address: str, expr: str) -> float | None:
    found = api(address, "query", query=expr)["result"]
    return float(found[0]["value"][1]) if found else None


def firing(address: str) -> set[str]:
    return {alert["labels"]["alertname"] for alert in api(address, "alerts")["alerts"] if alert["state"] == "firing"}


@pytest.mark.chaos
@pytest.mark.timeout(240)
def test_sums_stay_right_over_a_killed_worker_and_a_killed_redis_makes_a_shipped_rule_fire(site, tmp_path):
    folder, key = site
    launcher = Launcher()
    try:
        store = launcher.redis()
        with (
            run("serve", "--port", "0", "--workers", "2", "--no-jobs", folder=folder, REDIS_URL=store.url, **KEY) as serve,
            prometheus(tmp_path, serve.wait_for(r"on (http://127\.0\.0\.1:\d+) with")[1]) as watching,
        ):
            address = serve.wait_for(r"on (http://127\.0\.0\.1:\d+) with")[1]
            until(lambda: len(workers_of(folder)) == 2)
            check(address, key, 30)
            until(lambda: value(watching, "sum(permission_checks_total)") == 30)
            _, pid = workers_of(folder)[0]
            os.kill(pid, signal.SIGKILL)
            until(lambda: len(workers_of(folder)) == 2 and pid not in [each for _, each in workers_of(folder)])
            check(address, key, 12)
            until(lambda: value(watching, "sum(permission_checks_total)") == 42)
            # Prometheus takes any step back for a restart, and would count what came before it once more.
            assert value(watching, "sum(resets(permission_checks_total[10m]))") == 0
            assert (value(watching, "max_over_time(sum(permission_checks_total)[10m:1s])") or 0) <= 42, "never one counted twice"

            until(lambda: value(watching, "min(resilience_storage_up)") == 1 and value(watching, "max(permsite_redis_up)") == 1)
            assert "PermsiteRedisUnreachable" not in firing(watching)
            time.monotonic()
            store.processes[0].kill()
            until(lambda: "PermsiteRedisUnreachable" in firing(watching))
            assert value(watching, 'up{job="permsite"}') == 1, "/metrics goes on without Redis"
            serve.end(signal.SIGTERM)
            until(lambda: "PermsiteInstanceDown" in firing(watching))
    finally:
        launcher.close()
