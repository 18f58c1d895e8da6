"""A process that holds a lock or a permit and does what its standard input says, line by line; to be frozen and killed.

argv: URL of the store, prefix. Lines in: JSON [command, argument …]. Lines out: one JSON answer each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


class Puppet:
    """The hand: started by a test, ended by it."""

    def __init__(self, url: str, prefix: str, *, database: Mapping[str, Any] | None = None) -> None:
        env = {**os.environ, "PUPPET_DATABASE": json.dumps(database or {})}
        argv = [sys.executable, "-m", "tests.resilience.lock.puppet", url, prefix]
        self.process = subprocess.Popen(argv, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def send(self, *line: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, *line: Any) -> Any:
        self.send(*line)
        return self.hear()


@contextmanager
def puppet(url: str, prefix: str, *, database: Mapping[str, Any] | None = None) -> Iterator[Puppet]:
    hand = Puppet(url, prefix, database=database)
    try:
        yield hand
    finally:
        hand.process.kill()
        hand.process.wait()
        for pipe in (hand.process.stdin, hand.process.stdout):
            if pipe is not None:
                pipe.close()


def _say(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _rows() -> Any:
    """The table that a test made, as a model of this process."""
    import django
    from django.conf import settings

    settings.configure(DATABASES={"default": json.loads(os.environ["PUPPET_DATABASE"])}, INSTALLED_APPS=[], USE_TZ=True)
    django.setup()
    from tests.resilience.lock.rows import row_model

    return row_model("fenced").objects


def _update(lock: Any, value: str) -> Any:
    """Says so when the statement is about to be sent, then waits: a moment to freeze at, after the lock's own check."""
    from django.db import connection

    from resilience.errors import LockLost
    from resilience.lock import fenced_update

    rows = _rows()

    def pause(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        _say("writing")
        sys.stdin.readline()
        return execute(sql, params, many, context)

    try:
        with connection.execute_wrapper(pause):
            return ["written", fenced_update(rows.filter(id=1), lock, value=value)]
    except LockLost as error:
        return ["refused", str(error)]


def main() -> None:
    from resilience.bulkhead import Bulkhead
    from resilience.lock import LockFactory
    from resilience.storage.redis import RedisStore

    store = RedisStore(sys.argv[1], prefix=sys.argv[2], timeout_s=5)
    lock: Any = None
    permit: Any = None
    for line in sys.stdin:
        command, *given = json.loads(line)
        match command:
            case "lock":
                lock = LockFactory(store).create("job", ttl_s=given[0])
                _say([lock.acquire(), lock.fence])
            case "permit":
                permit = Bulkhead("b", given[0], lease_s=given[1], store=store).acquire()
                _say(permit.id)
            case "state":
                _say({"held": lock.held, "lost": lock.lost})
            case "permit_state":
                _say({"lost": permit.lost})
            case "release":
                _say(lock.release())
            case "release_permit":
                _say(permit.release())
            case "update":
                _say(_update(lock, given[0]))


if __name__ == "__main__":
    main()
