"""A run: servers, processes, faults, and at the end the checker's findings over what all of them left behind."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from permsite.launcher import Launcher
from tests.chaos.consistency import checker, faults, tables
from tests.chaos.consistency.records import boot_ns
from tests.chaos.consistency.servers import Postgres, Valkey, until

ROOT = Path(__file__).resolve().parents[3]
TEMPLATE = "chaos_template"


@dataclass(frozen=True)
class Plan:
    """What a run does. `faults`: names of `faults.FAULTS`; `redis`: alone, none, late or cluster."""

    seconds: float = 10.0
    processes: int = 3
    readers: int = 3
    writers: int = 2
    tasks: int = 0
    redis: str = "alone"
    faults: frozenset[str] = frozenset()
    inner_faults: bool = False
    forks: bool = False
    mutant: str = ""
    seed: int = 0
    pause_s: float = 0.005
    write_pause_s: float = 0.02
    token_share: float = 0.2
    full_share: float = 0.03
    no_follower: bool = False
    apart: bool = False  # the first process only writes, the others only read
    haste: float = 1.0  # faults come so many times as often


class Process:
    """One worker; a killed one is followed by another of a new name, with an empty memory."""

    def __init__(self, run: Run, number: int, life: int) -> None:
        plan = run.plan
        self.name = f"p{number}x{life}"
        config = {
            "name": self.name,
            "folder": str(run.folder),
            "database_url": run.database_url,
            "redis_url": run.valkey.url,
            "readers": 0 if plan.apart and number == 0 else plan.readers,
            "writers": 0 if plan.apart and number > 0 else plan.writers,
            "tasks": plan.tasks,
            "mutant": plan.mutant,
            "inner_faults": plan.inner_faults,
            "small_memory": number % 2 == 1,
            "forks": plan.forks and number == 0,
            "seed": f"{plan.seed}/{self.name}",
            "pause_s": plan.pause_s,
            "write_pause_s": plan.write_pause_s,
            "token_share": plan.token_share,
            "full_share": plan.full_share,
            "no_follower": plan.no_follower,
            "seeds": False,
        }
        self.child = spawn(run.folder, self.name, config)

    def close(self) -> None:
        assert self.child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.child.stdin.close()

    def end(self) -> str:
        """Asks, waits; what was wrong with its end."""
        self.close()
        try:
            self.child.wait(40)
        except subprocess.TimeoutExpired:
            self.child.kill()
            return f"{self.name} did not end"
        return "" if self.child.returncode == 0 else f"{self.name} ended with {self.child.returncode}"


def spawn(folder: Path, name: str, config: dict[str, Any]) -> subprocess.Popen[bytes]:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    with (folder / f"{name}.stderr").open("wb") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.consistency.worker", str(path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=errors,
            stderr=errors,
            env={"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore::DeprecationWarning"},
        )


class Stage:
    """Servers and the seeded database of several runs, one after the other."""

    def __init__(self) -> None:
        self.launcher = Launcher()
        self.folder = Path(tempfile.mkdtemp(prefix="permsite-chaos-"))
        self.postgres = Postgres(self.launcher)
        self.number = 0
        self._seed()

    def _seed(self) -> None:
        with self.postgres.admin() as admin:
            admin.execute(f"CREATE DATABASE {TEMPLATE}")
        config = {"database_url": self.postgres.url(TEMPLATE), "redis_url": "", "folder": str(self.folder), "seeds": True}
        child = spawn(self.folder, "seed", config)
        assert child.stdin is not None
        child.stdin.close()
        if child.wait(120) != 0:
            raise RuntimeError((self.folder / "seed.stderr").read_text(encoding="utf-8")[-2000:])

    def database(self, name: str) -> str:
        with self.postgres.admin() as admin:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
            # The copy of a sequence has values in hand that no record of its own names: a crash would draw them a second time.
            admin.execute("CHECKPOINT")
        return self.postgres.url(name)

    def run(self, plan: Plan) -> Report:
        self.number += 1
        folder = self.folder / f"run{self.number}"
        folder.mkdir()
        with Launcher() as launcher:
            valkey = Valkey(launcher, folder / "kv", kind=plan.redis)
            return Run(self, plan, folder, valkey, f"chaos_{self.number}").go()

    def close(self) -> None:
        self.launcher.close()
        if os.environ.get("KEEP") != "1":
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@dataclass
class Report:
    plan: Plan
    findings: checker.Findings
    kills: Counter[str]
    seconds: float
    ends: list[str] = field(default_factory=list)

    def text(self) -> str:
        f = self.findings
        rows = [
            ("checks", f.checks),
            ("revisions", f.revisions),
            ("faults injected", dict(sorted(self.kills.items()))),
            ("answers by source", dict(f.sources.most_common())),
            ("answers by mode", dict(f.modes.most_common())),
            ("refusals", dict(f.refusals)),
            ("refused while it was up", f.unserved),
            ("writes", dict(sorted(f.writes.items()))),
            ("wrong", f.wrong),
            ("broken tokens", f.broken_tokens),
            ("beyond bound", f.beyond_bound),
            ("back inside an epoch", f.back),
            ("disorder", f.disorder),
            ("marked stale", f.stale),
            ("worst age, ms", round(f.worst_age_ms, 1)),
        ]
        lines = [f"{name:22} {value}" for name, value in rows]
        lines += [f"? a write met {text}" for text in f.odd]
        for kind, told in f.told.items():
            lines += [f"! {kind}: {text[:700]}" for text in told[:5]]
        return "\n".join([*lines, *self.ends])


class Run:
    def __init__(self, stage: Stage, plan: Plan, folder: Path, valkey: Valkey, database: str) -> None:
        self.stage = stage
        self.plan = plan
        self.folder = folder
        self.valkey = valkey
        self.postgres = stage.postgres
        self.database = database
        self.database_url = stage.database(database)
        self.draw = random.Random(plan.seed)
        self.kills: Counter[str] = Counter()
        self.ended = threading.Event()
        self.opened_ns = boot_ns()
        self.histories: list[checker.History] = []
        self.outages: list[tuple[int, int]] = []
        self.processes: list[Process] = []
        self.database_lock = threading.Lock()  # one fault of the database at a time
        self.lock = threading.Lock()

    def go(self) -> Report:
        started = time.monotonic()
        self.processes = [Process(self, number, 0) for number in range(self.plan.processes)]
        broken: list[str] = []
        # A slow start is no fault to be judged: the faults wait for the first write.
        until(lambda: any(self.folder.glob("*.token")) or self._dead(), 60)
        with self._faults(broken):
            self.ended.wait(self.plan.seconds)
        ends = [said for process in self.processes if (said := process.end())]
        ends += broken + self._said()
        with self.postgres.admin(self.database) as admin:
            self.histories.append(checker.History(tables.noted(admin), self.opened_ns))
            final = tables.final(admin)
        self._keep(final)
        findings = checker.check(self.folder, self.histories, final, self.outages)
        return Report(self.plan, findings, self.kills, time.monotonic() - started, ends)

    def _keep(self, final: Any) -> None:
        """What a replay of these logs needs (`KEEP=1` leaves the folder)."""
        (self.folder / "told.pickle").write_bytes(pickle.dumps((self.histories, final, self.outages)))

    def _dead(self) -> bool:
        return any(process.child.poll() is not None for process in self.processes)

    def _said(self) -> list[str]:
        """What nobody caught. A logged fault is one JSON line, and no end of a process."""
        found = []
        for path in sorted(self.folder.glob("*.stderr")):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            if any(line.startswith(("Traceback", "Exception in")) for line in lines):
                found.append(f"{path.stem} said: " + "\n".join(line for line in lines if not line.startswith("{"))[-1500:])
        return found

    @contextlib.contextmanager
    def _faults(self, broken: list[str]) -> Iterator[None]:
        def play(name: str) -> None:
            fault = faults.FAULTS[name]
            draw = random.Random(f"{self.plan.seed}/{name}")
            while not self.ended.wait(fault.every_s * draw.uniform(0.5, 1.5) / self.plan.haste):
                try:
                    fault.act(self, draw)
                    self.kills[name] += 1
                except Exception as error:  # noqa: BLE001 - told at the end; a fault that fails must not hide
                    broken.append(f"the fault {name} failed: {type(error).__name__}: {error}")
                    return

        threads = [threading.Thread(target=play, args=(name,), name=f"fault-{name}") for name in sorted(self.plan.faults)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.ended.set()
            for thread in threads:
                thread.join(90)

    # What faults do.

    def close_history(self, rows: dict[str, list[checker.Row]], closed_ns: int) -> None:
        """What was noted up to the crash is one history; what comes after belongs to the next."""
        self.histories.append(checker.History(rows, self.opened_ns, closed_ns))
        self.opened_ns = closed_ns

    def respawn(self, number: int) -> None:
        with self.lock:
            process = self.processes[number]
            process.child.send_signal(signal.SIGKILL)
            process.child.wait()
            process.close()
            life = int(process.name.partition("x")[2]) + 1
            self.processes[number] = Process(self, number, life)
