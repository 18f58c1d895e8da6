"""The rows of `make bench` still run: tiny sizes, no peer installed, and no figure looked at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from benchmarks.wire import processes
from benchmarks.workloads import trace, w1, w2
from benchmarks.workloads.world import World
from permissions.conditions import cel
from permissions.engine.compile import compile_table
from permissions.engine.evaluate import evaluate
from permissions.engine.scopes import build_subject
from permissions.engine.types import BindingFact, Request, SubjectFacts
from permsite import child
from tests.servers import Servers

ROOT = Path(__file__).resolve().parent.parent
CATALOGUES = Path(__file__).parent / "data" / "catalogues"
ROWS = ["bar1", "bar2", "bar3", "bar4", "bar5", "bar6", "bar7", "bar8", "bar9", "bar10", "bar11", "ratios"]


@pytest.fixture(scope="module")
def world() -> World:
    return w1.build()


def test_w1_is_what_the_bars_say(world: World) -> None:
    model = world.model
    assert (len(world.held), len(world.checks), len(model.permissions)) == (10_000, 20_000, 1_000)
    assert (len(model.groups), len(model.roles)) == (40, 200)
    assert {code for group in model.groups for code in group.patterns} == {fact.code for fact in model.permissions}
    assert {len(set(held)) for held in world.held} == {1, 2, 3, 4}
    wild = [number for number, role in enumerate(model.roles) if any("*" in line.pattern for line in role.lines)]
    assert wild == list(range(0, 200, 10))
    answers = world.answers(len(world.checks))
    assert round(sum(answers) / len(answers), 2) == 0.16


def test_the_engine_answers_w1_as_plain_sets_do(world: World) -> None:
    table = compile_table(world.model, cel.language())
    for (subject, code), number, right in zip(world.questions, (n for n, _ in world.checks), world.answers(500), strict=False):
        bindings = tuple(BindingFact(i, subject, role=role) for i, role in enumerate(world.held[number]))
        snapshot = build_subject(SubjectFacts(subject, bindings=bindings), 0)
        assert evaluate(table, snapshot, None, Request(subject, code), 0).allowed is right


def test_the_same_seed_draws_the_same_world() -> None:
    assert w1.build(subjects=50, checks=50) == w1.build(subjects=50, checks=50)
    assert w2.build(subjects=50, checks=50, roles=20) == w2.build(subjects=50, checks=50, roles=20)


def test_a_folder_of_catalogues_becomes_a_model() -> None:
    built = w2.build(subjects=20, checks=10, catalogues=str(CATALOGUES))
    kinds = {role.name.split(" ", 1)[0] for role in built.model.roles}
    assert kinds == {"aws", "gcp", "azure", "kubernetes"}
    table = compile_table(built.model, cel.language())
    assert set(table.roles) == {role.name for role in built.model.roles}


def test_a_folder_without_catalogues_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no folder of role catalogues"):
        w2.build(subjects=1, checks=0, catalogues=str(tmp_path))


def test_few_subjects_of_a_trace_ask_most() -> None:
    drawn = trace.subjects(1, 1_000)
    asked = [next(drawn) for _ in range(20_000)]
    busiest = sorted((asked.count(number) for number in set(asked)), reverse=True)
    assert sum(busiest[:100]) > 0.45 * len(asked)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_row_runs(servers: Servers, tmp_path: Path) -> None:
    """In databases of its own on the tests' PostgreSQL; where there is none, it starts one."""
    out = tmp_path / "result.json"
    environment = {**os.environ, "TEST_DATABASE_URL": servers.told.get("database", "")}
    only = [part for name in ROWS for part in ("--only", name)]
    ran = subprocess.run(
        [sys.executable, "benchmarks/run.py", "--quick", "--no-peers", "--out", str(out), *only],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    rows = json.loads(out.read_text())["rows"]
    assert set(rows) == set(ROWS)
    assert all(row["what"] and row["figure"] for part in rows.values() for row in part["rows"])


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_bench_that_is_told_to_end_leaves_nothing_behind() -> None:
    """SIGTERM in the middle of a row over HTTP: servers, sides and load end, and its folder goes."""
    with tempfile.TemporaryDirectory(prefix="ps-bench-") as folder:
        os.chmod(folder, 0o755)  # under root PostgreSQL runs as another user, who has to get through
        environment = {**os.environ, "TMPDIR": folder}
        environment.pop("TEST_DATABASE_URL", None)
        argv = [sys.executable, "benchmarks/run.py", "--quick", "--no-peers", "--only", "bar10"]
        with subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as bench:
            until = time.monotonic() + 120
            found: list[int] = []
            while not any(b"serve" in _command(pid) for pid in found):
                assert bench.poll() is None, "it ended by itself"
                assert time.monotonic() < until, "no server came up"
                found = processes.tree(bench.pid)
            bench.send_signal(signal.SIGTERM)
            assert bench.wait(60) == 128 + signal.SIGTERM
        assert not [pid for pid in found if child.is_alive(pid)]
        assert os.listdir(folder) == []


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
