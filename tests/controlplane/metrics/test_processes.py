"""Sums over real processes: right with several workers, after kill -9 of one, with runcontrol beside, and in the demo."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.permsite.commands import ROOT, Running, run
from tests.permsite.test_demo import ask, told
from tests.permsite.test_launcher import wait_until

KEY = {"SECRET_KEY": "s3cret-" * 10}
CHECKS = "permission_checks_total"
# Seconds: several starts of the site, each on a machine that may be busy.
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A migrated folder, and a key that may ask."""
    folder = tmp_path_factory.mktemp("metrics")
    env = {"PATH": os.environ["PATH"], "PERMSITE_VAR": str(folder), **KEY}
    subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=env, check=True)
    made = subprocess.run(
        [sys.executable, "manage.py", "api_key", "create", "metrics"],
        cwd=ROOT,
        env=env,
        check=True,
        capture_output=True,
        text=True,
    )
    return folder, made.stdout.strip()


def scraped(address: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    with urllib.request.urlopen(f"{address}/metrics", timeout=30) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for sample in (sample for family in families for sample in family.samples):
        found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def total(address: str, name: str = CHECKS) -> float:
    return sum(value for _, value in scraped(address).get(name, []))


def check(address: str, key: str, number: int) -> None:
    """Each on a connection of its own, so that both workers get some."""
    body = json.dumps({"subject": "user:nobody", "permission": "post:edit"}).encode()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    for _ in range(number):
        try:
            urllib.request.urlopen(urllib.request.Request(f"{address}/api/v1/check", body, headers), timeout=30).close()
        except urllib.error.HTTPError as error:
            error.close()
            raise


def workers_of(folder: Path, kind: str = "server") -> list[tuple[int, int]]:
    """Slot and pid of those that live."""
    from controlplane.collector import slots

    return [(read.slot, read.page.pid) for read in slots.read(folder / "metrics") if read.is_held and read.page.kind == kind]


def until(condition: Callable[[], bool]) -> None:
    assert wait_until(condition, 100), "it did not come to pass"


def is_gone(folder: Path, killed: tuple[int, int]) -> bool:
    return killed not in workers_of(folder)


def is_taken_again(folder: Path, killed: tuple[int, int]) -> bool:
    return killed[0] in [slot for slot, _ in workers_of(folder)]


def reaches(address: str, number: float) -> bool:
    return total(address) == number


@pytest.fixture
def serving(site: tuple[Path, str]) -> Iterator[tuple[Running, str, Path, str]]:
    folder, key = site
    with run("serve", "--port", "0", "--workers", "2", "--no-jobs", folder=folder, **KEY) as serve:
        address = serve.wait_for(r"on (http://127\.0\.0\.1:\d+) with")[1]
        until(lambda: len(workers_of(folder)) == 2)
        yield serve, address, folder, key
        serve.end(signal.SIGTERM)


@pytest.mark.chaos
def test_sums_go_on_over_a_killed_worker_without_a_double_or_a_step_back(serving):
    _, address, folder, key = serving
    check(address, key, 40)
    # What the other worker counted is in its file within a second.
    until(lambda: total(address) == 40)
    seen = [total(address)]
    for _ in range(2):
        killed = workers_of(folder)[0]
        os.kill(killed[1], signal.SIGKILL)
        until(partial(is_gone, folder, killed))
        seen.append(total(address))
        until(partial(is_taken_again, folder, killed))
        seen.append(total(address))
        check(address, key, 10)
        until(partial(reaches, address, max(seen) + 10))
        seen.append(total(address))
    assert seen == sorted(seen) and seen[-1] == 60
    found = scraped(address)
    assert {labels["kind"]: value for labels, value in found["permsite_processes"]} == {"server": 2, "loop": 1}
    assert len(found["permsite_process_resident_memory_bytes"]) == 3, "one series a slot, none of the dead"
    assert len(list((folder / "metrics").glob("*.figures"))) == 3, "files do not pile up"


@pytest.mark.chaos
def test_whichever_worker_answers_the_sums_are_the_same_and_the_loop_beside_counts_too(serving):
    _, address, folder, key = serving
    before = total(address)
    check(address, key, 12)
    until(lambda: {total(address) for _ in range(6)} == {before + 12})
    with run("runcontrol", folder=folder, **KEY) as loop:
        loop.wait_for("The control loop runs as")
        until(lambda: len(workers_of(folder, "loop")) == 2)
        assert total(address) == before + 12
        kinds = {labels["kind"]: value for labels, value in scraped(address)["permsite_processes"]}
        assert kinds == {"server": 2, "loop": 2}
        loop.end(signal.SIGKILL)
    until(lambda: len(workers_of(folder, "loop")) == 1)
    assert total(address) == before + 12 and total(address, "permsite_loop_leads") == 1


def test_a_new_start_begins_at_nothing(site):
    folder, key = site
    for _ in range(2):
        with run("serve", "--port", "0", "--no-jobs", folder=folder, **KEY) as serve:
            address = serve.wait_for(r"on (http://127\.0\.0\.1:\d+) with")[1]
            check(address, key, 3)
            assert total(address) == 3, "the worker that answers knows its own to the last check"
            kinds = {labels["kind"]: value for labels, value in scraped(address)["permsite_processes"]}
            assert kinds == {"server": 1}
            serve.end(signal.SIGTERM)


def test_the_demo_tells_its_figures_with_its_store(tmp_path):
    with run("demo", "--port", "0", folder=tmp_path) as demo:
        address = re.sub(r"/admin/$", "", told(demo)["site"])
        assert ask(demo) == {"decision": True}
        assert total(address) >= 1
        until(lambda: total(address, "permsite_redis_up") == 1)
        assert total(address, "permsite_database_up") == 1
