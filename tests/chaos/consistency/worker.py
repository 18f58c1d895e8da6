"""One process under test: readers, writers and the follower of a server, over the harness's database and Redis.

Run as a program with the path of its configuration; it ends when its standard input does. A mutant is patched in before any
thread starts.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

Question = tuple[str, str, str | None, int]


def prepare(config: dict[str, Any]) -> None:
    """Environment before Django: its settings are read once."""
    os.environ.update(
        DJANGO_SETTINGS_MODULE="permsite.settings",
        DATABASE_URL=config["database_url"],
        SECRET_KEY="chaos-only-" + "k" * 50,
        PERMSITE_VAR=config["folder"],
        DJANGO_REALM="alpha",
        LOG_LEVEL="ERROR",
    )
    os.environ.pop("REDIS_URL", None)
    if config["redis_url"]:
        os.environ["REDIS_URL"] = config["redis_url"]
    import django

    django.setup()


class Worker:
    def __init__(self, config: dict[str, Any]) -> None:
        from tests.chaos.consistency.records import Tokens

        self.config = config
        self.name = config["name"]
        self.folder = Path(config["folder"])
        self.tokens = Tokens(self.folder)
        self.stopped = threading.Event()
        self.threads: list[threading.Thread] = []

    def start(self) -> None:
        from permissions.cache import follower

        if not self.config["no_follower"]:
            follower.start()
        jobs: list[tuple[str, Any]] = [(f"r{n}", self.read) for n in range(self.config["readers"])]
        jobs += [(f"w{n}", self.write) for n in range(self.config["writers"])]
        if self.config.get("tasks"):
            jobs.append(("t0", self.read_on_a_loop))
        for name, job in jobs:
            thread = threading.Thread(target=self._run, args=(name, job), name=f"chaos-{name}")
            self.threads.append(thread)
            thread.start()

    def _run(self, name: str, job: Any) -> None:
        from tests.chaos.consistency.records import Log

        who = f"{self.name}.{name}"
        log = Log(self.folder / f"{who}.log")
        try:
            job(who, log, random.Random(f"{self.config['seed']}/{who}"))
        except BaseException as error:
            log.now("fault", type(error).__name__, str(error)[:500])
            raise
        finally:
            log.flush()

    def stop(self) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join(30)
        from permissions.cache import follower

        follower.stop()

    # Readers.

    def _question(self, draw: random.Random) -> Question:
        from tests.chaos.consistency import world as w

        kind = draw.random()
        if kind < 0.04:
            subject = draw.choice(w.GHOSTS)
        elif kind < 0.12:
            subject = draw.choice((*w.TEAMS, *w.PASSING, w.ACCOUNT))
        else:
            subject = draw.choice(w.USERS)
        kind = draw.random()
        resource = None if kind < 0.1 else draw.choice(w.UNKNOWN_DOCS) if kind < 0.13 else draw.choice((*w.FOLDERS, *w.DOCS))
        code = draw.choice(w.CODES[:3]) if draw.random() < 0.85 else draw.choice(w.CODES)
        return subject, code, resource, draw.choice((1, 2)) if draw.random() < 0.1 else 0

    def _request(self, draw: random.Random) -> tuple[str, str, list[Question], str, str | None]:
        from tests.chaos.consistency import world as w

        realm = draw.choice(w.REALMS)
        questions = [self._question(draw) for _ in range(draw.randint(2, 6) if draw.random() < 0.15 else 1)]
        mode, op, token = "bounded", "", None
        kind = draw.random()
        if kind < self.config["token_share"]:
            writers = self.tokens.writers(realm)
            got = self.tokens.get(draw.choice(writers), realm) if writers else None
            if got is not None:
                mode, (op, token) = "token", got
        elif kind > 1.0 - self.config["full_share"]:
            mode = "full"
        return realm, mode, questions, op, token

    def read(self, who: str, log: Any, draw: random.Random) -> None:
        pause_s = self.config["pause_s"]
        while not self.stopped.is_set():
            if draw.random() < 0.01:
                self._read_in_transaction(log, draw)
            for _ in range(draw.choice((1, 1, 4, 12))):
                self.ask(log, *self._request(draw))
            # Between bursts the others get the processor; some wait so long that the State is older than the bound.
            time.sleep(pause_s * draw.choice((1, 1, 2, 4)) if draw.random() > 0.002 else draw.uniform(0.3, 0.8))

    def _read_in_transaction(self, log: Any, draw: random.Random) -> None:
        """The caller has a transaction open and has read in it: what it sees there may be old, what it is told may not."""
        from django.db import DatabaseError, InterfaceError, connection, transaction

        try:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("SELECT count(*) FROM permissions_subject")
                for _ in range(3):
                    self.ask(log, *self._request(draw))
                    time.sleep(0.01)
        except (DatabaseError, InterfaceError):
            connection.close()

    def ask(self, log: Any, realm: str, mode: str, questions: list[Question], op: str, token: str | None) -> None:  # noqa: PLR0917 - a request
        from permissions import pdp
        from tests.chaos.consistency.records import boot_ns, wall_us

        single = questions[0] if len(questions) == 1 else None
        started_ns, started_us = boot_ns(), wall_us()
        try:
            if single is not None:
                subject, code, resource, context = single
                told = {} if context == 0 else {"mfa": context == 1}
                decisions = [
                    pdp.check(subject, code, resource, context=told or None, realm=realm, token=token, full=mode == "full")
                ]
            else:
                decisions = pdp.check_many([_item(q) for q in questions], realm=realm, token=token, full=mode == "full")
        except (pdp.Unavailable, pdp.TokenFromFuture) as error:
            log.add("e", started_ns, boot_ns(), realm, mode, op, type(error).__name__)
            time.sleep(0.01)
            return
        self._log(log, (started_ns, boot_ns(), started_us, wall_us()), realm, mode, op, questions, decisions)

    def _log(  # noqa: PLR0917 - an answer
        self, log: Any, times: tuple[int, ...], realm: str, mode: str, op: str, questions: Any, decisions: Any
    ) -> None:
        items = [
            [*question, int(d.allowed), d.reason, d.revision, d.source, int(d.stale)]
            for question, d in zip(questions, decisions, strict=True)
        ]
        log.add("a", *times, realm, mode, op, items)

    def read_on_a_loop(self, who: str, log: Any, draw: random.Random) -> None:
        from permissions import pdp
        from tests.chaos.consistency.records import boot_ns, wall_us

        async def one() -> None:
            while not self.stopped.is_set():
                realm, mode, questions, op, token = self._request(draw)
                started_ns, started_us = boot_ns(), wall_us()
                try:
                    decisions = await pdp.acheck_many(
                        [_item(q) for q in questions], realm=realm, token=token, full=mode == "full"
                    )
                except (pdp.Unavailable, pdp.TokenFromFuture) as error:
                    log.add("e", started_ns, boot_ns(), realm, mode, op, type(error).__name__)
                    await asyncio.sleep(0.05)
                    continue
                self._log(log, (started_ns, boot_ns(), started_us, wall_us()), realm, mode, op, questions, decisions)
                await asyncio.sleep(draw.uniform(0.0, 0.05))

        async def main() -> None:
            await asyncio.gather(*(one() for _ in range(self.config["tasks"])))

        asyncio.run(main())

    # Writers.

    def write(self, who: str, log: Any, draw: random.Random) -> None:
        from django.db import connection

        from tests.chaos.consistency import drawing, writing
        from tests.chaos.consistency.records import boot_ns, wall_us

        number = 0
        run = f"{who}.{os.getpid()}"
        while not self.stopped.is_set():
            wanted = drawing.transaction(draw, wall_us())
            number += 1
            op = f"{run}.{number}"
            log.now("i", op, wanted.style, wanted.steps)
            try:
                token = writing.perform(op, wanted)
            except Exception as error:  # noqa: BLE001 - what came of it, the noted rows tell
                log.now("x", op, type(error).__name__, str(error)[:200])
                connection.close()
                self.stopped.wait(0.02)
                continue
            log.now("w", op, boot_ns(), token)
            if token and wanted.style != "rolled_back":
                ((realm, _),) = wanted.steps.items()
                self.tokens.put(who, realm, op, token)
                if self.config["readers"] == 0:
                    continue
                # The writer's own next question: with its token, and without.
                self.ask(log, realm, "token", [self._question(draw)], op, token)
                self.ask(log, realm, "bounded", [self._question(draw)], "", None)
            self.stopped.wait(self.config["write_pause_s"] * draw.uniform(0.2, 2.0))


def _item(question: Question) -> Any:
    """Either way in which a batch may be written: a plain one has a shorter path of its own."""
    subject, code, resource, context = question
    if context == 0:
        return (subject, code, resource)
    return {"subject": subject, "permission": code, "resource": resource, "context": {"mfa": context == 1}}


def main(path: str) -> None:
    config = json.loads(Path(path).read_text(encoding="utf-8"))
    prepare(config)
    from tests.chaos.consistency import inner_faults, mutants

    if config["seeds"]:
        from django.core.management import call_command

        from tests.chaos.consistency import writing

        call_command("migrate", verbosity=0)
        writing.seed()
        return
    mutants.apply(config["mutant"])
    if config["inner_faults"]:
        inner_faults.bad_network(random.Random(config["seed"]))
        inner_faults.slow_tables(random.Random(config["seed"]))
    if config["small_memory"]:
        inner_faults.small_memory()
    worker = Worker(config)
    worker.start()
    if config.get("forks"):
        _fork(worker)
    sys.stdin.read()  # until the harness closes it
    worker.stop()


def _fork(worker: Worker) -> None:
    """A child of a process that has warm caches, open connections and running threads; its own threads read on."""
    time.sleep(1.0)
    if os.fork() != 0:
        return
    child = Worker({**worker.config, "name": worker.name + "f", "forks": False, "writers": 0, "tasks": 0})
    child.start()
    sys.stdin.read()
    child.stop()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
